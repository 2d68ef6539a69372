//! Starting, suspending and resuming: the order of the steps, and the way back from each.

use std::{fs, io, sync::Arc, time::Duration};

use qapi::qmp;
use tokio::time::Instant;

use super::{
    argv::{self, Paths},
    memory::{self, MemoryFile},
    observe::{door_address, identity},
    plan::Plan,
    probe::{self, Occasion},
    process::{self, Process},
    provider::{LOOK, QemuProvider},
    qmp::Qmp,
    suspend::{self, Format},
};
use crate::{
    Layout, MachineError, MachineSpec, Result,
    credentials::{self, Credentials},
    files,
    image::Image,
    provider::{Standstill, StartOptions, Started, Suspended},
    serial,
    state::{Fingerprint, Reason, StateFacts, StateFolder, Validity},
};

/// How long QEMU may take until it answers. On a busy host with a slow disk it takes seconds.
const UP: Duration = Duration::from_secs(30);
/// How long QEMU may take to end after it was told to.
pub(crate) const QUIT: Duration = Duration::from_secs(10);
/// How long a QEMU whose connection broke may take until it is seen to have ended.
const ENDING: Duration = Duration::from_secs(2);

/// Boots the machine.
pub(crate) async fn cold(
    provider: &QemuProvider,
    spec: &MachineSpec,
    image: &Image,
    options: &StartOptions,
) -> Result<Started> {
    let began = Instant::now();
    let plan = provider.plan(spec, image, Occasion::Boot).await?;
    let layout = &provider.layout;
    let credentials = Credentials::for_start(layout).await?.ok_or_else(|| MachineError::FileCorrupt {
        path: layout.credentials(),
        reason: "the machine's keys are missing".into(),
        kept: None,
    })?;
    credentials.write_blob(layout, spec)?;
    files::write_private(&layout.boot_jsonl(), b"")?;
    let memory = memory_file(spec)?;
    let (process, qmp) = spawn(provider, &plan, spec, image, Some(options), memory.as_ref()).await?;
    drop(memory);
    let guard = KillUnlessDone::new(&process);
    // The guest runs from here on, and the disk with it.
    provider.state_folder().discard()?;
    if let Err(e) = qmp.execute(qmp::cont {}).await {
        return Err(died(&process, "QEMU died when the guest was to run", e.into()).await);
    }
    let started = started(provider, &plan, &process, &qmp, began).await?;
    guard.done();
    Ok(started)
}

/// Brings a suspended machine back.
pub(crate) async fn resume(provider: &QemuProvider, spec: &MachineSpec, image: &Image) -> Result<Started> {
    let began = Instant::now();
    let plan = provider.plan(spec, image, Occasion::Other).await?;
    let state = provider.state_folder();
    let (_, format) = usable(provider, &plan.fingerprint).map_err(MachineError::StateInvalid)?;
    // The blob is only looked at again when the guest restarts by itself; QEMU wants it all the same.
    let credentials = Credentials::for_start(&provider.layout).await.map_err(|e| match e {
        MachineError::KeysLost => MachineError::StateInvalid(Reason::KeysLost),
        other => other,
    })?;
    if let Some(credentials) = credentials {
        credentials.write_blob(&provider.layout, spec)?;
    }
    let memory = memory_file(spec)?;
    let source = suspend::Source::open(&state, format, memory.as_ref())?;
    let (process, qmp) = spawn(provider, &plan, spec, image, None, memory.as_ref()).await?;
    drop(memory);
    let guard = KillUnlessDone::new(&process);
    if let Err(e) = suspend::load(&qmp, source).await {
        if !matches!(e, MachineError::HypervisorFailed { .. }) {
            return Err(e);
        }
        // A QEMU that can't load ends itself, with its reason in the log.
        let ended = tokio::time::timeout(ENDING, process.ended()).await;
        if ended == Ok(None) {
            return Err(MachineError::HypervisorKilled("the saved state was being loaded".into()));
        }
        let words = process.words();
        tracing::warn!(error = %e, ended = ended.is_ok(), ?words, "the suspended state could not be loaded");
        let reason = words.last().cloned().unwrap_or_else(|| e.to_string());
        return Err(MachineError::StateInvalid(Reason::LoadFailed(reason)));
    }
    state.mark_used()?;
    if let Err(e) = qmp.execute(qmp::cont {}).await {
        // The guest has not run, so the state is as good as it was; the disk's mark will say if that is not so.
        let error = died(&process, "QEMU died when the guest was to run on", e.into()).await;
        process::kill_holder(&provider.layout).await?;
        state.unmark_used()?;
        return Err(error);
    }
    let started = started(provider, &plan, &process, &qmp, began).await;
    guard.done();
    // What stays behind is removed by the next suspend or start; it is marked as used and can do no harm.
    if let Err(e) = state.retire() {
        tracing::warn!(error = %e, "the used state could not be deleted");
    }
    started
}

/// The suspended state and its format, when a machine with this fingerprint can use it; else why not.
pub(crate) fn usable(
    provider: &QemuProvider,
    wanted: &Fingerprint,
) -> std::result::Result<(StateFacts, Format), Reason> {
    match provider.state_folder().check(wanted, &provider.layout.data_disk()) {
        Some(Validity::Usable(facts)) => match Format::parse(&facts.format) {
            Some(format) => Ok((facts, format)),
            None => Err(Reason::Format(facts.format)),
        },
        Some(Validity::Discard(reason)) => Err(reason),
        None => Err(Reason::None),
    }
}

async fn started(
    provider: &QemuProvider,
    plan: &Plan,
    process: &Process,
    qmp: &Arc<Qmp>,
    began: Instant,
) -> Result<Started> {
    let port = provider.watch.door(process.pid(), qmp).await;
    let Some(port) = port else {
        let error = MachineError::hypervisor("the port that leads to the guest is not known");
        return Err(died(process, "QEMU does not answer", error).await);
    };
    let facts = process::facts(process.pid());
    Ok(Started {
        door: door_address(port),
        acceleration: plan.verdict.acceleration,
        started_at: facts.started_at.unwrap_or_else(jiff::Timestamp::now),
        took: began.elapsed(),
    })
}

/// The guest's memory, where it is a file. QEMU keeps it once it has come up.
fn memory_file(spec: &MachineSpec) -> Result<Option<MemoryFile>> {
    memory::AVAILABLE.then(|| MemoryFile::for_guest(spec.setup.memory_bytes >> 20 << 20)).transpose()
}

/// Starts QEMU and waits until it answers. The guest does not run yet.
async fn spawn(
    provider: &QemuProvider,
    plan: &Plan,
    spec: &MachineSpec,
    image: &Image,
    cold: Option<&StartOptions>,
    memory: Option<&MemoryFile>,
) -> Result<(Process, Arc<Qmp>)> {
    let layout = &provider.layout;
    let _blob = RemoveBlob(layout);
    let mut paths = Paths::of(layout, image);
    if let Some(memory) = memory {
        paths.memory.clone_from(&memory.path);
    }
    // Asked again: reading the keys may have taken a while, in which a QEMU that an earlier supervisor had spawned came
    // up. Without its sockets it could not be reached any more.
    provider.must_be_off().await?;
    if cold.is_some() {
        serial::begin(layout)?;
    }
    // A socket file that a dead QEMU has left behind would be taken for the new one's.
    for socket in [&paths.qmp, &paths.qmp_diag, &paths.agent, &paths.console] {
        files::remove_if_there(socket)?;
    }
    let mut arguments = plan.arguments(spec, image, &paths);
    arguments.rescue = cold.is_some_and(|o| o.rescue);
    arguments.incoming = cold.is_none();
    let mut place = provider.watch.claim().await;
    loop {
        let process = Process::spawn(&plan.installed.qemu, &argv::build(&arguments), layout)?;
        match answer(provider, &process).await {
            Ok(qmp) => {
                provider.watch.attach(&mut place, process.clone(), qmp.clone());
                return Ok((process, qmp));
            }
            // Some builds come without seccomp, and say so by refusing to start.
            Err(e)
                if arguments.sandbox
                    && e.last_words().iter().any(|l| l.contains("sandbox") || l.contains("seccomp")) =>
            {
                tracing::warn!("this QEMU can't confine itself (no seccomp)");
                arguments.sandbox = false;
            }
            Err(e) => {
                // Another one, which was being started when the supervisor before this one died, may have been faster.
                let other = provider.alive()?.is_some_and(|pid| pid != process.pid());
                return Err(if other { already_on() } else { e });
            }
        }
    }
}

pub(crate) fn already_on() -> MachineError {
    MachineError::WrongState { message: "the machine is on".into(), hint: "Stop or suspend it first." }
}

async fn answer(provider: &QemuProvider, process: &Process) -> Result<Arc<Qmp>> {
    let guard = KillUnlessDone::new(process);
    let socket = provider.layout.qmp_sock();
    let connecting = Qmp::connect(&socket, Instant::now() + UP);
    let result = tokio::select! {
        biased;
        code = process.ended() => Err(match code {
            Some(code) => MachineError::HypervisorFailed {
                message: format!("QEMU ended with exit code {code} as soon as it was started"),
                last_words: process.words(),
            },
            None => MachineError::HypervisorKilled("the machine was being started".into()),
        }),
        connected = connecting => match connected {
            Ok(qmp) => Ok(qmp),
            Err(e) => Err(died(process, "QEMU does not answer", e).await),
        },
    };
    let qmp = result?;
    guard.done();
    Ok(Arc::new(qmp))
}

/// An error with QEMU's own words, which say more; another one when it was ended from outside.
async fn died(process: &Process, message: &str, error: MachineError) -> MachineError {
    if tokio::time::timeout(ENDING, process.ended()).await == Ok(None) {
        return MachineError::HypervisorKilled("the machine was being started".into());
    }
    match error {
        MachineError::HypervisorFailed { message: inner, .. } => {
            MachineError::HypervisorFailed { message: format!("{message}: {inner}"), last_words: process.words() }
        }
        other => other,
    }
}

/// Removes the guest's secrets from the disk, however the start went.
struct RemoveBlob<'a>(&'a Layout);

impl Drop for RemoveBlob<'_> {
    fn drop(&mut self) {
        if let Err(error) = credentials::remove_blob(self.0) {
            tracing::warn!(%error, "the guest's secrets are left in the runtime folder");
        }
    }
}

/// Ends a QEMU whose start failed half-way; nobody else would.
struct KillUnlessDone {
    process: Process,
    armed: bool,
}

impl KillUnlessDone {
    fn new(process: &Process) -> Self {
        Self { process: process.clone(), armed: true }
    }

    fn done(mut self) {
        self.armed = false;
    }
}

impl Drop for KillUnlessDone {
    fn drop(&mut self) {
        if !self.armed || self.process.has_ended() {
            return;
        }
        // It is our child and has not been waited for, so its number is still its own.
        if let Some(pid) = i32::try_from(self.process.pid()).ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            tracing::debug!(pid = self.process.pid(), "a QEMU whose start failed was ended");
        }
    }
}

/// Saves the running machine and ends its process.
pub(crate) async fn suspend(provider: &QemuProvider) -> Result<Suspended> {
    let began = Instant::now();
    let off = || MachineError::WrongState {
        message: "the machine is not running".into(),
        hint: "Only a running machine can be suspended.",
    };
    let Some(qmp) = provider.watch.link(LOOK).await? else { return Err(off()) };
    let state = provider.state_folder();
    // An earlier suspend was interrupted after everything was written: only the end is missing.
    if let Ok(facts) = state.facts() {
        finish(provider, &qmp).await?;
        return Ok(Suspended { bytes: facts.allocated, took: began.elapsed() });
    }
    suspend::clear(&qmp).await?;
    if has_crashed(&qmp.run_state().await?) {
        return Err(MachineError::WrongState {
            message: "the guest has panicked, saving it would keep the panic".into(),
            hint: "End it with `alcove kill`, then start it again.",
        });
    }
    state.discard()?;
    let identity = identity(&qmp).await.ok_or_else(|| {
        MachineError::hypervisor("the running QEMU does not say what it was started as; it was not started by Alcove")
    })?;
    let fingerprint = Fingerprint {
        image: identity.image,
        hypervisor: qmp.version().into(),
        hardware: identity.hardware,
        acceleration: identity.acceleration,
        cpu: probe::cpu_fingerprint(identity.acceleration),
    };
    qmp.execute(qmp::stop {}).await?;
    let saved = write(provider, &qmp, &state, fingerprint).await;
    let bytes = match saved {
        Ok(bytes) => bytes,
        Err(e) => {
            // The guest must go on. Whatever was written of the state must not be taken for one, so it goes first.
            let discarded = state.discard();
            if let Err(cont) = qmp.execute(qmp::cont {}).await {
                tracing::error!(error = %cont, "the guest could not go on after a suspend failed");
            }
            discarded?;
            return Err(e);
        }
    };
    finish(provider, &qmp).await?;
    Ok(Suspended { bytes, took: began.elapsed() })
}

async fn write(provider: &QemuProvider, qmp: &Qmp, state: &StateFolder, fingerprint: Fingerprint) -> Result<u64> {
    let making = state.memory_in_making();
    files::write_private(&making, b"")?;
    let memory = provider.alive()?.and_then(memory::of_process);
    let format = suspend::save(qmp, state, memory).await?;
    let (state, disk) = (state.clone(), provider.layout.data_disk());
    let facts = tokio::task::spawn_blocking(move || state.complete(fingerprint, &disk, format.word()))
        .await
        .map_err(|e| MachineError::io("can't write", making, io::Error::other(e)))??;
    Ok(facts.allocated)
}

/// Ends the QEMU of a machine that has been saved.
async fn finish(provider: &QemuProvider, qmp: &Qmp) -> Result<()> {
    // An answer may not come any more.
    let _ = qmp.execute(qmp::quit {}).await;
    if process::wait_for_end(&provider.layout, Instant::now() + QUIT).await? {
        return Ok(());
    }
    process::kill_holder(&provider.layout).await
}

/// Ends a QEMU that stands still beside a complete state: the last step of a suspend or the first of a resume was
/// interrupted, and everything is in the state. A machine that runs is left alone.
pub(crate) async fn end_saved(provider: &QemuProvider) -> Result<()> {
    if provider.alive()?.is_none() || provider.state_folder().facts().is_err() {
        return Ok(());
    }
    if let Ok(Some(qmp)) = provider.watch.link(LOOK).await
        && qmp.run_state().await.is_ok_and(|s| s == "running")
    {
        return Ok(());
    }
    process::kill_holder(&provider.layout).await
}

/// What it means that QEMU says this of its guest; `saved`: a complete state lies on the disk.
pub(crate) fn standstill(run_state: &str, saved: bool) -> Option<Standstill> {
    match run_state {
        "running" => None,
        // Before the first instruction of a cold start, and before the memory of a resume is loaded.
        "prelaunch" | "inmigrate" => Some(Standstill::NotBegun),
        _ if saved => Some(Standstill::Saved),
        _ => Some(Standstill::Midway),
    }
}

/// Whether QEMU says that the guest can't go on: its kernel has panicked, or the virtual processor has met something that
/// it can't carry out (QEMU then refuses to let it continue).
pub(crate) fn has_crashed(run_state: &str) -> bool {
    matches!(run_state, "guest-panicked" | "internal-error")
}

/// Lets a machine go on that stands still in the midst of its life.
pub(crate) async fn go_on(provider: &QemuProvider) -> Result<()> {
    let off = || MachineError::WrongState { message: "the machine is off".into(), hint: "Start or resume it." };
    let Some(qmp) = provider.watch.link(LOOK).await? else { return Err(off()) };
    let run_state = qmp.run_state().await?;
    if standstill(&run_state, false) == Some(Standstill::NotBegun) {
        return Err(MachineError::WrongState {
            message: format!("the machine has not begun to run ({run_state})"),
            hint: "End it, then start or resume it.",
        });
    }
    if has_crashed(&run_state) {
        return Err(MachineError::WrongState {
            message: "the guest has panicked and can't go on".into(),
            hint: "End it with `alcove kill`, then start it again.",
        });
    }
    if run_state == "running" {
        return Ok(());
    }
    let state = provider.state_folder();
    // The guest's disk goes on with it, so the state must be none before that.
    state.mark_used()?;
    // A save that an earlier supervisor began may still be under way.
    suspend::clear(&qmp).await?;
    if qmp.run_state().await? != "running" {
        qmp.execute(qmp::cont {}).await?;
    }
    state.discard()
}

/// Deletes the machine. What belongs to the supervisor (its log, tasks and operations) stays.
pub(crate) fn destroy(layout: &Layout) -> Result<()> {
    StateFolder::new(layout.state()).discard()?;
    // `qemu.json` says that there must be a disk, so it goes before the disk; the spec goes last, so that a deletion
    // which is interrupted can be asked for again.
    for file in [
        layout.moving_json(),
        layout.qemu_json(),
        layout.data_disk(),
        layout.data_disk().with_extension("making"),
        layout.boot_jsonl(),
        layout.serial_log(),
        layout.serial_log_before(),
        layout.qemu_log(),
        layout.qemu_log_before(),
    ] {
        files::remove_if_there(&file)?;
    }
    for folder in [layout.snapshots(), layout.credentials(), layout.kubectl_cache()] {
        match fs::remove_dir_all(&folder) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(MachineError::io("can't delete", folder, e)),
            _ => {}
        }
    }
    files::remove_if_there(&layout.machine_json())?;
    if layout.machine().exists() {
        files::sync_parent(&layout.machine_json())?;
    }
    for file in [
        layout.qmp_sock(),
        layout.qmp_diag_sock(),
        layout.qga_sock(),
        layout.console_sock(),
        layout.pidfile(),
        layout.credentials_blob(),
    ] {
        files::remove_if_there(&file)?;
    }
    Ok(())
}
