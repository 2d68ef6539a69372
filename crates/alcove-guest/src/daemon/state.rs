//! What the daemon knows, shared by its parts.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
};

use alcove_guest::boot_port::{BootLog, log_event, step_event};
use alcove_types::{
    Condition, ConditionStatus,
    boot::{BootEvent, StepState},
    condition,
    guest::{GuestEvent, GuestStatus, KubernetesStatus, MachineCredentials},
};
use tokio::sync::{Notify, broadcast};

use super::{
    cluster::Cluster,
    disk,
    images::About,
    memory::{self, CpuMeter},
};

/// Events kept for those who listen a moment late.
const BACKLOG: usize = 256;
/// Boot events kept for those who ask later.
const BOOT_EVENTS: usize = 400;

/// The guest, as the daemon sees it.
pub(super) struct Guest {
    /// What the host gave.
    pub(super) machine: MachineCredentials,
    /// What the image says of itself.
    pub(super) about: About,
    /// The way to the cluster.
    pub(super) cluster: Cluster,
    /// Rung when something may have changed that the conditions should look at at once.
    pub(super) look: Notify,
    /// Guest minus host when the host last told the time, milliseconds.
    pub(super) clock_offset_ms: AtomicI64,
    boot_id: String,
    kernel: String,
    events: broadcast::Sender<Arc<GuestEvent>>,
    known: Mutex<Known>,
    cpu: Mutex<CpuMeter>,
    streams: AtomicUsize,
    quiet: Notify,
}

struct Known {
    log: BootLog,
    boot: VecDeque<BootEvent>,
    conditions: Vec<Condition>,
    kubernetes: KubernetesStatus,
}

impl Guest {
    pub(super) fn new(machine: MachineCredentials, log: BootLog) -> Self {
        let about = About::read();
        let boot = earlier_events();
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let kubernetes = KubernetesStatus {
            distribution: about.kubernetes.distribution.clone(),
            version: about.kubernetes.version.clone(),
            node_ready: false,
        };
        Self {
            cluster: Cluster::new(machine.hostname.clone()),
            machine,
            about,
            look: Notify::new(),
            clock_offset_ms: AtomicI64::new(0),
            boot_id: read("/proc/sys/kernel/random/boot_id"),
            kernel: read("/proc/sys/kernel/osrelease"),
            events: broadcast::channel(BACKLOG).0,
            known: Mutex::new(Known { log, boot, conditions: Vec::new(), kubernetes }),
            cpu: Mutex::new(CpuMeter::default()),
            streams: AtomicUsize::new(0),
            quiet: Notify::new(),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a step of the boot has changed. A step that is done stays done: Kubernetes says so again whenever it
    /// is started anew.
    pub(super) fn boot(&self, step: &str, state: StepState, message: Option<String>) {
        let before = self.step(step);
        let news = match (before, state) {
            (Some(StepState::Done | StepState::Skipped), _) => false,
            (Some(StepState::Failed), StepState::Running) => true,
            (Some(before), _) => before != state,
            (None, _) => true,
        };
        if news {
            self.publish_boot(step_event(step, state, message));
        }
    }

    /// The last state of a step.
    pub(super) fn step(&self, step: &str) -> Option<StepState> {
        self.known().boot.iter().rev().filter(|event| event.step == step).find_map(|event| event.state)
    }

    /// Passes on a line of log that belongs to a step.
    pub(super) fn boot_log(&self, step: &str, line: &str) {
        self.publish_boot(log_event(step, line));
    }

    fn publish_boot(&self, event: BootEvent) {
        let mut known = self.known();
        known.log.write(&event);
        if known.boot.len() == BOOT_EVENTS {
            known.boot.pop_front();
        }
        known.boot.push_back(event.clone());
        drop(known);
        let _ = self.events.send(Arc::new(GuestEvent::Boot(event)));
    }

    /// What has happened, and everything that is going to happen.
    pub(super) fn listen(&self) -> (Vec<BootEvent>, broadcast::Receiver<Arc<GuestEvent>>) {
        // In this order nothing is missed; at worst something is told twice.
        let receiver = self.events.subscribe();
        (self.known().boot.iter().cloned().collect(), receiver)
    }

    /// Sets a condition, and tells everybody when it changed.
    pub(super) fn set_condition(&self, kind: &str, status: ConditionStatus, words: Words) {
        let new = Condition {
            kind: kind.to_owned(),
            status,
            reason: words.reason.to_owned(),
            message: words.message,
            hint: words.hint.to_owned(),
            since: jiff::Timestamp::now().to_string(),
        };
        if condition::set(&mut self.known().conditions, new) {
            self.publish_status();
        }
    }

    /// Whether a condition holds.
    pub(super) fn holds(&self, kind: &str) -> bool {
        condition::find(&self.known().conditions, kind).is_some_and(Condition::holds)
    }

    /// Notes what is seen of Kubernetes.
    pub(super) fn set_node(&self, ready: bool, version: Option<String>) {
        let mut known = self.known();
        known.kubernetes.node_ready = ready;
        if let Some(version) = version {
            known.kubernetes.version = version;
        }
    }

    /// Tells everybody how the guest is.
    pub(super) fn publish_status(&self) {
        if self.events.receiver_count() > 0 {
            let _ = self.events.send(Arc::new(GuestEvent::Status(Box::new(self.status()))));
        }
    }

    /// How the guest is.
    pub(super) fn status(&self) -> GuestStatus {
        let (conditions, kubernetes) = {
            let known = self.known();
            (known.conditions.clone(), known.kubernetes.clone())
        };
        let cpu = self.cpu.lock().unwrap_or_else(PoisonError::into_inner).measure();
        GuestStatus {
            boot_id: self.boot_id.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            image: self.about.version.clone(),
            kernel: self.kernel.clone(),
            kubernetes,
            conditions,
            memory: memory::usage(),
            disk: disk::usage(),
            cpu_share: cpu.share,
            cpus: cpu.processors,
            uptime_s: memory::uptime_s(),
            unix_time_ns: super::clock::now_ns(),
        }
    }

    /// Counts a stream that is being served; it counts until the guard is dropped.
    pub(super) fn stream(self: &Arc<Self>) -> StreamGuard {
        self.streams.fetch_add(1, Ordering::Relaxed);
        StreamGuard(Arc::clone(self))
    }

    /// Waits until no stream is being served.
    pub(super) async fn idle(&self) {
        loop {
            let quiet = self.quiet.notified();
            if self.streams.load(Ordering::Relaxed) == 0 {
                return;
            }
            quiet.await;
        }
    }
}

/// A stream that is being served.
pub(super) struct StreamGuard(Arc<Guest>);

impl Drop for StreamGuard {
    fn drop(&mut self) {
        if self.0.streams.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.quiet.notify_waiters();
        }
    }
}

/// What a condition says to programs and to people.
pub(super) struct Words {
    /// One word in CamelCase.
    pub(super) reason: &'static str,
    /// What is seen.
    pub(super) message: String,
    /// What to do about it.
    pub(super) hint: &'static str,
}

impl Words {
    pub(super) fn new(reason: &'static str, message: impl Into<String>, hint: &'static str) -> Self {
        Self { reason, message: message.into(), hint }
    }
}

/// What the initrd, and a daemon before this one, have noted of this boot.
fn earlier_events() -> VecDeque<BootEvent> {
    let text = std::fs::read_to_string(alcove_guest::boot_port::RECORD).unwrap_or_default();
    let mut events: VecDeque<BootEvent> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    while events.len() > BOOT_EVENTS {
        events.pop_front();
    }
    events
}
