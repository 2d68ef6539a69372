//! The machine's life, and what it survives. Each test takes up a copy of one warm machine.

use std::{fs, process::Command, time::Duration};

use alcove_machine_tests::{PATIENCE, World, kill};
use alcove_types::machine::{Desired, Phase};
use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// A boot from nothing under emulation.
const BOOT: Duration = Duration::from_secs(600);

fn write(world: &World, name: &str) -> Result<()> {
    world.ok(&["kubectl", "--", "create", "configmap", name, "--from-literal=kept=yes"]).map(drop)
}

/// The web desktop's page or its API, as a program with the token asks for it.
fn desktop(world: &World, path: &str) -> Result<String> {
    let (port, token) = world.loopback()?;
    let output = Command::new("curl")
        .args(["-sS", "--fail-with-body", "--max-time", "30", "--resolve"])
        .arg(format!("desktop.localhost:{port}:127.0.0.1"))
        .args(["-H", &format!("Authorization: Bearer {token}")])
        .arg(format!("http://desktop.localhost:{port}{path}"))
        .output()?;
    ensure!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn unix_now() -> Result<i128> {
    Ok(i128::try_from(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_nanos())?)
}

#[test]
fn it_is_there_again_after_a_suspend_and_after_quitting() -> Result<()> {
    let mut world = World::warm("life")?;
    world.supervise()?;
    // What is wanted on a start of Alcove is a running machine: nobody has to ask.
    world.phase(Phase::Running, PATIENCE)?;

    // The contract that other tools rely on.
    let status: Value = serde_json::from_str(&world.ok(&["status", "--json"])?.stdout)?;
    for pointer in [
        "/desired",
        "/phase",
        "/conditions/0/type",
        "/conditions/0/status",
        "/conditions/0/reason",
        "/conditions/0/message",
        "/conditions/0/hint",
        "/conditions/0/since",
        "/machine/provider",
        "/machine/acceleration",
        "/machine/memory_bytes",
        "/machine/cpus",
        "/machine/image",
        "/kubernetes/distribution",
        "/kubernetes/version",
        "/kubernetes/node_ready",
        "/endpoints/native",
        "/endpoints/desktop",
        "/endpoints/kubernetes",
    ] {
        ensure!(status.pointer(pointer).is_some_and(|v| !v.is_null()), "{pointer} is missing in {status}");
    }

    // The clock of a machine that slept is right again.
    world.until("the guest's clock is right", PATIENCE, |w| {
        let machine = w.machine()?;
        let guest = machine.guest.context("the guest has not spoken yet")?;
        Ok((i128::from(guest.unix_time_ns) - unix_now()?).abs() < 20_000_000_000)
    })?;

    // The web desktop comes from a pod in the guest.
    ensure!(desktop(&world, "/")?.contains("<html"), "no page");
    let me: Value = serde_json::from_str(&desktop(&world, "/api/v1/me")?)?;
    ensure!(me["node"].is_string() && me["version"].is_string(), "{me}");

    world.until("nodes are listed as ready", PATIENCE, |w| {
        Ok(w.get("/api/v1/cluster/nodes")?["items"][0]["ready"] == true)
    })?;
    write(&world, "acknowledged")?;

    world.ok(&["suspend", "--wait"])?;
    assert_eq!(world.qemu(), None, "a suspended machine uses no memory");
    assert_eq!(world.status()?.phase, Phase::Suspended);
    world.ok(&["start", "--wait", "--timeout", "240"])?;
    world.until("what was written is there", PATIENCE, |w| w.keeps("acknowledged"))?;

    world.ok(&["quit"])?;
    world.supervisor_ends()?;
    assert_eq!(world.qemu(), None);
    world.supervise()?;
    world.phase(Phase::Running, PATIENCE)?;
    world.until("what was written is there", PATIENCE, |w| w.keeps("acknowledged"))?;
    Ok(())
}

#[test]
fn a_killed_supervisor_takes_its_machine_up_again() -> Result<()> {
    let mut world = World::warm("supervisor")?;
    world.supervise()?;
    world.phase(Phase::Running, PATIENCE)?;
    let qemu = world.qemu().context("no QEMU")?;
    world.kill_supervisor()?;
    assert_eq!(world.qemu(), Some(qemu), "the machine does not depend on its supervisor");
    world.supervise()?;
    world.phase(Phase::Running, PATIENCE)?;
    assert_eq!(world.qemu(), Some(qemu), "the machine was taken over, not started anew");

    // In the middle of a suspend: what was wanted still is.
    world.ok(&["suspend", "--no-wait"])?;
    world.kill_supervisor()?;
    world.supervise()?;
    world.phase(Phase::Suspended, PATIENCE)?;
    assert_eq!(world.status()?.desired, Desired::Suspended);

    // In the middle of a resume.
    world.ok(&["resume", "--no-wait"])?;
    world.kill_supervisor()?;
    world.supervise()?;
    world.phase(Phase::Running, PATIENCE)
}

#[test]
fn two_who_ask_at_once_get_one_machine() -> Result<()> {
    let mut world = World::warm("at-once")?;
    world.supervise()?;
    let mut asking: Vec<_> =
        (0..4).map(|_| Ok(world.program("alcove")?.args(["start", "--no-wait"]).spawn()?)).collect::<Result<_>>()?;
    for one in &mut asking {
        ensure!(one.wait()?.success());
    }
    world.phase(Phase::Running, PATIENCE)?;
    let qemus = fs::read_dir("/proc")?
        .flatten()
        .filter_map(|e| fs::read_to_string(e.path().join("cmdline")).ok())
        .filter(|c| c.starts_with("qemu-system") || c.contains("/qemu-system"))
        .filter(|c| c.contains(&*world.layout().runtime().to_string_lossy()))
        .count();
    assert_eq!(qemus, 1);
    Ok(())
}

#[test]
fn a_damaged_state_is_given_up_with_a_reason() -> Result<()> {
    let mut world = World::warm("state")?;
    let state = fs::read_dir(world.layout().state())?
        .flatten()
        .map(|e| e.path())
        .find(|p| p.extension().is_some_and(|e| e == "bin"))
        .context("no state")?;
    // The file may be shared with the warm machine: it is replaced, not written into.
    let mut start = vec![0; 1 << 20];
    std::io::Read::read_exact(&mut fs::File::open(&state)?, &mut start)?;
    fs::remove_file(&state)?;
    fs::write(&state, &start)?;
    world.supervise()?;
    world.until("the state is given up", PATIENCE, |w| {
        let log = w.get("/api/v1/operations")?;
        Ok(log["operations"].as_array().is_some_and(|l| l.iter().any(|o| o["what"] == "machine.discard_state")))
    })?;
    world.until("it boots from its disk", PATIENCE, |w| Ok(w.qemu().is_some()))?;
    world.ok(&["kill", "--yes"])?;
    world.phase(Phase::Stopped, PATIENCE)
}

#[test]
fn a_guest_that_never_gets_ready_is_called_failed_and_shows_a_way_on() -> Result<()> {
    let mut world = World::warm("never")?;
    fs::remove_dir_all(world.layout().state())?;
    world.set("ALCOVE_BOOT_DEADLINE", "4");
    world.supervise()?;
    world.phase(Phase::Failed, PATIENCE)?;
    let failure = world.machine()?.failure.context("no reason")?;
    assert_eq!(failure.error.code, alcove_types::ErrorCode::Timeout);
    ensure!(failure.error.hint.contains("rescue"), "{failure:?}");
    ensure!(world.qemu().is_some(), "it stays on, to be looked at");
    // However little the kernel had said by then, what it says is there to be looked at.
    world.until("the serial log says something", PATIENCE, |w| {
        let log = w.ok(&["logs", "--source", "serial"])?.stdout;
        // Not the line with which each boot begins.
        Ok(log.lines().any(|l| !l.trim().is_empty() && !l.starts_with("--- boot ")))
    })?;
    world.ok(&["kill", "--yes"])?;
    world.phase(Phase::Stopped, PATIENCE)
}

#[test]
fn kubernetes_killed_comes_back_by_itself() -> Result<()> {
    let mut world = World::warm("guest")?;
    world.supervise()?;
    world.phase(Phase::Running, PATIENCE)?;
    write(&world, "before")?;
    let pod = |w: &World| {
        w.ok(&[
            "kubectl",
            "--",
            "-n",
            "alcove-system",
            "get",
            "pods",
            "-l",
            "app=gateway",
            "-o",
            "jsonpath={.items[0].metadata.uid}",
        ])
        .map(|r| r.stdout)
    };
    // The pod keeps its name even when all that is in it is started anew, so its process is asked for too.
    let process = |w: &World| w.ok(&["shell", "--", "pgrep", "-x", "platformd"]).map(|r| r.stdout);
    let (gateway, running) = (pod(&world)?, process(&world)?);
    world.alcove(&["shell", "--", "sh", "-c", "systemctl kill -s KILL k3s.service"])?;
    world.until("the API answers again", PATIENCE, |w| w.keeps("before"))?;
    // Both at once are no worse than each alone.
    world.alcove(&["shell", "--", "sh", "-c", "systemctl kill -s KILL alcove-guest.service"])?;
    world
        .until("the web desktop answers", PATIENCE, |w| Ok(desktop(w, "/").is_ok_and(|page| page.contains("<html"))))?;
    assert_eq!((pod(&world)?, process(&world)?), (gateway, running), "the pods were not touched");
    Ok(())
}

#[test]
fn the_guests_daemon_killed_comes_back_by_itself() -> Result<()> {
    let mut world = World::warm("daemon")?;
    world.supervise()?;
    world.phase(Phase::Running, PATIENCE)?;
    world.alcove(&["shell", "--", "sh", "-c", "systemctl kill -s KILL alcove-guest.service"])?;
    world.until("the guest's daemon answers again", PATIENCE, |w| Ok(w.alcove(&["shell", "--", "true"])?.code == 0))?;
    // It lets nobody through to the gateway before it has seen for itself that the node is ready.
    world.until("the web desktop answers again", PATIENCE, |w| {
        Ok(desktop(w, "/").is_ok_and(|page| page.contains("<html")))
    })
}

/// The longest: QEMU is killed, and the machine boots from its disk as after a power cut.
#[test]
fn what_was_acknowledged_survives_a_power_cut() -> Result<()> {
    let mut world = World::warm("power")?;
    world.supervise()?;
    world.phase(Phase::Running, PATIENCE)?;
    write(&world, "acknowledged")?;
    world.kill_qemu()?;
    world.until("it was noticed", PATIENCE, |w| {
        let log = w.get("/api/v1/operations")?;
        Ok(log["operations"].as_array().is_some_and(|l| l.iter().any(|o| o["what"] == "machine.crashed")))
    })?;
    world.phase(Phase::Running, BOOT)?;
    world.until("what was written is there", PATIENCE, |w| w.keeps("acknowledged"))?;
    // Then it shuts down in order.
    world.ok(&["stop", "--wait", "--timeout", "240"])?;
    assert_eq!(world.qemu(), None);
    // Nothing is left to be killed.
    ensure!(kill(u32::MAX >> 1).is_err());
    Ok(())
}
