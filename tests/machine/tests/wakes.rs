//! What the real machine meets when it wakes, and while it is awake: parts of it that were killed, a larger disk.

use std::process::Command;

use alcove_machine_tests::{PATIENCE, World};
use alcove_types::machine::Phase;
use anyhow::{Context, Result, ensure};
use serde_json::json;

/// Until it is acknowledged: a cluster that has just woken may take a moment.
fn write(world: &World, name: &str) -> Result<()> {
    world.until(&format!("{name} is written"), PATIENCE, |w| {
        let create = ["kubectl", "--", "create", "configmap", name, "--from-literal=kept=yes"];
        Ok(w.alcove(&create)?.code == 0 || written(w, name)?)
    })
}

fn written(world: &World, name: &str) -> Result<bool> {
    let read = ["kubectl", "--", "get", "configmap", name, "-o", "jsonpath={.data.kept}"];
    Ok(world.alcove(&read)?.stdout.contains("yes"))
}

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
    write(&world, "before")?;
    kill_services(&world, &services)?;
    world.ok(&["suspend", "--wait"])?;
    world.phase(Phase::Suspended, PATIENCE)?;
    world.ok(&["resume", "--no-wait"])?;
    world.until("what was written before is there", PATIENCE, |w| written(w, "before"))?;
    write(&world, "between")?;
    // Now right after a resume.
    world.ok(&["suspend", "--wait"])?;
    world.ok(&["resume", "--no-wait"])?;
    world.until("the guest runs", PATIENCE, |w| Ok(w.alcove(&["shell", "--", "true"])?.code == 0))?;
    kill_services(&world, &services)?;
    for name in ["before", "between"] {
        world.until(&format!("{name} is there"), PATIENCE, |w| written(w, name))?;
    }
    world.phase(Phase::Running, PATIENCE)?;
    for lost in ["machine.crashed", "machine.discard_state"] {
        ensure!(!noted(&world, lost)?, "the machine itself was lost: {lost}");
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
