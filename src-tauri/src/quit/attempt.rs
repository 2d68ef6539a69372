//! One try at putting the machine away.

use std::time::Duration;

use alcove_client::{Client, Outcome};
use alcove_types::{
    ApiError, ErrorCode,
    machine::{Machine, Phase, QuitRequest},
    task::{Task, TaskState},
};
use tauri::AppHandle;
use tokio::time::{Instant, sleep};

use super::cover::{self, Cover};
use crate::{
    commands::PATIENCE,
    shell::{Reach, Shell},
    supervisor::{self, Departure},
    windows,
    words::Word,
};

/// How long putting the machine away may take before the person is asked.
const PUT_AWAY: Duration = Duration::from_secs(180);
/// How long the supervisor may take to end once the machine is put away.
const END: Duration = Duration::from_secs(10);
/// Between two looks at the task.
const LOOK: Duration = Duration::from_millis(200);

/// Why a machine was not put away.
#[derive(Debug, PartialEq)]
pub(super) enum Halt {
    /// The supervisor says why.
    Failed(ApiError),
    /// It takes too long, and goes on.
    Slow,
    /// Nobody answers, and the machine may be on.
    StillOn,
}

impl From<ApiError> for Halt {
    fn from(error: ApiError) -> Self {
        Self::Failed(error)
    }
}

/// The tries of one quitting.
pub(super) struct Attempt<'a> {
    app: &'a AppHandle,
    shell: &'a Shell,
    /// Whether a supervisor that can't be reached is started.
    pub(super) may_start: bool,
    /// The supervisor was asked to put the machine away, and has not failed at it.
    asked: bool,
    began: Instant,
    shown: Option<Cover>,
}

impl<'a> Attempt<'a> {
    pub(super) fn new(app: &'a AppHandle, shell: &'a Shell) -> Self {
        Self { app, shell, may_start: false, asked: false, began: Instant::now(), shown: None }
    }

    /// Whether the machine is on its way to rest.
    pub(super) const fn is_under_way(&self) -> bool {
        self.asked
    }

    /// Has the supervisor put the machine away, as the owner's settings say, and end. Nothing to do when there is none
    /// and nothing that it would have to put away.
    pub(super) async fn put_away(&mut self) -> Result<(), Halt> {
        self.began = Instant::now();
        self.shown = None;
        let Some(client) = self.reach().await? else { return Ok(()) };
        let suspends = match client.settings().await {
            Ok(view) => view.settings.suspend_on_quit,
            Err(error) if error.code == ErrorCode::SupervisorUnreachable => return self.departed().await,
            Err(_) => true,
        };
        let (takes_time, can_suspend) = self
            .shell
            .machine
            .borrow()
            .as_ref()
            .map_or((false, true), |machine| (takes_time(machine), machine.capabilities.suspend));
        let words = if suspends && can_suspend {
            (Word::QuitSuspends, Word::QuitSuspendsNote)
        } else {
            (Word::QuitStops, Word::QuitStopsNote)
        };
        if takes_time {
            self.cover(words, None);
        }
        self.end(&client, true, takes_time.then_some(words)).await
    }

    /// Ends the supervisor and the window; the machine goes on and is found again at the next start.
    pub(super) async fn leave_running(&mut self) {
        if let Ok(client) = self.shell.client()
            && let Err(halt) = self.end(&client, false, None).await
        {
            tracing::warn!("the supervisor goes on as well: {halt:?}");
        }
    }

    /// The supervisor; `None` where there is none and no machine is on. One that is just being started is waited for: it
    /// would bring the machine up after we are gone.
    async fn reach(&mut self) -> Result<Option<Client>, Halt> {
        let connecting = (Word::Connecting, Word::QuitConnectsNote);
        if self.may_start {
            self.cover(connecting, None);
            return match Client::connect_or_start(&self.shell.instance, supervisor::START).await {
                Ok(client) => Ok(Some(client.named(supervisor::AGENT))),
                Err(error) => Err(Halt::Failed(error)),
            };
        }
        let until = Instant::now() + PATIENCE;
        loop {
            let reach = self.shell.reach.borrow().clone();
            match reach {
                Reach::Connected { client, .. } => return Ok(Some(client)),
                Reach::Looking if Instant::now() < until => self.cover(connecting, None),
                _ if supervisor::may_be_on(self.shell) => return Err(Halt::StillOn),
                _ => return Ok(None),
            }
            sleep(LOOK).await;
        }
    }

    /// Asks the supervisor to end, after it has put the machine away or leaving it as it is, and waits until it has.
    async fn end(&mut self, client: &Client, put_away: bool, words: Option<(Word, Word)>) -> Result<(), Halt> {
        let until = Instant::now() + PUT_AWAY;
        // Before the request: it may arrive although we are called away from its answer.
        self.asked = put_away;
        let ended = match client.begin("/api/v1/quit", &QuitRequest { suspend: put_away }).await {
            Ok(Outcome::Task(task)) => self.follow(client, *task, until, words).await,
            Ok(Outcome::Done(_)) => Ok(()),
            // Done so thoroughly that nobody is left to say so, or killed at it.
            Err(error) if error.code == ErrorCode::SupervisorUnreachable => return self.departed().await,
            // It takes longer than one answer may, and goes on.
            Err(error) if error.code == ErrorCode::Timeout => self.gone(client, until, words).await,
            Err(error) => Err(error.into()),
        };
        if let Err(halt) = ended {
            self.asked = self.asked && halt == Halt::Slow;
            return Err(halt);
        }
        if self.gone(client, Instant::now() + END, words).await.is_err() {
            tracing::warn!("the supervisor has not ended yet");
        }
        self.departed().await
    }

    async fn follow(
        &mut self,
        client: &Client,
        mut task: Task,
        until: Instant,
        words: Option<(Word, Word)>,
    ) -> Result<(), Halt> {
        loop {
            if let Some(result) = result(&task) {
                return result.map_err(Halt::from);
            }
            if let Some(words) = words {
                self.cover(words, Some(&task));
            }
            if Instant::now() >= until {
                return Err(Halt::Slow);
            }
            sleep(LOOK).await;
            task = match client.task(&task.id).await {
                Ok(task) => task,
                Err(error) if error.code == ErrorCode::SupervisorUnreachable => return Ok(()),
                Err(error) => return Err(error.into()),
            };
        }
    }

    /// Waits until the supervisor does not answer any more, so that a new start does not meet it on its way out.
    async fn gone(&mut self, client: &Client, until: Instant, words: Option<(Word, Word)>) -> Result<(), Halt> {
        while client.version().await.is_ok() {
            if Instant::now() >= until {
                return Err(Halt::Slow);
            }
            if let Some(words) = words {
                self.cover(words, None);
            }
            sleep(LOOK).await;
        }
        Ok(())
    }

    /// How the supervisor went that does not answer any more. One that was killed at its work has left the machine as it
    /// was.
    async fn departed(&self) -> Result<(), Halt> {
        let until = Instant::now() + END;
        loop {
            match supervisor::departure(self.shell) {
                Departure::InOrder => return Ok(()),
                Departure::Crashed if supervisor::may_be_on(self.shell) => return Err(Halt::StillOn),
                Departure::Crashed => return Ok(()),
                // It has been asked to, and only takes its time.
                Departure::NotYet if Instant::now() >= until => return Ok(()),
                Departure::NotYet => sleep(LOOK).await,
            }
        }
    }

    /// Covers the pages with what goes on, where that differs from what they show.
    fn cover(&mut self, (title, note): (Word, Word), task: Option<&Task>) {
        if self.shown.is_none() {
            windows::show_main(self.app);
        }
        let seconds = self.began.elapsed().as_secs();
        let message = task.map_or("", |task| task.message.as_str());
        let elapsed = if seconds == 0 { String::new() } else { format!("{seconds} s") };
        let said = [message, elapsed.as_str()];
        let cover = Cover {
            title: self.shell.say(title),
            note: self.shell.say(note),
            doing: said.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" · "),
            share: task.and_then(|task| task.progress),
            stay: self.shell.say(Word::StayOpen),
        };
        if self.shown.as_ref() != Some(&cover) {
            cover::show(self.app, Some(&cover));
            self.shown = Some(cover);
        }
    }
}

/// Whether a person would wait long enough to want to see why. One that was given up on may still be on.
fn takes_time(machine: &Machine) -> bool {
    match machine.phase {
        Phase::Starting | Phase::Running | Phase::Suspending | Phase::Stopping => true,
        Phase::Failed => machine.host_memory_bytes.is_some(),
        Phase::Absent | Phase::Suspended | Phase::Stopped => false,
    }
}

fn result(task: &Task) -> Option<Result<(), ApiError>> {
    match task.state {
        TaskState::Queued | TaskState::Running => None,
        TaskState::Succeeded => Some(Ok(())),
        TaskState::Failed | TaskState::Cancelled => Some(Err(task.error.clone().unwrap_or_else(|| {
            ApiError::new(
                ErrorCode::Cancelled,
                "Putting the machine away was cancelled",
                "Quit again, or leave the machine running.",
            )
        }))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::tests::machine;

    fn task(state: TaskState, error: Option<ApiError>) -> Task {
        Task {
            id: "t".into(),
            kind: "quit".into(),
            state,
            message: "Saving memory.".into(),
            progress: None,
            transfer: None,
            cancellable: false,
            created: String::new(),
            ended: None,
            error,
        }
    }

    #[test]
    fn the_task_decides() {
        assert!(result(&task(TaskState::Running, None)).is_none());
        assert_eq!(result(&task(TaskState::Succeeded, None)), Some(Ok(())));
        let full = ApiError::new(ErrorCode::DiskFull, "No space left", "Free some.");
        assert_eq!(result(&task(TaskState::Failed, Some(full.clone()))), Some(Err(full)));
        assert!(matches!(result(&task(TaskState::Cancelled, None)), Some(Err(e)) if e.code == ErrorCode::Cancelled));
    }

    #[test]
    fn progress_is_shown_where_there_is_some() {
        for phase in [Phase::Running, Phase::Starting, Phase::Suspending] {
            assert!(takes_time(&machine(phase, false)), "{phase:?}");
        }
        for phase in [Phase::Absent, Phase::Suspended, Phase::Stopped, Phase::Failed] {
            assert!(!takes_time(&machine(phase, false)), "{phase:?}");
        }
        let mut stuck = machine(Phase::Failed, false);
        stuck.host_memory_bytes = Some(1 << 30);
        assert!(takes_time(&stuck), "it failed and is still on");
    }
}
