//! Alcove in the guest: what the daemon and the initrd's init share, and the daemon's parts.

pub mod addresses;
pub mod boot_port;
pub mod kubernetes_config;
pub mod sys;
