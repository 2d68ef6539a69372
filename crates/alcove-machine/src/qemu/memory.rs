//! The guest's memory as a file in the host's own memory.
//!
//! QEMU maps the file instead of memory of its own, so a suspend reads it, and a resume fills it, without QEMU: nothing
//! is copied from one place in memory to another, and a resume fills it while QEMU is still coming up. QEMU is told to
//! leave out of its own files what it shares (`x-ignore-shared`). The file has no name and is gone with the last process
//! that has it open.

use std::{fs::File, path::PathBuf};

use crate::Result;

/// Whether machines get their memory this way here.
pub(crate) const AVAILABLE: bool = cfg!(target_os = "linux");
/// How the file is called by the system, which is how QEMU's is found again.
#[cfg(target_os = "linux")]
const NAME: &str = "alcove-memory";

/// A file in the host's memory that another process of the same owner can open by its path, while this is there.
#[derive(Debug)]
pub(crate) struct MemoryFile {
    pub(crate) file: File,
    pub(crate) path: PathBuf,
}

#[cfg(target_os = "linux")]
impl MemoryFile {
    /// One for a guest's memory of so many bytes. It takes room as it is written.
    pub(crate) fn for_guest(bytes: u64) -> Result<Self> {
        let memory = Self::make(NAME)?;
        memory.file.set_len(bytes).map_err(|e| crate::MachineError::io("can't size", &memory.path, e))?;
        Ok(memory)
    }

    /// An empty one for what QEMU says of the machine's devices.
    pub(crate) fn for_devices() -> Result<Self> {
        Self::make("alcove-devices")
    }

    fn make(name: &str) -> Result<Self> {
        use std::os::fd::AsRawFd;

        let failed = |e: rustix::io::Errno| crate::MachineError::io("can't make", name, e.into());
        let file = File::from(rustix::fs::memfd_create(name, rustix::fs::MemfdFlags::CLOEXEC).map_err(failed)?);
        let path = PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd()));
        Ok(Self { file, path })
    }
}

/// The memory of the guest that this QEMU runs; `None` when it was not started with one of ours.
#[cfg(target_os = "linux")]
pub(crate) fn of_process(pid: u32) -> Option<File> {
    let wanted = format!("/memfd:{NAME} ");
    let files = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    files.flatten().map(|entry| entry.path()).find_map(|path| {
        let target = std::fs::read_link(&path).ok()?;
        target.to_string_lossy().starts_with(&wanted).then(|| File::open(path).ok())?
    })
}

#[cfg(not(target_os = "linux"))]
impl MemoryFile {
    pub(crate) fn for_guest(_bytes: u64) -> Result<Self> {
        Err(unavailable())
    }

    pub(crate) fn for_devices() -> Result<Self> {
        Err(unavailable())
    }
}

#[cfg(not(target_os = "linux"))]
fn unavailable() -> crate::MachineError {
    crate::MachineError::Unsupported {
        message: "this system has no files in memory".into(),
        hint: "The machine can be shut down instead.".into(),
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn of_process(_pid: u32) -> Option<File> {
    None
}
