//! The steps of a boot, as the guest reports them and as a person sees them.

/// Names of the boot's steps in the order in which they usually start.
pub const STEPS: [&str; 14] = [
    "kernel",
    "initrd",
    "data_disk",
    "userspace",
    "network",
    "door",
    "certificates",
    "containerd",
    "datastore",
    "apiserver",
    "controllers",
    "node",
    "images",
    "platform",
];

wire! {
/// State of one step.
#[derive(Copy, Eq)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    /// Not begun.
    Waiting,
    /// Under way.
    Running,
    /// Finished.
    Done,
    /// Failed; the message says why.
    Failed,
    /// Not needed this time.
    Skipped,
}

/// One line that the guest writes to its boot port: a step's change, or a line of log that belongs to a step.
pub struct BootEvent {
    /// The step's name; see [`STEPS`].
    pub step: String,
    /// The step's new state; absent for a line of log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<StepState>,
    /// Milliseconds since the guest's kernel started.
    pub at_ms: u64,
    /// What the step waits for, or why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// A line of log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
}

/// How the machine came up.
#[derive(Copy, Eq)]
#[serde(rename_all = "snake_case")]
pub enum BootKind {
    /// From nothing.
    Cold,
    /// From its suspended state.
    Resume,
    /// The supervisor found it running.
    Adopted,
}

/// One step of the present or last boot.
pub struct BootStep {
    /// The step's name; see [`STEPS`].
    pub name: String,
    /// Its state.
    pub state: StepState,
    /// Milliseconds from the start of QEMU to the step's start.
    pub started_ms: Option<u64>,
    /// Milliseconds from the start of QEMU to the step's end.
    pub ended_ms: Option<u64>,
    /// What it waits for, or why it failed.
    pub message: Option<String>,
    /// The last lines of log that belong to it, newest last.
    pub log: Vec<String>,
    /// How long it took in earlier boots on this host (median), when known.
    pub expected_ms: Option<u64>,
}

/// The present or last boot.
pub struct BootReport {
    /// Counts boots of this machine.
    pub attempt: u64,
    /// When QEMU was started, RFC 3339.
    pub started_at: String,
    /// From nothing, or from a suspended state.
    pub kind: BootKind,
    /// Milliseconds since QEMU was started (until it was up, when it is up).
    pub elapsed_ms: u64,
    /// True once everything is up.
    pub finished: bool,
    /// The steps in order.
    pub steps: Vec<BootStep>,
    /// How long all of it took in earlier boots (median), when known.
    pub estimate_ms: Option<u64>,
}
}
