//! What the host and the guest's daemon say to each other through the door.

use crate::{Condition, boot::BootEvent};

wire! {
/// Handed to the guest at boot through firmware configuration. Holds secrets: never logged.
pub struct MachineCredentials {
    /// Version of this structure.
    pub schema: u32,
    /// The instance's name.
    pub instance: String,
    /// The guest's host name.
    pub hostname: String,
    /// 32 hexadecimal digits, the same for the machine's whole life.
    pub machine_id: String,
    /// The door's keys.
    pub door: DoorCredentials,
    /// What Kubernetes needs.
    pub kubernetes: KubernetesCredentials,
    /// 32 bytes in hexadecimal: signs the identity that the host vouches for.
    pub identity_key: String,
    /// The host's clock, nanoseconds since 1970; the guest's clock starts from it.
    #[cfg_attr(test, ts(type = "string"))]
    pub unix_time_ns: u64,
    /// The owner's account.
    pub account: Account,
}

/// Certificates of the guest's end of the door, PEM.
pub struct DoorCredentials {
    /// Who signs both ends.
    pub ca_cert: String,
    /// The guest's certificate.
    pub server_cert: String,
    /// The guest's private key.
    pub server_key: String,
}

/// What Kubernetes needs from the host.
pub struct KubernetesCredentials {
    /// The secret part of the join token.
    pub token: String,
}

/// A person's account.
pub struct Account {
    /// Its short name.
    pub name: String,
    /// The name to show.
    pub display_name: String,
}

/// Body of the calls that set the guest's clock.
pub struct ClockSetting {
    /// The host's clock, nanoseconds since 1970.
    #[cfg_attr(test, ts(type = "string"))]
    pub unix_time_ns: u64,
}

/// How far the guest's clock was off.
pub struct ClockOffset {
    /// Guest minus host before the change, milliseconds.
    pub offset_ms: i64,
}

/// What a trim or a growth of the disk did.
pub struct DiskBytes {
    /// Bytes trimmed, or the file system's new size.
    pub bytes: u64,
}

/// How much of something is used.
#[derive(Default)]
pub struct Usage {
    /// In use, bytes.
    pub used: u64,
    /// There is, bytes.
    pub total: u64,
}

/// The guest's own account of itself.
pub struct GuestStatus {
    /// Changes with each boot.
    pub boot_id: String,
    /// Version of the guest's daemon.
    pub version: String,
    /// Version of the image.
    pub image: String,
    /// Version of the running kernel.
    pub kernel: String,
    /// The Kubernetes that runs, or that should.
    pub kubernetes: KubernetesStatus,
    /// Named conditions.
    pub conditions: Vec<Condition>,
    /// Memory used and there.
    pub memory: Usage,
    /// The data disk.
    pub disk: Usage,
    /// Share of all processors used since the last report, 0 to 1.
    pub cpu_share: f64,
    /// Processors.
    pub cpus: u32,
    /// Seconds since boot.
    pub uptime_s: u64,
    /// The guest's clock, nanoseconds since 1970.
    #[cfg_attr(test, ts(type = "string"))]
    pub unix_time_ns: u64,
}

/// Kubernetes in the guest.
#[derive(Default)]
pub struct KubernetesStatus {
    /// `k3s` for the official release, `modules` for the same parts built from their modules.
    pub distribution: String,
    /// Its version.
    pub version: String,
    /// The API answers and the node is Ready.
    pub node_ready: bool,
}

/// A message on the guest's event stream.
#[serde(rename_all = "snake_case")]
pub enum GuestEvent {
    /// A step of the boot changed.
    Boot(BootEvent),
    /// A condition changed, or some time has passed.
    Status(Box<GuestStatus>),
}
}
