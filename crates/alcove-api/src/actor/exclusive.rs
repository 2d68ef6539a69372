//! Work that needs the machine for itself.

use alcove_machine::{MachineError, image::Images, layout::InstanceName, provider::Power, spec::MachineSpec};
use alcove_types::{
    ApiError, ErrorCode,
    guest::Account,
    machine::{Desired, Phase},
    settings::StartPolicy,
};

use super::{Action, Actor, Done, Exclusive, absent, made_already};
use crate::desired::Wanted;

impl Actor {
    pub(super) fn exclusive(&mut self, work: Exclusive, task: String) -> Action {
        let shared = self.shared.clone();
        let spec = self.spec.clone();
        let on = matches!(self.seen.as_ref().map(|s| &s.power), Some(Power::On(_)));
        shared.tasks.progress(&task, "", None);
        Box::pin(async move {
            let result = async {
                match work {
                    Exclusive::Create(setup) => {
                        if spec.is_some() {
                            return Err(made_already());
                        }
                        let images = Images::find(&shared.layout, &shared.config.image_folders);
                        let image = images.newest().ok_or_else(|| no_image(&shared.layout.home().images()))?;
                        let name: InstanceName = shared.config.instance.parse().map_err(|e: MachineError| e.api())?;
                        let spec =
                            MachineSpec::new(name, setup, account(&shared), image.version()).map_err(|e| e.api())?;
                        shared.layout.create().map_err(|e| e.api())?;
                        shared.provider.prepare(&spec, image).await.map_err(|e| e.api())?;
                        spec.save(&shared.layout).map(|()| None).map_err(|e| e.api())
                    }
                    Exclusive::Reset => {
                        if on {
                            shared.provider.kill().await.map_err(|e| e.api())?;
                        }
                        shared.provider.destroy().await.map_err(|e| e.api())?;
                        // What was wanted of this machine is not wanted of the next one.
                        if let Err(error) = Wanted::forget(&shared.config.wanted_json(&shared.layout)) {
                            tracing::error!(%error, "what was wanted can't be deleted; the next machine may get it");
                        }
                        // A settings file that can't be used keeps nobody from deleting the machine.
                        if let Err(error) = shared.settings.patch(&serde_json::json!({ "machine": null })) {
                            tracing::warn!(%error, "the deleted machine's sizes stay in the settings");
                        }
                        Ok(None)
                    }
                    Exclusive::Snapshot(request) => {
                        let spec = spec.ok_or_else(absent)?;
                        let images = Images::find(&shared.layout, &shared.config.image_folders);
                        let image = images.version(spec.slots.current().unwrap_or_default()).map_err(|e| e.api())?;
                        shared.provider.snapshot(&request, image).await.map(|_| None).map_err(|e| e.api())
                    }
                    Exclusive::Restore(name) => {
                        let snapshot = shared.provider.restore(&name).await.map_err(|e| e.api())?;
                        // A machine that is to be off would have the memory that was brought back thrown away.
                        Ok(snapshot.with_memory.then_some(Desired::Suspended))
                    }
                    Exclusive::DeleteSnapshot(name) => {
                        shared.provider.delete_snapshot(&name).await.map(|()| None).map_err(|e| e.api())
                    }
                }
            };
            Done::Exclusive(task, result.await)
        })
    }

    /// Takes in how it ended, and what is wanted because of it.
    pub(super) fn exclusive_done(&mut self, task: &str, result: Result<Option<Desired>, ApiError>) {
        self.exclusive = false;
        let had = self.spec.is_some() || self.shared.see(|v| v.unusable.is_some());
        match MachineSpec::load(&self.shared.layout) {
            Ok(spec) => self.spec = spec,
            Err(error) => self.shared.change(|view| view.can_t_be_used(error.api())),
        }
        match (had, self.spec.is_some()) {
            (false, true) => {
                // Who waits for this task starts the machine next, and must find it.
                let setup = self.spec.as_ref().map(|s| s.setup.clone());
                self.shared.change(|view| {
                    view.setup = setup;
                    view.being_made = false;
                    view.set_phase(Phase::Stopped);
                });
                // Said in the log when it can't be written, here and below.
                let _ = self.want(self.wanted.desired);
            }
            (false, false) => {
                self.shared.change(|view| view.being_made = false);
                if let Err(error) = &result {
                    self.fail_pending(error);
                    // Who was told that it failed does not expect the next machine to start by itself.
                    if self.shared.settings.get().start != StartPolicy::Running {
                        let _ = self.want(Desired::Stopped);
                    }
                }
            }
            (true, false) if result.is_ok() => {
                self.gone();
                self.given_up = false;
                self.restart = false;
                self.fail_pending(&absent());
                self.wanted = Wanted { desired: Desired::Stopped, generation: 0, at_work: true };
                let _ = self.publish_wanted();
                // Who waits for this task makes the next machine, and must not find this one.
                self.shared.change(|view| {
                    view.unusable = None;
                    view.failure = None;
                    view.boot = None;
                    view.conditions.clear();
                    view.setup = None;
                    view.set_phase(Phase::Absent);
                });
            }
            _ => {
                if let Ok(Some(desired)) = &result {
                    let _ = self.want(*desired);
                }
            }
        }
        self.shared.tasks.end(task, result.map(drop));
    }
}

/// The owner's account: the settings' name, else the login's.
fn account(shared: &crate::shared::Shared) -> Account {
    let login = std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).unwrap_or_default();
    let name: String =
        login.chars().filter(char::is_ascii_alphanumeric).take(32).collect::<String>().to_ascii_lowercase();
    let name = if name.is_empty() { "owner".to_owned() } else { name };
    let shown = shared.settings.get().display_name;
    Account { display_name: if shown.is_empty() { name.clone() } else { shown }, name }
}

fn no_image(folder: &std::path::Path) -> ApiError {
    ApiError::new(
        ErrorCode::ImageInvalid,
        "There is no guest image on this computer.",
        format!(
            "Bring one with `alcove image fetch`, from a folder or an address, or put one into {}; from the source, `cargo xtask image` builds one.",
            folder.display()
        ),
    )
}
