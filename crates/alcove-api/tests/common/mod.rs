//! A supervisor over a machine without a hypervisor.

#![allow(dead_code, reason = "not every test file uses all of it")]
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod guest;
mod machine;
mod others;
mod stage;

use std::{
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use alcove_api::{Config, Supervisor, operations::Caller};
use alcove_machine::{Home, Layout, MachineSpec};
use alcove_types::{ApiError, machine::MachineSetup, task::Task};
use serde_json::json;
use sha2::{Digest, Sha256};

pub(crate) use machine::Does;
use stage::Stage;

pub(crate) const DEADLINE: Duration = Duration::from_secs(40);
pub(crate) const GIB: u64 = 1 << 30;
pub(crate) const SETUP: MachineSetup = MachineSetup { memory_bytes: 2 * GIB, cpus: 2, disk_bytes: 16 * GIB };

pub(crate) struct World {
    _dir: tempfile::TempDir,
    pub(crate) layout: Layout,
    pub(crate) stage: Arc<Stage>,
    boot_deadline: Duration,
}

impl World {
    pub(crate) fn new(boot_deadline: Duration) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(Home::at(dir.path().join("home")).unwrap(), "test".parse().unwrap());
        let stage = Arc::new(Stage::new(layout.clone()));
        Self { _dir: dir, layout, stage, boot_deadline }
    }

    /// Puts an image into the data folder; later days are newer images.
    pub(crate) fn image(&self, version: &str, day: u32, does: Does) {
        let folder = self.layout.home().images().join(version);
        fs::create_dir_all(&folder).unwrap();
        let files = ["vmlinuz", "initrd", "root.erofs"].map(|name| {
            fs::write(folder.join(name), version).unwrap();
            json!({ "name": name, "bytes": version.len(), "sha256": hex::encode(Sha256::digest(version)) })
        });
        let manifest = json!({
            "schema": 1, "version": version, "created": format!("2026-01-{day:02}T00:00:00Z"),
            "architecture": std::env::consts::ARCH, "kernel_version": "6.12", "cmdline": "", "guest_version": "0",
            "kubernetes": { "distribution": "none", "version": "" },
            "files": files, "packages": [], "containers": [],
        });
        fs::write(folder.join("manifest.json"), manifest.to_string()).unwrap();
        self.stage.machine().does.insert(version.into(), does);
    }

    pub(crate) fn supervisor(&self) -> Supervisor {
        self.begin(false)
    }

    /// A supervisor, which keeps the machine as it is where asked to.
    pub(crate) fn begin(&self, keep: bool) -> Supervisor {
        let config = Config {
            keep,
            instance: "test".into(),
            image_folders: Vec::new(),
            image_source: self.layout.home().data().join("none.json"),
            boot_deadline: self.boot_deadline,
        };
        Supervisor::begin(config, self.layout.clone(), self.stage.clone()).unwrap()
    }

    /// A machine that is up with the image `one`.
    pub(crate) async fn running(&self) -> Supervisor {
        self.image("one", 1, Does::ComesUp);
        let supervisor = self.supervisor();
        done(&supervisor, supervisor.create(SETUP, &me()).await).await.unwrap();
        done(&supervisor, supervisor.start(false, &me()).await).await.unwrap();
        supervisor
    }

    /// The images of all boots.
    pub(crate) fn started(&self) -> Vec<String> {
        self.stage.machine().started.clone()
    }

    /// The larger sizes that the disk was to get, and how often the guest was told to take one up.
    pub(crate) fn grown(&self) -> (Vec<u64>, usize) {
        let machine = self.stage.machine();
        (machine.grown.clone(), machine.told)
    }

    /// What is written down of the machine.
    pub(crate) fn noted(&self) -> MachineSpec {
        MachineSpec::load(&self.layout).unwrap().unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // What is left of it lies in a folder for what is temporary.
        let _ = fs::remove_dir_all(self.layout.runtime());
    }
}

pub(crate) fn me() -> Caller {
    Caller { who: "owner".into(), via: "cli".into() }
}

/// Waits for the end of what was asked for.
pub(crate) async fn done(supervisor: &Supervisor, asked: Result<Task, ApiError>) -> Result<Task, ApiError> {
    supervisor.wait(&asked?.id, DEADLINE).await
}

pub(crate) async fn until(what: &str, holds: impl Fn() -> bool) {
    let by = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < by, "{what}: not in {DEADLINE:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The disk is to have this size.
pub(crate) fn wants(supervisor: &Supervisor, gib: u64) {
    supervisor.change_settings(&json!({ "machine": { "disk_bytes": gib * GIB } }), &me()).unwrap();
}
