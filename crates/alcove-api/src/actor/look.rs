//! A look at the machine, and what is shown of it.

use std::time::Instant;

use alcove_machine::{provider::Power, spec::MachineSpec};
use alcove_types::{ApiError, ConditionStatus, ErrorCode};

use super::{Actor, Exclusive, keys};
use crate::{operations::Caller, shared::View};

impl Actor {
    /// Looks at the machine.
    pub(super) async fn look(&mut self) {
        let observation = match self.shared.provider.observe().await {
            Ok(observation) => observation,
            Err(error) => {
                tracing::warn!(%error, "the machine can't be looked at");
                return;
            }
        };
        self.look_at_description(&observation.power);
        let image = self.spec.as_ref().and_then(|s| s.slots.current().map(str::to_owned));
        let mut cpu = None;
        if let Power::On(on) = &observation.power {
            let now = Instant::now();
            if let (Some((then, before)), Some(ms)) = (self.last_usage, on.cpu_time_ms) {
                let wall = now.duration_since(then).as_secs_f64() * 1000.0;
                #[expect(clippy::cast_precision_loss, reason = "a share needs no more than 52 bits")]
                if wall > 1000.0 {
                    cpu = Some((ms.saturating_sub(before) as f64 / wall * 100.0).round() / 100.0);
                    self.last_usage = Some((now, ms));
                }
            } else if let Some(ms) = on.cpu_time_ms {
                self.last_usage = Some((now, ms));
            }
        } else {
            self.last_usage = None;
        }
        let is_on = matches!(observation.power, Power::On(_));
        let io_error = matches!(&observation.power, Power::On(on) if on.io_error);
        let full = !self.shared.config.space_is_back(&self.shared.layout);
        self.shared.change(|view| {
            view.disk_file.clone_from(&observation.disk);
            view.image = image;
            view.setup = self.spec.as_ref().map(|s| s.setup.clone());
            match &observation.power {
                Power::On(on) => {
                    view.host_memory_bytes = on.rss_bytes;
                    if cpu.is_some() {
                        view.host_cpu_share = cpu;
                    }
                    view.state_bytes = None;
                }
                Power::Suspended { state } => {
                    view.host_memory_bytes = None;
                    view.host_cpu_share = None;
                    view.state_bytes = Some(taken(&self.shared.layout.state()).unwrap_or(state.bytes));
                }
                Power::Off | Power::Absent => {
                    view.host_memory_bytes = None;
                    view.host_cpu_share = None;
                    view.state_bytes = None;
                }
            }
            if io_error && full {
                view.set_condition(
                    "HostDiskHasSpace",
                    ConditionStatus::False,
                    "NoSpace",
                    "This computer's disk is full. The machine stands still, so that nothing is lost.",
                    "Free some space; the machine then goes on by itself.",
                );
            } else if io_error {
                view.set_condition(
                    "HostDiskWorks",
                    ConditionStatus::False,
                    "InputOutput",
                    "This computer could not read or write the machine's disk file. The machine stands still and is let go on every few seconds.",
                    "Check the disk that holds it for errors and quotas. `alcove kill` ends the machine.",
                );
            } else {
                view.drop_condition("HostDiskHasSpace");
                view.drop_condition("HostDiskWorks");
            }
        });
        self.seen = Some(observation);
        if !is_on && self.watch.is_some() {
            self.machine_is_gone(None);
        }
        if is_on && self.watch.is_none() && keys::can_be_read(&self.shared).await {
            self.adopt();
        }
    }

    /// Whether what is written down of the machine can be used, and fits what is there.
    fn look_at_description(&mut self, power: &Power) {
        let known = self.shared.see(|v| v.unusable.clone());
        if self.spec.is_none() {
            // A person may have put it right.
            if known.is_some()
                && let Ok(spec) = MachineSpec::load(&self.shared.layout)
            {
                self.spec = spec;
                self.shared.change(View::can_be_used);
            }
            return;
        }
        let missing = *power == Power::Absent;
        if !missing {
            if known.is_some() {
                self.shared.change(View::can_be_used);
            }
            return;
        }
        let layout = &self.shared.layout;
        // Which of the two files is deleted first says whether the machine was being deleted.
        if !layout.qemu_json().exists() && !self.deletion_finished {
            self.deletion_finished = true;
            tracing::warn!("the machine was being deleted when the supervisor ended: going on with that");
            let (task, _) =
                self.shared.tasks.begin("machine.reset", &self.shared.config.instance, &Caller::supervisor(), false);
            self.queue.push_back((Exclusive::Reset, task.id));
        } else if known.is_none() {
            let error = ApiError::new(
                ErrorCode::FileCorrupt,
                format!("The machine's data disk is missing: {}.", layout.data_disk().display()),
                "Put the file back, or bring back the disk that holds it. `alcove reset` deletes what is left.",
            );
            self.fail_pending(&error);
            self.shared.change(|view| view.can_t_be_used(error));
        }
    }
}

/// Bytes that the files of a folder take on the disk: a saved state is sparse, and its length says little.
fn taken(folder: &std::path::Path) -> Option<u64> {
    use std::os::unix::fs::MetadataExt;
    let entries = std::fs::read_dir(folder).ok()?;
    Some(entries.flatten().filter_map(|e| e.metadata().ok()).map(|m| m.blocks() * 512).sum())
}
