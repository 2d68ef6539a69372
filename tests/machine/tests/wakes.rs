//! What the real machine meets when it wakes, and while it is awake: parts of it that were killed, a clock that is hours
//! off, a larger disk.

use std::{
    path::Path,
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

use alcove_machine_tests::{PATIENCE, World};
use alcove_types::machine::Phase;
use anyhow::{Context, Result, ensure};
use serde_json::json;

/// Kills these services as a crash would. The answer may be lost with the daemon that gives it.
fn kill_services(world: &World, services: &[&str]) -> Result<()> {
    let line: Vec<_> = services.iter().map(|s| format!("systemctl kill -s KILL {s}.service")).collect();
    world.alcove(&["shell", "--", "sh", "-c", &line.join("; ")]).map(drop)
}

fn noted(world: &World, what: &str) -> Result<bool> {
    let log = world.get("/api/v1/operations")?;
    Ok(log["operations"].as_array().is_some_and(|l| l.iter().any(|o| o["what"] == what)))
}

/// The parts die as the machine goes to sleep, and again as it wakes: it comes to itself, and nothing is lost.
#[test]
fn parts_that_die_around_a_suspend_come_back_by_themselves() -> Result<()> {
    let mut world = World::warm("around")?;
    world.supervise()?;
    world.phase(Phase::Running, PATIENCE)?;
    let services = ["k3s", "alcove-guest"];
    world.keep("before")?;
    kill_services(&world, &services)?;
    world.ok(&["suspend", "--wait"])?;
    world.phase(Phase::Suspended, PATIENCE)?;
    world.ok(&["resume", "--no-wait"])?;
    world.until("what was written before is there", PATIENCE, |w| w.keeps("before"))?;
    world.keep("between")?;
    // Now right after a resume.
    world.ok(&["suspend", "--wait"])?;
    world.ok(&["resume", "--no-wait"])?;
    world.until("the guest runs", PATIENCE, |w| Ok(w.alcove(&["shell", "--", "true"])?.code == 0))?;
    kill_services(&world, &services)?;
    for name in ["before", "between"] {
        world.until(&format!("{name} is there"), PATIENCE, |w| w.keeps(name))?;
    }
    world.phase(Phase::Running, PATIENCE)?;
    for lost in ["machine.crashed", "machine.discard_state"] {
        ensure!(!noted(&world, lost)?, "the machine itself was lost: {lost}");
    }
    Ok(())
}

/// The computer's clock is set while the machine sleeps, whichever way: it wakes with the computer's time, and Kubernetes
/// lives through it. The longer sleep outlasts the certificates.
#[test]
fn a_clock_that_jumps_while_the_machine_sleeps_is_followed() -> Result<()> {
    let library = Path::new("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1");
    if !library.exists() {
        ensure!(std::env::var_os("ALCOVE_TEST_NEEDS_ROOT_TOOLS").is_none(), "libfaketime is not installed");
        eprintln!("left out: libfaketime is not installed");
        return Ok(());
    }
    let mut world = World::warm("clock")?;
    // For the supervisor, QEMU and whoever asks: their clock is off, and time passes for them as for all others.
    world.set("LD_PRELOAD", &library.to_string_lossy());
    world.set("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    world.set("DONT_FAKE_MONOTONIC", "1");
    world.set("NO_FAKE_STAT", "1");
    for (name, hours) in [("ahead", 400 * 24), ("behind", -7)] {
        world.set("FAKETIME", &format!("{hours:+}h"));
        world.supervise()?;
        world.phase(Phase::Running, PATIENCE)?;
        world.until("the guest has the computer's time", PATIENCE, |w| {
            let seen: i64 = w.ok(&["shell", "--", "date", "+%s"])?.stdout.trim().parse()?;
            let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?;
            Ok((seen - now - hours * 3600).abs() < 30)
        })?;
        ensure!(!noted(&world, "machine.discard_state")?, "the memory was given up");
        world
            .until("nodes are ready", PATIENCE, |w| Ok(w.get("/api/v1/cluster/nodes")?["items"][0]["ready"] == true))?;
        world.keep(name)?;
        world.until("the web desktop answers", PATIENCE, |w| Ok(w.alcove(&["start", "--wait"])?.code == 0))?;
        world.ok(&["quit"])?;
        world.supervisor_ends()?;
    }
    world.supervise()?;
    for name in ["ahead", "behind"] {
        world.until(&format!("{name} is there"), PATIENCE, |w| w.keeps(name))?;
    }
    Ok(())
}

/// A larger disk in the settings is a larger file system in the guest, while it runs.
#[test]
fn a_larger_disk_is_there_in_the_guest_while_it_runs() -> Result<()> {
    let mut world = World::warm("larger")?;
    world.supervise()?;
    world.phase(Phase::Running, PATIENCE)?;
    let size = |w: &World| -> Result<u64> {
        let text = w.ok(&["shell", "--", "df", "--output=size", "-B1", "/data"])?.stdout;
        text.lines().last().and_then(|l| l.trim().parse().ok()).with_context(|| text.clone())
    };
    let (before, qemu) = (size(&world)?, world.qemu());
    let setup = serde_json::to_value(world.machine()?)?["setup"].clone();
    let disk = setup["disk_bytes"].as_u64().context("no size")? + (4 << 30);
    let patch =
        json!({ "machine": { "memory_bytes": setup["memory_bytes"], "cpus": setup["cpus"], "disk_bytes": disk } });
    let output = Command::new("curl")
        .args(["-sS", "--fail-with-body", "-X", "PATCH", "-H", "Content-Type: application/json", "--unix-socket"])
        .arg(world.layout().api_sock())
        .args(["-d", &patch.to_string(), "http://alcove.localhost/api/v1/settings"])
        .output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    world.until("the guest has the larger disk", PATIENCE, |w| Ok(size(w)? >= before + (3 << 30)))?;
    world.until("its figures tell it", PATIENCE, |w| {
        Ok(w.machine()?.guest.is_some_and(|g| g.disk.total >= before + (3 << 30)))
    })?;
    assert_eq!(world.qemu(), qemu, "it was not restarted for that");
    Ok(())
}
