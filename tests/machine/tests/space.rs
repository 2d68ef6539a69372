//! This computer's disk is full: while the machine boots, and while it is saved. On the real machine, whose home lies on
//! a small disk of its own.

use std::{fs, path::Path, process::Command, time::Duration};

use alcove_machine_tests::{PATIENCE, World};
use alcove_types::{
    ErrorCode,
    condition::find,
    machine::{Desired, Phase},
};
use anyhow::{Context, Result, ensure};

/// A boot from nothing under emulation.
const BOOT: Duration = Duration::from_secs(600);

/// A small disk, in memory, at a folder.
struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    /// `None` where this process may not mount anything.
    fn mount(at: &'a Path, size: &str) -> Result<Option<Self>> {
        let options = format!("size={size},mode=700");
        let output = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(at).output()?;
        Ok(output.status.success().then_some(Self(at)))
    }

    /// Makes it as large as what is on it, and this much larger.
    fn leave(&self, bytes: u64) -> Result<()> {
        let stat = rustix::fs::statvfs(self.0)?;
        let used = (stat.f_blocks - stat.f_bfree) * stat.f_frsize;
        let options = format!("remount,size={}", used + bytes);
        let status = Command::new("mount").args(["-o", &options]).arg(self.0).status()?;
        ensure!(status.success(), "the small disk can't be made {bytes} bytes larger than what is on it");
        let free = rustix::fs::statvfs(self.0).map(|s| s.f_bavail * s.f_frsize)?;
        ensure!(free <= bytes, "{free} bytes are free on the small disk, and should be {bytes}");
        Ok(())
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        // What still uses it lets go of it when it ends.
        let _ = Command::new("umount").arg("--lazy").arg(self.0).status();
    }
}

fn memory_kept(world: &World) -> Result<String> {
    Ok(world.ok(&["shell", "--", "cat", "/run/kept"])?.stdout.trim().to_owned())
}

#[test]
fn a_full_disk_stops_a_boot_and_a_suspend_and_loses_nothing() -> Result<()> {
    let folder = tempfile::Builder::new().prefix("alcove-space-").tempdir()?;
    let Some(disk) = SmallDisk::mount(folder.path(), "16g")? else {
        let left_out = "this process may not mount a disk, and no other way leads to a full one";
        ensure!(std::env::var_os("ALCOVE_TEST_NEEDS_ROOT_TOOLS").is_none(), "this must not be left out: {left_out}");
        eprintln!("left out: {left_out}");
        return Ok(());
    };
    let mut world = World::at(folder.path())?;
    world.supervise()?;
    // No machine is made where there is no room for it: the disk gets small afterwards.
    world.ok(&["settings", "set", "start", "keep"])?;
    world.ok(&["setup", "--memory", "3GiB", "--cpus", "2", "--disk", "10GiB"])?;
    disk.leave(6 << 20)?;
    world.ok(&["start", "--no-wait"])?;

    // The guest writes more than there is room for; it stands still instead of being told that its disk failed.
    world.until("the full disk is told", BOOT, |w| {
        Ok(find(&w.machine()?.conditions, "HostDiskHasSpace").is_some_and(|c| !c.holds() && !c.hint.is_empty()))
    })?;
    ensure!(world.qemu().is_some(), "the machine was ended");
    // With space again it goes on by itself, and comes up.
    disk.leave(4 << 30)?;
    world.phase(Phase::Running, BOOT)?;
    ensure!(find(&world.machine()?.conditions, "HostDiskHasSpace").is_none());

    // What is only in memory tells whether the guest was started anew.
    world.ok(&["shell", "--", "sh", "-c", "echo here > /run/kept"])?;
    disk.leave(24 << 20)?;
    let refused = world.alcove(&["suspend", "--wait"])?;
    ensure!(refused.code != 0, "there was room for the memory: {refused:?}");
    ensure!(refused.stderr.contains("hint:"), "{refused:?}");
    let tasks = world.get("/api/v1/tasks")?.to_string();
    ensure!(tasks.contains("disk_full"), "{tasks}");
    let status = world.status()?;
    assert_eq!((status.phase, status.desired), (Phase::Running, Desired::Running), "the guest goes on");
    assert_eq!(memory_kept(&world)?, "here");
    let state = fs::read_dir(world.layout().state())?.flatten().map(|e| e.path()).collect::<Vec<_>>();
    ensure!(state.is_empty(), "half a state was left: {state:?}");

    disk.leave(4 << 30)?;
    world.ok(&["suspend", "--wait"])?;
    world.ok(&["start", "--wait", "--timeout", "240"])?;
    assert_eq!(memory_kept(&world)?, "here");
    world.ok(&["stop", "--wait", "--timeout", "240"]).context("in order")?;
    let failure = world.machine()?.failure;
    ensure!(failure.as_ref().is_none_or(|f| f.error.code != ErrorCode::DiskFull), "{failure:?}");
    world.until("it rests", PATIENCE, |w| Ok(w.status()?.phase == Phase::Stopped))
}
