//! The body of `alcove status --json`, a contract that other tools rely on.

use crate::{
    Condition,
    machine::{Acceleration, Desired, Phase},
};

wire! {
/// The whole state in one small document.
pub struct Status {
    /// What the owner wants.
    pub desired: Desired,
    /// What is seen.
    pub phase: Phase,
    /// Named conditions.
    pub conditions: Vec<Condition>,
    /// The machine.
    pub machine: StatusMachine,
    /// Kubernetes.
    pub kubernetes: StatusKubernetes,
    /// Where things answer.
    pub endpoints: Endpoints,
}

/// The machine, in short.
pub struct StatusMachine {
    /// Such as `qemu`.
    pub provider: String,
    /// How the processor is virtualised, once it was tried.
    pub acceleration: Option<Acceleration>,
    /// Memory, bytes; 0 before creation.
    pub memory_bytes: u64,
    /// Processors; 0 before creation.
    pub cpus: u32,
    /// Version of the image.
    pub image: Option<String>,
}

/// Kubernetes, in short.
pub struct StatusKubernetes {
    /// `k3s` or `modules`.
    pub distribution: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// The API answers and the node is Ready.
    pub node_ready: bool,
}

/// Where things answer on this computer.
pub struct Endpoints {
    /// The native pages and the API.
    pub native: String,
    /// The web desktop.
    pub desktop: String,
    /// The cluster API, through the supervisor.
    pub kubernetes: String,
}
}
