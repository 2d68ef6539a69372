//! Sane sizes for a machine: enough for the platform and some apps, never so much that the computer suffers.

use alcove_types::machine::{MachineProposal, MachineSetup};

use crate::{GIB, HostSnapshot, checks_of};

/// Memory with which the platform runs, bytes.
pub(crate) const LEAST_MEMORY: u64 = 2 * GIB;
/// Processors with which it runs well.
pub(crate) const LEAST_CPUS: u32 = 2;
/// The least free space: the platform, and some gigabytes of one's own.
pub(crate) const LEAST_DISK: u64 = 10 * GIB;
/// A disk of this size takes space only as it fills, and can grow later.
const USUAL_DISK: u64 = 64 * GIB;
/// Sizes of memory are multiples of this.
const MEMORY_STEP: u64 = GIB / 4;

/// The most memory that a machine may have: the system keeps a fifth of it, and at least 1.5 GiB.
pub(crate) fn most_memory(host: &HostSnapshot) -> u64 {
    let kept = (host.memory_bytes / 5).max(3 * GIB / 2);
    host.memory_bytes.saturating_sub(kept) / MEMORY_STEP * MEMORY_STEP
}

/// Sizes for this host with their limits. On a host that can't run a machine the limits meet at the least, and the
/// checks say why.
#[must_use]
pub fn proposal_of(host: &HostSnapshot) -> MachineProposal {
    let free = host.disk_free_bytes.unwrap_or(0);
    let least_cpus = LEAST_CPUS.min(host.cpus.max(1));
    let least = MachineSetup { memory_bytes: LEAST_MEMORY, cpus: least_cpus, disk_bytes: LEAST_DISK };
    let most = MachineSetup {
        memory_bytes: most_memory(host).max(least.memory_bytes),
        cpus: host.cpus.max(least_cpus),
        // The suspended state needs room beside the disk.
        disk_bytes: (free.saturating_sub(LEAST_MEMORY) / GIB * GIB).max(least.disk_bytes),
    };
    // A quarter of the memory, but from 4 GiB on small computers up to 8 GiB on large ones.
    let memory = (host.memory_bytes / 4).clamp(4 * GIB, 8 * GIB) / MEMORY_STEP * MEMORY_STEP;
    // On a small computer half of it is already much.
    let memory = memory.min(host.memory_bytes / 2 / MEMORY_STEP * MEMORY_STEP);
    let setup = MachineSetup {
        memory_bytes: memory.clamp(least.memory_bytes, most.memory_bytes),
        cpus: (host.cpus / 2).clamp(2, 4).clamp(least.cpus, most.cpus),
        // What is free now is not the machine's alone.
        disk_bytes: USUAL_DISK.min(free / 2 / GIB * GIB).clamp(least.disk_bytes, most.disk_bytes),
    };
    MachineProposal {
        setup,
        least,
        most,
        folder: host.data_folder.display().to_string(),
        folder_free: free,
        checks: checks_of(host),
    }
}
