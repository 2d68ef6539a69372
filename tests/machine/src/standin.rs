//! A world whose QEMU is the scripted stand-in: it can be made to hold at any step, so that what happens there is no
//! matter of luck. What the stand-in does is described where it is written, in `crates/alcove-machine/standin`.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    time::Duration,
};

use alcove_types::image::{ImageFile, ImageKubernetes, ImageManifest, MANIFEST_SCHEMA};
use anyhow::{Context, Result};

use crate::{World, world};

const VERSION: &str = "abc123";

/// How long a stand-in may take for anything.
pub const SOON: Duration = Duration::from_secs(60);

impl World {
    /// A world with a machine that is made and off, and that the stand-in runs.
    pub fn standin(name: &str) -> Result<Self> {
        let mut world = Self::empty(name)?;
        let bin = world.home().join("bin");
        fs::create_dir(&bin)?;
        let standin = world::binaries()?.join("qemu-standin");
        anyhow::ensure!(standin.is_file(), "there is no {}: `cargo xtask test` builds it", standin.display());
        for name in ["qemu-system-x86_64", "qemu-img"] {
            symlink(&standin, bin.join(name))?;
        }
        let images = world.home().join("images");
        image(&images.join(VERSION))?;
        world.set("ALCOVE_QEMU", &bin.join("qemu-system-x86_64").to_string_lossy());
        world.set("ALCOVE_ACCEL", "tcg");
        world.set("ALCOVE_IMAGES", &images.join(VERSION).to_string_lossy());
        world.supervise()?;
        world.ok(&["settings", "set", "start", "keep"])?;
        world.ok(&["setup", "--memory", "2GiB", "--cpus", "2", "--disk", "10GiB"])?;
        world.ok(&["stop", "--wait"])?;
        Ok(world)
    }

    fn script(&self) -> PathBuf {
        self.home().join("bin/script")
    }

    fn held_file(&self) -> PathBuf {
        self.home().join("bin/held")
    }

    /// Makes the stand-in hold when it comes to this point.
    pub fn hold(&self, point: &str) -> Result<()> {
        let _ = fs::remove_file(self.held_file());
        Ok(fs::write(self.script(), format!("hold={point}\n"))?)
    }

    /// Waits until it holds.
    pub fn held(&self) -> Result<()> {
        self.until("the machine has come to the step", SOON, |w| Ok(w.held_file().exists()))
    }

    /// Lets it go on.
    pub fn release(&self) -> Result<()> {
        Ok(fs::write(self.script(), "")?)
    }

    /// How far the stand-in's guest has counted: its memory.
    pub fn count(&self) -> u64 {
        let log = fs::read_to_string(self.layout().serial_log()).unwrap_or_default();
        log.lines().rev().find_map(|l| l.trim().strip_prefix("TICK ")?.parse().ok()).unwrap_or(0)
    }

    /// What the supervisor did and noticed, newest first.
    pub fn noted(&self) -> Result<Vec<String>> {
        let log = self.get("/api/v1/operations")?;
        let lines = log["operations"].as_array().context("no operations")?;
        Ok(lines.iter().filter_map(|o| o["what"].as_str().map(str::to_owned)).collect())
    }
}

/// An image that the stand-in takes for one.
fn image(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    let files = ["vmlinuz", "initrd", "root.erofs"].map(|name| (name, vec![0_u8; 4096]));
    for (name, content) in &files {
        fs::write(folder.join(name), content)?;
    }
    let manifest = ImageManifest {
        schema: MANIFEST_SCHEMA,
        version: VERSION.into(),
        created: "2026-01-01T00:00:00Z".into(),
        architecture: std::env::consts::ARCH.into(),
        kernel_version: "6.12".into(),
        cmdline: "console=ttyS0".into(),
        kubernetes: ImageKubernetes { distribution: "none".into(), version: String::new() },
        guest_version: "0".into(),
        files: files
            .iter()
            .map(|(name, content)| ImageFile {
                name: (*name).into(),
                bytes: content.len() as u64,
                sha256: "ad7facb2586fc6e966c004d7d1d16b024f5805ff7cb47c7a85dabd8b48892ca7".into(),
            })
            .collect(),
        packages: Vec::new(),
        containers: Vec::new(),
    };
    Ok(fs::write(folder.join("manifest.json"), serde_json::to_vec(&manifest)?)?)
}
