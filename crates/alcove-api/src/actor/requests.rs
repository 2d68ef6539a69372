//! What is asked of the reconciler, and what it makes of it.

use std::time::Instant;

use alcove_types::{
    ApiError, ErrorCode,
    boot::BootKind,
    machine::{Desired, MachineSetup, SnapshotRequest},
};
use tokio::sync::oneshot;

use super::{Actor, Pending};

/// Told when a request is taken: what it wants is on the disk by then, and outlives the supervisor. An error when it
/// can't be written: then nothing is promised.
pub(crate) type Taken = oneshot::Sender<Result<(), ApiError>>;

/// A request to the reconciler.
#[derive(Debug)]
pub(crate) enum Command {
    /// Something else is wanted from now on.
    Want { desired: Desired, restart: bool, rescue: bool, task: String, taken: Taken },
    /// The person gave up on a start.
    GiveUp { task: String },
    /// Switch off at once.
    Kill { task: String, taken: Taken },
    /// Something that needs the machine for itself.
    Exclusive { work: Exclusive, task: String },
    /// Something that the reconciler reads has changed.
    LookAgain,
    /// Stop reconciling, leaving the machine as it is; answered when it is done.
    Leave { done: oneshot::Sender<()> },
}

/// Work that needs the machine for itself, and mostly off.
#[derive(Debug)]
pub(crate) enum Exclusive {
    /// Make the machine.
    Create(MachineSetup),
    /// Destroy the machine and all that it holds.
    Reset,
    /// Keep a copy.
    Snapshot(SnapshotRequest),
    /// Put a copy in the machine's place.
    Restore(String),
    /// Delete a copy.
    DeleteSnapshot(String),
}

impl Actor {
    pub(super) fn command(&mut self, command: Command) {
        match command {
            // The machine may have gone since it was asked for.
            Command::Want { task, taken, .. } | Command::Kill { task, taken } if self.refusal().is_some() => {
                self.shared.tasks.end(&task, Err(self.refusal().unwrap_or_else(absent)));
                // Who asked may have stopped waiting, here and below.
                let _ = taken.send(Ok(()));
            }
            Command::Want { desired, restart, rescue, task, taken } => {
                self.replace_pending(&task);
                self.given_up = false;
                self.crashes.forget();
                self.shared.change(|view| view.drop_condition(super::hearing::LAST_BOOT));
                self.hold_until = None;
                self.rescue = rescue;
                // What is on for rescue has no system; that takes a boot of its own.
                self.restart = restart || rescue || (self.rescued && desired == Desired::Running);
                self.ready_by = self.ready_by.map(|_| Instant::now() + self.shared.config.boot_deadline);
                let written = self.want(desired);
                self.pending.push(Pending { task, goal: desired });
                self.shared.change(|view| view.failure = None);
                let _ = taken.send(written);
            }
            Command::GiveUp { task } => {
                if !self.pending.iter().any(|p| p.task == task) {
                    return;
                }
                self.pending.retain(|p| p.task != task);
                self.shared.tasks.end(&task, Err(cancelled("You cancelled it.")));
                let back = if self.shared.see(|v| v.boot.as_ref().is_some_and(|b| b.report().kind == BootKind::Resume))
                {
                    Desired::Suspended
                } else {
                    Desired::Stopped
                };
                self.restart = false;
                // What is wanted now is carried out all the same; only a crash would forget it.
                let _ = self.want(back);
            }
            Command::Kill { task, taken } => {
                self.replace_pending(&task);
                self.restart = false;
                self.given_up = false;
                let written = self.want(Desired::Stopped);
                self.pending.push(Pending { task, goal: Desired::Stopped });
                let _ = taken.send(written);
                // Whatever is under way with the running machine is dropped: that is what the person asked for.
                if !self.exclusive {
                    self.action = Some(self.kill());
                }
            }
            Command::Exclusive { work, task } => self.queue.push_back((work, task)),
            Command::LookAgain | Command::Leave { .. } => {}
        }
    }

    /// Why nothing can be done with the machine: it is not there, or what is there can't be used.
    fn refusal(&self) -> Option<ApiError> {
        let (unusable, being_made) = self.shared.see(|v| (v.unusable.clone(), v.being_made));
        unusable.or_else(|| (self.spec.is_none() && !being_made).then(absent))
    }

    fn replace_pending(&mut self, by: &str) {
        for old in self.pending.drain(..) {
            if old.task != by {
                self.shared.tasks.end(&old.task, Err(cancelled("A newer request took its place.")));
            }
        }
    }

    /// Something else is wanted from now on. It is wanted even when that could not be written down.
    pub(super) fn want(&mut self, desired: Desired) -> Result<(), ApiError> {
        self.wanted.desired = desired;
        self.wanted.generation += 1;
        self.publish_wanted()
    }

    pub(super) fn publish_wanted(&self) -> Result<(), ApiError> {
        let wanted = self.wanted;
        let path = self.shared.config.wanted_json(&self.shared.layout);
        let written = if self.spec.is_some() { wanted.save(&path) } else { Ok(()) };
        self.shared.change(|view| {
            view.desired = wanted.desired;
            view.generation = wanted.generation;
        });
        written.map_err(|error| {
            tracing::error!(%error, "what is wanted can't be written: after a crash it would be forgotten");
            crate::supervisor::unusable(&path, &error)
        })
    }

    /// Ends the tasks that wait for this, with the error that stands in their way; others may still be met.
    pub(super) fn fail_pending_for(&mut self, goal: Desired, error: &ApiError) {
        let tasks = &self.shared.tasks;
        self.pending.retain(|p| {
            let fails = p.goal == goal;
            if fails {
                tasks.end(&p.task, Err(error.clone()));
            }
            !fails
        });
    }

    /// Ends all tasks that wait, with the error that stands in their way.
    pub(super) fn fail_pending(&mut self, error: &ApiError) {
        for p in self.pending.drain(..) {
            self.shared.tasks.end(&p.task, Err(error.clone()));
        }
    }
}

pub(crate) fn cancelled(message: &str) -> ApiError {
    ApiError::new(ErrorCode::Cancelled, message, "Nothing needs doing.")
}

pub(crate) fn absent() -> ApiError {
    ApiError::new(
        ErrorCode::WrongState,
        "There is no machine yet.",
        "Make it first: open Alcove, or run `alcove setup`.",
    )
}

pub(crate) fn made_already() -> ApiError {
    ApiError::new(ErrorCode::Conflict, "The machine exists already.", "Start it, or change its sizes in the settings.")
}
