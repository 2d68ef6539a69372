//! A larger disk takes effect while the machine runs. One that is suspended gets it when it runs again, one that is off
//! when it boots.

use std::time::{Duration, Instant};

use alcove_machine::{
    provider::{On, Power},
    spec::MachineSpec,
};
use alcove_types::{
    ApiError, ConditionStatus, ErrorCode,
    machine::{Desired, MachineSetup},
};

use super::{Action, Actor, Done, by_itself};
use crate::shared::Shared;

const CONDITION: &str = "DiskHasItsSize";
/// After a growth that failed the next is tried no sooner.
const AGAIN: Duration = Duration::from_secs(60);

/// What is known of growing the disk.
#[derive(Debug, Default)]
pub(super) struct Growth {
    /// A growth to this size has failed, and when.
    failed: Option<(u64, Instant)>,
}

/// The size that the disk is to get, bytes, when something is left to do. `spec` is what the guest was told last, so a
/// disk that is larger than it says has grown without its guest.
fn target(wanted: Option<&MachineSetup>, spec: &MachineSetup, disk_now: u64) -> Option<u64> {
    let target = wanted.map_or(0, |w| w.disk_bytes).max(spec.disk_bytes).max(disk_now);
    (target > spec.disk_bytes || target > disk_now).then_some(target)
}

impl Actor {
    /// Grows the disk of a machine that runs undisturbed, when it is to be larger.
    pub(super) fn grow_disk(&mut self) -> Option<Action> {
        let undisturbed = self.ready
            && self.pending.is_empty()
            && self.wanted.desired == Desired::Running
            && matches!(self.seen.as_ref()?.power, Power::On(On { standstill: None, .. }));
        if !undisturbed || !self.shared.provider.capabilities().grow_disk {
            return None;
        }
        let mut spec = self.spec.clone()?;
        let disk_now = self.seen.as_ref()?.disk.as_ref()?.total;
        let size = target(self.shared.settings.get().machine.as_ref(), &spec.setup, disk_now)?;
        if self.disk.failed.is_some_and(|(failed, at)| failed == size && at.elapsed() < AGAIN) {
            return None;
        }
        let shared = self.shared.clone();
        Some(Box::pin(async move {
            let grown = grow(&shared, &mut spec, size, disk_now).await;
            Done::DiskGrown(size, grown.map(|()| Box::new(spec)))
        }))
    }

    /// Takes in how a growth ended.
    pub(super) fn disk_grown(&mut self, size: u64, grown: Result<Box<MachineSpec>, ApiError>) {
        let text = format!("{} MiB", size >> 20);
        match grown {
            Ok(spec) => {
                self.spec = Some(*spec);
                self.disk.failed = None;
                self.shared.change(|view| view.drop_condition(CONDITION));
                by_itself(&self.shared, "machine.grow_disk", "succeeded", &text);
            }
            Err(error) => {
                // One line in the log for each size, not for each try.
                if self.disk.failed.is_none_or(|(failed, _)| failed != size) {
                    by_itself(&self.shared, "machine.grow_disk", "failed", &format!("{text}: {}", error.message));
                }
                self.disk.failed = Some((size, Instant::now()));
                self.shared.change(|view| {
                    view.set_condition(
                        CONDITION,
                        ConditionStatus::False,
                        "NotGrown",
                        &format!("The disk has not got its new size yet. {}", error.message),
                        "It is tried again by itself, and when the machine is restarted.",
                    );
                });
            }
        }
    }
}

/// Each step may be done again, and the note comes last: whoever finds it missing goes on from the first.
async fn grow(shared: &Shared, spec: &mut MachineSpec, size: u64, disk_now: u64) -> Result<(), ApiError> {
    if size > disk_now {
        shared.provider.grow_disk(size).await.map_err(|e| e.api())?;
    }
    let link = shared.see(|v| v.link.clone()).ok_or_else(|| {
        ApiError::new(
            ErrorCode::GuestUnreachable,
            "The guest can't be told of its larger disk.",
            "Restart the machine.",
        )
    })?;
    link.grow_disk().await?;
    spec.setup.disk_bytes = size;
    spec.save(&shared.layout).map_err(|e| e.api())
}
