//! Switching the machine off, in order: systemd stops Kubernetes, then the pods, then the rest, and unmounts the disks.

use std::{io, process::Command};

/// Asks systemd to end everything. Returns at once.
pub(super) fn off() -> io::Result<()> {
    let status = Command::new("/usr/bin/systemctl").args(["--no-block", "poweroff"]).status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("systemctl ended with {status}"))) }
}
