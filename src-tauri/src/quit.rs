//! Quitting: the machine is put away first, in sight of the person, and nothing is left half done without asking.

use std::{sync::Arc, time::Duration};

use alcove_client::{Client, Outcome};
use alcove_types::{
    ApiError, ErrorCode,
    machine::{Phase, QuitRequest},
    task::{Task, TaskState},
};
use tauri::{AppHandle, Manager};
use tauri_plugin_dialog::{DialogExt, MessageDialogButtons, MessageDialogKind};
use tokio::time::{Instant, sleep};

use crate::{shell::Shell, windows, words::Word};

/// How long putting the machine away may take before the person is asked.
const PUT_AWAY: Duration = Duration::from_secs(180);
/// How long the supervisor may take to end once the machine is put away.
const END: Duration = Duration::from_secs(10);
/// Between two looks at the task.
const LOOK: Duration = Duration::from_millis(200);

/// Begins to quit; a second call only brings the progress to the front.
pub(crate) fn begin(app: &AppHandle) {
    let shell = Arc::clone(&app.state::<Arc<Shell>>());
    if shell.quitting.send_replace(true) {
        windows::show_main(app);
        return;
    }
    let app = app.clone();
    tauri::async_runtime::spawn(async move {
        match put_away(&app, &shell).await {
            Ok(()) => app.exit(0),
            Err(error) => ask(&app, &error),
        }
    });
}

/// Has the supervisor put the machine away, as the owner's settings say, and end. Nothing to do when there is none.
async fn put_away(app: &AppHandle, shell: &Shell) -> Result<(), ApiError> {
    let Ok(client) = shell.client() else { return Ok(()) };
    let suspends = match client.settings().await {
        Ok(view) => view.settings.suspend_on_quit,
        Err(error) if error.code == ErrorCode::SupervisorUnreachable => return Ok(()),
        Err(_) => true,
    };
    if takes_time(shell.machine.borrow().as_ref().map(|machine| machine.phase)) {
        windows::show_main(app);
        let word = if suspends { Word::QuitSuspends } else { Word::QuitStops };
        cover(app, Some((shell.say(word), shell.say(Word::QuitNote))));
    }
    end(&client, true).await
}

/// Whether a person would wait long enough to want to see why.
fn takes_time(phase: Option<Phase>) -> bool {
    matches!(phase, Some(Phase::Starting | Phase::Running | Phase::Suspending | Phase::Stopping))
}

/// Asks the supervisor to end, after it has put the machine away or leaving it as it is, and waits until it has.
async fn end(client: &Client, put_away: bool) -> Result<(), ApiError> {
    let until = Instant::now() + PUT_AWAY;
    match client.begin("/api/v1/quit", &QuitRequest { suspend: put_away }).await {
        Ok(Outcome::Task(task)) => follow(client, *task, until).await?,
        Ok(Outcome::Done(_)) => {}
        // Done so thoroughly that nobody is left to say so.
        Err(error) if error.code == ErrorCode::SupervisorUnreachable => return Ok(()),
        // It takes longer than one answer may, and goes on.
        Err(error) if error.code == ErrorCode::Timeout => return gone(client, until).await,
        Err(error) => return Err(error),
    }
    gone(client, Instant::now() + END).await.or_else(|_| {
        tracing::warn!("the supervisor has not ended yet");
        Ok(())
    })
}

async fn follow(client: &Client, mut task: Task, until: Instant) -> Result<(), ApiError> {
    loop {
        if let Some(result) = result(&task) {
            return result;
        }
        if Instant::now() >= until {
            return Err(too_slow());
        }
        sleep(LOOK).await;
        task = match client.task(&task.id).await {
            Ok(task) => task,
            Err(error) if error.code == ErrorCode::SupervisorUnreachable => return Ok(()),
            Err(error) => return Err(error),
        };
    }
}

/// Waits until the supervisor has ended, so that a new start does not meet it on its way out.
async fn gone(client: &Client, until: Instant) -> Result<(), ApiError> {
    while client.version().await.is_ok() {
        if Instant::now() >= until {
            return Err(too_slow());
        }
        sleep(LOOK).await;
    }
    Ok(())
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

fn too_slow() -> ApiError {
    ApiError::new(
        ErrorCode::Timeout,
        format!("Putting the machine away takes longer than {} minutes", PUT_AWAY.as_secs() / 60),
        "Wait and quit again, or leave the machine running.",
    )
}

/// The machine could not be put away: the person decides.
fn ask(app: &AppHandle, error: &ApiError) {
    let shell = Arc::clone(&app.state::<Arc<Shell>>());
    tracing::warn!("not quit: {error}");
    let app_then = app.clone();
    let shell_then = Arc::clone(&shell);
    let mut dialog = app
        .dialog()
        .message(format!("{}\n\n{}", error.message, error.hint))
        .title(shell.say(Word::QuitFailed))
        .kind(MessageDialogKind::Warning)
        .buttons(MessageDialogButtons::OkCancelCustom(
            shell.say(Word::QuitAnyway).to_owned(),
            shell.say(Word::Cancel).to_owned(),
        ));
    if let Some(window) = app.get_webview_window(windows::MAIN) {
        dialog = dialog.parent(&window);
    }
    dialog.show(move |leave| {
        if leave {
            tauri::async_runtime::spawn(leave_running(app_then, shell_then));
        } else {
            cover(&app_then, None);
            shell_then.quitting.send_replace(false);
        }
    });
}

/// Ends the supervisor and the window; the machine goes on and is found again at the next start.
async fn leave_running(app: AppHandle, shell: Arc<Shell>) {
    if let Ok(client) = shell.client()
        && let Err(error) = end(&client, false).await
    {
        tracing::warn!("the supervisor goes on as well: {error}");
    }
    app.exit(0);
}

/// Covers the pages with a line and a note, or uncovers them.
fn cover(app: &AppHandle, words: Option<(&str, &str)>) {
    let Some(window) = app.get_webview_window(windows::MAIN) else { return };
    // JSON is JavaScript, so that no word can end the call.
    let script = format!("({})({})", include_str!("cover.js").trim_end(), serde_json::json!(words));
    if let Err(error) = window.eval(script) {
        tracing::warn!("the progress could not be shown: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            assert!(takes_time(Some(phase)), "{phase:?}");
        }
        for phase in [None, Some(Phase::Absent), Some(Phase::Suspended), Some(Phase::Stopped), Some(Phase::Failed)] {
            assert!(!takes_time(phase), "{phase:?}");
        }
    }
}
