//! The machine: its contract, its providers and its files.
//!
//! A [`provider::Provider`] makes, starts, suspends, resumes and observes one virtual machine. What lies on the disk is
//! a contract of its own, file by file, in [`layout`]. Nothing that can be observed is stored: a machine is alive when
//! its hypervisor holds the lock on its pidfile ([`liveness`]), never because a file says so.

pub mod boot_log;
pub mod credentials;
pub mod error;
mod files;
pub mod image;
pub mod kubectl;
pub mod layout;
pub mod liveness;
pub mod lock;
mod packed;
pub mod provider;
pub mod qemu;
mod runtime;
pub mod secrets;
mod serial;
pub mod spec;
pub mod state;
pub mod warm;

pub use error::MachineError;
pub use layout::{Home, InstanceName, Layout};
pub use provider::{Observation, Power, Provider, ProviderEvent, StartOptions, Started, Suspended};
pub use qemu::QemuProvider;
pub use runtime::Claim;
pub use serial::serial_tail;
pub use spec::{ImageSlots, MachineSpec, Slot};

/// Result of this crate.
pub type Result<T, E = MachineError> = std::result::Result<T, E>;
