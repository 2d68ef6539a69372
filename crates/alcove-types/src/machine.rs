//! The machine: what is wanted, what is seen.

use crate::{
    Condition,
    boot::BootReport,
    guest::{GuestStatus, Usage},
};

wire! {
/// What the owner wants the machine to be.
#[derive(Copy, Eq, Hash)]
#[serde(rename_all = "snake_case")]
pub enum Desired {
    /// Up.
    Running,
    /// Saved to disk, using no memory.
    Suspended,
    /// Shut down.
    Stopped,
}

/// What the machine is seen to be.
#[derive(Copy, Eq, Hash)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Not created yet.
    Absent,
    /// Coming up.
    Starting,
    /// Up.
    Running,
    /// Being saved.
    Suspending,
    /// Saved to disk.
    Suspended,
    /// Shutting down.
    Stopping,
    /// Shut down.
    Stopped,
    /// Given up on, with a reason.
    Failed,
}

/// Why the machine is in [`Phase::Failed`], and the way on.
pub struct Failure {
    /// The error as shown.
    pub error: crate::ApiError,
    /// The last lines that the guest or QEMU said.
    pub last_words: Vec<String>,
    /// When, RFC 3339.
    pub at: String,
}

/// Sizes of the machine, chosen at its creation and changed in the settings.
pub struct MachineSetup {
    /// Memory, bytes.
    pub memory_bytes: u64,
    /// Processors.
    pub cpus: u32,
    /// Largest size of the data disk, bytes; it takes space as it fills.
    pub disk_bytes: u64,
}

/// A proposal for the first run: sane sizes for this host, and their limits.
pub struct MachineProposal {
    /// What we would choose.
    pub setup: MachineSetup,
    /// The least that works.
    pub least: MachineSetup,
    /// The most that this host can give.
    pub most: MachineSetup,
    /// Folder in which the machine will be made.
    pub folder: String,
    /// Bytes free there.
    pub folder_free: u64,
    /// Whether the host can run it, check by check.
    pub checks: Vec<crate::host::Check>,
}

/// What a provider can do; code asks this record, never the provider's name.
pub struct Capabilities {
    /// Can save a running machine to disk.
    pub suspend: bool,
    /// Can keep and restore copies.
    pub snapshot: bool,
    /// Can make the disk larger.
    pub grow_disk: bool,
    /// Can attach devices while running.
    pub hot_plug: bool,
    /// Kinds of GPU sharing, such as `vfio`.
    pub gpu: Vec<String>,
    /// Kinds of file sharing, such as `virtiofs`.
    pub file_sharing: Vec<String>,
    /// Gives memory that the guest frees back to the host.
    pub returns_memory: bool,
}

/// How the processor is virtualised.
#[derive(Copy, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Acceleration {
    /// The Linux kernel's hardware virtualisation.
    Kvm,
    /// Apple's hardware virtualisation.
    Hvf,
    /// Microsoft's hardware virtualisation.
    Whpx,
    /// Emulation in software; works everywhere, slow.
    Tcg,
}

/// The machine as it is.
pub struct Machine {
    /// The instance's name.
    pub instance: String,
    /// Such as `qemu`.
    pub provider: String,
    /// What the provider can do.
    pub capabilities: Capabilities,
    /// How the processor is virtualised, once it was tried.
    pub acceleration: Option<Acceleration>,
    /// Sizes; absent before creation.
    pub setup: Option<MachineSetup>,
    /// What the owner wants.
    pub desired: Desired,
    /// What is seen.
    pub phase: Phase,
    /// Since when the phase lasts, RFC 3339.
    pub since: String,
    /// Counts changes of what is wanted.
    pub generation: u64,
    /// The last generation that was reached.
    pub observed_generation: u64,
    /// Named conditions.
    pub conditions: Vec<Condition>,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// The present or last boot.
    pub boot: Option<BootReport>,
    /// The guest's account of itself.
    pub guest: Option<GuestStatus>,
    /// Version of the image.
    pub image: Option<String>,
    /// Memory that QEMU holds on the host, bytes.
    pub host_memory_bytes: Option<u64>,
    /// Share of one host processor that QEMU uses, 0 to n.
    pub host_cpu_share: Option<f64>,
    /// The data disk's file: bytes taken on the host, and its largest size.
    pub disk_file: Option<Usage>,
    /// The suspended state's size, bytes.
    pub state_bytes: Option<u64>,
    /// Settings that wait for a restart.
    pub restart_needed: Vec<String>,
}

/// A kept copy of the stopped or suspended machine.
pub struct Snapshot {
    /// Its name.
    pub name: String,
    /// When it was made, RFC 3339.
    pub created: String,
    /// Whether it holds a suspended state as well as the disk.
    pub with_memory: bool,
    /// Version of the image that it belongs to.
    pub image: String,
    /// Bytes of the saved memory.
    pub state_bytes: u64,
    /// The person's note.
    pub note: String,
}

/// Asks for a snapshot.
pub struct SnapshotRequest {
    /// Letters, digits, `-` and `_`, at most 40.
    pub name: String,
    /// The person's note.
    #[serde(default)]
    pub note: String,
}

/// Options of a start.
#[derive(Default)]
pub struct StartRequest {
    /// Bring up a shell on the serial console instead of the system.
    #[serde(default)]
    pub rescue: bool,
}

/// Confirms an operation that destroys something.
pub struct ResetRequest {
    /// The instance's name, typed by the person.
    pub confirm: String,
}

/// Options of a quit.
pub struct QuitRequest {
    /// Bring the machine to rest first, suspended or shut down as the settings say; otherwise it is left as it is.
    pub suspend: bool,
}
}
