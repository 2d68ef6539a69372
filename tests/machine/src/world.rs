//! The world of one test.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use alcove_machine::{InstanceName, Layout, layout::Home};
use alcove_types::{
    machine::{Machine, Phase},
    status::Status,
};
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::warm;

/// How long an emulated machine may take for anything but a boot from nothing.
pub const PATIENCE: Duration = Duration::from_secs(240);

/// One instance with folders of its own. Dropping it ends everything that it started.
pub struct World {
    home: PathBuf,
    /// Where it made the folder itself, the folder goes with the world.
    folder: Option<tempfile::TempDir>,
    layout: Layout,
    supervisor: Option<Child>,
    environment: Vec<(String, String)>,
}

/// What a command line did.
#[derive(Debug)]
pub struct Ran {
    /// Exit code; -1 when a signal ended it.
    pub code: i32,
    /// What it wrote for programs.
    pub stdout: String,
    /// What it wrote for people.
    pub stderr: String,
}

impl World {
    /// A world without a machine.
    pub fn empty(name: &str) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix(&format!("alcove-{name}-")).tempdir()?;
        let mut world = Self::at(folder.path())?;
        world.folder = Some(folder);
        Ok(world)
    }

    /// A world without a machine, in a folder that stays.
    pub fn at(home: &Path) -> Result<Self> {
        let instance: InstanceName = "test".parse().map_err(|e| anyhow::anyhow!("{e}"))?;
        let layout = Layout::new(Home::at(home)?, instance);
        layout.create()?;
        Ok(Self { home: home.to_owned(), folder: None, layout, supervisor: None, environment: Vec::new() })
    }

    /// A world whose machine is suspended, warm: a copy of one that was booted once for this image.
    pub fn warm(name: &str) -> Result<Self> {
        let world = Self::empty(name)?;
        warm::adopt(&world)?;
        Ok(world)
    }

    /// Sets a variable for what is started from now on.
    pub fn set(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Every path of the instance.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The folder that holds all of it.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// A program of ours, in this world.
    pub fn program(&self, name: &str) -> Result<Command> {
        let mut command = Command::new(binaries()?.join(name));
        command
            .env("ALCOVE_HOME", &self.home)
            .env("ALCOVE_INSTANCE", "test")
            .env("ALCOVE_LOG", "info")
            // A test never touches the keychain of whoever runs it.
            .env("ALCOVE_SECRETS", "file")
            .stdin(Stdio::null());
        for (name, value) in &self.environment {
            command.env(name, value);
        }
        Ok(command)
    }

    /// Starts the supervisor and waits until it answers.
    pub fn supervise(&mut self) -> Result<()> {
        let mut program = self.program("alcoved")?;
        let child = program.stdout(Stdio::null()).stderr(Stdio::null()).spawn().context("alcoved can't be started")?;
        self.supervisor = Some(child);
        self.until("the supervisor answers", Duration::from_secs(30), |world| {
            Ok(world.loopback().is_ok() && world.get("/api/v1/version").is_ok())
        })
    }

    /// The supervisor's process.
    pub fn supervisor_pid(&self) -> Result<u32> {
        Ok(self.supervisor.as_ref().context("no supervisor")?.id())
    }

    /// Ends the supervisor as a power cut would.
    pub fn kill_supervisor(&mut self) -> Result<()> {
        let mut child = self.supervisor.take().context("no supervisor")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Waits until the supervisor has ended by itself.
    pub fn supervisor_ends(&mut self) -> Result<()> {
        let mut child = self.supervisor.take().context("no supervisor")?;
        let until = Instant::now() + Duration::from_secs(60);
        while child.try_wait()?.is_none() {
            if Instant::now() > until {
                self.supervisor = Some(child);
                bail!("the supervisor has not ended within a minute");
            }
            pause();
        }
        Ok(())
    }

    /// QEMU's process, as the lock on its pidfile tells.
    pub fn qemu(&self) -> Option<u32> {
        alcove_machine::liveness::holder(&self.layout.pidfile()).ok().flatten()
    }

    /// Ends QEMU as a crash would.
    pub fn kill_qemu(&self) -> Result<()> {
        kill(self.qemu().context("QEMU is not running")?)
    }

    /// Runs the command line.
    pub fn alcove(&self, arguments: &[&str]) -> Result<Ran> {
        let output = self.program("alcove")?.args(arguments).output().context("alcove can't be started")?;
        Ok(output.into())
    }

    /// Runs the command line; anything but success is an error that tells what it said.
    pub fn ok(&self, arguments: &[&str]) -> Result<Ran> {
        let ran = self.alcove(arguments)?;
        ensure!(ran.code == 0, "alcove {} ended with {}:\n{}{}", arguments.join(" "), ran.code, ran.stdout, ran.stderr);
        Ok(ran)
    }

    /// Runs kubectl against the guest; what it wrote.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        Ok(self.ok(&[&["kubectl", "--"], arguments].concat())?.stdout)
    }

    /// The image of the platform's pods, which is in the guest already.
    pub fn platform_image(&self) -> Result<String> {
        let image = "jsonpath={.spec.template.spec.containers[0].image}";
        self.kubectl(&["-n", "alcove-system", "get", "deploy", "gateway", "-o", image])
    }

    /// Whether the cluster has this ConfigMap, with what the tests write into one.
    pub fn keeps(&self, name: &str) -> Result<bool> {
        let read = ["kubectl", "--", "get", "configmap", name, "-o", "jsonpath={.data.kept}"];
        Ok(self.alcove(&read)?.stdout.contains("yes"))
    }

    /// Writes one until it is acknowledged: a cluster that has just woken may take a moment.
    pub fn keep(&self, name: &str) -> Result<()> {
        self.until(&format!("{name} is written"), PATIENCE, |w| {
            let create = ["kubectl", "--", "create", "configmap", name, "--from-literal=kept=yes"];
            Ok(w.alcove(&create)?.code == 0 || w.keeps(name)?)
        })
    }

    /// Gives the cluster an object.
    pub fn apply(&self, object: &Value) -> Result<()> {
        let file = self.home.join("object.json");
        fs::write(&file, object.to_string())?;
        self.kubectl(&["apply", "-f", &file.to_string_lossy()]).map(drop)
    }

    /// Waits until a pod has ended; whether it ended well.
    pub fn pod_ends(&self, namespace: &str, name: &str) -> Result<bool> {
        let mut phase = String::new();
        self.until(&format!("the pod {name} has ended"), PATIENCE, |w| {
            phase = w.kubectl(&["-n", namespace, "get", "pod", name, "-o", "jsonpath={.status.phase}"])?;
            Ok(phase == "Succeeded" || phase == "Failed")
        })?;
        Ok(phase == "Succeeded")
    }

    /// The state, by the contract that other tools rely on.
    pub fn status(&self) -> Result<Status> {
        Ok(serde_json::from_str(&self.ok(&["status", "--json"])?.stdout)?)
    }

    /// Reads a resource of the API through the socket.
    pub fn get(&self, path: &str) -> Result<Value> {
        let output = Command::new("curl")
            .args(["-sS", "--max-time", "60", "--unix-socket"])
            .arg(self.layout.api_sock())
            .arg(format!("http://alcove.localhost{path}"))
            .output()?;
        ensure!(output.status.success(), "GET {path}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout)
            .with_context(|| format!("GET {path} answered {}", String::from_utf8_lossy(&output.stdout)))
    }

    /// The machine as the API shows it.
    pub fn machine(&self) -> Result<Machine> {
        Ok(serde_json::from_value(self.get("/api/v1/machine")?)?)
    }

    /// Waits until the machine is in a phase.
    pub fn phase(&self, phase: Phase, patience: Duration) -> Result<()> {
        self.until(&format!("the machine is {phase:?}"), patience, |world| Ok(world.status()?.phase == phase))
    }

    /// Port and token of the loopback API.
    pub fn loopback(&self) -> Result<(u16, String)> {
        let endpoint: Value = serde_json::from_slice(&fs::read(self.layout.endpoint_json())?)?;
        let port = endpoint["port"].as_u64().and_then(|p| u16::try_from(p).ok()).context("no port")?;
        Ok((port, endpoint["token"].as_str().context("no token")?.to_owned()))
    }

    /// Waits for a condition; the error tells which, and how things stand.
    pub fn until(&self, what: &str, patience: Duration, mut holds: impl FnMut(&Self) -> Result<bool>) -> Result<()> {
        let until = Instant::now() + patience;
        loop {
            let last = holds(self);
            if matches!(last, Ok(true)) {
                return Ok(());
            }
            if Instant::now() > until {
                let state = self.alcove(&["status"]).map(|r| r.stdout + &r.stderr).unwrap_or_default();
                let log = fs::read_to_string(self.layout.supervisor_log()).unwrap_or_default();
                let tail: Vec<&str> = log.lines().rev().take(25).collect();
                let tail: String = tail.into_iter().rev().map(|l| format!("{l}\n")).collect();
                bail!("after {} s it is not so that {what} ({last:?})\n{state}\n{tail}", patience.as_secs());
            }
            pause();
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(mut child) = self.supervisor.take() {
            // Whatever is gone already needs no end.
            let _ = child.kill();
            let _ = child.wait();
        }
        if let Some(pid) = fs::read(self.layout.endpoint_json())
            .ok()
            .and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok())
            .and_then(|v| v["pid"].as_u64())
            .and_then(|pid| u32::try_from(pid).ok())
            && fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "alcoved")
        {
            let _ = kill(pid);
        }
        if let Some(pid) = self.qemu() {
            let _ = kill(pid);
        }
        let _ = fs::remove_dir_all(self.layout.runtime());
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Ends a process at once.
pub fn kill(pid: u32) -> Result<()> {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw).context("no process")?;
    Ok(rustix::process::kill_process(pid, rustix::process::Signal::KILL)?)
}

/// Where the product's binaries lie.
pub(crate) fn binaries() -> Result<PathBuf> {
    Ok(PathBuf::from(
        env::var_os("ALCOVE_BIN_DIR").context("ALCOVE_BIN_DIR is not set: run these tests with `cargo xtask test`")?,
    ))
}

/// Between two looks at a condition that tells nobody when it changes.
fn pause() {
    std::thread::sleep(Duration::from_millis(100));
}
