//! A supervisor, or the machine's own process, is killed at every step of starting, suspending, resuming and stopping.
//! The machine is the scripted stand-in, which holds at the step: none of this depends on who is faster.
//!
//! What must hold every time: what was wanted is reached without anybody's help, or it has failed with a reason and a
//! hint; and no memory is lost that was not the killed process's own.

use std::fmt;

use alcove_machine_tests::{World, kill, standin::SOON};
use alcove_types::machine::{Desired, Phase};
use anyhow::{Context, Result, ensure};

/// What is asked for, and where the machine is before.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Asked {
    Start,
    Suspend,
    Resume,
    Stop,
}

/// Who is killed.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Killed {
    /// The supervisor; the machine goes on from the step before another one looks.
    Supervisor,
    /// The supervisor; the next one meets the machine while it still holds.
    SupervisorMachineHangs,
    /// The machine's process.
    Machine,
}

impl Asked {
    fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Suspend => "suspend",
            Self::Resume => "resume",
            Self::Stop => "stop",
        }
    }

    fn before(self) -> Phase {
        match self {
            Self::Start => Phase::Stopped,
            Self::Suspend | Self::Stop => Phase::Running,
            Self::Resume => Phase::Suspended,
        }
    }

    fn after(self) -> (Desired, Phase) {
        match self {
            Self::Start | Self::Resume => (Desired::Running, Phase::Running),
            Self::Suspend => (Desired::Suspended, Phase::Suspended),
            Self::Stop => (Desired::Stopped, Phase::Stopped),
        }
    }

    /// The steps at which a kill finds a machine that is different from the one before.
    fn steps(self) -> &'static [&'static str] {
        match self {
            Self::Start => &[
                "before:pidfile",
                "after:pidfile",
                "before:qmp_capabilities",
                "before:cont",
                "after:cont",
                "before:human-monitor-command",
                "before:/v1/events",
            ],
            Self::Suspend => &[
                "before:/v1/suspend-prepare",
                "before:stop",
                "after:stop",
                "before:migrate-set-capabilities",
                "before:migrate",
                "after:migrate",
                "before:query-migrate",
                "before:quit",
                "after:quit",
            ],
            Self::Resume => &[
                "before:pidfile",
                "after:pidfile",
                "before:qmp_capabilities",
                "before:migrate-incoming",
                "after:migrate-incoming",
                "before:cont",
                "after:cont",
                "before:/v1/resumed",
            ],
            Self::Stop => &["before:/v1/shutdown", "before:poweroff"],
        }
    }
}

struct Case {
    asked: Asked,
    step: &'static str,
    killed: Killed,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}, {:?} killed", self.asked.word(), self.step, self.killed)
    }
}

/// Brings the machine to where the case begins.
fn bring(world: &World, phase: Phase) -> Result<()> {
    let word = match phase {
        Phase::Running => "start",
        Phase::Suspended => {
            world.ok(&["start", "--wait"])?;
            "suspend"
        }
        _ => "stop",
    };
    world.ok(&[word, "--wait", "--timeout", "60"])?;
    ensure!(world.status()?.phase == phase, "it is not {phase:?}");
    Ok(())
}

fn run(world: &mut World, case: &Case) -> Result<()> {
    bring(world, case.asked.before())?;
    let lost =
        |noted: &[String]| noted.iter().filter(|w| *w == "machine.discard_state" || *w == "machine.crashed").count();
    let lost_before = lost(&world.noted()?);
    let count = world.count();
    world.hold(case.step)?;
    world.ok(&[case.asked.word(), "--no-wait"])?;
    world.held()?;
    match case.killed {
        Killed::Supervisor => {
            world.kill_supervisor()?;
            world.release()?;
            world.supervise()?;
        }
        Killed::SupervisorMachineHangs => {
            world.kill_supervisor()?;
            world.supervise()?;
            world.release()?;
        }
        Killed::Machine => {
            // Before it has its pidfile it is nobody's machine yet.
            let Some(pid) = world.qemu() else { return world.release() };
            kill(pid)?;
            world.release()?;
        }
    }
    let (desired, phase) = case.asked.after();
    let machine_killed = case.killed == Killed::Machine;
    world.until("what was wanted is reached", SOON, |w| {
        let status = w.status()?;
        // A machine whose memory went with its process has nothing left to be suspended.
        let off = machine_killed && case.asked == Asked::Suspend && status.phase == Phase::Stopped;
        Ok(status.desired == desired && (status.phase == phase || off))
    })?;
    if !machine_killed {
        ensure!(lost(&world.noted()?) == lost_before, "memory was lost: {:?}", world.noted()?);
    }
    if phase == Phase::Suspended {
        world.ok(&["start", "--wait", "--timeout", "60"])?;
    }
    if case.asked != Asked::Stop {
        let now = world.count();
        world.until("the guest runs", SOON, |w| Ok(w.count() != now))?;
        let kept = matches!(case.asked, Asked::Suspend | Asked::Resume) && !machine_killed;
        ensure!(!kept || world.count() >= count, "the guest's memory is gone: {} after {count}", world.count());
    }
    // Nothing is left over that the next day trips over.
    ensure!(world.machine()?.failure.is_none(), "{:?}", world.machine()?.failure);
    Ok(())
}

fn every_step(asked: Asked) -> Result<()> {
    let mut world = World::standin(asked.word())?;
    let mut broken = Vec::new();
    for killed in [Killed::Supervisor, Killed::SupervisorMachineHangs, Killed::Machine] {
        for step in asked.steps() {
            let case = Case { asked, step, killed };
            if let Err(error) = run(&mut world, &case).with_context(|| case.to_string()) {
                broken.push(format!("{error:#}"));
                // The next case deserves a machine of its own.
                world = World::standin(asked.word())?;
            }
        }
    }
    ensure!(broken.is_empty(), "{}", broken.join("\n\n"));
    Ok(())
}

#[test]
fn killed_at_every_step_of_a_start() -> Result<()> {
    every_step(Asked::Start)
}

#[test]
fn killed_at_every_step_of_a_suspend() -> Result<()> {
    every_step(Asked::Suspend)
}

#[test]
fn killed_at_every_step_of_a_resume() -> Result<()> {
    every_step(Asked::Resume)
}

#[test]
fn killed_at_every_step_of_a_stop() -> Result<()> {
    every_step(Asked::Stop)
}
