//! How actions end, and what follows.

use std::time::Instant;

use alcove_machine::{MachineError, provider::Started, spec::MachineSpec};
use alcove_types::{
    ApiError,
    boot::{BootKind, StepState},
    machine::Desired,
};

use super::{Actor, by_itself};

/// How an action ended.
pub(super) enum Done {
    Started(BootKind, Result<Started, Trouble>),
    Suspended(Result<u64, Trouble>),
    /// The machine ended while it was being saved.
    SuspendLost(Trouble),
    ShutDown(Result<(), Trouble>),
    Discarded(Result<(), Trouble>),
    Killed(Result<(), Trouble>),
    Ended(Result<(), Trouble>),
    Continued(Result<(), Trouble>),
    DiskGrown(u64, Result<Box<MachineSpec>, ApiError>),
    /// With what is wanted because of it.
    Exclusive(String, Result<Option<Desired>, ApiError>),
}

/// An error with what was heard last.
pub(crate) struct Trouble {
    pub(crate) error: ApiError,
    pub(crate) last_words: Vec<String>,
    /// Something else is at work on the machine: what an earlier supervisor began may not have ended yet.
    pub(crate) in_the_way: bool,
    /// The hypervisor was ended from outside: what was tried can be tried again.
    pub(crate) killed: bool,
    /// It may be the image's own: a full disk, missing keys or a missing QEMU are not.
    pub(crate) image_s_own: bool,
}

impl From<MachineError> for Trouble {
    fn from(error: MachineError) -> Self {
        let in_the_way = matches!(error, MachineError::Busy | MachineError::WrongState { .. });
        let killed = matches!(error, MachineError::HypervisorKilled(_));
        let image_s_own = matches!(error, MachineError::HypervisorFailed { .. } | MachineError::ImageInvalid { .. });
        Self { last_words: error.last_words().to_vec(), error: error.api(), in_the_way, killed, image_s_own }
    }
}

impl Actor {
    /// Takes in how an action ended.
    pub(super) fn done(&mut self, done: Done) {
        self.seen = None;
        match done {
            Done::Started(kind, Ok(started)) => {
                self.in_the_way = 0;
                // What came before, such as the trial of an acceleration, is not the guest's time.
                self.ready_by = (!self.rescued).then(|| Instant::now() + self.shared.config.boot_deadline);
                if self.rescued {
                    self.on_for_rescue();
                }
                if kind == BootKind::Resume {
                    self.shared.boot(|boot| {
                        boot.host_sees("restore", StepState::Done, None);
                        boot.host_sees("door", StepState::Running, None);
                    });
                }
                self.listen(&started, kind);
                self.shared.settings.machine_runs_with(self.spec.as_ref().map(|s| s.setup.clone()));
            }
            Done::Started(BootKind::Resume, Err(trouble))
                if trouble.error.code == alcove_types::ErrorCode::StateInvalid =>
            {
                by_itself(&self.shared, "machine.discard_state", "succeeded", &trouble.error.message);
                // What is on the disk is whole: the machine boots from it.
                self.action = Some(self.discard_state());
            }
            // What was dropped for this may not have ended yet.
            Done::Started(_, Err(trouble)) | Done::Discarded(Err(trouble)) | Done::Continued(Err(trouble))
                if trouble.in_the_way && self.in_the_way < super::OUT_OF_THE_WAY_TRIES =>
            {
                self.in_the_way += 1;
                self.hold_until = Some(Instant::now() + super::OUT_OF_THE_WAY);
            }
            Done::Started(_, Err(trouble)) if trouble.killed => {
                self.gone();
                self.crashed(&trouble.error.message, trouble.last_words);
            }
            Done::Started(_, Err(trouble)) => {
                self.in_the_way = 0;
                self.give_up(trouble);
            }
            Done::Suspended(Ok(bytes)) => {
                self.gone();
                by_itself(&self.shared, "machine.suspended", "succeeded", &format!("{bytes} bytes"));
            }
            Done::Suspended(Err(trouble)) => {
                // The guest runs on. What is wanted can't be had now: the person decides.
                let error = trouble.error.clone();
                self.fail_pending_for(Desired::Suspended, &error);
                by_itself(&self.shared, "machine.suspend", "failed", &error.message);
                // Something else may have been asked for meanwhile: that holds.
                if self.wanted.desired == Desired::Suspended {
                    let _ = self.want(Desired::Running);
                }
                self.shared.change(|view| {
                    view.set_condition(
                        "LastSuspendWorked",
                        alcove_types::ConditionStatus::False,
                        "Failed",
                        &error.message,
                        &error.hint,
                    );
                });
            }
            Done::SuspendLost(trouble) => {
                // There is no memory left to be saved. That it is off is what is nearest to what is wanted.
                self.fail_pending_for(Desired::Suspended, &trouble.error);
                self.machine_is_gone(Some(trouble.last_words));
            }
            Done::ShutDown(Ok(())) | Done::Killed(Ok(())) => {
                self.restart = false;
                self.gone();
            }
            Done::Ended(Ok(())) => self.gone(),
            Done::ShutDown(Err(mut trouble)) => {
                trouble.error.hint =
                    "Wait and try again, or switch it off at once with `alcove kill`: what was saved to its disk stays.".into();
                self.give_up(trouble);
            }
            Done::Discarded(Ok(())) | Done::Continued(Ok(())) => self.in_the_way = 0,
            Done::Discarded(Err(trouble))
            | Done::Killed(Err(trouble))
            | Done::Ended(Err(trouble))
            | Done::Continued(Err(trouble)) => self.give_up(trouble),
            Done::DiskGrown(size, grown) => self.disk_grown(size, grown),
            Done::Exclusive(task, result) => self.exclusive_done(&task, result),
        }
    }

    /// The machine is off, as it should be.
    pub(super) fn gone(&mut self) {
        self.watch = None;
        self.ready = false;
        self.unproven = false;
        self.rescued = false;
        self.never_up = false;
        self.ready_by = None;
        while self.heard.1.try_recv().is_ok() {}
        self.shared.change(|view| {
            view.forget_guest();
            view.drop_condition(super::actions::SYSTEM);
        });
        self.shared.settings.machine_runs_with(None);
    }

    /// Gives up until a person asks anew.
    pub(super) fn give_up(&mut self, trouble: Trouble) {
        if trouble.image_s_own && self.roll_back_image() {
            return;
        }
        self.given_up = true;
        self.fail_pending(&trouble.error);
        by_itself(&self.shared, "machine.failed", "failed", &trouble.error.message);
        self.shared.change(|view| view.fail(trouble.error, trouble.last_words));
    }
}
