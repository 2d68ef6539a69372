//! Following what was begun until it is done.

use std::{pin::pin, time::Duration};

use alcove_client::{Client, EventStream, Outcome};
use alcove_types::{
    ApiError, ErrorCode,
    condition::find,
    event::Event,
    machine::{Machine, Phase},
    task::{Task, TaskState},
};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval, sleep_until};

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
    pub(crate) async fn wait(self, task: Task, goal: Goal, waiting: Waiting) -> Result<Task, Failure> {
        let mut interrupted = signal(SignalKind::interrupt())
            .map_err(|e| exit::internal(format!("signals can't be listened for ({e})")))?;
        let Self { client, output, mut events, machine } = self;
        let mut progress = Progress::new(output, machine.boot.as_ref());
        let id = task.id.clone();
        let mut drawing = interval(DRAW);
        drawing.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut drawings = 0;
        // The machine as it was before is no answer to what was begun.
        let mut now = State { task, machine: client.machine().await? };
        loop {
            // Waited for as a whole: a stream that breaks is tried again for a while, which nothing here may begin anew.
            let mut next = pin!(events.next());
            let event = loop {
                progress.task(&words::task(&now.task));
                if let Some(result) = judge(&now.task, &now.machine, goal) {
                    drop(progress);
                    return result.map(|()| now.task).map_err(Failure::from);
                }
                tokio::select! {
                    event = &mut next => break event?,
                    _ = drawing.tick() => {
                        progress.draw();
                        drawings += 1;
                        if drawings % READ == 0 {
                            now.read(client).await?;
                            if let Some(boot) = &now.machine.boot {
                                progress.boot(boot);
                            }
                        }
                    },
                    _ = interrupted.recv() => {
                        drop(progress);
                        output.err_line(&format!("Detached. It goes on; `alcove task wait {id}` follows it."));
                        return Err(Failure::Code(exit::DETACHED));
                    }
                    () = sleep_until(waiting.deadline()) => {
                        drop(progress);
                        return Err(late(&now.task, &now.machine, goal, waiting).into());
                    }
                }
            };
            match event {
                Event::Task(news) if news.id == id => now.task = news,
                Event::Machine(news) => {
                    if let Some(boot) = &news.boot {
                        progress.boot(boot);
                    }
                    now.machine = *news;
                }
                Event::Boot(boot) => {
                    progress.boot(&boot);
                    now.machine.boot = Some(boot);
                }
                Event::Resync => now.read(client).await?,
                Event::Task(_) | Event::Settings(_) | Event::Operation(_) => {}
            }
        }
    }
}

/// What is waited for, as last told.
struct State {
    task: Task,
    machine: Machine,
}

impl State {
    /// Reads it anew. A supervisor that is just being started anew is no reason to give up: the stream of events, which
    /// waits for it for a while, decides that.
    async fn read(&mut self, client: &Client) -> Result<(), ApiError> {
        let read = async { Ok(Self { task: client.task(&self.task.id).await?, machine: client.machine().await? }) };
        match read.await {
            Ok(now) => *self = now,
            Err(ApiError { code: ErrorCode::SupervisorUnreachable, .. }) => {}
            Err(error) => return Err(error),
        }
        Ok(())
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
