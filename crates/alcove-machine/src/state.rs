//! The suspended state: the machine's memory on the disk, and whether it can still be used.
//!
//! The folder holds `state.bin` (memory and devices as the hypervisor wrote them) and `state.json` (what it belongs
//! to), which is written last: without it there is no state. A state can be used once, because the disk goes on as soon
//! as the guest runs; `state.json` is therefore moved aside before the guest is let go.

use serde::{Deserialize, Serialize};

/// The `schema` of `state.json` that this version writes and reads.
pub const SCHEMA: u32 = 1;

/// What a suspended state belongs to. Everything here must be the same for it to be used again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// Version of the guest image.
    pub image: String,
    /// Version of the hypervisor.
    pub hypervisor: String,
    /// SHA-256 of everything that the guest can see of its hardware: not paths, ports or the instance's name.
    pub hardware: String,
    /// How the processor was virtualised.
    pub acceleration: alcove_types::machine::Acceleration,
    /// The processor's model as the guest sees it; with hardware virtualisation also the host's own processor.
    pub cpu: String,
}

/// The data disk as it was when the state was made. Memory and disk belong together: a disk that went on without the
/// memory would be damaged by it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskMark {
    /// Length of the file.
    pub bytes: u64,
    /// When it was last written, nanoseconds since 1970.
    pub written_ns: i128,
}

/// What is known of a suspended state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateFacts {
    /// Version of this structure.
    pub schema: u32,
    /// What it belongs to.
    pub fingerprint: Fingerprint,
    /// The data disk that it belongs to.
    pub disk: DiskMark,
    /// How the memory was written: `mapped-ram` or `stream`.
    pub format: String,
    /// When it was made.
    pub created: jiff::Timestamp,
    /// Length of `state.bin`.
    pub bytes: u64,
    /// Bytes that `state.bin` takes on the disk.
    pub allocated: u64,
    /// SHA-256 of the first mebibyte of `state.bin`: enough to see that it is another file or was overwritten.
    pub head_sha256: String,
}

/// Whether a suspended state can be used.
#[derive(Debug, Clone, PartialEq)]
pub enum Validity {
    /// It can.
    Usable(StateFacts),
    /// It can't; a cold start is the way on.
    Discard(Reason),
}

/// Why a suspended state can't be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// There is none.
    #[error("there is none")]
    None,
    /// Its description is damaged.
    #[error("its description is damaged ({0})")]
    Corrupt(String),
    /// The saved memory is missing or not what was written.
    #[error("the saved memory is damaged ({0})")]
    Truncated(String),
    /// It was written by a newer version.
    #[error("it was written by a newer Alcove")]
    TooNew,
    /// It was used before.
    #[error("it has been used already, and the disk has gone on since")]
    Used,
    /// The disk was written after it was made.
    #[error("the disk has been written since")]
    DiskChanged,
    /// It belongs to another image.
    #[error("it belongs to image {found}, the machine now has {wanted}")]
    Image {
        /// The image it was made with.
        found: String,
        /// The image of now.
        wanted: String,
    },
    /// It was made by another version of the hypervisor.
    #[error("QEMU {found} made it, this is QEMU {wanted}")]
    Hypervisor {
        /// The version that made it.
        found: String,
        /// The version of now.
        wanted: String,
    },
    /// The machine's sizes or devices are different now.
    #[error("the machine's hardware was changed since (memory, processors or devices)")]
    Hardware,
    /// The processor or its virtualisation is another.
    #[error("it was made on {found}, this is {wanted}")]
    Processor {
        /// What it was made on.
        found: String,
        /// What there is now.
        wanted: String,
    },
    /// The hypervisor tried to load it and failed.
    #[error("QEMU could not load it ({0})")]
    LoadFailed(String),
}
