//! The way into a machine that does not come up, on the real image.

use std::{
    io::{Read, Write},
    process::{Child, Stdio},
    sync::mpsc::{Receiver, channel},
    time::{Duration, Instant},
};

use alcove_machine_tests::{PATIENCE, World};
use alcove_types::machine::Phase;
use anyhow::{Context, Result, bail, ensure};

/// `alcove shell --rescue`, as a person has it open.
struct Console {
    child: Child,
    shown: Receiver<Vec<u8>>,
    seen: String,
}

impl Console {
    fn open(world: &World) -> Result<Self> {
        let mut command = world.program("alcove")?;
        let mut child = command.args(["shell", "--rescue"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut out = child.stdout.take().context("no output")?;
        let (show, shown) = channel();
        // Ends with the child's output.
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = out.read(&mut buffer) {
                if show.send(buffer[..n].to_vec()).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, shown, seen: String::new() })
    }

    fn types(&mut self, text: &str) -> Result<()> {
        Ok(self.child.stdin.as_mut().context("no input")?.write_all(text.as_bytes())?)
    }

    /// Types a line until it is answered: before the shell listens, what is typed goes to nobody.
    fn answers(&mut self, line: &str, answer: &str) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        loop {
            self.types(line)?;
            match self.shows_within(answer, Duration::from_secs(10)) {
                Err(error) if Instant::now() > until => return Err(error),
                Err(_) => {}
                Ok(()) => return Ok(()),
            }
        }
    }

    fn shows(&mut self, text: &str) -> Result<()> {
        self.shows_within(text, PATIENCE)
    }

    fn shows_within(&mut self, text: &str, patience: Duration) -> Result<()> {
        let until = Instant::now() + patience;
        while !self.seen.contains(text) {
            let left = until.saturating_duration_since(Instant::now());
            match self.shown.recv_timeout(left.max(Duration::from_millis(1))) {
                Ok(bytes) => self.seen.push_str(&String::from_utf8_lossy(&bytes)),
                Err(error) => bail!("the console does not show {text:?} ({error}): {:?}", self.seen),
            }
        }
        Ok(())
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_machine_started_for_rescue_has_a_shell_on_its_console() -> Result<()> {
    let mut world = World::warm("rescue")?;
    world.supervise()?;
    world.phase(Phase::Running, PATIENCE)?;
    world.ok(&["start", "--rescue", "--wait", "--timeout", "300"])?;
    let status = world.status()?;
    assert_eq!(status.phase, Phase::Running);
    ensure!(status.conditions.iter().any(|c| c.reason == "Rescue"), "{:?}", status.conditions);

    let mut console = Console::open(&world)?;
    console.answers("echo $((6 * 7))-answers\n", "42-answers")?;
    // Two may look at once: neither is left in the dark.
    let mut second = Console::open(&world)?;
    second.answers("echo $((6 * 8))-answers\n", "48-answers")?;
    console.shows("48-answers")?;
    // What a person would look for is in reach.
    console.types("ls /usr/lib/systemd && echo $((6 * 9))-there\n")?;
    console.shows("54-there")?;
    drop((console, second));
    world.ok(&["kill", "--yes"])?;
    world.phase(Phase::Stopped, PATIENCE)
}
