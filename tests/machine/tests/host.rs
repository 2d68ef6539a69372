//! The computer that the machine lives on is shut down. Its logind is a stand-in on a bus of the test's own, which does
//! what org.freedesktop.login1(5) says; the machine is the scripted stand-in.

use std::{
    io::{BufRead, BufReader, Read},
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Mutex,
    time::Duration,
};

use alcove_machine_tests::{World, standin::SOON};
use alcove_types::machine::Phase;
use anyhow::{Context, Result, ensure};
use zbus::{blocking::Connection, zvariant};

const PATH: &str = "/org/freedesktop/login1";

/// A bus on which anybody may do anything.
struct Bus {
    daemon: Child,
    address: String,
}

impl Bus {
    fn start(folder: &Path) -> Result<Self> {
        let configuration = folder.join("bus.conf");
        let socket = folder.join("bus");
        std::fs::write(
            &configuration,
            format!(
                r#"<busconfig><listen>unix:path={}</listen><auth>EXTERNAL</auth><policy context="default">
                <allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/></policy></busconfig>"#,
                socket.display()
            ),
        )?;
        let mut daemon = Command::new("dbus-daemon")
            .arg(format!("--config-file={}", configuration.display()))
            .args(["--nofork", "--print-address"])
            .stdout(Stdio::piped())
            .spawn()
            .context("can't start dbus-daemon")?;
        let mut address = String::new();
        BufReader::new(daemon.stdout.take().context("no output")?).read_line(&mut address)?;
        Ok(Self { daemon, address: address.trim().to_owned() })
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

/// Gives out locks; who reads from the other end learns when one is let go.
#[derive(Default)]
struct Logind {
    locks: Mutex<Vec<(String, UnixStream)>>,
}

#[zbus::interface(name = "org.freedesktop.login1.Manager")]
impl Logind {
    fn inhibit(&self, what: &str, who: &str, why: &str, mode: &str) -> zbus::fdo::Result<zvariant::OwnedFd> {
        let failed = |e: std::io::Error| zbus::fdo::Error::Failed(e.to_string());
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        ours.set_read_timeout(Some(SOON)).map_err(failed)?;
        let lock = format!("{what} {mode} {who}{}", if why.is_empty() { " without a reason" } else { "" });
        self.locks.lock().map_err(|_| zbus::fdo::Error::Failed(String::new()))?.push((lock, ours));
        Ok(OwnedFd::from(theirs).into())
    }
}

#[test]
fn the_machine_is_saved_before_its_computer_is_off_and_comes_back_with_it() -> Result<()> {
    let mut world = World::standin("host-shutdown")?;
    let bus = Bus::start(world.home())?;
    let host: Connection = zbus::blocking::connection::Builder::address(bus.address.as_str())?
        .name("org.freedesktop.login1")?
        .serve_at(PATH, Logind::default())?
        .build()?;
    let logind = host.object_server().interface::<_, Logind>(PATH)?;
    world.set("DBUS_SYSTEM_BUS_ADDRESS", &bus.address);
    world.kill_supervisor()?;
    world.supervise()?;
    world.ok(&["settings", "set", "start", "running"])?;
    world.ok(&["start", "--wait"])?;
    world.until("it has taken a lock", SOON, |_| Ok(logind.get().locks.lock().is_ok_and(|l| !l.is_empty())))?;
    let (lock, mut held) = logind.get().locks.lock().ok().and_then(|mut l| l.pop()).context("no lock")?;
    ensure!(lock == "shutdown delay Alcove", "{lock}");
    let before = world.count();

    // It is let go no sooner than the machine is at rest.
    world.hold("before:migrate")?;
    let said: zbus::Result<()> =
        host.emit_signal(None::<&str>, PATH, "org.freedesktop.login1.Manager", "PrepareForShutdown", &true);
    said?;
    world.held()?;
    held.set_read_timeout(Some(Duration::from_millis(200)))?;
    ensure!(held.read(&mut [0]).is_err(), "the computer was let go off in the midst of the saving");
    world.release()?;
    held.set_read_timeout(Some(SOON))?;
    ensure!(held.read(&mut [0])? == 0, "the lock is not let go");
    world.supervisor_ends()?;
    ensure!(world.qemu().is_none());

    // On again, and somebody has logged in.
    world.supervise()?;
    world.phase(Phase::Running, SOON)?;
    ensure!(world.noted()?.iter().all(|what| what != "machine.crashed" && what != "machine.discard_state"));
    ensure!(world.count() >= before, "it began anew");
    Ok(())
}
