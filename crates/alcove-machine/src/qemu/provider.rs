//! The QEMU provider.

use std::{path::PathBuf, time::Duration};

use alcove_types::machine::{Acceleration, Snapshot, SnapshotRequest};
use async_trait::async_trait;
use tokio::{net::UnixStream, sync::broadcast};

use crate::{
    Layout, MachineError, MachineSpec, Result,
    image::Image,
    provider::{Capabilities, Observation, Provider, ProviderEvent, StartOptions, Started, Suspended},
    state::Validity,
};

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
    layout: Layout,
    options: QemuOptions,
}

impl QemuProvider {
    /// The provider of one instance's machine. Touches nothing yet.
    pub fn new(layout: Layout, options: QemuOptions) -> Self {
        Self { layout, options }
    }
}

#[async_trait]
impl Provider for QemuProvider {
    fn name(&self) -> &'static str { "qemu" }

    fn capabilities(&self) -> Capabilities { Capabilities { suspend: true, snapshot: true, grow_disk: true, hot_plug: false, gpu: Vec::new(), file_sharing: Vec::new(), returns_memory: true } }

    async fn prepare(&self, _spec: &MachineSpec, _image: &Image) -> Result<()> { let _ = &self.options; Err(MachineError::hypervisor("not there yet")) }

    async fn acceleration(&self, _image: &Image) -> Result<Acceleration> { let _ = &self.options; Err(MachineError::hypervisor("not there yet")) }

    async fn start(&self, _spec: &MachineSpec, _image: &Image, _options: StartOptions) -> Result<Started> { let _ = &self.options; Err(MachineError::hypervisor("not there yet")) }

    async fn suspend(&self) -> Result<Suspended> { let _ = &self.options; Err(MachineError::hypervisor("not there yet")) }

    async fn resume(&self, _spec: &MachineSpec, _image: &Image) -> Result<Started> { let _ = &self.options; Err(MachineError::hypervisor("not there yet")) }

    async fn state(&self, _spec: &MachineSpec, _image: &Image) -> Result<Option<Validity>> { let _ = &self.options; Err(MachineError::hypervisor("not there yet")) }

    async fn discard_state(&self) -> Result<()> { let _ = &self.options; Err(MachineError::hypervisor("not there yet")) }

    async fn stop(&self, _deadline: Duration) -> Result<()> { let _ = &self.options; Err(MachineError::hypervisor("not there yet")) }

    async fn kill(&self) -> Result<()> { let _ = &self.options; Err(MachineError::hypervisor("not there yet")) }

    async fn destroy(&self) -> Result<()> { let _ = &self.options; Err(MachineError::hypervisor("not there yet")) }

    async fn observe(&self) -> Result<Observation> { let _ = &self.options; Err(MachineError::hypervisor("not there yet")) }

    async fn console(&self) -> Result<UnixStream> { let _ = &self.options; Err(MachineError::hypervisor("not there yet")) }

    async fn events(&self) -> Result<broadcast::Receiver<ProviderEvent>> { let _ = &self.options; Err(MachineError::hypervisor("not there yet")) }

    async fn snapshot(&self, _request: &SnapshotRequest, _image: &Image) -> Result<Snapshot> { let _ = &self.options; Err(MachineError::hypervisor("not there yet")) }

    async fn list_snapshots(&self) -> Result<Vec<Snapshot>> { let _ = &self.options; Err(MachineError::hypervisor("not there yet")) }

    async fn restore(&self, _name: &str) -> Result<Snapshot> { let _ = &self.options; Err(MachineError::hypervisor("not there yet")) }

    async fn delete_snapshot(&self, _name: &str) -> Result<()> { let _ = &self.options; Err(MachineError::hypervisor("not there yet")) }

    async fn grow_disk(&self, _bytes: u64) -> Result<()> { let _ = &self.options; Err(MachineError::hypervisor("not there yet")) }

    async fn continue_running(&self) -> Result<()> { let _ = &self.options; Err(MachineError::hypervisor("not there yet")) }

    fn serial_log(&self) -> PathBuf { self.layout.serial_log() }

}
