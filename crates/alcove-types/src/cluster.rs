//! Read models of the cluster: what a person needs to see of nodes, pods and events.

wire! {
/// Counts for the head of the page.
pub struct ClusterOverview {
    /// Nodes, and how many are Ready.
    pub nodes: Count,
    /// Pods, and how many are well.
    pub pods: Count,
    /// Version of the API server.
    pub version: String,
    /// Warnings of the last hour.
    pub warnings: u32,
}

/// How many there are and how many are well.
pub struct Count {
    /// There are.
    pub total: u32,
    /// Are well.
    pub well: u32,
}

/// A node.
pub struct NodeRow {
    /// Its name.
    pub name: String,
    /// Ready, NotReady, Unknown, with `,SchedulingDisabled` when cordoned.
    pub status: String,
    /// Whether it is Ready.
    pub ready: bool,
    /// Roles.
    pub roles: Vec<String>,
    /// Kubelet's version.
    pub version: String,
    /// Its address.
    pub address: String,
    /// Operating system.
    pub os: String,
    /// Kernel.
    pub kernel: String,
    /// Container runtime.
    pub runtime: String,
    /// Processors that pods can have, in thousandths.
    pub cpu_allocatable_m: u64,
    /// Memory that pods can have, bytes.
    pub memory_allocatable_bytes: u64,
    /// Processors in use, in thousandths, when metrics answer.
    pub cpu_used_m: Option<u64>,
    /// Memory in use, bytes, when metrics answer.
    pub memory_used_bytes: Option<u64>,
    /// Pods on it.
    pub pods: u32,
    /// When it was created, RFC 3339.
    pub created: String,
    /// Conditions that are not as they should be, in words.
    pub problems: Vec<String>,
}

/// A pod. `status` is derived as kubectl derives it, not the bare phase.
pub struct PodRow {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Status such as `Running`, `CrashLoopBackOff`, `Init:0/1`, `Terminating`.
    pub status: String,
    /// Good, busy, attention or failed.
    pub health: Health,
    /// Ready containers.
    pub ready: u32,
    /// Containers.
    pub containers: u32,
    /// Names of the containers, init containers first.
    pub container_names: Vec<String>,
    /// Restarts of all containers.
    pub restarts: u32,
    /// When one last restarted, RFC 3339.
    pub last_restart: Option<String>,
    /// Node, once it is bound.
    pub node: Option<String>,
    /// Address.
    pub address: Option<String>,
    /// Kind and name of what owns it.
    pub owner: Option<String>,
    /// Processors in use, in thousandths, when metrics answer.
    pub cpu_used_m: Option<u64>,
    /// Memory in use, bytes, when metrics answer.
    pub memory_used_bytes: Option<u64>,
    /// When it was created, RFC 3339.
    pub created: String,
    /// Why it is not well, in words.
    pub message: Option<String>,
}

/// Whether something is well.
#[derive(Copy, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Well.
    Good,
    /// On its way.
    Busy,
    /// Works, with something to look at.
    Attention,
    /// Does not work.
    Failed,
}

/// An event.
pub struct EventRow {
    /// Namespace.
    pub namespace: String,
    /// Kind and name of what it is about.
    pub object: String,
    /// `Normal` or `Warning`.
    pub kind: String,
    /// One word.
    pub reason: String,
    /// For people.
    pub message: String,
    /// How often.
    pub count: u32,
    /// Last seen, RFC 3339.
    pub last: String,
    /// Who reports it.
    pub source: String,
}

/// All nodes.
pub struct NodeList {
    /// The nodes.
    pub items: Vec<NodeRow>,
}

/// All pods.
pub struct PodList {
    /// The pods.
    pub items: Vec<PodRow>,
}

/// Events, newest first.
pub struct EventList {
    /// The events.
    pub items: Vec<EventRow>,
}
}
