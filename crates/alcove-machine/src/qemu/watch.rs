//! Holding the connection to a live QEMU, and telling what happens to it.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use qapi::qmp;
use tokio::{
    net::UnixStream,
    sync::broadcast,
    time::{Instant, sleep, timeout, timeout_at},
};

use super::{
    argv,
    console::Console,
    process::{self, Process},
    qmp::{Event, Qmp},
};
use crate::{Layout, MachineError, Result, liveness, provider::ProviderEvent, serial, serial_tail};

/// How long a QEMU that has closed its socket gets to end before it is taken for alive.
const ENDING: Duration = Duration::from_millis(500);
const RETRY: Duration = Duration::from_millis(200);
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// How often it is looked whether a log has grown too long.
const LOGS: Duration = Duration::from_secs(5);

/// The connection to one machine's QEMU, as long as that lives.
#[derive(Debug)]
pub(crate) struct Watch {
    layout: Layout,
    events: broadcast::Sender<ProviderEvent>,
    link: tokio::sync::Mutex<Option<Arc<Qmp>>>,
    /// The process, when it was started by this value.
    process: Mutex<Option<Process>>,
    /// The port that leads to the door, with the process that it belongs to.
    door: Mutex<Option<(u32, u16)>>,
    console: Console,
    /// Since when the process has not answered.
    silent: Mutex<Option<(u32, std::time::Instant)>>,
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Watch {
    pub(crate) fn new(layout: Layout) -> Arc<Self> {
        let (events, _) = broadcast::channel(256);
        Arc::new(Self {
            layout,
            events,
            link: tokio::sync::Mutex::new(None),
            process: Mutex::new(None),
            door: Mutex::new(None),
            console: Console::default(),
            silent: Mutex::new(None),
        })
    }

    pub(crate) fn subscribe(&self) -> broadcast::Receiver<ProviderEvent> {
        self.events.subscribe()
    }

    /// The connection to the live QEMU: the one that is held, or a new one to a QEMU that an earlier supervisor
    /// started. `None` when none lives.
    pub(crate) async fn link(self: &Arc<Self>, patience: Duration) -> Result<Option<Arc<Qmp>>> {
        let by = Instant::now() + patience;
        // While QEMU is being started the place is taken: its socket serves one client.
        let Ok(mut place) = timeout_at(by, self.link.lock()).await else {
            return Err(MachineError::Timeout { what: "QEMU's start".into(), after: patience });
        };
        let Some(pid) = liveness::holder(&self.layout.pidfile())? else { return Ok(None) };
        if let Some(qmp) = place.as_ref().filter(|q| !q.is_closed()) {
            return Ok(Some(qmp.clone()));
        }
        let qmp = Arc::new(Qmp::connect(&self.layout.qmp_sock(), by).await?);
        self.follow(&qmp, pid);
        *place = Some(qmp.clone());
        Ok(Some(qmp))
    }

    /// Takes the place of the connection before a QEMU is started, so that nobody else connects to it meanwhile.
    pub(crate) async fn claim(&self) -> tokio::sync::MutexGuard<'_, Option<Arc<Qmp>>> {
        self.link.lock().await
    }

    /// Takes over a QEMU that has just been started.
    pub(crate) fn attach(self: &Arc<Self>, place: &mut Option<Arc<Qmp>>, process: Process, qmp: Arc<Qmp>) {
        self.follow(&qmp, process.pid());
        *held(&self.process) = Some(process);
        *held(&self.door) = None;
        *place = Some(qmp);
    }

    /// Notes whether the process has answered; since when it has not.
    pub(crate) fn answered(&self, pid: u32, answered: bool) -> Option<std::time::Instant> {
        let mut silent = held(&self.silent);
        *silent = match *silent {
            _ if answered => None,
            Some(since) if since.0 == pid => Some(since),
            _ => Some((pid, std::time::Instant::now())),
        };
        silent.map(|(_, since)| since)
    }

    /// The host's port that leads to the guest's door.
    pub(crate) async fn door(&self, pid: u32, qmp: &Qmp) -> Option<u16> {
        if let Some((_, port)) = held(&self.door).filter(|(p, _)| *p == pid) {
            return Some(port);
        }
        let port = qmp.forwarded_port(alcove_door::GUEST_PORT).await.ok().flatten()?;
        *held(&self.door) = Some((pid, port));
        Some(port)
    }

    /// Passes on what happens until the connection ends. Holds neither this value nor the connection: when the provider
    /// is dropped, the socket is free for another one.
    fn follow(self: &Arc<Self>, qmp: &Arc<Qmp>, pid: u32) {
        let mut events = qmp.events();
        let mut closed = qmp.closing();
        let weak = Arc::downgrade(self);
        tokio::spawn(bound_logs(self.layout.clone(), qmp.closing()));
        tokio::spawn(async move {
            loop {
                let event = tokio::select! {
                    // What QEMU said last comes before its end.
                    biased;
                    event = events.recv() => event,
                    _ = closed.wait_for(|c| *c) => break,
                };
                match event {
                    Ok(event) => {
                        let Some(watch) = weak.upgrade() else { return };
                        if let Some(event) = translate(&event) {
                            let _ = watch.events.send(event);
                        }
                    }
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => break,
                }
            }
            after_connection(weak, pid).await;
        });
    }

    /// A connection to the serial console, beside those that others have.
    pub(crate) async fn console(self: &Arc<Self>, patience: Duration) -> Result<UnixStream> {
        // One that does not answer has a console all the same.
        let qmp = self.link(patience).await.ok().flatten();
        self.console.join(&self.layout.console_sock(), qmp.as_deref()).await
    }

    /// The last lines that QEMU and the guest wrote.
    pub(crate) fn last_words(&self) -> Vec<String> {
        last_words(&self.layout)
    }
}

/// The last lines of the serial console and of QEMU's log.
pub(crate) fn last_words(layout: &Layout) -> Vec<String> {
    let mut words = serial_tail(layout, 20);
    words.extend(process::qemu_words(&layout.qemu_log()).into_iter().map(|w| format!("qemu: {w}")));
    words
}

/// Bounds what QEMU writes by itself, as long as the connection to it lasts.
async fn bound_logs(layout: Layout, mut closed: tokio::sync::watch::Receiver<bool>) {
    loop {
        let layout = layout.clone();
        let work = move || {
            serial::keep_short(&layout.serial_log(), &layout.serial_log_before())?;
            serial::keep_short(&layout.qemu_log(), &layout.qemu_log_before())
        };
        if let Ok(Err(e)) = tokio::task::spawn_blocking(work).await {
            tracing::warn!(error = %e, "a log can't be shortened");
        }
        if timeout(LOGS, closed.wait_for(|c| *c)).await.is_ok() {
            return;
        }
    }
}

/// The connection is gone: the process has ended, or only the connection has. Says so, or connects again. Another QEMU
/// may run by now; it has a connection of its own.
async fn after_connection(weak: Weak<Watch>, pid: u32) {
    loop {
        let Some(watch) = weak.upgrade() else { return };
        match ended(&watch.layout, pid).await {
            Ok(true) => {
                let process = held(&watch.process).take_if(|p| p.pid() == pid);
                let code = match process {
                    Some(process) => timeout(ENDING, process.ended()).await.ok().flatten(),
                    None => None,
                };
                let _ = watch.events.send(ProviderEvent::Exited { code, last_words: watch.last_words() });
                return;
            }
            Ok(false) => match watch.link(ENDING).await {
                Ok(Some(_)) => return,
                Ok(None) => {}
                Err(e) => tracing::debug!(error = %e, "QEMU lives but does not answer"),
            },
            Err(e) => tracing::warn!(error = %e, "the machine's pidfile can't be looked at"),
        }
        drop(watch);
        sleep(RETRY).await;
    }
}

/// Whether this process is the machine's no more; waits a moment for it.
async fn ended(layout: &Layout, pid: u32) -> Result<bool> {
    let by = Instant::now() + ENDING;
    loop {
        if liveness::holder(&layout.pidfile())? != Some(pid) {
            return Ok(true);
        }
        if Instant::now() >= by {
            return Ok(false);
        }
        sleep(LOOK_AGAIN).await;
    }
}

/// What a QEMU event means for a machine.
fn translate(event: &Event) -> Option<ProviderEvent> {
    let text = |key: &str| event.data.get(key).and_then(|v| v.as_str()).unwrap_or_default();
    let by_guest = event.data.get("guest").and_then(serde_json::Value::as_bool).unwrap_or(false);
    match event.name.as_str() {
        "STOP" => Some(ProviderEvent::Paused),
        "RESUME" => Some(ProviderEvent::Resumed),
        "SHUTDOWN" if by_guest => Some(ProviderEvent::PoweredOff),
        "RESET" if by_guest => Some(ProviderEvent::Reset),
        "GUEST_PANICKED" => Some(ProviderEvent::Panicked),
        "BLOCK_IO_ERROR" if text("action") == "stop" => {
            let nospace = event.data.get("nospace").and_then(serde_json::Value::as_bool).unwrap_or(false);
            Some(ProviderEvent::IoError { nospace })
        }
        "VSERPORT_CHANGE" => event
            .as_kind::<qmp::VSERPORT_CHANGE>()
            .filter(|port| port.open && port.id == argv::AGENT_PORT)
            .map(|_| ProviderEvent::GuestAgentUp),
        _ => None,
    }
}
