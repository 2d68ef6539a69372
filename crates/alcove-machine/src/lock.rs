//! One operation at a time on a machine, across processes.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

use crate::{MachineError, Result};

/// A lock that goes with the process that holds it, however that dies.
#[derive(Debug)]
pub struct FileLock {
    file: File,
}

impl Drop for FileLock {
    fn drop(&mut self) {
        // Closing alone is not enough: a child that another thread is just starting has the file open, too, until it
        // becomes its program.
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

impl FileLock {
    /// Takes the lock, or says [`MachineError::Busy`] when another process (or another part of this one) has it.
    pub fn try_take(path: &Path) -> Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(|e| MachineError::io("can't open", path, e))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { file }),
            Err(Errno::WOULDBLOCK) => Err(MachineError::Busy),
            Err(e) => Err(MachineError::io("can't lock", path, e.into())),
        }
    }

    /// Whether somebody has the lock. Looking takes it for a moment, so that who wants it must try twice.
    pub(crate) fn is_held(path: &Path) -> bool {
        let Ok(file) = File::open(path) else { return false };
        let free = flock(&file, FlockOperation::NonBlockingLockShared).is_ok();
        if free {
            let _ = flock(&file, FlockOperation::Unlock);
        }
        !free
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_taken_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("l");
        assert!(!FileLock::is_held(&path));
        let held = FileLock::try_take(&path).unwrap();
        assert!(FileLock::is_held(&path));
        assert!(matches!(FileLock::try_take(&path), Err(MachineError::Busy)));
        drop(held);
        assert!(!FileLock::is_held(&path));
        assert!(FileLock::try_take(&path).is_ok());
    }
}
