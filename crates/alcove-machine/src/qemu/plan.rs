//! What a start needs to know before it begins.

use super::{
    argv::{self, Arguments, Paths},
    memory,
    probe::{self, Occasion, Verdict},
    provider::QemuProvider,
    version::Installed,
};
use crate::{MachineSpec, Result, image::Image, state::Fingerprint};

/// All that a start needs to know.
pub(crate) struct Plan {
    pub(crate) installed: Installed,
    pub(crate) verdict: Verdict,
    pub(crate) machine_type: String,
    pub(crate) fingerprint: Fingerprint,
}

impl QemuProvider {
    pub(crate) async fn plan(&self, spec: &MachineSpec, image: &Image, occasion: Occasion) -> Result<Plan> {
        let installed = self.installed().await?;
        let verdict = probe::choose(&self.layout, &installed, image, self.options.acceleration, occasion).await?;
        let made_with = self.chosen()?.map(|c| c.machine_type);
        let (machine_type, why) = installed.machine_type(made_with.as_deref())?;
        if let Some(why) = why {
            tracing::warn!(reason = why, machine_type, "the machine gets another machine type");
        }
        let fingerprint = Fingerprint {
            image: image.version().into(),
            hypervisor: installed.version.clone(),
            hardware: String::new(),
            acceleration: verdict.acceleration,
            cpu: probe::cpu_fingerprint(verdict.acceleration),
        };
        let mut plan = Plan { installed, verdict, machine_type, fingerprint };
        let paths = Paths::of(&self.layout, image);
        plan.fingerprint.hardware = argv::hardware(&plan.arguments(spec, image, &paths));
        Ok(plan)
    }
}

impl Plan {
    pub(crate) fn arguments<'a>(&'a self, spec: &'a MachineSpec, image: &'a Image, paths: &'a Paths) -> Arguments<'a> {
        Arguments {
            machine_type: &self.machine_type,
            acceleration: self.verdict.acceleration,
            setup: &spec.setup,
            uuid: spec.uuid,
            mac: &spec.mac,
            instance: spec.instance.as_str(),
            image: image.version(),
            cmdline: &image.manifest.cmdline,
            rescue: false,
            incoming: false,
            sandbox: cfg!(target_os = "linux"),
            memory_file: memory::AVAILABLE,
            paths,
        }
    }
}
