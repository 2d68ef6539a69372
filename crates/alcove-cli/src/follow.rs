//! Following what was begun until it is done.

use std::time::Duration;

use alcove_client::{Client, EventStream, Outcome};
use alcove_types::{
    ApiError, ErrorCode,
    condition::find,
    event::Event,
    machine::{Machine, Phase},
    task::{Task, TaskState},
};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use crate::{
    args::Waiting,
    exit::{self, Failure},
    output::Output,
    progress::Progress,
    words,
};

/// Between two drawings of the present step.
const DRAW: Duration = Duration::from_secs(1);
/// Every so many drawings the state is read anew: a lost event must not let us wait for ever.
const READ: u32 = 5;

/// When it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Goal {
    /// When the task is.
    Task,
    /// When the web desktop answers.
    Desktop,
}

/// Follows the supervisor's events. Opened before anything is begun, so that nothing is missed.
#[derive(Debug)]
pub(crate) struct Follower<'a> {
    client: &'a Client,
    output: &'a Output,
    events: EventStream,
    machine: Machine,
}

impl<'a> Follower<'a> {
    pub(crate) async fn open(client: &'a Client, output: &'a Output) -> Result<Self, ApiError> {
        let events = client.events().await?;
        let machine = client.machine().await?;
        Ok(Self { client, output, events, machine })
    }

    /// Waits for the goal. Ctrl-C and the deadline end the waiting, not the work.
    pub(crate) async fn wait(mut self, task: Task, goal: Goal, waiting: Waiting) -> Result<Task, Failure> {
        let mut interrupted = signal(SignalKind::interrupt())
            .map_err(|e| exit::internal(format!("signals can't be listened for ({e})")))?;
        let mut progress = Progress::new(self.output, self.machine.boot.as_ref());
        let id = task.id.clone();
        let deadline = Instant::now() + waiting.timeout;
        let mut drawing = interval(DRAW);
        drawing.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut drawings = 0;
        let mut task = task;
        // The machine as it was before is no answer to what was begun.
        self.machine = self.client.machine().await?;
        loop {
            progress.task(&words::task(&task));
            if let Some(result) = judge(&task, &self.machine, goal) {
                drop(progress);
                return result.map(|()| task).map_err(Failure::from);
            }
            tokio::select! {
                event = self.events.next() => match event? {
                    Event::Task(news) if news.id == id => task = news,
                    Event::Machine(news) => {
                        if let Some(boot) = &news.boot {
                            progress.boot(boot);
                        }
                        self.machine = *news;
                    }
                    Event::Boot(boot) => {
                        progress.boot(&boot);
                        self.machine.boot = Some(boot);
                    }
                    Event::Resync => {
                        task = self.client.task(&id).await?;
                        self.machine = self.client.machine().await?;
                    }
                    Event::Task(_) | Event::Settings(_) | Event::Operation(_) => {}
                },
                _ = drawing.tick() => {
                    progress.draw();
                    drawings += 1;
                    if drawings % READ == 0 {
                        task = self.client.task(&id).await?;
                        self.machine = self.client.machine().await?;
                        if let Some(boot) = &self.machine.boot {
                            progress.boot(boot);
                        }
                    }
                },
                _ = interrupted.recv() => {
                    drop(progress);
                    self.output.err_line(&format!("Detached. It goes on; `alcove task wait {id}` follows it."));
                    return Err(Failure::Code(exit::DETACHED));
                }
                () = sleep_until(deadline) => {
                    drop(progress);
                    return Err(late(&task, &self.machine, goal, waiting).into());
                }
            }
        }
    }
}

/// Whether the goal is reached, or can't be any more.
fn judge(task: &Task, machine: &Machine, goal: Goal) -> Option<Result<(), ApiError>> {
    match (task.state, goal) {
        (TaskState::Queued | TaskState::Running, _) => None,
        (TaskState::Failed, _) => Some(Err(task.error.clone().unwrap_or_else(|| {
            ApiError::new(ErrorCode::Internal, format!("{} failed", task.kind), "See `alcove operations`.")
        }))),
        (TaskState::Cancelled, _) => Some(Err(task.error.clone().unwrap_or_else(|| {
            ApiError::new(
                ErrorCode::Cancelled,
                format!("{} was cancelled or replaced by a newer request", task.kind),
                "See `alcove operations` for who did it.",
            )
        }))),
        (TaskState::Succeeded, Goal::Task) => Some(Ok(())),
        (TaskState::Succeeded, Goal::Desktop) => match machine.phase {
            Phase::Running => find(&machine.conditions, "PlatformReady").filter(|c| c.holds()).map(|_| Ok(())),
            Phase::Starting => None,
            Phase::Failed => Some(Err(machine.failure.as_ref().map_or_else(
                || ApiError::new(ErrorCode::HypervisorFailed, "the machine failed", "See `alcove logs`."),
                |f| {
                    let words = serde_json::json!({ "last_words": f.last_words });
                    if f.error.details.is_some() { f.error.clone() } else { f.error.clone().with_details(words) }
                },
            ))),
            other => Some(Err(ApiError::new(
                ErrorCode::Cancelled,
                format!("the machine came up, but is {} now", words::phase(other)),
                "See `alcove operations` for who did it.",
            ))),
        },
    }
}

fn late(task: &Task, machine: &Machine, goal: Goal, waiting: Waiting) -> ApiError {
    let after = words::duration(waiting.timeout);
    let condition = find(&machine.conditions, "PlatformReady").filter(|c| !c.message.is_empty());
    let waits = match (goal, task.state.ended(), condition) {
        (Goal::Desktop, true, Some(condition)) => condition.message.clone(),
        _ => words::task(task),
    };
    let waits = if waits.is_empty() { String::new() } else { format!(" ({})", waits.trim_end_matches('.')) };
    ApiError::new(
        ErrorCode::Timeout,
        match goal {
            Goal::Desktop => format!("the web desktop does not answer after {after}{waits}"),
            Goal::Task => format!("{} is not done after {after}{waits}", task.kind),
        },
        format!("It goes on; `alcove task wait {}` follows it, `alcove logs` says more.", task.id),
    )
}

/// Follows what was begun, or comes back at once, as asked for. Gives the task as it is then.
pub(crate) async fn finish(
    follower: Follower<'_>,
    outcome: Outcome,
    goal: Goal,
    waiting: Waiting,
) -> Result<Option<Task>, Failure> {
    match outcome {
        Outcome::Done(_) => Ok(None),
        Outcome::Task(task) if waiting.no_wait => {
            let id = &task.id;
            follower.output.note(&format!("Begun; `alcove task wait {id}` follows it."));
            Ok(Some(*task))
        }
        Outcome::Task(task) => follower.wait(*task, goal, waiting).await.map(Some),
    }
}
