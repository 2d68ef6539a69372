//! The contract between the supervisor and whatever runs the machine.

use std::{
    net::SocketAddr,
    path::PathBuf,
    time::{Duration, Instant},
};

use alcove_types::{
    guest::Usage,
    machine::{Acceleration, Snapshot, SnapshotRequest},
};
use async_trait::async_trait;
use tokio::{net::UnixStream, sync::broadcast};

use crate::{
    Result,
    image::Image,
    spec::MachineSpec,
    state::{StateFacts, Validity},
};

pub use alcove_types::machine::Capabilities;

/// Options of a start.
#[derive(Debug, Clone, Default)]
pub struct StartOptions {
    /// Bring up a shell on the serial console instead of the system.
    pub rescue: bool,
}

/// A machine that has been started or resumed.
#[derive(Debug, Clone, PartialEq)]
pub struct Started {
    /// Where the guest's door is reached on this host.
    pub door: SocketAddr,
    /// How the processor is virtualised.
    pub acceleration: Acceleration,
    /// When the hypervisor's process was started.
    pub started_at: jiff::Timestamp,
    /// How long it took until the guest ran.
    pub took: Duration,
}

/// A machine that has been suspended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Suspended {
    /// Bytes that the saved state takes on the disk.
    pub bytes: u64,
    /// From the request until the process had ended.
    pub took: Duration,
}

/// What a machine is seen to be.
#[derive(Debug, Clone, PartialEq)]
pub struct Observation {
    /// Whether it is there, off, suspended or on.
    pub power: Power,
    /// The data disk's file: bytes taken on the host, and its largest size.
    pub disk: Option<Usage>,
    /// The last lines of the serial console and of the hypervisor's own log, when the machine is off or has panicked.
    pub last_words: Vec<String>,
}

/// Whether a machine is there, off, suspended or on.
#[derive(Debug, Clone, PartialEq)]
pub enum Power {
    /// It has never been prepared, or it was destroyed.
    Absent,
    /// It is shut down.
    Off,
    /// It is shut down and its memory is saved.
    Suspended {
        /// What is known of the saved state. Whether it can be used depends on spec and image: [`Provider::state`].
        state: StateFacts,
    },
    /// Its hypervisor is alive.
    On(On),
}

/// A machine whose hypervisor is alive.
#[derive(Debug, Clone, PartialEq)]
pub struct On {
    /// The hypervisor's process.
    pub pid: u32,
    /// Its processors stand still; how far it had come.
    pub standstill: Option<Standstill>,
    /// The hypervisor's word for what it does, such as `running`, `paused`, `inmigrate`, `postmigrate`, `io-error`,
    /// `guest-panicked`; `unknown` when it does not answer.
    pub run_state: String,
    /// Since when it has not answered, while it is alive. A busy host or a long save keep it from answering for seconds;
    /// one that stays silent longer can only be ended ([`Provider::kill`]).
    pub silent_since: Option<Instant>,
    /// The guest's kernel has panicked, or its virtual processor can't go on.
    pub panicked: bool,
    /// It stands still because the host could not read or write its disk (mostly: no space left).
    pub io_error: bool,
    /// Version of the image that it was started with.
    pub image: Option<String>,
    /// It was started for rescue.
    pub rescue: bool,
    /// How the processor is virtualised.
    pub acceleration: Option<Acceleration>,
    /// When the process was started.
    pub started_at: Option<jiff::Timestamp>,
    /// Where the guest's door is reached on this host.
    pub door: Option<SocketAddr>,
    /// Memory that the process holds.
    pub rss_bytes: Option<u64>,
    /// Processor time that the process has used.
    pub cpu_time_ms: Option<u64>,
}

/// How far a machine had come whose processors stand still. A supervisor that was killed leaves one behind; which of
/// them it is decides what may be done with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standstill {
    /// Its process was started and the guest has not run in it: nothing is lost when it is ended, and what it was to be
    /// started from (the disk, or the saved state) is as it was.
    NotBegun,
    /// Everything is in a complete saved state: the last step of a suspend, or the first of a resume, was interrupted.
    /// Suspending finishes it, continuing drops the state, and ending it loses nothing.
    Saved,
    /// In the midst of its life: its memory is nowhere else.
    Midway,
}

/// Something that happened to a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProviderEvent {
    /// The hypervisor's process has ended.
    Exited {
        /// Its exit code; unknown when it was started by an earlier supervisor or ended by a signal.
        code: Option<i32>,
        /// The last lines that it or the guest wrote.
        last_words: Vec<String>,
    },
    /// The guest's kernel has panicked; the machine stands still so that it can be looked at.
    Panicked,
    /// The host could not read or write the machine's disk; the machine stands still.
    IoError {
        /// Because no space is left.
        nospace: bool,
    },
    /// The processors stand still.
    Paused,
    /// The processors run.
    Resumed,
    /// The guest has shut itself down.
    PoweredOff,
    /// The guest has restarted itself.
    Reset,
    /// The guest agent listens.
    GuestAgentUp,
}

/// What runs a machine. One value belongs to one machine; every call observes before it acts, so that a value made
/// anew (by a supervisor that was killed and started again) goes on where the old one stopped.
#[async_trait]
pub trait Provider: Send + Sync {
    /// Its name, for people and logs.
    fn name(&self) -> &'static str;

    /// What it can do. Code asks this record, never the name.
    fn capabilities(&self) -> Capabilities;

    /// Makes what the machine needs on the disk: folders, data disk, keys. Repeatable; keeps what is there.
    async fn prepare(&self, spec: &MachineSpec, image: &Image) -> Result<()>;

    /// How the processor is or will be virtualised on this host. Tried once, then remembered.
    async fn acceleration(&self, image: &Image) -> Result<Acceleration>;

    /// Boots the machine and returns when the hypervisor is alive and answers. Refused with `WrongState` when it is on.
    /// A suspended state that lies there is discarded once the machine has been started.
    async fn start(&self, spec: &MachineSpec, image: &Image, options: StartOptions) -> Result<Started>;

    /// Saves the running machine and ends its process. On any failure the guest runs on and the error says why.
    /// Dropping the future does not stop it half-way.
    async fn suspend(&self) -> Result<Suspended>;

    /// Brings a suspended machine back. `StateInvalid` when its state can't be used; the state is kept until the guest
    /// runs again, and is then gone: it can be used once only, for the disk goes on.
    async fn resume(&self, spec: &MachineSpec, image: &Image) -> Result<Started>;

    /// Whether there is a suspended state and whether [`Provider::resume`] would accept it.
    async fn state(&self, spec: &MachineSpec, image: &Image) -> Result<Option<Validity>>;

    /// Deletes the suspended state.
    async fn discard_state(&self) -> Result<()>;

    /// Asks the guest to shut down (its agent, and the power button) and waits until it has; `Timeout` otherwise. A supervisor asks the
    /// guest through the door first.
    async fn stop(&self, deadline: Duration) -> Result<()>;

    /// Ends the process at once.
    async fn kill(&self) -> Result<()>;

    /// Deletes the machine with all that it holds. Refused with `WrongState` while it is on.
    async fn destroy(&self) -> Result<()>;

    /// What is seen now. Relies on nothing that an earlier process wrote down.
    async fn observe(&self) -> Result<Observation>;

    /// The machine's serial console: what it writes from now on, and what is typed. Several may look at once. What was
    /// written before is in the serial log.
    async fn console(&self) -> Result<UnixStream>;

    /// What happens from now on. Adopts a machine that an earlier supervisor started.
    async fn events(&self) -> Result<broadcast::Receiver<ProviderEvent>>;

    /// Keeps a copy of the stopped or suspended machine.
    async fn snapshot(&self, request: &SnapshotRequest, image: &Image) -> Result<Snapshot>;

    /// The copies that are kept, oldest first.
    async fn list_snapshots(&self) -> Result<Vec<Snapshot>>;

    /// Puts a copy in the place of the stopped or suspended machine.
    async fn restore(&self, name: &str) -> Result<Snapshot>;

    /// Deletes a copy.
    async fn delete_snapshot(&self, name: &str) -> Result<()>;

    /// Makes the data disk larger, running or stopped. It can't be made smaller, nor changed while suspended.
    async fn grow_disk(&self, bytes: u64) -> Result<()>;

    /// Lets a machine go on that stands still: after a disk error once space is back, or after an interrupted suspend.
    async fn continue_running(&self) -> Result<()>;

    /// Where everything lies that the guest ever wrote to its serial console (the present log; `.1` is the older one).
    fn serial_log(&self) -> PathBuf;
}
