//! Quitting: the machine is put away first, in sight of the person, and nothing is left half done without asking.

mod attempt;
mod cover;

use std::sync::Arc;

use alcove_types::{ApiError, ErrorCode, machine::Desired};
use serde_json::json;
use tauri::{AppHandle, Manager};
use tauri_plugin_dialog::{DialogExt, MessageDialogButtons, MessageDialogKind, MessageDialogResult};

use crate::{shell::Shell, windows, words::Word};

use attempt::{Attempt, Halt};

/// What the person decided where the machine could not be put away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decision {
    Again,
    Leave,
    Stay,
}

/// Begins to quit; a second call only brings the progress to the front.
pub(crate) fn begin(app: &AppHandle) {
    let shell = Arc::clone(&app.state::<Arc<Shell>>());
    if shell.quitting.send_replace(true) {
        windows::show_main(app);
        return;
    }
    tauri::async_runtime::spawn(run(app.clone(), shell));
}

/// Leaves the quitting that is under way.
pub(crate) fn stay(shell: &Shell) {
    shell.stay.notify_waiters();
}

async fn run(app: AppHandle, shell: Arc<Shell>) {
    // What was wanted before, for those who stay after all.
    let wanted = shell.machine.borrow().as_ref().map(|machine| machine.desired);
    let mut attempt = Attempt::new(&app, &shell);
    loop {
        let ended = tokio::select! {
            ended = attempt.put_away() => ended,
            () = shell.stay.notified() => break,
        };
        let Err(halt) = ended else {
            app.exit(0);
            return;
        };
        match ask(&app, &shell, &halt).await {
            // A supervisor that can't be reached is started for it.
            Decision::Again => attempt.may_start = matches!(halt, Halt::StillOn),
            Decision::Leave => {
                attempt.leave_running().await;
                app.exit(0);
                return;
            }
            Decision::Stay => break,
        }
    }
    if attempt.is_under_way() {
        call_back(&app, &shell, wanted).await;
    }
    cover::show(&app, None);
    shell.quitting.send_replace(false);
}

/// The machine is on its way to rest, and the supervisor to its end: asking for what was wanted before calls both back.
async fn call_back(app: &AppHandle, shell: &Shell, wanted: Option<Desired>) {
    let operation = match wanted {
        Some(Desired::Running) => "start",
        Some(Desired::Stopped) => "stop",
        Some(Desired::Suspended) | None => "suspend",
    };
    let asked = match shell.client() {
        Ok(client) => client.begin(&format!("/api/v1/machine/{operation}"), &json!({})).await.map(|_| ()),
        Err(error) => Err(error),
    };
    match asked {
        Ok(()) => {}
        // It was quicker: it is started again.
        Err(error) if error.code == ErrorCode::SupervisorUnreachable => shell.look_now.notify_one(),
        Err(error) => crate::tray::say_error(app, &error),
    }
}

/// The machine could not be put away: the person decides.
async fn ask(app: &AppHandle, shell: &Shell, halt: &Halt) -> Decision {
    let (title, text) = match halt {
        Halt::Failed(ApiError { message, hint, .. }) => (Word::QuitFailed, format!("{message}\n\n{hint}")),
        Halt::Slow => (Word::QuitFailed, shell.say(Word::QuitSlow).to_owned()),
        Halt::StillOn => (Word::QuitStillOn, shell.say(Word::QuitStillOnText).to_owned()),
    };
    tracing::warn!("not quit: {text}");
    let (again, leave) = (shell.say(Word::TryAgain), shell.say(Word::QuitAnyway));
    let buttons = MessageDialogButtons::YesNoCancelCustom(
        again.to_owned(),
        leave.to_owned(),
        shell.say(Word::StayOpen).to_owned(),
    );
    let mut dialog =
        app.dialog().message(text).title(shell.say(title)).kind(MessageDialogKind::Warning).buttons(buttons);
    windows::show_main(app);
    if let Some(window) = app.get_webview_window(windows::MAIN) {
        dialog = dialog.parent(&window);
    }
    let (decided, decision) = tokio::sync::oneshot::channel();
    dialog.show_with_result(move |pressed| {
        // Who asked waits for as long as the application runs.
        let _ = decided.send(decision_of(&pressed, again, leave));
    });
    decision.await.unwrap_or(Decision::Stay)
}

/// What a button means; a dialog that is only closed decides nothing.
fn decision_of(pressed: &MessageDialogResult, again: &str, leave: &str) -> Decision {
    match pressed {
        MessageDialogResult::Yes => Decision::Again,
        MessageDialogResult::No => Decision::Leave,
        MessageDialogResult::Custom(label) if label == again => Decision::Again,
        MessageDialogResult::Custom(label) if label == leave => Decision::Leave,
        _ => Decision::Stay,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_button_decides() {
        let decide = |pressed: MessageDialogResult| decision_of(&pressed, "Try again", "Quit");
        assert_eq!(decide(MessageDialogResult::Custom("Try again".into())), Decision::Again);
        assert_eq!(decide(MessageDialogResult::Custom("Quit".into())), Decision::Leave);
        for closed in [MessageDialogResult::Cancel, MessageDialogResult::Custom("Stay open".into())] {
            assert_eq!(decide(closed), Decision::Stay);
        }
    }
}
