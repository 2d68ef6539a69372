//! The QEMU provider.

use std::{future::Future, path::PathBuf, sync::Arc, time::Duration};

use alcove_types::machine::{Acceleration, Snapshot, SnapshotRequest};
use async_trait::async_trait;
use qapi::qmp;
use serde::{Deserialize, Serialize};
use tokio::{net::UnixStream, sync::broadcast, time::Instant};

use super::{
    argv, disk,
    probe::{self, Occasion, Verdict},
    process,
    qga::Agent,
    run, snapshot,
    version::{self, Installed},
    watch::Watch,
};
use crate::{
    Layout, MachineError, MachineSpec, Result,
    credentials::Credentials,
    files,
    image::Image,
    liveness,
    lock::FileLock,
    provider::{Capabilities, Observation, Provider, ProviderEvent, StartOptions, Started, Suspended},
    state::{Reason, StateFolder, Validity},
};

const SCHEMA: u32 = 1;
/// How long a live QEMU may take to answer when it is only looked at.
pub(crate) const LOOK: Duration = Duration::from_secs(3);
/// How long the guest's agent may take to answer; it needs a fraction of it, when there is one.
const AGENT: Duration = Duration::from_secs(2);
/// How often a guest that is to shut down is asked again: a guest that is booting may miss the button.
const ASK_AGAIN: Duration = Duration::from_secs(10);

/// How the provider works, where that can be chosen.
#[derive(Debug, Clone, Default)]
pub struct QemuOptions {
    /// The executable; absent: `ALCOVE_QEMU`, beside our own executable, `PATH`.
    pub qemu: Option<PathBuf>,
    /// The acceleration; absent: `ALCOVE_ACCEL`, else tried.
    pub acceleration: Option<Acceleration>,
}

/// Runs one machine with QEMU.
#[derive(Debug, Clone)]
pub struct QemuProvider {
    pub(crate) layout: Layout,
    pub(crate) options: QemuOptions,
    pub(crate) watch: Arc<Watch>,
}

/// What QEMU was chosen to be for this machine (`qemu.json`). Its presence says that the data disk was made.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Chosen {
    schema: u32,
    /// The versioned machine type; kept over updates of QEMU, so that the guest sees the same hardware.
    pub(super) machine_type: String,
    /// The QEMU with which it was chosen.
    chosen_by: String,
}

impl QemuProvider {
    /// The provider of one instance's machine. Touches nothing yet.
    pub fn new(layout: Layout, options: QemuOptions) -> Self {
        let watch = Watch::new(layout.clone());
        Self { layout, options, watch }
    }

    /// Which acceleration this host has for this image, and why. May boot a tiny guest, for seconds.
    pub async fn acceleration_verdict(&self, image: &Image) -> Result<Verdict> {
        let installed = self.installed().await?;
        probe::choose(&self.layout, &installed, image, self.options.acceleration, Occasion::Other).await
    }

    /// The QEMU that would be used.
    pub async fn installed(&self) -> Result<Installed> {
        version::find(self.options.qemu.as_deref()).await
    }

    /// Runs an operation to its end even when nobody waits for it any more: half of one would leave the machine in
    /// between.
    pub(super) async fn detached<T, F>(&self, operation: impl FnOnce(Self) -> F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        match tokio::spawn(operation(self.clone())).await {
            Ok(result) => result,
            Err(e) => Err(MachineError::hypervisor(format!("the operation ended unexpectedly: {e}"))),
        }
    }

    pub(crate) fn lock(&self) -> Result<FileLock> {
        self.layout.create_runtime()?;
        FileLock::try_take(&self.layout.machine_lock())
    }

    pub(crate) fn state_folder(&self) -> StateFolder {
        StateFolder::new(self.layout.state())
    }

    pub(crate) fn alive(&self) -> Result<Option<u32>> {
        liveness::holder(&self.layout.pidfile())
    }

    /// Nothing runs the machine, and nothing holds its disk: a QEMU that was ended is waited for.
    pub(crate) async fn must_be_off(&self) -> Result<()> {
        if self.alive()?.is_some() {
            return Err(run::already_on());
        }
        if process::wait_for_end(&self.layout, Instant::now() + run::QUIT).await? {
            Ok(())
        } else {
            Err(MachineError::Busy)
        }
    }

    /// Ends what a supervisor that died has begun to do to the disk's file; see [`snapshot`]. The caller has the lock.
    pub(super) async fn settle(&self) -> Result<()> {
        if !snapshot::is_moving(&self.layout) {
            return Ok(());
        }
        self.must_be_off().await?;
        snapshot::settle(&self.layout, &self.installed().await?.qemu_img).await
    }

    /// Asks the guest's agent for a shutdown: it hears where the guest's daemon hangs and nobody watches the power button.
    async fn ask_agent(&self) -> Result<()> {
        Agent::connect(&self.layout.qga_sock(), AGENT).await?.shut_down().await
    }

    fn must_exist(&self) -> Result<()> {
        if self.layout.data_disk().exists() {
            return Ok(());
        }
        Err(MachineError::WrongState {
            message: "the machine has not been made yet".into(),
            hint: "Create it first: `alcove start` does.",
        })
    }

    pub(super) fn chosen(&self) -> Result<Option<Chosen>> {
        files::read_versioned(&self.layout.qemu_json(), SCHEMA)
    }

    async fn make(&self, spec: &MachineSpec, image: &Image) -> Result<()> {
        crate::spec::check_setup(&spec.setup)?;
        self.layout.create()?;
        let _lock = self.lock()?;
        let installed = self.installed().await?;
        image.verify(crate::image::Check::Quick)?;
        Credentials::prepare(&self.layout).await?;
        let chosen = self.chosen().map_err(files::keep_damaged)?;
        let data = self.layout.data_disk();
        if !data.exists() {
            if chosen.is_some() {
                return Err(MachineError::FileCorrupt {
                    path: data,
                    reason: "the machine's data disk is missing".into(),
                    kept: None,
                });
            }
            disk::create(&installed.qemu_img, &data, Some(spec.setup.disk_bytes), None).await?;
        }
        let head = disk::head(&data)?;
        if head.corrupt {
            return Err(MachineError::FileCorrupt { path: data, reason: "QEMU found it damaged".into(), kept: None });
        }
        if chosen.is_none() {
            let (machine_type, _) = installed.machine_type(None)?;
            let chosen = Chosen { schema: SCHEMA, machine_type, chosen_by: installed.version.clone() };
            files::write_json(&self.layout.qemu_json(), &chosen)?;
        }
        let off = self.alive()?.is_none() && self.state_folder().facts().is_err();
        if off && head.size < spec.setup.disk_bytes {
            self.must_be_off().await?;
            disk::resize(&installed.qemu_img, &data, spec.setup.disk_bytes).await?;
        }
        Ok(())
    }

    async fn grow(&self, bytes: u64) -> Result<()> {
        let _lock = self.lock()?;
        self.must_exist()?;
        let data = self.layout.data_disk();
        let head = disk::head(&data)?;
        if bytes < head.size || !bytes.is_multiple_of(1 << 20) {
            return Err(MachineError::BadRequest {
                message: format!("the data disk has {} bytes and can't be made {bytes} bytes", head.size),
                hint: "A disk can only be made larger, in steps of 1 MiB.".into(),
            });
        }
        if let Some(qmp) = self.watch.link(LOOK).await? {
            let size = i64::try_from(bytes).unwrap_or(i64::MAX);
            qmp.execute(qmp::block_resize { device: None, node_name: Some(argv::DATA_NODE.into()), size }).await?;
            return Ok(());
        }
        if self.state_folder().facts().is_ok() {
            return Err(MachineError::WrongState {
                message: "the disk of a suspended machine can't be changed".into(),
                hint: "Resume the machine first, or shut it down.",
            });
        }
        if bytes == head.size {
            return Ok(());
        }
        self.must_be_off().await?;
        disk::resize(&self.installed().await?.qemu_img, &data, bytes).await
    }
}

#[async_trait]
impl Provider for QemuProvider {
    fn name(&self) -> &'static str {
        "qemu"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            suspend: true,
            snapshot: true,
            grow_disk: true,
            hot_plug: false,
            gpu: Vec::new(),
            file_sharing: Vec::new(),
            returns_memory: true,
        }
    }

    async fn prepare(&self, spec: &MachineSpec, image: &Image) -> Result<()> {
        let (spec, image) = (spec.clone(), image.clone());
        self.detached(|this| async move { this.make(&spec, &image).await }).await
    }

    async fn acceleration(&self, image: &Image) -> Result<Acceleration> {
        Ok(self.acceleration_verdict(image).await?.acceleration)
    }

    async fn start(&self, spec: &MachineSpec, image: &Image, options: StartOptions) -> Result<Started> {
        let (spec, image) = (spec.clone(), image.clone());
        self.detached(|this| async move {
            let _lock = this.lock()?;
            this.must_be_off().await?;
            this.must_exist()?;
            this.settle().await?;
            run::cold(&this, &spec, &image, &options).await
        })
        .await
    }

    async fn suspend(&self) -> Result<Suspended> {
        self.detached(|this| async move {
            let _lock = this.lock()?;
            run::suspend(&this).await
        })
        .await
    }

    async fn resume(&self, spec: &MachineSpec, image: &Image) -> Result<Started> {
        let (spec, image) = (spec.clone(), image.clone());
        self.detached(|this| async move {
            let _lock = this.lock()?;
            run::end_saved(&this).await?;
            this.must_be_off().await?;
            this.must_exist()?;
            this.settle().await?;
            run::resume(&this, &spec, &image).await
        })
        .await
    }

    async fn state(&self, spec: &MachineSpec, image: &Image) -> Result<Option<Validity>> {
        if snapshot::is_moving(&self.layout) {
            self.detached(|this| async move {
                let _lock = this.lock()?;
                this.settle().await
            })
            .await?;
        }
        let state = self.state_folder();
        if matches!(state.facts(), Err(Reason::None)) {
            return Ok(None);
        }
        let wanted = self.plan(spec, image, Occasion::Other).await?.fingerprint;
        Ok(match run::usable(self, &wanted) {
            Ok((facts, _)) => Some(Validity::Usable(facts)),
            Err(Reason::None) => None,
            Err(reason) => Some(Validity::Discard(reason)),
        })
    }

    async fn discard_state(&self) -> Result<()> {
        let _lock = self.lock()?;
        self.state_folder().discard()
    }

    async fn stop(&self, deadline: Duration) -> Result<()> {
        let by = Instant::now() + deadline;
        while self.alive()?.is_some() {
            let Some(qmp) = self.watch.link(LOOK).await? else { break };
            match qmp.run_state().await {
                Ok(state) if state == "running" => {}
                // It may have ended between the two looks.
                Err(_) => {}
                Ok(state) => {
                    return Err(MachineError::WrongState {
                        message: format!("the machine stands still ({state}) and can't shut itself down"),
                        hint: "Let it go on first, or end it with `alcove kill`.",
                    });
                }
            }
            // Either may be what the guest listens to. An error shows itself in what follows: the machine ends, or not.
            if let Err(e) = self.ask_agent().await {
                tracing::debug!(error = %e, "the guest agent could not be asked to shut down");
            }
            if let Err(e) = qmp.execute(qmp::system_powerdown {}).await {
                tracing::debug!(error = %e, "the power button could not be pressed");
            }
            let again = by.min(Instant::now() + ASK_AGAIN);
            if process::wait_for_end(&self.layout, again).await? {
                break;
            }
            if Instant::now() >= by {
                return Err(MachineError::Timeout { what: "the machine's shutdown".into(), after: deadline });
            }
        }
        Ok(())
    }

    async fn kill(&self) -> Result<()> {
        process::kill_holder(&self.layout).await
    }

    async fn destroy(&self) -> Result<()> {
        self.detached(|this| async move {
            let _lock = this.lock()?;
            this.must_be_off().await?;
            Credentials::forget(&this.layout).await;
            run::destroy(&this.layout)
        })
        .await
    }

    async fn observe(&self) -> Result<Observation> {
        self.seen().await
    }

    async fn console(&self) -> Result<UnixStream> {
        if self.alive()?.is_none() {
            return Err(MachineError::WrongState { message: "the machine is off".into(), hint: "Start it first." });
        }
        self.watch.console(LOOK).await
    }

    async fn events(&self) -> Result<broadcast::Receiver<ProviderEvent>> {
        let events = self.watch.subscribe();
        if let Err(e) = self.watch.link(LOOK).await {
            tracing::warn!(error = %e, "QEMU lives but does not answer");
        }
        Ok(events)
    }

    async fn snapshot(&self, request: &SnapshotRequest, image: &Image) -> Result<Snapshot> {
        let (request, image) = (request.clone(), image.version().to_owned());
        self.detached(|this| async move {
            let _lock = this.lock()?;
            this.must_be_off().await?;
            this.must_exist()?;
            this.settle().await?;
            let img = this.installed().await?.qemu_img;
            snapshot::create(&this.layout, &img, &request, &image).await
        })
        .await
    }

    async fn list_snapshots(&self) -> Result<Vec<Snapshot>> {
        snapshot::list(&self.layout)
    }

    async fn restore(&self, name: &str) -> Result<Snapshot> {
        let name = name.to_owned();
        self.detached(|this| async move {
            let _lock = this.lock()?;
            this.must_be_off().await?;
            this.must_exist()?;
            this.settle().await?;
            let img = this.installed().await?.qemu_img;
            snapshot::restore(&this.layout, &img, &name).await
        })
        .await
    }

    async fn delete_snapshot(&self, name: &str) -> Result<()> {
        let name = name.to_owned();
        self.detached(|this| async move {
            let _lock = this.lock()?;
            this.must_be_off().await?;
            this.settle().await?;
            let img = this.installed().await?.qemu_img;
            snapshot::delete(&this.layout, &img, &name).await
        })
        .await
    }

    async fn grow_disk(&self, bytes: u64) -> Result<()> {
        self.detached(move |this| async move { this.grow(bytes).await }).await
    }

    async fn continue_running(&self) -> Result<()> {
        self.detached(|this| async move {
            let _lock = this.lock()?;
            run::go_on(&this).await
        })
        .await
    }

    fn serial_log(&self) -> PathBuf {
        self.layout.serial_log()
    }
}
