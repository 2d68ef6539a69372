//! Facts about the person's computer, checks of it, and sane sizes for a machine.
//!
//! [`HostSnapshot::take`] looks; everything else is a pure function over what was seen, so that hosts which are not at
//! hand are tested from recordings. The functions here block for some tens of milliseconds (QEMU is asked for its
//! version): call them off the event loop where that matters.

mod checks;
mod proposal;
mod secrets;
mod snapshot;

use std::path::Path;

use alcove_types::{
    host::{Check, HostFacts},
    machine::MachineProposal,
};

pub use checks::checks_of;
pub use proposal::proposal_of;
pub use secrets::{secrets_check, with_secrets};
pub use snapshot::{HostSnapshot, Kvm, Qemu};

/// Facts about this host. `data_folder` is where machines are kept; it need not be there yet.
#[must_use]
pub fn facts(data_folder: &Path) -> HostFacts {
    HostSnapshot::take(data_folder).facts()
}

/// Checks whether this host can run a machine.
#[must_use]
pub fn checks(data_folder: &Path) -> Vec<Check> {
    checks_of(&HostSnapshot::take(data_folder))
}

/// Sane sizes for a machine on this host, with their limits and the checks.
#[must_use]
pub fn proposal(data_folder: &Path) -> MachineProposal {
    proposal_of(&HostSnapshot::take(data_folder))
}

pub(crate) const GIB: u64 = 1 << 30;

/// A number of bytes for people, in binary units by the name that people use; so do the pages and the command line.
pub(crate) fn gib(bytes: u64) -> String {
    let tenths = bytes.saturating_mul(10) / GIB;
    if tenths.is_multiple_of(10) {
        format!("{} GB", tenths / 10)
    } else {
        format!("{}.{} GB", tenths / 10, tenths % 10)
    }
}
