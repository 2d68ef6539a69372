//! The steps of a boot as they happen. On a terminal the present step is drawn over and over; elsewhere each step is
//! one line when it is done.

use std::{collections::HashSet, time::Duration};

use alcove_types::boot::{BootReport, BootStep, StepState};
use tokio::time::Instant;

use crate::{
    output::{Output, Role},
    words::{duration, plain, step},
};

const TITLE: usize = 22;

/// Shows a boot.
#[derive(Debug)]
pub(crate) struct Progress<'a> {
    output: &'a Output,
    /// The boot that was over before we began.
    old_attempt: Option<u64>,
    shown: HashSet<String>,
    attempt: Option<u64>,
    present: Option<(String, Instant)>,
    message: String,
    drawn: bool,
}

impl<'a> Progress<'a> {
    /// Shows boots that come after `old`.
    pub(crate) fn new(output: &'a Output, old: Option<&BootReport>) -> Self {
        Self {
            output,
            old_attempt: old.filter(|b| b.finished).map(|b| b.attempt),
            shown: HashSet::new(),
            attempt: None,
            present: None,
            message: String::new(),
            drawn: false,
        }
    }

    /// Takes the boot as it is now.
    pub(crate) fn boot(&mut self, boot: &BootReport) {
        if !self.output.talks() || self.old_attempt == Some(boot.attempt) {
            return;
        }
        if self.attempt.replace(boot.attempt) != Some(boot.attempt) {
            self.shown.clear();
        }
        for step in &boot.steps {
            if matches!(step.state, StepState::Done | StepState::Failed) && self.shown.insert(step.name.clone()) {
                self.erase();
                self.output.err_line(&self.line(step));
            }
        }
        let running = boot.steps.iter().find(|s| s.state == StepState::Running);
        self.message = running.map(said).unwrap_or_default();
        self.present = running.map(|s| {
            let ran = Duration::from_millis(boot.elapsed_ms.saturating_sub(s.started_ms.unwrap_or(boot.elapsed_ms)));
            let now = Instant::now();
            (step(&s.name).to_owned(), now.checked_sub(ran).unwrap_or(now))
        });
        self.draw();
    }

    /// Takes what a task says; shown while no step of a boot is under way.
    pub(crate) fn task(&mut self, message: &str) {
        if self.present.is_none() && self.message != message {
            self.message = plain(message);
            self.draw();
        }
    }

    /// Draws the present step anew.
    pub(crate) fn draw(&mut self) {
        if !self.output.live() {
            return;
        }
        let text = match &self.present {
            Some((title, since)) => format!("{title:<TITLE$} {:>7}  {}", duration(since.elapsed()), self.message),
            None if self.message.is_empty() => return,
            None => self.message.clone(),
        };
        let width = rustix::termios::tcgetwinsize(std::io::stderr()).map_or(80, |w| usize::from(w.ws_col).max(20));
        let text: String = text.chars().take(width - 3).collect();
        self.output.err_raw(&format!("\r\x1b[2K{} {text}", self.output.err_paint(Role::Quiet, "…")));
        self.drawn = true;
    }

    /// Takes the drawn line away.
    pub(crate) fn erase(&mut self) {
        if std::mem::take(&mut self.drawn) {
            self.output.err_raw("\r\x1b[2K");
        }
    }

    fn line(&self, done: &BootStep) -> String {
        let took = match (done.started_ms, done.ended_ms) {
            (Some(start), Some(end)) => duration(Duration::from_millis(end.saturating_sub(start))),
            _ => String::new(),
        };
        let (sign, role) = match done.state {
            StepState::Failed => ("✗", Role::Failed),
            _ => ("✓", Role::Good),
        };
        let message = if done.state == StepState::Failed { said(done) } else { String::new() };
        let line = format!("{} {:<TITLE$} {took:>7}  {message}", self.output.err_paint(role, sign), step(&done.name));
        line.trim_end().to_owned()
    }
}

/// What a step waits for, else the last line of its log.
fn said(step: &BootStep) -> String {
    plain(step.message.as_deref().or(step.log.last().map(String::as_str)).unwrap_or_default())
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        self.erase();
    }
}
