//! The reconciler: one task that alone changes the machine. It sees, decides by [`crate::reconcile::next`], acts, and
//! sees again. Requests only change what is wanted.

mod actions;
mod disk;
mod exclusive;
mod hearing;
mod keys;

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use alcove_machine::{
    MachineError,
    provider::{Observation, Power, Standstill, Started},
    spec::MachineSpec,
};
use alcove_types::{
    ApiError, ConditionStatus, ErrorCode,
    boot::BootKind,
    machine::{Desired, MachineSetup, Phase, SnapshotRequest},
};
use tokio::sync::{mpsc, oneshot};

use crate::{
    boot::Boot,
    desired::Wanted,
    operations::Caller,
    reconcile::{Crashes, Next, Seen, next},
    shared::Shared,
    watch::{Heard, Watch},
};

/// Told when a request is taken: what it wants is on the disk by then, and outlives the supervisor.
pub(crate) type Taken = oneshot::Sender<()>;

/// A request to the reconciler.
#[derive(Debug)]
pub(crate) enum Command {
    /// Something else is wanted from now on.
    Want { desired: Desired, restart: bool, rescue: bool, task: String, taken: Taken },
    /// The person gave up on a start.
    GiveUp { task: String },
    /// Switch off at once.
    Kill { task: String, taken: Taken },
    /// Something that needs the machine for itself.
    Exclusive { work: Exclusive, task: String },
    /// Something that the reconciler reads has changed.
    LookAgain,
    /// Stop reconciling, leaving the machine as it is; answered when it is done.
    Leave { done: oneshot::Sender<()> },
}

/// Work that needs the machine for itself, and mostly off.
#[derive(Debug)]
pub(crate) enum Exclusive {
    /// Make the machine.
    Create(MachineSetup),
    /// Destroy the machine and all that it holds.
    Reset,
    /// Keep a copy.
    Snapshot(SnapshotRequest),
    /// Put a copy in the machine's place.
    Restore(String),
    /// Delete a copy.
    DeleteSnapshot(String),
}

/// How an action ended.
enum Done {
    Started(BootKind, Result<Started, Trouble>),
    Suspended(Result<u64, Trouble>),
    /// The machine ended while it was being saved.
    SuspendLost(Trouble),
    ShutDown(Result<(), Trouble>),
    Discarded(Result<(), Trouble>),
    Killed(Result<(), Trouble>),
    Ended(Result<(), Trouble>),
    Continued(Result<(), Trouble>),
    DiskGrown(u64, Result<Box<MachineSpec>, ApiError>),
    Exclusive(String, Result<(), ApiError>),
}

/// An error with what was heard last.
pub(crate) struct Trouble {
    pub(crate) error: ApiError,
    pub(crate) last_words: Vec<String>,
    /// Something else is at work on the machine: what an earlier supervisor began may not have ended yet.
    pub(crate) in_the_way: bool,
    /// The hypervisor was ended from outside: what was tried can be tried again.
    pub(crate) killed: bool,
}

impl From<MachineError> for Trouble {
    fn from(error: MachineError) -> Self {
        let in_the_way = matches!(error, MachineError::Busy | MachineError::WrongState { .. });
        let killed = matches!(error, MachineError::HypervisorKilled(_));
        Self { last_words: error.last_words().to_vec(), error: error.api(), in_the_way, killed }
    }
}

type Action = Pin<Box<dyn Future<Output = Done> + Send>>;

/// What a task waits for.
struct Pending {
    task: String,
    goal: Desired,
}

/// The reconciler's own state; what others may see is in [`Shared`].
pub(crate) struct Actor {
    shared: Arc<Shared>,
    commands: mpsc::Receiver<Command>,
    heard: (mpsc::Sender<Heard>, mpsc::Receiver<Heard>),
    wanted: Wanted,
    restart: bool,
    rescue: bool,
    spec: Option<MachineSpec>,
    seen: Option<Observation>,
    pending: Vec<Pending>,
    queue: VecDeque<(Exclusive, String)>,
    action: Option<Action>,
    /// The action is work that needs the machine for itself: it is not dropped, whatever else is asked for.
    exclusive: bool,
    watch: Option<Watch>,
    crashes: Crashes,
    /// No start before this moment.
    hold_until: Option<Instant>,
    /// Starts in a row that found something else at work on the machine.
    in_the_way: u32,
    /// Given up until a person asks anew.
    given_up: bool,
    /// The machine has come up since it was started.
    ready: bool,
    /// When a boot that is not ready by then is called failed.
    ready_by: Option<Instant>,
    last_usage: Option<(Instant, u64)>,
    disk: disk::Growth,
}

/// Between two looks at a machine that rests.
const LOOK: Duration = Duration::from_secs(5);
/// Between two starts when something else was at work on the machine, and how often that is borne.
const OUT_OF_THE_WAY: Duration = Duration::from_millis(250);
const OUT_OF_THE_WAY_TRIES: u32 = 40;

impl Actor {
    pub(crate) fn new(
        shared: Arc<Shared>,
        commands: mpsc::Receiver<Command>,
        wanted: Wanted,
        spec: Option<MachineSpec>,
    ) -> Self {
        Self {
            shared,
            commands,
            heard: mpsc::channel(64),
            wanted,
            restart: false,
            rescue: false,
            spec,
            seen: None,
            pending: Vec::new(),
            queue: VecDeque::new(),
            action: None,
            exclusive: false,
            watch: None,
            crashes: Crashes::default(),
            hold_until: None,
            in_the_way: 0,
            given_up: false,
            ready: false,
            ready_by: None,
            last_usage: None,
            disk: disk::Growth::default(),
        }
    }

    /// Runs until it is told to leave.
    pub(crate) async fn run(mut self) {
        self.publish_wanted();
        loop {
            if self.action.is_none() {
                self.look().await;
                self.decide();
            }
            self.settle();
            let pause = self.pause();
            tokio::select! {
                biased;
                command = self.commands.recv() => match command {
                    Some(Command::Leave { done }) => {
                        // An action that is under way is finished first: half a suspend helps nobody.
                        if let Some(action) = self.action.take() {
                            let end = action.await;
                            self.done(end);
                        }
                        // Who asked may have stopped waiting.
                        let _ = done.send(());
                        return;
                    }
                    Some(command) => self.command(command),
                    None => return,
                },
                end = maybe(&mut self.action) => {
                    self.action = None;
                    self.done(end);
                }
                Some(heard) = self.heard.1.recv() => self.hear(heard),
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    fn pause(&self) -> Duration {
        let now = Instant::now();
        [self.hold_until, self.ready_by]
            .into_iter()
            .flatten()
            .map(|at| at.saturating_duration_since(now))
            .fold(LOOK, Duration::min)
            .max(Duration::from_millis(50))
    }

    /// Looks at the machine.
    async fn look(&mut self) {
        let observation = match self.shared.provider.observe().await {
            Ok(observation) => observation,
            Err(error) => {
                tracing::warn!(%error, "the machine can't be looked at");
                return;
            }
        };
        let image = self.spec.as_ref().and_then(|s| s.slots.current().map(str::to_owned));
        let mut cpu = None;
        if let Power::On(on) = &observation.power {
            let now = Instant::now();
            if let (Some((then, before)), Some(ms)) = (self.last_usage, on.cpu_time_ms) {
                let wall = now.duration_since(then).as_secs_f64() * 1000.0;
                #[expect(clippy::cast_precision_loss, reason = "a share needs no more than 52 bits")]
                if wall > 1000.0 {
                    cpu = Some((ms.saturating_sub(before) as f64 / wall * 100.0).round() / 100.0);
                    self.last_usage = Some((now, ms));
                }
            } else if let Some(ms) = on.cpu_time_ms {
                self.last_usage = Some((now, ms));
            }
        } else {
            self.last_usage = None;
        }
        let was_on = matches!(self.seen.as_ref().map(|s| &s.power), Some(Power::On(_)));
        let is_on = matches!(observation.power, Power::On(_));
        let io_error = matches!(&observation.power, Power::On(on) if on.io_error);
        self.shared.change(|view| {
            view.disk_file.clone_from(&observation.disk);
            view.image = image;
            view.setup = self.spec.as_ref().map(|s| s.setup.clone());
            match &observation.power {
                Power::On(on) => {
                    view.host_memory_bytes = on.rss_bytes;
                    if cpu.is_some() {
                        view.host_cpu_share = cpu;
                    }
                    view.state_bytes = None;
                }
                Power::Suspended { state } => {
                    view.host_memory_bytes = None;
                    view.host_cpu_share = None;
                    view.state_bytes = Some(taken(&self.shared.layout.state()).unwrap_or(state.bytes));
                }
                Power::Off | Power::Absent => {
                    view.host_memory_bytes = None;
                    view.host_cpu_share = None;
                    view.state_bytes = None;
                }
            }
            if io_error {
                view.set_condition(
                    "HostDiskHasSpace",
                    ConditionStatus::False,
                    "NoSpace",
                    "This computer's disk is full. The machine stands still, so that nothing is lost.",
                    "Free some space; the machine then goes on by itself.",
                );
            } else {
                view.drop_condition("HostDiskHasSpace");
            }
        });
        self.seen = Some(observation);
        if was_on && !is_on && self.watch.is_some() {
            self.machine_is_gone(None);
        }
        if is_on && self.watch.is_none() && keys::can_be_read(&self.shared).await {
            self.adopt();
        }
    }

    fn seen(&self) -> Seen {
        match self.seen.as_ref().map(|s| &s.power) {
            _ if self.spec.is_none() => Seen::Absent,
            None | Some(Power::Absent) => Seen::Absent,
            Some(Power::Off) => Seen::Off,
            Some(Power::Suspended { .. }) => Seen::Saved,
            // What has panicked or can't write is dealt with by itself.
            Some(Power::On(on)) if on.panicked || on.io_error => Seen::On,
            Some(Power::On(on)) => match on.standstill {
                None => Seen::On,
                Some(Standstill::NotBegun) => Seen::NotBegun,
                Some(Standstill::Saved) => Seen::Kept,
                Some(Standstill::Midway) => Seen::Still,
            },
        }
    }

    fn is_on(&self) -> bool {
        matches!(self.seen.as_ref().map(|s| &s.power), Some(Power::On(_)))
    }

    /// Decides what to do next and begins it.
    fn decide(&mut self) {
        if self.seen.is_none() {
            return;
        }
        let seen = self.seen();
        if let Some((work, task)) = self.queue.pop_front() {
            self.action = Some(self.exclusive(work, task));
            self.exclusive = true;
            return;
        }
        let on = match self.seen.as_ref().map(|s| &s.power) {
            Some(Power::On(on)) => Some(on.clone()),
            _ => None,
        };
        if let Some(on) = on {
            if on.panicked && !self.given_up {
                self.panicked();
                return;
            }
            if on.io_error && self.shared.config.space_is_back(&self.shared.layout) {
                self.action = Some(self.continue_running());
                return;
            }
        }
        let action = next(self.wanted.desired, seen, self.restart);
        let starts = matches!(action, Next::Boot | Next::Resume);
        if self.given_up && action != Next::Rest && (starts || self.pending.is_empty()) {
            return;
        }
        if starts && self.hold_until.is_some_and(|until| Instant::now() < until) {
            return;
        }
        self.hold_until = None;
        match action {
            Next::Rest => {
                if self.restart && !self.is_on() {
                    self.restart = false;
                }
                self.action = self.grow_disk();
            }
            Next::Boot => self.action = Some(self.boot()),
            Next::Resume => self.action = Some(self.resume()),
            Next::Suspend => self.action = Some(self.suspend()),
            Next::ShutDown => self.action = Some(self.shut_down()),
            Next::DiscardState => self.action = Some(self.discard_state()),
            Next::Continue => self.action = Some(self.continue_running()),
            Next::End => self.action = Some(self.end()),
        }
    }

    /// Brings the phase in line with what is seen, and ends the tasks whose goal is reached.
    fn settle(&mut self) {
        if self.action.is_some() {
            return;
        }
        let seen = self.seen();
        let phase = match seen {
            Seen::Absent => Phase::Absent,
            Seen::Off => Phase::Stopped,
            Seen::Saved => Phase::Suspended,
            Seen::On if self.ready => Phase::Running,
            Seen::On | Seen::NotBegun | Seen::Kept | Seen::Still => Phase::Starting,
        };
        let late = !self.ready && self.is_on() && self.ready_by.is_some_and(|by| Instant::now() >= by);
        if late && !self.given_up {
            self.never_ready();
        }
        let reached = match self.wanted.desired {
            Desired::Running => seen == Seen::On && self.ready && !self.restart,
            Desired::Suspended => matches!(seen, Seen::Off | Seen::Saved),
            Desired::Stopped => seen == Seen::Off,
        };
        let generation = self.wanted.generation;
        let given_up = self.given_up;
        self.shared.change(|view| {
            if reached {
                view.observed_generation = generation;
                view.failure = None;
            }
            if !given_up || reached {
                view.set_phase(phase);
            }
        });
        if reached {
            self.given_up = false;
            let desired = self.wanted.desired;
            let tasks = &self.shared.tasks;
            self.pending.retain(|p| {
                let met = p.goal == desired;
                if met {
                    tasks.end(&p.task, Ok(()));
                }
                !met
            });
        } else if !given_up {
            self.tell_progress();
        }
    }

    fn tell_progress(&self) {
        let message = match (self.wanted.desired, self.seen()) {
            (Desired::Running, Seen::On) => self.shared.see(|v| {
                v.boot.as_ref().and_then(Boot::waiting_for).map_or_else(String::new, |s| format!("step:{}", s.name))
            }),
            _ => String::new(),
        };
        let share = self.shared.see(|v| {
            let report = v.boot.as_ref()?.report();
            let estimate = report.estimate_ms?;
            #[expect(clippy::cast_precision_loss, reason = "a share needs no more than 52 bits")]
            Some((report.elapsed_ms as f64 / estimate.max(1) as f64).min(0.99))
        });
        for p in &self.pending {
            let share = if p.goal == Desired::Running { share } else { None };
            self.shared.tasks.progress(&p.task, &message, share);
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            // The machine may have gone since it was asked for.
            Command::Want { task, taken, .. } | Command::Kill { task, taken }
                if self.spec.is_none() && !self.shared.see(|v| v.being_made) =>
            {
                self.shared.tasks.end(&task, Err(absent()));
                // Who asked may have stopped waiting, here and below.
                let _ = taken.send(());
            }
            Command::Want { desired, restart, rescue, task, taken } => {
                self.replace_pending(&task);
                self.given_up = false;
                self.crashes.forget();
                self.hold_until = None;
                self.rescue = rescue;
                self.restart = restart || rescue;
                self.ready_by = self.ready_by.map(|_| Instant::now() + self.shared.config.boot_deadline);
                self.want(desired);
                self.pending.push(Pending { task, goal: desired });
                self.shared.change(|view| view.failure = None);
                let _ = taken.send(());
            }
            Command::GiveUp { task } => {
                if !self.pending.iter().any(|p| p.task == task) {
                    return;
                }
                self.pending.retain(|p| p.task != task);
                self.shared.tasks.end(&task, Err(cancelled("You cancelled it.")));
                let back = if self.shared.see(|v| v.boot.as_ref().is_some_and(|b| b.report().kind == BootKind::Resume))
                {
                    Desired::Suspended
                } else {
                    Desired::Stopped
                };
                self.restart = false;
                self.want(back);
            }
            Command::Kill { task, taken } => {
                self.replace_pending(&task);
                self.restart = false;
                self.given_up = false;
                self.want(Desired::Stopped);
                let _ = taken.send(());
                self.pending.push(Pending { task, goal: Desired::Stopped });
                // Whatever is under way with the running machine is dropped: that is what the person asked for.
                if !self.exclusive {
                    self.action = Some(self.kill());
                }
            }
            Command::Exclusive { work, task } => self.queue.push_back((work, task)),
            Command::LookAgain | Command::Leave { .. } => {}
        }
    }

    fn replace_pending(&mut self, by: &str) {
        for old in self.pending.drain(..) {
            if old.task != by {
                self.shared.tasks.end(&old.task, Err(cancelled("A newer request took its place.")));
            }
        }
    }

    fn want(&mut self, desired: Desired) {
        self.wanted.desired = desired;
        self.wanted.generation += 1;
        self.publish_wanted();
    }

    fn publish_wanted(&self) {
        let wanted = self.wanted;
        if self.spec.is_some()
            && let Err(error) = wanted.save(&self.shared.config.wanted_json(&self.shared.layout))
        {
            tracing::error!(%error, "what is wanted can't be written: after a crash it would be forgotten");
        }
        self.shared.change(|view| {
            view.desired = wanted.desired;
            view.generation = wanted.generation;
        });
    }

    /// Ends all tasks that wait, with the error that stands in their way.
    fn fail_pending(&mut self, error: &ApiError) {
        for p in self.pending.drain(..) {
            self.shared.tasks.end(&p.task, Err(error.clone()));
        }
    }
}

/// Bytes that the files of a folder take on the disk: a saved state is sparse, and its length says little.
fn taken(folder: &std::path::Path) -> Option<u64> {
    use std::os::unix::fs::MetadataExt;
    let entries = std::fs::read_dir(folder).ok()?;
    Some(entries.flatten().filter_map(|e| e.metadata().ok()).map(|m| m.blocks() * 512).sum())
}

/// Waits for the action when there is one, else forever.
async fn maybe(action: &mut Option<Action>) -> Done {
    match action {
        Some(action) => action.await,
        None => std::future::pending().await,
    }
}

pub(crate) fn cancelled(message: &str) -> ApiError {
    ApiError::new(ErrorCode::Cancelled, message, "Nothing needs doing.")
}

pub(crate) fn absent() -> ApiError {
    ApiError::new(
        ErrorCode::WrongState,
        "There is no machine yet.",
        "Make it first: open Alcove, or run `alcove setup`.",
    )
}

pub(crate) fn made_already() -> ApiError {
    ApiError::new(ErrorCode::Conflict, "The machine exists already.", "Start it, or change its sizes in the settings.")
}

/// Notes that the supervisor did something by itself.
fn by_itself(shared: &Shared, what: &str, result: &str, message: &str) {
    shared.operations.record(&Caller::supervisor(), what, &shared.config.instance, result, message, None);
}
