//! Notifications of the system about what a person would want to know while looking elsewhere.

use std::sync::Arc;

use alcove_types::machine::{Machine, Phase};
use tauri::{AppHandle, Manager};
use tauri_plugin_notification::NotificationExt;

use crate::{shell::Shell, view, windows, words::Word};

/// Something worth a notification.
#[derive(Debug, PartialEq, Eq)]
enum Notice {
    /// A boot that a person may have waited for is over.
    Ready,
    /// The machine was given up on; it may be on all the same.
    Failed { on: bool, message: String, hint: String },
}

/// What was seen so far.
#[derive(Debug, Default)]
struct Watcher {
    coming_up: bool,
    failed: bool,
}

impl Watcher {
    /// Takes the machine as it is now.
    fn take(&mut self, machine: &Machine) -> Option<Notice> {
        let failed = machine.phase == Phase::Failed;
        let was_failed = std::mem::replace(&mut self.failed, failed);
        match machine.phase {
            Phase::Starting => self.coming_up = true,
            // Up, but not everything answers yet: still the same boot.
            Phase::Running if !view::is_ready(machine) => {}
            Phase::Running => return std::mem::take(&mut self.coming_up).then_some(Notice::Ready),
            _ => self.coming_up = false,
        }
        let failure = machine.failure.as_ref()?;
        (failed && !was_failed).then(|| Notice::Failed {
            on: machine.host_memory_bytes.is_some(),
            message: failure.error.message.clone(),
            hint: failure.error.hint.clone(),
        })
    }
}

/// Runs as long as the shell.
pub(crate) async fn follow(app: AppHandle) {
    let shell = Arc::clone(&app.state::<Arc<Shell>>());
    let mut machine = shell.machine.subscribe();
    let mut watcher = Watcher::default();
    while machine.changed().await.is_ok() {
        let notice = machine.borrow_and_update().as_ref().and_then(|m| watcher.take(m));
        // Who looks at the window sees it there.
        if let Some(notice) = notice
            && !windows::main_is_seen(&app)
        {
            let (title, body) = match notice {
                Notice::Ready => (Word::ReadyTitle, shell.say(Word::ReadyBody).to_owned()),
                Notice::Failed { on, message, hint } => {
                    (if on { Word::StuckTitle } else { Word::FailedTitle }, format!("{message}\n{hint}"))
                }
            };
            show(&app, shell.say(title), &body);
        }
    }
}

/// Shows a notification. The pages have none of their own, so that nothing is told twice. Where nothing can show one, that is no reason to fail.
fn show(app: &AppHandle, title: &str, body: &str) {
    if let Err(error) = app.notification().builder().title(title).body(body).show() {
        tracing::warn!("no notification could be shown: {error}");
    }
}

#[cfg(test)]
mod tests {
    use alcove_types::{ApiError, ErrorCode, machine::Failure};

    use super::*;
    use crate::view::tests::machine;

    #[test]
    fn a_boot_is_told_once_when_everything_answers() {
        let mut watcher = Watcher::default();
        let told: Vec<_> = [
            (Phase::Suspended, false),
            (Phase::Starting, false),
            (Phase::Running, false),
            (Phase::Running, true),
            (Phase::Running, false),
            (Phase::Running, true),
        ]
        .iter()
        .map(|&(phase, ready)| watcher.take(&machine(phase, ready)))
        .collect();
        assert_eq!(told, [None, None, None, Some(Notice::Ready), None, None]);
    }

    #[test]
    fn what_ran_before_is_no_news() {
        assert_eq!(Watcher::default().take(&machine(Phase::Running, true)), None);
    }

    #[test]
    fn a_failure_is_told_once() {
        let mut failed = machine(Phase::Failed, false);
        failed.failure = Some(Failure {
            error: ApiError::new(ErrorCode::HypervisorFailed, "QEMU ended", "See the log."),
            last_words: vec![],
            at: String::new(),
        });
        let mut watcher = Watcher::default();
        assert_eq!(watcher.take(&machine(Phase::Starting, false)), None);
        let told = Notice::Failed { on: false, message: "QEMU ended".into(), hint: "See the log.".into() };
        assert_eq!(watcher.take(&failed), Some(told));
        assert_eq!(watcher.take(&failed), None);
        assert_eq!(watcher.take(&machine(Phase::Starting, false)), None);
        assert_eq!(watcher.take(&machine(Phase::Running, true)), Some(Notice::Ready));
    }
}
