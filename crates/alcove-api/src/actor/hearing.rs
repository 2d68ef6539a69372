//! What the reconciler makes of what it hears.

use std::time::{Duration, Instant};

use alcove_machine::provider::ProviderEvent;
use alcove_types::{
    ApiError, ConditionStatus, ErrorCode,
    boot::{BootKind, StepState},
    guest::{GuestEvent, GuestStatus},
    machine::{Desired, Phase},
};

use super::{Actor, Trouble, by_itself};
use crate::{boot::Boot, clock, shared::GUEST_CONDITIONS, watch::Heard};

/// False after a crash, until a person asks for something.
pub(super) const LAST_BOOT: &str = "LastBootClean";
/// Lines of the serial console that are shown with a failure.
const LAST_LINES: usize = 20;
/// The guest's clock may be off by this much before it is set.
const CLOCK_TOLERANCE_NS: u64 = 500_000_000;

impl Actor {
    pub(super) fn hear(&mut self, heard: Heard) {
        match heard {
            Heard::Provider(event) => self.provider_says(event),
            Heard::Boot(event) => self.shared.boot(|boot| boot.guest_says(&event)),
            Heard::Guest(event) => match *event {
                GuestEvent::Boot(_) => {}
                GuestEvent::Status(status) => self.guest_says(*status),
            },
            Heard::Resumed => self.shared.boot(|boot| {
                boot.host_sees("door", StepState::Done, None);
                boot.host_sees("clock", StepState::Done, None);
                boot.host_sees("platform", StepState::Running, None);
            }),
            Heard::PlatformAnswers => {
                self.unproven = false;
                self.shared.boot(|boot| boot.host_sees("platform", StepState::Done, None));
                self.came_up();
            }
            Heard::GuestSilent => self.shared.change(|view| {
                view.set_condition(
                    "DoorOpen",
                    ConditionStatus::Unknown,
                    "NoAnswer",
                    "The machine's daemon stopped talking; it is being called again.",
                    "",
                );
            }),
        }
    }

    fn provider_says(&mut self, event: ProviderEvent) {
        match event {
            // Not taken at its word: it may be late, and mean the one before this one.
            ProviderEvent::Exited { .. }
            | ProviderEvent::Panicked
            | ProviderEvent::IoError { .. }
            | ProviderEvent::Paused
            | ProviderEvent::Resumed
            | ProviderEvent::PoweredOff
            | ProviderEvent::GuestAgentUp => self.seen = None,
            ProviderEvent::Reset => {
                // The guest restarted itself: a boot like any other, seen from its beginning.
                self.ready = false;
                self.unproven = false;
                self.ready_by = (!self.rescued).then(|| Instant::now() + self.shared.config.boot_deadline);
                let boot = self.new_boot(BootKind::Cold, Duration::ZERO);
                self.shared.change(|view| {
                    view.forget_what_the_guest_said();
                    view.boot = Some(boot);
                    view.set_phase(Phase::Starting);
                });
                self.shared.boot(|boot| boot.host_sees("kernel", StepState::Running, None));
            }
        }
    }

    fn guest_says(&mut self, status: GuestStatus) {
        let off_by = status.unix_time_ns.abs_diff(clock::unix_ns());
        // One that has just booted doesn't know that its clock is right.
        let asks_for_the_time =
            status.conditions.iter().any(|c| c.kind == "ClockInSync" && c.status == ConditionStatus::Unknown);
        let bare = status.kubernetes.distribution == "none";
        self.shared.change(|view| {
            // The guest speaks of itself alone; what the host says of it is not its to change.
            for condition in status.conditions.iter().filter(|c| GUEST_CONDITIONS.contains(&c.kind.as_str())) {
                alcove_types::condition::set(&mut view.conditions, condition.clone());
            }
            view.set_condition("DoorOpen", ConditionStatus::True, "Answers", "The machine's door is open.", "");
            view.guest = Some(status);
        });
        let link = self.shared.see(|v| v.link.clone());
        let being_set = self.setting_clock.as_ref().is_some_and(|task| !task.is_finished());
        if (off_by > CLOCK_TOLERANCE_NS || asks_for_the_time)
            && !being_set
            && let Some(link) = link
        {
            tracing::info!(
                off_by_ms = off_by / 1_000_000,
                "the guest's clock is off, or nobody has told it the time: setting it"
            );
            self.setting_clock = Some(tokio::spawn(async move {
                if let Err(error) = link.set_clock().await {
                    tracing::warn!(%error, "the guest's clock could not be set");
                }
            }));
        }
        // What a resumed guest says first it remembers from before: the platform has to answer for itself.
        let platform = !self.unproven;
        let ready = self.shared.see(|v| bare || (platform && v.holds("KubernetesReady") && v.holds("PlatformReady")));
        if ready {
            self.came_up();
        }
    }

    /// Everything is up.
    pub(super) fn came_up(&mut self) {
        if self.ready {
            return;
        }
        self.ready = true;
        self.never_up = false;
        self.unproven = false;
        self.ready_by = None;
        self.given_up = false;
        self.shared.boot(Boot::finish);
        self.shared.change(|view| {
            view.failure = None;
            view.drop_condition("LastSuspendWorked");
        });
        if let Some(spec) = self.spec.as_mut().filter(|s| s.slots.trial.is_some()) {
            spec.slots.commit();
            if let Err(error) = spec.save(&self.shared.layout) {
                tracing::error!(%error, "the new image could not be committed");
            }
            by_itself(&self.shared, "image.commit", "succeeded", spec.slots.current().unwrap_or_default());
        }
    }

    /// The machine has ended by itself.
    pub(super) fn machine_is_gone(&mut self, last_words: Option<Vec<String>>) {
        let last_words = last_words
            .or_else(|| self.seen.as_ref().map(|s| s.last_words.clone()))
            .filter(|words| !words.is_empty())
            .unwrap_or_else(|| self.shared.see(|v| v.boot.as_ref().map(Boot::last_words).unwrap_or_default()));
        self.gone();
        self.crashed("The machine ended unexpectedly.", last_words);
    }

    /// The guest's kernel has panicked: its last words are kept, and it is started anew.
    pub(super) fn panicked(&mut self) {
        let last_words = self.seen.as_ref().map(|s| s.last_words.clone()).unwrap_or_default();
        self.watch = None;
        self.crashed("The machine's kernel has crashed.", last_words);
        if !self.given_up {
            self.action = Some(self.kill());
        }
    }

    pub(super) fn crashed(&mut self, message: &str, last_words: Vec<String>) {
        by_itself(&self.shared, "machine.crashed", "failed", message);
        let then = if self.wanted.desired == Desired::Running { " It was started again." } else { "" };
        self.shared.change(|view| {
            view.set_condition(
                LAST_BOOT,
                ConditionStatus::False,
                "Crashed",
                &format!("{message}{then}"),
                "What was saved is still there. `alcove logs --source serial` has its last words.",
            );
        });
        match self.crashes.note(Instant::now()) {
            Some(wait) => self.hold_until = Some(Instant::now() + wait),
            None => self.give_up(Trouble {
                error: ApiError::new(
                    ErrorCode::HypervisorFailed,
                    format!("{message} It has now happened several times within ten minutes."),
                    "What was saved is still on its disk. Read the last lines below, run `alcove doctor`, then start it again.",
                ),
                last_words,
                in_the_way: false,
                killed: false,
                image_s_own: true,
            }),
        }
    }

    /// The hypervisor lives and says nothing.
    pub(super) fn does_not_answer(&mut self) {
        self.give_up(Trouble {
            error: ApiError::new(
                ErrorCode::HypervisorFailed,
                "The machine is on, and its hypervisor has not answered for a minute.",
                "Wait, if this computer is very busy: when it answers, all is well. Otherwise end the machine with `alcove kill`, then start it again.",
            ),
            last_words: self.shared.console_tail(LAST_LINES),
            in_the_way: false,
            killed: false,
            image_s_own: false,
        });
    }

    /// The boot's deadline has passed.
    pub(super) fn never_ready(&mut self) {
        let (step, words) = self.shared.see(|v| {
            let boot = v.boot.as_ref();
            (
                boot.and_then(Boot::waiting_for).map_or_else(|| "the machine".to_owned(), |s| s.name.clone()),
                boot.map(Boot::last_words).unwrap_or_default(),
            )
        });
        // A guest that hangs before it can report has said something on its console all the same.
        let words = if words.is_empty() { self.shared.console_tail(LAST_LINES) } else { words };
        let seconds = self.shared.config.boot_deadline.as_secs();
        self.give_up(Trouble {
            error: ApiError::new(
                ErrorCode::Timeout,
                format!("The machine was not ready after {seconds} s: it waits for `{step}`."),
                "It is still on, and if it gets ready all is well. Look at the serial log, open a rescue shell with `alcove shell --rescue`, or restart it.",
            ),
            last_words: words,
            in_the_way: false,
            killed: false,
            image_s_own: true,
        });
    }

    /// Returns to the older image when the one on trial failed. True when there is one to return to.
    pub(super) fn roll_back_image(&mut self) -> bool {
        let Some(spec) = self.spec.as_mut() else { return false };
        let Some(failed) = spec.slots.trial.and_then(|slot| spec.slots.version(slot)).map(str::to_owned) else {
            return false;
        };
        spec.slots.roll_back();
        if let Err(error) = spec.save(&self.shared.layout) {
            tracing::error!(%error, "the older image could not be put back");
            return false;
        }
        self.shared.config.refuse_image(&self.shared.layout, &failed);
        by_itself(&self.shared, "image.roll_back", "succeeded", &format!("{failed} did not come up"));
        // An image on trial is kept as soon as the machine is up, so this one never was, whoever booted it.
        self.never_up = true;
        self.restart = true;
        true
    }
}
