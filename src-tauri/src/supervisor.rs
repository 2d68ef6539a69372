//! Finds the supervisor, starts it when it is absent, and follows what it says.

use std::{sync::Arc, time::Duration};

use alcove_client::{Client, Endpoint};
use alcove_machine::{Home, Layout, MachineError, liveness, lock::FileLock};
use alcove_types::{ApiError, event::Event, settings::Settings};
use tauri::{AppHandle, Emitter, Manager};
use tokio::time::{Instant, timeout};

use crate::{
    autostart,
    shell::{Connection, Reach, Shell},
    tray, windows,
};

/// As whom we speak to the supervisor; it stands in the operation log.
pub(crate) const AGENT: &str = concat!("alcove-desktop/", env!("CARGO_PKG_VERSION"));
/// How long a supervisor may take from its start to its first answer.
pub(crate) const START: Duration = Duration::from_secs(30);
/// Between two looks for a supervisor that went away on purpose.
const LOOK: Duration = Duration::from_secs(2);
/// A supervisor that has crashed this often within [`SPELL`] is not started again by itself.
const CRASHES: usize = 3;
/// The time in which crashes are counted.
const SPELL: Duration = Duration::from_secs(120);

/// Runs as long as the shell: look, follow, look again.
pub(crate) async fn follow(app: AppHandle) {
    let shell = Arc::clone(&app.state::<Arc<Shell>>());
    let mut may_start = true;
    let mut crashes: Vec<Instant> = Vec::new();
    loop {
        match reach(&shell, may_start).await {
            Ok((client, connection)) => {
                tracing::info!("the supervisor answers at {}", connection.base);
                shell.reach.send_replace(Reach::Connected { client: client.clone(), connection });
                changed(&app);
                let why = tokio::select! {
                    why = listen(&app, &shell, &client) => why,
                    why = ended(&shell) => why,
                };
                tracing::warn!("the supervisor is gone: {why}");
                // One that quit on purpose has put its address away; one that crashed could not, and is started again.
                crashes.retain(|at| at.elapsed() < SPELL);
                may_start = crashed(&shell) && crashes.len() < CRASHES;
                crashes.push(Instant::now());
                if !may_start {
                    set_away(&app, &shell, why);
                }
            }
            Err(error) => {
                set_away(&app, &shell, error);
                may_start = false;
            }
        }
        // A supervisor that ends because we quit is not started again, unless the person changes their mind.
        if shell.quitting.subscribe().wait_for(|quitting| !quitting).await.is_err() {
            return;
        }
        if !may_start {
            let asked = timeout(LOOK, shell.look_now.notified()).await.is_ok();
            may_start = asked;
        }
        if may_start {
            shell.reach.send_replace(Reach::Looking);
            changed(&app);
        }
    }
}

/// Connects, and starts the supervisor first if it may.
async fn reach(shell: &Shell, may_start: bool) -> Result<(Client, Connection), ApiError> {
    let client = if may_start {
        Client::connect_or_start(&shell.instance, START).await?
    } else {
        Client::connect(&shell.instance).await?
    };
    let client = client.named(AGENT);
    let connection = connection(shell)?;
    Ok((client, connection))
}

/// How the pages reach the supervisor: over loopback, with its token.
fn connection(shell: &Shell) -> Result<Connection, ApiError> {
    let endpoint = Endpoint::read(&shell.instance)?;
    Ok(Connection {
        base: format!("http://127.0.0.1:{}", endpoint.port),
        token: endpoint.token,
        instance: shell.instance.to_string(),
    })
}

/// Whether the supervisor ended without putting its address away, as one does that was killed.
fn crashed(shell: &Shell) -> bool {
    Endpoint::read(&shell.instance).is_ok()
}

/// How a supervisor went that does not answer any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Departure {
    /// It has put its address away.
    InOrder,
    /// It could not.
    Crashed,
    /// Its process has not ended.
    NotYet,
}

/// Looks how the supervisor went.
pub(crate) fn departure(shell: &Shell) -> Departure {
    match Endpoint::read(&shell.instance) {
        Err(_) => Departure::InOrder,
        Ok(endpoint) if lives(endpoint.pid) => Departure::NotYet,
        Ok(_) => Departure::Crashed,
    }
}

/// Whether this process runs. One that has ended and was not waited for does not.
#[cfg(target_os = "linux")]
fn lives(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with(['Z', 'X'])))
}

/// Elsewhere it counts as ended.
#[cfg(not(target_os = "linux"))]
fn lives(_pid: u32) -> bool {
    false
}

/// Whether the machine may be on although no supervisor answers: it runs by itself, or a supervisor that has not said a
/// word yet is about to bring it up.
pub(crate) fn may_be_on(shell: &Shell) -> bool {
    let Ok(home) = Home::from_env() else { return false };
    let layout = Layout::new(home, shell.instance.clone());
    // What can't be looked at may be on.
    liveness::holder(&layout.pidfile()).map_or(true, |holder| holder.is_some())
        || matches!(FileLock::try_take(&layout.supervisor_lock()), Err(MachineError::Busy))
}

/// Waits until the supervisor's process has ended. The stream of its events would find out as well, but only after it
/// has tried for a while to reach a supervisor that starts anew by itself.
#[cfg(target_os = "linux")]
async fn ended(shell: &Shell) -> ApiError {
    use rustix::{
        event::{PollFd, PollFlags, poll},
        process::{Pid, PidfdFlags, pidfd_open},
    };

    let (tell, told) = tokio::sync::oneshot::channel();
    let process = Endpoint::read(&shell.instance).ok().and_then(|e| Pid::from_raw(i32::try_from(e.pid).ok()?));
    if let Some(process) = process.and_then(|process| pidfd_open(process, PidfdFlags::empty()).ok()) {
        // A thread that sleeps in the kernel for as long as this supervisor lives.
        std::thread::spawn(move || {
            let mut watched = [PollFd::new(&process, PollFlags::IN)];
            if matches!(poll(&mut watched, None), Ok(1)) {
                // Nobody listens any more when the stream found out first.
                let _ = tell.send(());
            }
        });
    }
    if told.await.is_err() {
        // What can't be watched is found out by the stream.
        return std::future::pending().await;
    }
    ApiError::new(
        alcove_types::ErrorCode::SupervisorUnreachable,
        "Alcove's supervisor has ended",
        "Start it again, or see `alcove logs --source alcoved` for why it ended.",
    )
}

/// Elsewhere the stream finds out.
#[cfg(not(target_os = "linux"))]
async fn ended(_shell: &Shell) -> ApiError {
    std::future::pending().await
}

/// Follows the supervisor's events until it is gone; the answer says why.
async fn listen(app: &AppHandle, shell: &Shell, client: &Client) -> ApiError {
    // The stream first and the state second, so that nothing falls between them.
    let mut events = match client.events().await {
        Ok(events) => events,
        Err(error) => return error,
    };
    if let Err(error) = read(app, shell, client).await {
        return error;
    }
    loop {
        match events.next().await {
            Ok(Event::Machine(machine)) => drop(shell.machine.send_replace(Some(*machine))),
            Ok(Event::Boot(boot)) => shell.machine.send_modify(|machine| {
                if let Some(machine) = machine {
                    machine.boot = Some(boot);
                }
            }),
            Ok(Event::Settings(view)) => take(app, shell, &view.settings),
            Ok(Event::Task(_) | Event::Operation(_)) => {}
            // Events were missed, perhaps because another supervisor took over: its address may be a new one too.
            Ok(Event::Resync) => {
                if let Err(error) = readdress(app, shell, client) {
                    return error;
                }
                if let Err(error) = read(app, shell, client).await {
                    return error;
                }
            }
            Err(error) => return error,
        }
    }
}

/// Reads the state anew.
async fn read(app: &AppHandle, shell: &Shell, client: &Client) -> Result<(), ApiError> {
    shell.machine.send_replace(Some(client.machine().await?));
    take(app, shell, &client.settings().await?.settings);
    Ok(())
}

/// Does what the owner's settings ask of the shell.
fn take(app: &AppHandle, shell: &Shell, settings: &Settings) {
    if shell.set_language(settings.language) {
        tray::refresh(app);
    }
    autostart::follow(app, settings.start_at_login);
}

/// Tells the pages when the supervisor answers at another address now.
fn readdress(app: &AppHandle, shell: &Shell, client: &Client) -> Result<(), ApiError> {
    let connection = connection(shell)?;
    let moved = shell.reach.send_if_modified(|reach| match reach {
        Reach::Connected { connection: old, .. } if *old == connection => false,
        _ => {
            *reach = Reach::Connected { client: client.clone(), connection };
            true
        }
    });
    if moved {
        changed(app);
    }
    Ok(())
}

fn set_away(app: &AppHandle, shell: &Shell, error: ApiError) {
    let news = shell.reach.send_if_modified(|reach| {
        let news = !matches!(reach, Reach::Away(old) if old.message == error.message);
        if news {
            *reach = Reach::Away(error);
        }
        news
    });
    if news {
        changed(app);
    }
}

/// Has the pages ask for the connection again, and moves the web desktop along.
fn changed(app: &AppHandle) {
    if let Err(error) = app.emit_to(windows::MAIN, "connection-changed", ()) {
        tracing::warn!("the pages could not be told: {error}");
    }
    windows::follow_desktop(app);
}
