//! The warm machine: booted once for each image, suspended, and kept in the user's cache.

use std::{
    env, fs,
    path::{Path, PathBuf},
    time::Duration,
};

use alcove_machine::image::Image;
use alcove_types::machine::Phase;
use anyhow::{Context, Result};

use crate::World;

/// How long an emulated machine may take to boot from nothing.
const BOOT: Duration = Duration::from_secs(900);
/// Sizes of the warm machine.
const SETUP: [&str; 7] = ["setup", "--memory", "3GiB", "--cpus", "2", "--disk", "20GiB"];

/// The folder of the warm machine for the present image; made when there is none.
pub(crate) fn machine() -> Result<PathBuf> {
    let images =
        env::var_os("ALCOVE_IMAGES").context("ALCOVE_IMAGES is not set: run these tests with `cargo xtask test`")?;
    let image = Image::open(PathBuf::from(images))?;
    let root = PathBuf::from(env::var_os("ALCOVE_WARM").context("ALCOVE_WARM is not set")?);
    let folder = root.join(format!("{}-{}", image.version(), env!("CARGO_PKG_VERSION")));
    if folder.join("machine.json").is_file() {
        return Ok(folder);
    }
    let mut world = World::empty("warm")?;
    world.supervise()?;
    world.ok(&SETUP)?;
    let seconds = BOOT.as_secs().to_string();
    world.ok(&["start", "--wait", "--timeout", &seconds])?;
    world.ok(&["suspend", "--wait"])?;
    world.phase(Phase::Suspended, Duration::from_secs(60))?;
    world.ok(&["quit"])?;
    world.supervisor_ends()?;
    let made = root.join(format!(".making-{}", std::process::id()));
    copy(world.layout().machine(), &made)?;
    // What belongs to that supervisor alone.
    for name in ["desired.json", "operations.jsonl", "port", "boot.jsonl"] {
        let _ = fs::remove_file(made.join(name));
    }
    for name in ["tasks", "logs", "snapshots"] {
        let _ = fs::remove_dir_all(made.join(name));
    }
    if fs::rename(&made, &folder).is_err() {
        // Somebody else was faster.
        fs::remove_dir_all(&made)?;
    }
    for entry in fs::read_dir(&root)?.flatten() {
        if entry.path() != folder {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    Ok(folder)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    // Sparse files stay sparse.
    let status = std::process::Command::new("cp").args(["-a", "--sparse=always"]).arg(from).arg(to).status()?;
    anyhow::ensure!(status.success(), "{} can't be copied", from.display());
    Ok(())
}
