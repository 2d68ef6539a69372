//! The data disk's file: making, measuring and growing it.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, Read},
    os::{
        fd::AsRawFd,
        unix::fs::{MetadataExt, PermissionsExt},
    },
    path::Path,
    process::Stdio,
    time::Duration,
};

use alcove_types::guest::Usage;
use tokio::{process::Command, time::timeout};

use crate::{MachineError, Result, files};

/// How long the disk tool may take. Its work is small, but the host's disk may be busy.
const PATIENCE: Duration = Duration::from_secs(120);

/// What the head of a qcow2 file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    /// The size that the guest sees.
    pub(crate) size: u64,
    /// QEMU found the file damaged and refuses to write to it.
    pub(crate) corrupt: bool,
}

/// Reads the head of a qcow2 file. Reading it ourselves works while QEMU holds the file's lock, and takes no process.
pub(crate) fn head(disk: &Path) -> Result<Head> {
    let mut file = File::open(disk).map_err(|e| MachineError::io("can't read", disk, e))?;
    let mut bytes = [0_u8; 80];
    let damaged = |reason: &str| MachineError::FileCorrupt { path: disk.into(), reason: reason.into(), kept: None };
    match file.read_exact(&mut bytes) {
        Ok(()) => parse_head(&bytes).ok_or_else(|| damaged("it is not a disk of ours")),
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Err(damaged("it is cut off")),
        Err(e) => Err(MachineError::io("can't read", disk, e)),
    }
}

/// Whether a process has the disk open: QEMU and its tools hold locks on what they write.
pub(crate) fn is_locked(disk: &Path) -> Result<bool> {
    let file = match File::open(disk) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(MachineError::io("can't read", disk, e)),
    };
    // The locks are those of open files, which belong to no process; rustix takes the kernel's -1 for a mistake.
    let mut lock = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    // SAFETY: the descriptor is open, and the kernel writes into `lock`, which lives on.
    if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETLK, &raw mut lock) } != 0 {
        return Err(MachineError::io("can't ask for the locks on", disk, io::Error::last_os_error()));
    }
    Ok(lock.l_type != libc::F_UNLCK as libc::c_short)
}

fn parse_head(bytes: &[u8; 80]) -> Option<Head> {
    let long = |at: usize| Some(u64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    let version = u32::from_be_bytes(bytes.get(4..8)?.try_into().ok()?);
    if !bytes.starts_with(b"QFI\xfb") || version != 3 {
        return None;
    }
    Some(Head { size: long(24)?, corrupt: long(72)? & 2 != 0 })
}

/// Bytes taken on the host, and the size that the guest sees. `None` when there is no disk.
pub(crate) fn usage(disk: &Path) -> Result<Option<Usage>> {
    match fs::metadata(disk) {
        Ok(meta) => Ok(Some(Usage { used: meta.blocks() * 512, total: head(disk).map(|h| h.size).unwrap_or(0) })),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(MachineError::io("can't read", disk, e)),
    }
}

/// Makes an empty disk, or one on top of another that is never written.
pub(crate) async fn create(img: &Path, disk: &Path, size: Option<u64>, backing: Option<&Path>) -> Result<()> {
    // Under another name first: a disk that is there is a whole one.
    let making = disk.with_extension("making");
    files::remove_if_there(&making)?;
    let size = size.map(|s| s.to_string());
    let mut arguments: Vec<&OsStr> = vec!["create".as_ref(), "-q".as_ref(), "-f".as_ref(), "qcow2".as_ref()];
    let options = "compat=1.1,lazy_refcounts=off,extended_l2=off";
    arguments.extend::<[&OsStr; 2]>(["-o".as_ref(), options.as_ref()]);
    if let Some(backing) = backing {
        arguments.extend::<[&OsStr; 4]>(["-F".as_ref(), "qcow2".as_ref(), "-b".as_ref(), backing.as_os_str()]);
    }
    arguments.push(making.as_os_str());
    arguments.extend(size.as_ref().map(|s| OsStr::new(s.as_str())));
    run(img, &arguments, &making).await?;
    fs::set_permissions(&making, fs::Permissions::from_mode(0o600))
        .map_err(|e| MachineError::io("can't protect", &making, e))?;
    files::sync_file(&making)?;
    fs::rename(&making, disk).map_err(|e| MachineError::io("can't make", disk, e))?;
    files::sync_parent(disk)
}

/// Makes a disk larger that no QEMU has open.
pub(crate) async fn resize(img: &Path, disk: &Path, size: u64) -> Result<()> {
    let size = size.to_string();
    let arguments: [&OsStr; 6] =
        ["resize".as_ref(), "-q".as_ref(), "-f".as_ref(), "qcow2".as_ref(), disk.as_os_str(), size.as_ref()];
    run(img, &arguments, disk).await?;
    files::sync_file(disk)
}

/// What to do with a snapshot inside the disk's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SnapshotAction {
    /// Make it.
    Create,
    /// Go back to it.
    Apply,
    /// Delete it.
    Delete,
}

/// Works on a snapshot inside the disk's file.
pub(crate) async fn snapshot(img: &Path, disk: &Path, action: SnapshotAction, tag: &str) -> Result<()> {
    let flag = match action {
        SnapshotAction::Create => "-c",
        SnapshotAction::Apply => "-a",
        SnapshotAction::Delete => "-d",
    };
    run(img, &["snapshot".as_ref(), "-q".as_ref(), flag.as_ref(), tag.as_ref(), disk.as_os_str()], disk).await?;
    files::sync_file(disk)
}

/// The tags of the snapshots inside the disk's file.
pub(crate) async fn snapshots(img: &Path, disk: &Path) -> Result<Vec<String>> {
    let said = run(img, &["info".as_ref(), "-U".as_ref(), "--output=json".as_ref(), disk.as_os_str()], disk).await?;
    let info: serde_json::Value = serde_json::from_slice(&said)
        .map_err(|e| MachineError::hypervisor(format!("qemu-img's answer is not understood: {e}")))?;
    let list = info.get("snapshots").and_then(|s| s.as_array()).cloned().unwrap_or_default();
    Ok(list.iter().filter_map(|s| s.get("name")?.as_str().map(str::to_owned)).collect())
}

async fn run(img: &Path, arguments: &[&OsStr], about: &Path) -> Result<Vec<u8>> {
    let running = Command::new(img).args(arguments).stdin(Stdio::null()).kill_on_drop(true).output();
    let output = match timeout(PATIENCE, running).await {
        Ok(Ok(output)) => output,
        Ok(Err(e)) => return Err(MachineError::io("can't run", img, e)),
        Err(_) => return Err(MachineError::Timeout { what: "qemu-img's work on the disk".into(), after: PATIENCE }),
    };
    if output.status.success() {
        return Ok(output.stdout);
    }
    let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if words.contains("No space left") || words.contains("Disk quota") {
        return Err(MachineError::DiskFull { path: about.into() });
    }
    let what = arguments.first().map(|a| a.to_string_lossy().into_owned()).unwrap_or_default();
    Err(MachineError::HypervisorFailed {
        message: format!("qemu-img {what} failed on {}", about.display()),
        last_words: words.lines().map(str::to_owned).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn a_lock_as_qemu_takes_it_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let disk = dir.path().join("data.qcow2");
        assert!(!is_locked(&disk).unwrap());
        let file = File::create(&disk).unwrap();
        assert!(!is_locked(&disk).unwrap());
        let (kind, from) = (libc::F_WRLCK as libc::c_short, libc::SEEK_SET as libc::c_short);
        let lock = libc::flock { l_type: kind, l_whence: from, l_start: 100, l_len: 1, l_pid: 0 };
        // SAFETY: the descriptor is open, and the kernel only reads `lock`.
        assert_eq!(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) }, 0);
        assert!(is_locked(&disk).unwrap());
        drop(file);
        assert!(!is_locked(&disk).unwrap());
    }

    #[test]
    fn the_head_of_a_disk_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let disk = dir.path().join("d");
        let mut bytes = [0_u8; 104];
        bytes[..4].copy_from_slice(b"QFI\xfb");
        bytes[4..8].copy_from_slice(&3_u32.to_be_bytes());
        bytes[24..32].copy_from_slice(&(64_u64 << 30).to_be_bytes());
        fs::write(&disk, bytes).unwrap();
        assert_eq!(head(&disk).unwrap(), Head { size: 64 << 30, corrupt: false });
        bytes[79] = 2;
        fs::write(&disk, bytes).unwrap();
        assert!(head(&disk).unwrap().corrupt);
        fs::write(&disk, b"QFI").unwrap();
        assert!(matches!(head(&disk), Err(MachineError::FileCorrupt { .. })));
        fs::write(&disk, [0; 200]).unwrap();
        assert!(matches!(head(&disk), Err(MachineError::FileCorrupt { .. })));
        assert_eq!(usage(&dir.path().join("none")).unwrap(), None);
    }
}
