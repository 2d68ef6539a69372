//! One supervisor for one machine, and one place for its sockets.
//!
//! The runtime folder hangs on the environment, which is another one for a program that cron starts. So what decides
//! lies with the machine: the lock of its one supervisor, and where that supervisor and its QEMU have their sockets and
//! the pidfile.

use std::{
    fs,
    os::unix::ffi::OsStrExt,
    path::PathBuf,
    thread::sleep,
    time::{Duration, Instant},
};

use crate::{Layout, MachineError, Result, files, layout, liveness, lock::FileLock};

/// Whoever looks whether the lock is held has it for a moment himself.
const MOMENT: Duration = Duration::from_millis(250);
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Held by the one supervisor of a machine, as long as it lives.
#[derive(Debug)]
pub struct Claim {
    _lock: FileLock,
}

impl Layout {
    /// Makes this process the machine's one supervisor until the value is dropped.
    ///
    /// # Errors
    /// [`MachineError::Claimed`] when there is another one.
    pub fn claim(&self) -> Result<Claim> {
        let by = Instant::now() + MOMENT;
        let lock = loop {
            match FileLock::try_take(&self.supervisor_lock()) {
                Err(MachineError::Busy) if Instant::now() < by => sleep(LOOK_AGAIN),
                Err(MachineError::Busy) => {
                    let runtime = noted(self).unwrap_or_else(|| self.runtime().to_owned());
                    return Err(MachineError::Claimed { runtime });
                }
                other => break other?,
            }
        };
        files::write_private(&self.runtime_note(), self.runtime().as_os_str().as_bytes())?;
        Ok(Claim { _lock: lock })
    }
}

/// The runtime folder in which a supervisor or a QEMU of this machine lives.
pub(crate) fn in_use(layout: &Layout) -> Option<PathBuf> {
    let folder = noted(layout).filter(|f| layout::is_ours(f))?;
    let pidfile = folder.join(layout.pidfile().file_name()?);
    let lives = FileLock::is_held(&layout.supervisor_lock()) || liveness::holder(&pidfile).ok().flatten().is_some();
    lives.then_some(folder)
}

fn noted(layout: &Layout) -> Option<PathBuf> {
    let bytes = fs::read(layout.runtime_note()).ok()?;
    Some(PathBuf::from(std::ffi::OsStr::from_bytes(&bytes))).filter(|f| f.is_absolute())
}
