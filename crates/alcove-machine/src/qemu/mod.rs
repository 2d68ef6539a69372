//! QEMU as the provider of machines.

pub mod argv;
mod console;
pub(crate) mod disk;
mod memory;
mod observe;
mod plan;
pub mod probe;
pub(crate) mod process;
mod provider;
pub mod qga;
pub mod qmp;
mod run;
mod snapshot;
mod suspend;
pub mod version;
pub(crate) mod warm;
mod watch;

pub use provider::{QemuOptions, QemuProvider};

/// The copies that are kept of a machine, oldest first; for looking at other instances than one's own.
///
/// # Errors
/// When their folder can't be read.
pub fn snapshots(layout: &crate::Layout) -> crate::Result<Vec<alcove_types::machine::Snapshot>> {
    snapshot::list(layout)
}
