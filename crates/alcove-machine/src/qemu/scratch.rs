//! A place for a machine's memory between the hypervisor and its packed form.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use crate::{MachineError, Result, files};

/// Left free in the host's memory whatever is put there.
#[cfg(target_os = "linux")]
const RESERVE: u64 = 256 << 20;

/// A file that the hypervisor can open by its path: in the host's memory, or on its disk. It is gone when this is
/// dropped.
#[derive(Debug)]
pub(crate) struct Scratch {
    pub(crate) file: File,
    pub(crate) path: PathBuf,
    on_disk: bool,
}

impl Scratch {
    /// In the host's memory, when it has room for so many bytes.
    #[cfg(target_os = "linux")]
    pub(crate) fn in_memory(bytes: u64) -> Option<Self> {
        use std::os::fd::AsRawFd;

        if available_memory()? < bytes.saturating_add(RESERVE) {
            tracing::info!(bytes, "the host has no memory to spare: the machine's memory goes by way of the disk");
            return None;
        }
        let file = File::from(rustix::fs::memfd_create("alcove-state", rustix::fs::MemfdFlags::CLOEXEC).ok()?);
        // QEMU is another process of the same owner.
        let path = PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd()));
        Some(Self { file, path, on_disk: false })
    }

    /// In the host's memory, where the system has files there.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn in_memory(_bytes: u64) -> Option<Self> {
        None
    }

    /// On the disk.
    pub(crate) fn on_disk(path: PathBuf) -> Result<Self> {
        files::write_private(&path, b"")?;
        let file = fs::OpenOptions::new().read(true).write(true).open(&path);
        let file = file.map_err(|e| MachineError::io("can't write", &path, e))?;
        Ok(Self { file, path, on_disk: true })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if self.on_disk
            && let Err(e) = remove(&self.path)
        {
            tracing::warn!(path = %self.path.display(), error = %e, "a file that is not needed any more stays");
        }
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// Memory that can be had without anything being pushed out.
#[cfg(target_os = "linux")]
fn available_memory() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("MemAvailable:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib << 10)
}
