//! The reconciler: one task that alone changes the machine. It sees, decides by [`crate::reconcile::next`], acts, and
//! sees again. Requests only change what is wanted.

mod actions;
mod disk;
mod exclusive;
mod hearing;
mod keys;
mod look;
mod outcome;
mod requests;

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use alcove_machine::{
    provider::{Observation, Power, Standstill},
    spec::MachineSpec,
};
use alcove_types::machine::{Desired, Phase};
use tokio::sync::mpsc;

use outcome::{Done, Trouble};
pub(crate) use requests::{Command, Exclusive, Taken, absent, made_already};

use crate::{
    boot::Boot,
    desired::Wanted,
    operations::Caller,
    reconcile::{Crashes, Next, Seen, next},
    shared::Shared,
    watch::{Heard, Watch},
};

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
    /// The next boot is one for rescue.
    rescue: bool,
    spec: Option<MachineSpec>,
    /// A deletion that was interrupted is gone on with once; then it is a person's turn.
    deletion_finished: bool,
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
    /// It was resumed and its platform has not answered since.
    unproven: bool,
    /// The guest is being told the time.
    setting_clock: Option<tokio::task::JoinHandle<()>>,
    /// It is on for rescue: nothing more than a console is to come up.
    rescued: bool,
    /// It is known not to have been up since it was booted: it has nothing to lose.
    never_up: bool,
    /// When it was last let go on after its disk could not be read or written.
    continued: Option<Instant>,
    /// When a boot that is not ready by then is called failed.
    ready_by: Option<Instant>,
    last_usage: Option<(Instant, u64)>,
    disk: disk::Growth,
}

/// Between two looks at a machine that rests.
const LOOK: Duration = Duration::from_secs(5);
/// A hypervisor that has not answered for this long is said to hang.
const HANGS: Duration = Duration::from_secs(60);
/// Between two tries to let a machine go on whose disk could not be read or written.
const CONTINUE_AGAIN: Duration = Duration::from_secs(5);
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
            deletion_finished: false,
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
            unproven: false,
            setting_clock: None,
            rescued: false,
            never_up: false,
            continued: None,
            ready_by: None,
            last_usage: None,
            disk: disk::Growth::default(),
        }
    }

    /// Runs until it is told to leave.
    pub(crate) async fn run(mut self) {
        // Said in the log when it can't be written.
        let _ = self.publish_wanted();
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

    /// All of it that is to be up is up.
    fn is_up(&self) -> bool {
        (self.ready || self.rescued) && !self.hangs()
    }

    /// Its hypervisor lives and has not answered for a long time.
    fn hangs(&self) -> bool {
        let Some(Power::On(on)) = self.seen.as_ref().map(|s| &s.power) else { return false };
        on.silent_since.is_some_and(|since| since.elapsed() >= HANGS)
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
            if on.io_error {
                let rested = self.continued.is_none_or(|at| at.elapsed() >= CONTINUE_AGAIN);
                if rested && self.shared.config.space_is_back(&self.shared.layout) {
                    self.continued = Some(Instant::now());
                    self.action = Some(self.continue_running());
                    return;
                }
            }
        }
        let action = next(self.wanted.desired, seen, self.restart);
        let starts = matches!(action, Next::Boot | Next::Resume);
        if self.given_up && action != Next::Rest && (starts || self.pending.is_empty()) {
            return;
        }
        let held = starts || matches!(action, Next::DiscardState | Next::Continue);
        if held && self.hold_until.is_some_and(|until| Instant::now() < until) {
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
            // A console's memory is worth nothing, and would be found again instead of the system.
            Next::Suspend if self.rescued => self.action = Some(self.shut_down()),
            Next::Suspend => self.action = Some(self.suspend()),
            Next::ShutDown => self.action = Some(self.shut_down()),
            Next::DiscardState => self.action = Some(self.discard_state()),
            Next::Continue => self.action = Some(self.continue_running()),
            Next::End => self.action = Some(self.end()),
        }
    }

    /// Brings the phase in line with what is seen, and ends the tasks whose goal is reached.
    fn settle(&mut self) {
        // What can't be read has been told; it stays said until somebody does something about it.
        if self.action.is_some() || self.shared.see(|v| v.unusable.is_some()) {
            return;
        }
        let seen = self.seen();
        let phase = match seen {
            Seen::Absent => Phase::Absent,
            Seen::Off => Phase::Stopped,
            Seen::Saved => Phase::Suspended,
            Seen::On if self.is_up() => Phase::Running,
            Seen::On | Seen::NotBegun | Seen::Kept | Seen::Still => Phase::Starting,
        };
        if self.hangs() && !self.given_up {
            self.does_not_answer();
        }
        let late = !self.ready && self.is_on() && self.ready_by.is_some_and(|by| Instant::now() >= by);
        if late && !self.given_up {
            self.never_ready();
        }
        let reached = match self.wanted.desired {
            Desired::Running => seen == Seen::On && self.is_up() && !self.restart,
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
}

/// Waits for the action when there is one, else forever.
async fn maybe(action: &mut Option<Action>) -> Done {
    match action {
        Some(action) => action.await,
        None => std::future::pending().await,
    }
}

/// Notes that the supervisor did something by itself.
fn by_itself(shared: &Shared, what: &str, result: &str, message: &str) {
    shared.operations.record(&Caller::supervisor(), what, &shared.config.instance, result, message, None);
}
