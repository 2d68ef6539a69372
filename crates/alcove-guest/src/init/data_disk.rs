//! The data disk: one Btrfs with a subvolume for each kind of thing that is kept.

use std::{
    ffi::{CStr, CString},
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    os::fd::AsFd,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use alcove_guest::sys::{self, DeviceEvents};
use rustix::mount::{MountFlags, mount, mount_bind};

use crate::failure::{self, Context, Failure};

const STEP: &str = "data_disk";
/// How long a disk may take to appear.
const DEADLINE: Duration = Duration::from_secs(30);
/// The part of a disk in which every file system and partition table has its mark.
const SIGNATURE_BYTES: usize = 128 * 1024;
const SUPERBLOCK: usize = 64 * 1024;
/// Where Btrfs keeps copies of its superblock, on disks that are large enough.
const SUPERBLOCK_COPIES: [u64; 2] = [64 << 20, 256 << 30];
/// Where a superblock has its mark.
const MAGIC_AT: usize = 0x40;
const BTRFS_MAGIC: &[u8; 8] = b"_BHRfS_M";
/// The mark of a Btrfs that `mkfs.btrfs` has not finished.
const UNFINISHED_MAGIC: &[u8; 8] = b"!BHRfS_M";
/// Where the whole file system is seen.
const TOP: &str = "data";
/// Each subvolume and the place in the root where it is seen. The order is that of mounting.
const SUBVOLUMES: &[(&CStr, &str)] = &[
    (c"@var", "var"),
    (c"@home", "home"),
    (c"@root", "root"),
    (c"@k3s", "var/lib/rancher"),
    (c"@apps", "var/lib/alcove/apps"),
    (c"@accounts", "var/lib/alcove/accounts"),
    (c"@snapshots", "var/lib/alcove/snapshots"),
];

/// What the beginning of a disk says.
#[derive(Debug, PartialEq, Eq)]
enum Content {
    /// Nothing was ever written there.
    Empty,
    /// A Btrfs.
    Btrfs,
    /// A Btrfs whose making was cut off: nothing was ever stored in it.
    Unfinished,
    /// A Btrfs of which the beginning is lost.
    Beheaded,
    /// Something else. Not ours to touch.
    Foreign,
}

/// Mounts the data disk into the new root, making its file system if the disk is new.
pub(crate) fn open(device: &Path, root: &Path) -> Result<(), Failure> {
    wait_for(device, DEADLINE)?;
    match content(&mut File::open(device).step(STEP, "the data disk can't be opened")?)
        .step(STEP, "the data disk can't be read")?
    {
        Content::Empty | Content::Unfinished => make_file_system(device, root)?,
        Content::Btrfs => {}
        Content::Beheaded => {
            return Err(Failure::new(
                STEP,
                format!(
                    "the beginning of the data disk is lost, but a copy of its superblock is there; it is left untouched \
                     (in the rescue shell, `btrfs rescue super-recover {}` puts the copy in its place)",
                    device.display()
                ),
            ));
        }
        Content::Foreign => {
            return Err(Failure::new(
                STEP,
                "the data disk holds something that is not an Alcove file system; it is left untouched",
            ));
        }
    }
    let top = root.join(TOP);
    mount_btrfs(device, &top)?;
    let folder = File::open(&top).step(STEP, "the data disk's root can't be opened")?;
    // Without a larger disk this changes nothing; with one it takes milliseconds.
    if let Err(error) = sys::grow_btrfs(folder.as_fd()) {
        failure::say(&format!("the data disk can't be grown: {error}"));
    }
    for (name, place) in SUBVOLUMES {
        match sys::create_subvolume(folder.as_fd(), name) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(error).step(STEP, &format!("the subvolume {name:?} can't be made"));
            }
            _ => {}
        }
        let from = top.join(name.to_string_lossy().as_ref());
        let to = root.join(place);
        if !to.exists() {
            fs::create_dir_all(&to).step(STEP, &format!("{} can't be made", to.display()))?;
        }
        mount_bind(&from, &to).step(STEP, &format!("{place} can't be mounted"))?;
    }
    Ok(())
}

/// Waits until the kernel has made the device.
pub(crate) fn wait_for(device: &Path, deadline: Duration) -> Result<(), Failure> {
    let events = DeviceEvents::listen().step(STEP, "the kernel's device events can't be heard")?;
    let until = Instant::now() + deadline;
    while !device.exists() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Failure::new(STEP, format!("{} did not appear in {} s", device.display(), deadline.as_secs())));
        }
        events
            .wait(i32::try_from(left.as_millis()).unwrap_or(i32::MAX))
            .step(STEP, "the kernel's device events can't be heard")?;
    }
    Ok(())
}

fn content(device: &mut (impl Read + Seek)) -> io::Result<Content> {
    let mut begin = vec![0; SIGNATURE_BYTES];
    device.seek(SeekFrom::Start(0))?;
    device.read_exact(&mut begin)?;
    let magic = &begin[SUPERBLOCK + MAGIC_AT..][..BTRFS_MAGIC.len()];
    Ok(if magic == BTRFS_MAGIC {
        Content::Btrfs
    } else if magic == UNFINISHED_MAGIC && begin[..SUPERBLOCK].iter().all(|byte| *byte == 0) {
        Content::Unfinished
    } else if has_copy(device)? {
        Content::Beheaded
    } else if begin.iter().all(|byte| *byte == 0) {
        Content::Empty
    } else {
        Content::Foreign
    })
}

/// Whether the disk holds a copy of a superblock. `mkfs.btrfs` takes such copies away before it writes its first mark, so
/// one that is there belongs to a file system that was in use.
fn has_copy(device: &mut (impl Read + Seek)) -> io::Result<bool> {
    let size = device.seek(SeekFrom::End(0))?;
    for copy in SUPERBLOCK_COPIES {
        let mut magic = [0; BTRFS_MAGIC.len()];
        let at = copy + MAGIC_AT as u64;
        if at + magic.len() as u64 <= size {
            device.seek(SeekFrom::Start(at))?;
            device.read_exact(&mut magic)?;
            if magic == *BTRFS_MAGIC {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

fn make_file_system(device: &Path, root: &Path) -> Result<(), Failure> {
    mount_for_tools(root).step(STEP, "the tools' devices can't be mounted")?;
    let root_path = CString::new(root.to_string_lossy().as_bytes()).unwrap_or_default();
    let mut command = Command::new("/usr/sbin/mkfs.btrfs");
    // --force: a making that was cut off left a mark, and `content` has seen that nothing else is there.
    command.args(["--quiet", "--force", "--nodiscard", "--label", "alcove-data"]).arg(device);
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin").stdin(Stdio::null()).stdout(Stdio::null());
    let output = sys::inside_root(&mut command, &root_path)
        .stderr(Stdio::piped())
        .output()
        .step(STEP, "mkfs.btrfs can't be run")?;
    let _ = rustix::mount::unmount(root.join("dev"), rustix::mount::UnmountFlags::DETACH);
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Failure::new(STEP, format!("the data disk's file system can't be made: {}", said.trim())))
}

/// The tools of the root want to see devices.
fn mount_for_tools(root: &Path) -> io::Result<()> {
    let devices = root.join("dev");
    if !devices.join("null").exists() {
        mount_bind("/dev", &devices)?;
    }
    Ok(())
}

fn mount_btrfs(device: &Path, place: &Path) -> Result<(), Failure> {
    let flags = MountFlags::NOATIME | MountFlags::NOSUID | MountFlags::NODEV;
    let Err(first) = mount(device, place, c"btrfs", flags, c"discard=async") else { return Ok(()) };
    // After a power failure on a host that lied about its writes, an older tree root may still be whole.
    failure::say(&format!("the data disk can't be mounted ({first}); trying an older root of it"));
    mount(device, place, c"btrfs", flags, c"discard=async,rescue=usebackuproot").step(
        STEP,
        "the data disk's file system is damaged; it is left untouched (see the lines of BTRFS above, and `btrfs check`)",
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    fn disk(marks: &[(usize, &[u8])]) -> io::Cursor<Vec<u8>> {
        let mut bytes = vec![0; 2 * SIGNATURE_BYTES];
        for (at, mark) in marks {
            bytes[*at..at + mark.len()].copy_from_slice(mark);
        }
        io::Cursor::new(bytes)
    }

    #[test]
    fn only_a_blank_disk_counts_as_empty() {
        assert_eq!(content(&mut disk(&[])).unwrap(), Content::Empty);
        assert_eq!(content(&mut disk(&[(SUPERBLOCK + MAGIC_AT, BTRFS_MAGIC)])).unwrap(), Content::Btrfs);
        // A partition table, an ext4, one stray byte.
        for mark in [(510, &[0x55, 0xaa][..]), (0x438, &[0x53, 0xef][..]), (SIGNATURE_BYTES - 1, &[1][..])] {
            assert_eq!(content(&mut disk(&[mark])).unwrap(), Content::Foreign);
        }
    }

    #[test]
    fn a_making_that_was_cut_off_is_begun_again() {
        let unfinished = [(SUPERBLOCK + MAGIC_AT, &UNFINISHED_MAGIC[..])];
        assert_eq!(content(&mut disk(&unfinished)).unwrap(), Content::Unfinished);
        let with_data = [(SUPERBLOCK + MAGIC_AT, &UNFINISHED_MAGIC[..]), (0, &[1][..])];
        assert_eq!(content(&mut disk(&with_data)).unwrap(), Content::Foreign);
    }

    #[test]
    fn a_disk_with_a_copy_of_a_superblock_is_not_empty() {
        for copy in SUPERBLOCK_COPIES {
            let mut disk = tempfile::tempfile().unwrap();
            disk.set_len(copy + 4096).unwrap();
            assert_eq!(content(&mut disk).unwrap(), Content::Empty);
            disk.write_all_at(BTRFS_MAGIC, copy + MAGIC_AT as u64).unwrap();
            assert_eq!(content(&mut disk).unwrap(), Content::Beheaded);
            // What is left of the beginning does not matter, but a whole one does.
            disk.write_all_at(&[1], 0).unwrap();
            assert_eq!(content(&mut disk).unwrap(), Content::Beheaded);
            disk.write_all_at(BTRFS_MAGIC, (SUPERBLOCK + MAGIC_AT) as u64).unwrap();
            assert_eq!(content(&mut disk).unwrap(), Content::Btrfs);
        }
    }

    #[test]
    fn a_disk_too_small_is_an_error() {
        assert!(content(&mut io::Cursor::new(vec![0; 1000])).is_err());
    }

    #[test]
    fn a_device_that_never_comes_is_given_up() {
        let Err(failure) = wait_for(Path::new("/dev/no-such-disk"), Duration::from_millis(20)) else {
            panic!("there is no such disk");
        };
        assert!(failure.to_string().contains("did not appear"), "{failure}");
    }
}
