//! Whether a hypervisor is alive: the lock that it holds on its pidfile says so, and nothing else.
//!
//! A PID in a file proves nothing: the process may be gone and its number given to another. A live QEMU holds a POSIX
//! lock on its pidfile, and the kernel names the holder. The lock goes with the process, however it dies.

use std::{fs::OpenOptions, io, path::Path};

use rustix::process::{Flock, FlockType, Pid, fcntl_getlk};

use crate::{MachineError, Result};

/// The process that holds the lock on this pidfile; `None` when nobody does, or there is no pidfile.
/// The number is 0 when the holder lives where this process can't see it (another PID namespace).
pub fn holder(pidfile: &Path) -> Result<Option<u32>> {
    let file = match OpenOptions::new().read(true).write(true).open(pidfile) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(MachineError::io("can't open", pidfile, e)),
    };
    let found = fcntl_getlk(&file, &Flock::from(FlockType::WriteLock))
        .map_err(|e| MachineError::io("can't ask for the lock on", pidfile, e.into()))?;
    Ok(found.map(|lock| lock.pid.map(Pid::as_raw_pid).and_then(|pid| u32::try_from(pid).ok()).unwrap_or(0)))
}
