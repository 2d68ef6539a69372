//! The warm machine: booted once for each image, suspended, and kept in the user's cache.

use std::{
    env, fs,
    path::{Path, PathBuf},
    time::Duration,
};

use alcove_machine::{MachineError, Provider, QemuProvider, image::Image, qemu::QemuOptions, state::Validity};
use alcove_types::machine::Phase;
use anyhow::{Context, Result, ensure};

use crate::World;

/// How long an emulated machine may take to boot from nothing.
const BOOT: Duration = Duration::from_secs(900);
/// Sizes of the warm machine.
const SETUP: [&str; 7] = ["setup", "--memory", "3GiB", "--cpus", "2", "--disk", "20GiB"];

/// What this host answered when the acceleration was tried: beside the warm machine, so that not every test tries again.
const PROBE: &str = "probe.json";

/// Makes the world's machine a copy of the warm one, which is made when there is none that this version can take up.
pub(crate) fn adopt(world: &World) -> Result<()> {
    let images =
        env::var_os("ALCOVE_IMAGES").context("ALCOVE_IMAGES is not set: run these tests with `cargo xtask test`")?;
    let image = Image::open(PathBuf::from(images))?;
    let root = PathBuf::from(env::var_os("ALCOVE_WARM").context("ALCOVE_WARM is not set")?);
    let folder = root.join(format!("{}-{}", image.version(), env!("CARGO_PKG_VERSION")));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    if folder.join("machine.json").is_file() {
        if runtime.block_on(copy(&folder, world, &image))? {
            return Ok(());
        }
        // Another version made it, with other hardware or in another format.
        let provider = QemuProvider::new(world.layout().clone(), QemuOptions::default());
        runtime.block_on(provider.destroy())?;
        fs::remove_dir_all(&folder)?;
    }
    make(&root, &folder)?;
    ensure!(runtime.block_on(copy(&folder, world, &image))?, "a machine that was just saved can't be resumed");
    Ok(())
}

/// Copies the warm machine; says whether the copy can be resumed.
async fn copy(folder: &Path, world: &World, image: &Image) -> Result<bool> {
    let layout = world.layout();
    // Where there is none, each world tries by itself.
    let _ = fs::copy(folder.join(PROBE), layout.probe_json());
    let spec = match alcove_machine::warm::adopt(folder, layout).await {
        Err(MachineError::StateInvalid(_)) => return Ok(false),
        other => other?,
    };
    let state = QemuProvider::new(layout.clone(), QemuOptions::default()).state(&spec, image).await?;
    Ok(matches!(state, Some(Validity::Usable(_))))
}

fn make(root: &Path, folder: &Path) -> Result<()> {
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
    copy_sparse(world.layout().machine(), &made)?;
    fs::copy(world.layout().probe_json(), made.join(PROBE)).context("no answer about the acceleration was kept")?;
    // What belongs to that supervisor alone.
    for name in ["desired.json", "operations.jsonl", "port", "boot.jsonl"] {
        let _ = fs::remove_file(made.join(name));
    }
    for name in ["tasks", "logs", "snapshots"] {
        let _ = fs::remove_dir_all(made.join(name));
    }
    if fs::rename(&made, folder).is_err() {
        // Somebody else was faster.
        fs::remove_dir_all(&made)?;
    }
    for entry in fs::read_dir(root)?.flatten() {
        if entry.path() != folder {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    Ok(())
}

fn copy_sparse(from: &Path, to: &Path) -> Result<()> {
    // Sparse files stay sparse.
    let status = std::process::Command::new("cp").args(["-a", "--sparse=always"]).arg(from).arg(to).status()?;
    ensure!(status.success(), "{} can't be copied", from.display());
    Ok(())
}
