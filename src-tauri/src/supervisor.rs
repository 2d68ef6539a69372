//! Finds the supervisor, starts it when it is absent, and follows what it says.

use std::{sync::Arc, time::Duration};

use alcove_client::{Client, Endpoint};
use alcove_types::{ApiError, event::Event};
use tauri::{AppHandle, Emitter, Manager};
use tokio::time::{Instant, timeout};

use crate::{
    shell::{Connection, Reach, Shell},
    tray, windows,
};

/// How long a supervisor may take from its start to its first answer.
const START: Duration = Duration::from_secs(30);
/// Between two looks for a supervisor that went away on purpose.
const LOOK: Duration = Duration::from_secs(2);
/// A supervisor that dies sooner than this after its start is not started again by itself.
const STEADY: Duration = Duration::from_secs(20);

/// Runs as long as the shell: look, follow, look again.
pub(crate) async fn follow(app: AppHandle) {
    let shell = Arc::clone(&app.state::<Arc<Shell>>());
    let mut may_start = true;
    loop {
        let started = Instant::now();
        match reach(&shell, may_start).await {
            Ok((client, connection)) => {
                tracing::info!("the supervisor answers at {}", connection.base);
                shell.reach.send_replace(Reach::Connected { client: client.clone(), connection });
                changed(&app);
                let why = listen(&app, &shell, &client).await;
                tracing::warn!("the supervisor is gone: {why}");
                // One that quit on purpose has put its address away; one that crashed could not, and is started again.
                may_start = started.elapsed() > STEADY && crashed(&shell);
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
    let client = client.named(concat!("alcove-desktop/", env!("CARGO_PKG_VERSION")));
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
            Ok(Event::Settings(view)) => speak(app, shell, view.settings.language),
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
    speak(app, shell, client.settings().await?.settings.language);
    Ok(())
}

fn speak(app: &AppHandle, shell: &Shell, language: Option<alcove_types::settings::Language>) {
    if shell.set_language(language) {
        tray::refresh(app);
    }
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
