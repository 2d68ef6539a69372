//! The parts of the real machine are killed at every step of a boot and of a shutdown.

use std::{fs, time::Duration};

use alcove_machine_tests::{PATIENCE, World};
use alcove_types::{boot::StepState, machine::Phase};
use anyhow::{Result, ensure};

/// Kubernetes begins anew several times.
const BOOT: Duration = Duration::from_secs(900);

/// In the guest, from before its shutdown until nothing is left of it. What is killed is said on the console.
const THROUGH_THE_SHUTDOWN: &str = "\
    until [ \"$(systemctl is-system-running)\" = stopping ]; do sleep 0.05; done; \
    while :; do for s in k3s alcove-guest; do \
      p=$(systemctl show -P MainPID $s.service); \
      [ \"${p:-0}\" = 0 ] || { kill -KILL $p && echo \"killed $s\" > /dev/ttyS0; }; \
    done; sleep 0.1; done";

const AT_A_STEP: &str = "systemctl kill -s KILL k3s.service; systemctl kill -s KILL alcove-guest.service";

#[test]
fn parts_that_die_at_every_step_come_back_by_themselves() -> Result<()> {
    let mut world = World::warm("kills")?;
    world.supervise()?;
    world.phase(Phase::Running, PATIENCE)?;
    world.keep("before")?;

    let killer = ["shell", "--", "systemd-run", "--quiet", "--property=DefaultDependencies=no", "sh", "-c"];
    world.ok(&[&killer[..], &[THROUGH_THE_SHUTDOWN]].concat())?;
    world.ok(&["stop", "--wait", "--timeout", "240"])?;
    let said = fs::read_to_string(world.layout().serial_log())?;
    for service in ["k3s", "alcove-guest"] {
        ensure!(said.contains(&format!("killed {service}")), "{service} was not killed in the shutdown");
    }

    world.ok(&["start", "--no-wait"])?;
    let mut killed_at: Vec<String> = Vec::new();
    world.until("it has come up", BOOT, |w| {
        let machine = w.machine()?;
        ensure!(machine.phase != Phase::Failed, "{:?}", machine.failure);
        let steps = machine.boot.map(|b| b.steps).unwrap_or_default();
        // Before there is a door, these parts have not begun.
        if steps.iter().any(|s| s.name == "door" && s.state == StepState::Done) {
            let running = steps.iter().filter(|s| s.state == StepState::Running).map(|s| &s.name);
            let new: Vec<String> = running.filter(|name| !killed_at.contains(name)).cloned().collect();
            if !new.is_empty() {
                // The answer dies with the daemon that gives it.
                w.alcove(&["shell", "--", "sh", "-c", AT_A_STEP])?;
                killed_at.extend(new);
            }
        }
        Ok(machine.phase == Phase::Running)
    })?;
    // Some steps are over before they can be seen.
    ensure!(killed_at.len() > 3 && killed_at.iter().any(|s| s == "platform"), "{killed_at:?}");
    world.until("what was written before is there", PATIENCE, |w| w.keeps("before"))?;
    world.ok(&["start", "--wait", "--timeout", "240"]).map(drop)
}
