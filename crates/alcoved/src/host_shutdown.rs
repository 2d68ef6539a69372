//! This computer is being shut down: the machine is brought to rest before everything on it is ended, as when its owner
//! quits. By systemd-logind's inhibitor locks (org.freedesktop.login1(5)), which let a program delay that for some
//! seconds. Where there is no logind the machine ends as in a power cut, and loses nothing that was acknowledged.

use alcove_api::{Supervisor, operations::Caller};
use alcove_types::ApiError;
use futures_util::StreamExt;
use tokio_util::sync::CancellationToken;
use zbus::zvariant::OwnedFd;

#[zbus::proxy(
    interface = "org.freedesktop.login1.Manager",
    default_service = "org.freedesktop.login1",
    default_path = "/org/freedesktop/login1",
    gen_blocking = false
)]
trait Manager {
    /// Takes a lock, which is held until the descriptor is closed.
    fn inhibit(&self, what: &str, who: &str, why: &str, mode: &str) -> zbus::Result<OwnedFd>;

    /// True before a shutdown, which then waits for the locks; false when it is called off.
    #[zbus(signal)]
    fn prepare_for_shutdown(&self, start: bool) -> zbus::Result<()>;
}

/// Waits for a shutdown, and ends the supervisor in order when one comes.
pub(crate) async fn watch(supervisor: Supervisor, ending: CancellationToken) {
    match guard(&supervisor, &ending).await {
        Ok(()) => {}
        Err(error) => tracing::info!(%error, "this computer does not say when it is shut down"),
    }
}

async fn guard(supervisor: &Supervisor, ending: &CancellationToken) -> zbus::Result<()> {
    let bus = zbus::Connection::system().await?;
    let manager = ManagerProxy::new(&bus).await?;
    let mut word = manager.receive_prepare_for_shutdown().await?;
    let take = || manager.inhibit("shutdown", "Alcove", "The machine is being saved.", "delay");
    let mut delay = Some(take().await?);
    while let Some(signal) = word.next().await {
        if !signal.args()?.start {
            delay = Some(take().await?);
            continue;
        }
        tracing::info!("this computer is being shut down: bringing the machine to rest");
        match rest(supervisor).await {
            Ok(()) => {
                ending.cancel();
                return Ok(());
            }
            Err(error) => tracing::warn!(%error, "the machine could not be brought to rest in time"),
        }
        // Let go: nobody's computer stays on for us.
        delay.take();
    }
    Ok(())
}

async fn rest(supervisor: &Supervisor) -> Result<(), ApiError> {
    let resting = supervisor.put_away(&Caller::supervisor()).await?;
    supervisor.quit(resting.as_ref()).await
}
