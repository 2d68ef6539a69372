//! Facts about the person's computer.

wire! {
/// Facts about the host.
pub struct HostFacts {
    /// The host's name.
    pub hostname: String,
    /// Operating system and version, for people.
    pub os: String,
    /// Kernel version.
    pub kernel: String,
    /// Such as `x86_64`.
    pub architecture: String,
    /// Processor model.
    pub cpu: String,
    /// Logical processors.
    pub cpus: u32,
    /// Memory, bytes.
    pub memory_bytes: u64,
    /// Memory that programs can have now, bytes.
    pub memory_available_bytes: u64,
    /// Free space where machines are kept, bytes.
    pub disk_free_bytes: u64,
    /// Where machines are kept.
    pub data_folder: String,
    /// Version of QEMU, when it was found.
    pub qemu: Option<String>,
    /// Where secrets are kept: `keychain`, or `file` where no keychain runs.
    pub secrets: String,
    /// Why there: `keychain_runs`, `next_start` (they move into the keychain when the machine is next started), `forced`
    /// (`ALCOVE_SECRETS=file`), `no_keychain`, `keychain_locked`, `keychain_slow` or `keychain_failed`.
    pub secrets_why: String,
}

/// Outcome of a check.
#[derive(Copy, Eq)]
#[serde(rename_all = "snake_case")]
pub enum CheckStatus {
    /// Fine.
    Ok,
    /// Works, with a drawback.
    Warn,
    /// Stands in the way.
    Fail,
}

/// One check of the host.
pub struct Check {
    /// Stable name, such as `virtualisation`.
    pub id: String,
    /// What is checked, for people.
    pub title: String,
    /// Outcome.
    pub status: CheckStatus,
    /// What was found.
    pub message: String,
    /// What to do; empty when nothing needs doing.
    pub hint: String,
}

/// All checks.
pub struct DoctorReport {
    /// The checks in the order in which they matter.
    pub checks: Vec<Check>,
}
}
