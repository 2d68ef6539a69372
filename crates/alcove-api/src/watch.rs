//! Watches what a machine that is on says: its hypervisor's events, its boot port, its door.

use std::{path::PathBuf, sync::Arc, time::Duration};

use alcove_machine::provider::{Provider, ProviderEvent};
use alcove_types::{boot::BootEvent, guest::GuestEvent};
use tokio::{sync::mpsc, task::JoinSet};

use crate::link::Link;

/// What was heard.
#[derive(Debug)]
pub(crate) enum Heard {
    /// The hypervisor says.
    Provider(ProviderEvent),
    /// The guest's boot port says.
    Boot(BootEvent),
    /// The guest's daemon says.
    Guest(Box<GuestEvent>),
    /// The guest's daemon took our call after a resume: its clock is set.
    Resumed,
    /// The platform's gateway answered the host itself.
    PlatformAnswers,
    /// The guest's event stream ended.
    GuestSilent,
}

/// Listens until it is dropped.
#[derive(Debug)]
pub(crate) struct Watch {
    _tasks: JoinSet<()>,
}

/// Between two tries to reach a guest that does not answer yet.
const RETRY: Duration = Duration::from_millis(250);

impl Watch {
    /// Listens to a machine that was just started, resumed or adopted.
    pub(crate) fn begin(
        provider: Arc<dyn Provider>,
        link: Option<Link>,
        boot_log: PathBuf,
        resumed: bool,
        heard: mpsc::Sender<Heard>,
    ) -> Self {
        let mut tasks = JoinSet::new();
        tasks.spawn(provider_events(provider, heard.clone()));
        if !resumed {
            tasks.spawn(boot_events(boot_log, heard.clone()));
        }
        if let Some(link) = link {
            tasks.spawn(async move {
                // One greeting at a time: a guest that has just been resumed has little time for each, and the
                // connection that told it the time then carries its events.
                if resumed {
                    tell_the_time(&link, &heard).await;
                    tokio::join!(platform_answers(&link, &heard), guest_events(&link, &heard));
                } else {
                    guest_events(&link, &heard).await;
                }
            });
        }
        Self { _tasks: tasks }
    }
}

async fn provider_events(provider: Arc<dyn Provider>, heard: mpsc::Sender<Heard>) {
    loop {
        if let Ok(mut events) = provider.events().await {
            loop {
                match events.recv().await {
                    Ok(event) => {
                        if heard.send(Heard::Provider(event)).await.is_err() {
                            return;
                        }
                    }
                    // What was missed shows in the next observation.
                    Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => {}
                    Err(tokio::sync::broadcast::error::RecvError::Closed) => break,
                }
            }
        }
        backoff().await;
    }
}

async fn boot_events(path: PathBuf, heard: mpsc::Sender<Heard>) {
    let mut log = alcove_machine::boot_log::BootLog::new(path);
    while heard.send(Heard::Boot(log.next().await)).await.is_ok() {}
}

/// The first thing a resumed guest hears is what time it is.
async fn tell_the_time(link: &Link, heard: &mpsc::Sender<Heard>) {
    while link.resumed(Duration::from_secs(3)).await.is_err() {
        backoff().await;
    }
    // The receiver is gone when the machine is: nobody waits any more.
    let _ = heard.send(Heard::Resumed).await;
}

/// Then the platform is asked whether it answers.
async fn platform_answers(link: &Link, heard: &mpsc::Sender<Heard>) {
    while !link.platform_answers(Duration::from_secs(3)).await {
        backoff().await;
    }
    let _ = heard.send(Heard::PlatformAnswers).await;
}

async fn guest_events(link: &Link, heard: &mpsc::Sender<Heard>) {
    loop {
        if let Ok(mut events) = link.events().await {
            while let Some(event) = events.next().await {
                if heard.send(Heard::Guest(Box::new(event))).await.is_err() {
                    return;
                }
            }
            if heard.send(Heard::GuestSilent).await.is_err() {
                return;
            }
        }
        backoff().await;
    }
}

/// A pause between two tries of something that has no event to wait for.
async fn backoff() {
    tokio::time::sleep(RETRY).await;
}
