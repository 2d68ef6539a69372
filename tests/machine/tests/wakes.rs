//! What the real machine meets when it wakes: parts of it that were killed, a clock that is hours off, a larger disk.

use std::{fs, process::Command};

use alcove_machine::{Provider, QemuProvider, qemu::QemuOptions};
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

/// The clocks of host and guest drift hours apart while the machine sleeps, whichever way: it wakes with the right one.
#[test]
fn a_clock_that_is_hours_off_is_set_when_the_machine_wakes() -> Result<()> {
    let mut world = World::warm("clock")?;
    world.supervise()?;
    world.phase(Phase::Running, PATIENCE)?;
    write(&world, "kept")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    for (jump, sign) in [("+5 hours", 1_i64), ("-7 hours", -1)] {
        // As soon as nobody is at the door who would set it right at once; then it says so on the console.
        let line = format!(
            "while grep -qs ':1D13 [0-9A-F]*:[0-9A-F]* 01 ' /proc/net/tcp /proc/net/tcp6; do sleep 0.1; done; date -s '{jump}'; \
             echo \"clock-is $(date +%s)\" > /dev/ttyS0"
        );
        let told = |w: &World| {
            let log = fs::read_to_string(w.layout().serial_log()).unwrap_or_default();
            log.lines().rev().find_map(|l| l.trim().strip_prefix("clock-is ")?.trim().parse::<i64>().ok())
        };
        let before = told(&world);
        world.ok(&["shell", "--", "systemd-run", "--quiet", "--collect", "sh", "-c", &line])?;
        world.kill_supervisor()?;
        world.until("the guest's clock has jumped", PATIENCE, |w| Ok(told(w).is_some() && told(w) != before))?;
        let off = told(&world).context("no clock")? - i64::try_from(unix_now()?)?;
        ensure!(off * sign > 4 * 3600, "the clock is {off} s off");
        let provider = QemuProvider::new(world.layout().clone(), QemuOptions::default());
        runtime.block_on(provider.suspend())?;
        drop(provider);
        world.supervise()?;
        world.phase(Phase::Running, PATIENCE)?;
        world.until("the guest's clock is right", PATIENCE, |w| {
            let seen: i64 = w.ok(&["shell", "--", "date", "+%s"])?.stdout.trim().parse()?;
            Ok((seen - i64::try_from(unix_now()?)?).abs() < 20)
        })?;
        ensure!(!noted(&world, "machine.discard_state")?, "the memory was given up");
        // Kubernetes has lived through it.
        world.until("what was written is there", PATIENCE, |w| written(w, "kept"))?;
        world
            .until("nodes are ready", PATIENCE, |w| Ok(w.get("/api/v1/cluster/nodes")?["items"][0]["ready"] == true))?;
    }
    Ok(())
}

fn unix_now() -> Result<u64> {
    Ok(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs())
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
