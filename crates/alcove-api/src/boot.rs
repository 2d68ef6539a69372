//! The boot as something to watch: the guest's reports put on the host's clock, with what earlier boots took.

use std::{
    collections::{BTreeMap, VecDeque},
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use alcove_types::boot::{BootEvent, BootKind, BootReport, BootStep, STEPS, StepState};
use serde::{Deserialize, Serialize};

use crate::{clock, durable};

/// Lines of log kept for each step.
const LOG_LINES: usize = 12;
/// Earlier boots that the estimate is learned from.
const REMEMBERED: usize = 9;

/// The present or last boot.
#[derive(Debug)]
pub struct Boot {
    report: BootReport,
    began: Instant,
    /// Host milliseconds at which the guest's clock was 0, known with the guest's first report.
    offset_ms: Option<i64>,
    /// When steps began and ended, each on the clock that told it.
    times: BTreeMap<String, (Option<Moment>, Option<Moment>)>,
    logs: BTreeMap<String, VecDeque<String>>,
    history: History,
}

/// A moment on one of the two clocks, milliseconds.
#[derive(Debug, Clone, Copy)]
enum Moment {
    /// Since QEMU was started.
    Host(u64),
    /// Since the guest's kernel started.
    Guest(u64),
}

/// How long earlier boots took, by kind.
#[derive(Debug, Default, Serialize, Deserialize)]
struct History {
    #[serde(default)]
    cold: VecDeque<u64>,
    #[serde(default)]
    resume: VecDeque<u64>,
    /// Durations of each step in cold boots.
    #[serde(default)]
    steps: BTreeMap<String, VecDeque<u64>>,
    #[serde(default)]
    attempts: u64,
    #[serde(skip)]
    path: PathBuf,
}

impl Boot {
    /// A boot that begins now; `ago` is how long QEMU runs already.
    pub fn begin(kind: BootKind, history: &Path, ago: Duration) -> Self {
        // What can't be read is learned anew.
        let mut history_file: History =
            fs::read(history).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        history.clone_into(&mut history_file.path);
        if kind != BootKind::Adopted {
            history_file.attempts += 1;
        }
        let steps = match kind {
            BootKind::Cold | BootKind::Adopted => STEPS.iter().map(|name| (*name, history_file.step(name))).collect(),
            BootKind::Resume => vec![("restore", None), ("door", None), ("clock", None), ("platform", None)],
        };
        let estimate_ms = match kind {
            BootKind::Cold => median(&history_file.cold),
            BootKind::Resume => median(&history_file.resume),
            BootKind::Adopted => None,
        };
        let report = BootReport {
            attempt: history_file.attempts,
            started_at: clock::rfc3339(SystemTime::now() - ago),
            kind,
            elapsed_ms: 0,
            finished: false,
            steps: steps
                .into_iter()
                .map(|(name, expected_ms)| BootStep {
                    name: name.to_owned(),
                    state: StepState::Waiting,
                    started_ms: None,
                    ended_ms: None,
                    message: None,
                    log: Vec::new(),
                    expected_ms,
                })
                .collect(),
            estimate_ms,
        };
        Self {
            report,
            began: Instant::now().checked_sub(ago).unwrap_or_else(Instant::now),
            offset_ms: None,
            times: BTreeMap::new(),
            logs: BTreeMap::new(),
            history: history_file,
        }
    }

    /// Takes in a report of the guest, which came in just now.
    /// A finished boot hears nothing more, and none hears of steps that it does not know: the guest may say anything.
    pub fn guest_says(&mut self, event: &BootEvent) {
        if self.report.finished || !self.report.steps.iter().any(|step| step.name == event.step) {
            return;
        }
        let now = self.elapsed_ms();
        let at = i64::try_from(event.at_ms).unwrap_or(i64::MAX / 2);
        // Reports can't come from the future: the smallest distance seen is the best guess of when the kernel started.
        let distance = i64::try_from(now).unwrap_or(0) - at;
        let offset = self.offset_ms.map_or(distance, |known| known.min(distance));
        self.offset_ms = Some(offset);
        if let Some(line) = &event.log {
            let lines = self.logs.entry(event.step.clone()).or_default();
            lines.push_back(line.chars().take(400).collect());
            if lines.len() > LOG_LINES {
                lines.pop_front();
            }
        }
        if let Some(state) = event.state {
            self.set(&event.step, state, Moment::Guest(event.at_ms), event.message.clone());
        }
    }

    /// Sets a step that the host itself sees.
    pub fn host_sees(&mut self, step: &str, state: StepState, message: Option<String>) {
        let now = Moment::Host(self.elapsed_ms());
        self.set(step, state, now, message);
    }

    fn set(&mut self, name: &str, state: StepState, at: Moment, message: Option<String>) {
        if self.report.finished {
            return;
        }
        let Some(step) = self.report.steps.iter_mut().find(|s| s.name == name) else { return };
        if step.state == StepState::Done && state == StepState::Running {
            return;
        }
        step.state = state;
        step.message = message;
        let (began, ended) = self.times.entry(name.to_owned()).or_default();
        match state {
            StepState::Running => {
                began.get_or_insert(at);
            }
            StepState::Done | StepState::Failed => {
                began.get_or_insert(at);
                *ended = Some(at);
            }
            StepState::Waiting | StepState::Skipped => {}
        }
    }

    /// A moment in milliseconds since QEMU was started.
    fn host_ms(&self, moment: Moment) -> u64 {
        match moment {
            Moment::Host(ms) => ms,
            Moment::Guest(ms) => {
                let ms = i64::try_from(ms).unwrap_or(i64::MAX / 2);
                u64::try_from(ms + self.offset_ms.unwrap_or(0)).unwrap_or(0)
            }
        }
    }

    /// When a step began and ended, in milliseconds since QEMU was started.
    fn span(&self, name: &str) -> (Option<u64>, Option<u64>) {
        let (began, ended) = self.times.get(name).copied().unwrap_or_default();
        (began.map(|m| self.host_ms(m)), ended.map(|m| self.host_ms(m)))
    }

    /// Everything is up: the times are kept for the next estimate.
    pub fn finish(&mut self) {
        if self.report.finished {
            return;
        }
        let elapsed = self.elapsed_ms();
        for step in &mut self.report.steps {
            match step.state {
                StepState::Waiting => step.state = StepState::Skipped,
                StepState::Running => {
                    step.state = StepState::Done;
                    self.times.entry(step.name.clone()).or_default().1 = Some(Moment::Host(elapsed));
                }
                _ => {}
            }
        }
        self.report.finished = true;
        self.report.elapsed_ms = elapsed;
        match self.report.kind {
            BootKind::Cold => {
                for step in &self.report.steps {
                    if let (Some(from), Some(to)) = self.span(&step.name) {
                        remember(self.history.steps.entry(step.name.clone()).or_default(), to.saturating_sub(from));
                    }
                }
                remember(&mut self.history.cold, elapsed);
            }
            BootKind::Resume => remember(&mut self.history.resume, elapsed),
            BootKind::Adopted => return,
        }
        let saved = serde_json::to_vec(&self.history).map(|bytes| durable::write(&self.history.path, &bytes));
        if !matches!(saved, Ok(Ok(()))) {
            tracing::debug!("the boot's times could not be kept for the next estimate");
        }
    }

    /// Milliseconds since QEMU was started, or how long the boot took.
    pub fn elapsed_ms(&self) -> u64 {
        if self.report.finished {
            self.report.elapsed_ms
        } else {
            u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
        }
    }

    /// The name of the step that is under way, for people who wait.
    pub fn waiting_for(&self) -> Option<&BootStep> {
        self.report.steps.iter().rev().find(|s| s.state == StepState::Running)
    }

    /// The last lines that the guest said about any step that is not done.
    pub fn last_words(&self) -> Vec<String> {
        self.report
            .steps
            .iter()
            .filter(|s| matches!(s.state, StepState::Running | StepState::Failed))
            .flat_map(|s| self.logs.get(&s.name).into_iter().flatten().cloned())
            .collect()
    }

    /// What a person sees.
    pub fn report(&self) -> BootReport {
        let mut report = self.report.clone();
        report.elapsed_ms = self.elapsed_ms();
        for step in &mut report.steps {
            (step.started_ms, step.ended_ms) = self.span(&step.name);
            step.log = self.logs.get(&step.name).map(|lines| lines.iter().cloned().collect()).unwrap_or_default();
        }
        report
    }
}

impl History {
    fn step(&self, name: &str) -> Option<u64> {
        self.steps.get(name).and_then(median)
    }
}

fn remember(times: &mut VecDeque<u64>, ms: u64) {
    times.push_back(ms);
    if times.len() > REMEMBERED {
        times.pop_front();
    }
}

fn median(times: &VecDeque<u64>) -> Option<u64> {
    let mut sorted: Vec<u64> = times.iter().copied().collect();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(step: &str, state: StepState, at_ms: u64) -> BootEvent {
        BootEvent { step: step.into(), state: Some(state), at_ms, message: None, log: None }
    }

    #[test]
    fn times_are_learned_and_survive_a_damaged_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("boot-times.json");
        fs::write(&path, b"{\"cold\": [tru").unwrap();
        let mut boot = Boot::begin(BootKind::Cold, &path, Duration::from_secs(20));
        assert_eq!(boot.report().estimate_ms, None);
        boot.guest_says(&event("kernel", StepState::Running, 0));
        boot.guest_says(&event("kernel", StepState::Done, 1500));
        boot.finish();
        let next = Boot::begin(BootKind::Cold, &path, Duration::ZERO).report();
        assert!(next.estimate_ms.unwrap() >= 20_000);
        assert_eq!(next.steps[0].expected_ms, Some(1500));
        assert_eq!(next.attempt, 2);
    }

    #[test]
    fn a_finished_boot_is_not_changed_by_late_reports() {
        let folder = tempfile::tempdir().unwrap();
        let mut boot = Boot::begin(BootKind::Cold, &folder.path().join("t"), Duration::ZERO);
        boot.finish();
        boot.guest_says(&event("node", StepState::Failed, 10));
        assert!(boot.report().steps.iter().all(|s| s.state == StepState::Skipped));
    }
}
