//! The data disk.

use std::{fs::File, io, os::fd::AsFd};

use alcove_guest::sys;
use alcove_types::guest::Usage;

const TOP: &str = "/data";
const DEVICE: &str = "vdb";

/// Bytes used and there.
pub(super) fn usage() -> Usage {
    sys::disk_usage(c"/data").map(|(used, total)| Usage { used, total }).unwrap_or_default()
}

/// Grows the file system to its device. Returns its size.
pub(super) fn grow() -> io::Result<u64> {
    sys::grow_btrfs(File::open(TOP)?.as_fd())?;
    Ok(usage().total)
}

/// Tells the host which parts of the disk hold nothing. Returns their bytes.
pub(super) fn trim() -> io::Result<u64> {
    sys::trim(File::open(TOP)?.as_fd())
}

/// The errors that the file system has counted on its device since it was made, or nothing when it counts none.
pub(super) fn errors() -> Option<String> {
    let folder = std::fs::read_dir("/sys/fs/btrfs")
        .ok()?
        .flatten()
        .find(|entry| entry.path().join("devices").join(DEVICE).exists())?;
    let stats = std::fs::read_to_string(folder.path().join("devinfo/1/error_stats")).ok()?;
    counted(&stats)
}

fn counted(stats: &str) -> Option<String> {
    let counted: Vec<String> = stats
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter(|(_, count)| count.trim() != "0")
        .map(|(name, count)| format!("{} {}", count.trim(), name.replace('_', " ")))
        .collect();
    (!counted.is_empty()).then(|| counted.join(", "))
}

#[cfg(test)]
mod tests {
    use super::counted;

    #[test]
    fn only_counted_errors_are_told() {
        assert_eq!(counted("write_errs 0\nread_errs 0\n"), None);
        assert_eq!(
            counted("write_errs 2\nread_errs 0\ncorruption_errs 1\n").unwrap(),
            "2 write errs, 1 corruption errs"
        );
    }
}
