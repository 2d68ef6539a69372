//! QEMU as the provider of machines.

mod provider;
pub(crate) mod warm;

pub use provider::{QemuOptions, QemuProvider};
