//! The data disk.

use std::{
    fs::File,
    io,
    os::fd::AsFd,
    time::{Duration, SystemTime},
};

use alcove_guest::sys;
use alcove_types::guest::Usage;

use super::say;

const TOP: &str = "/data";
const DEVICE: &str = "vdb";
const DAY: Duration = Duration::from_secs(24 * 3600);
/// How often it is looked whether a day has gone by.
const LOOK: Duration = Duration::from_secs(600);

/// Bytes used and there.
pub(super) fn usage() -> Usage {
    sys::disk_usage(c"/data").map(|(used, total)| Usage { used, total }).unwrap_or_default()
}

/// Grows the file system to its device. Returns its size.
pub(super) fn grow() -> io::Result<u64> {
    sys::grow_btrfs(File::open(TOP)?.as_fd())?;
    Ok(usage().total)
}

/// Tells the host once a day which parts of the disk hold nothing, until the daemon ends. The file system does so by
/// itself as it goes; what it had not come to when the machine was last switched off is made up for here.
pub(super) async fn trim_daily() {
    let mut last = SystemTime::now();
    loop {
        tokio::time::sleep(LOOK).await;
        let now = SystemTime::now();
        if !is_due(last, now) {
            continue;
        }
        last = now;
        match tokio::task::spawn_blocking(trim).await {
            Ok(Ok(bytes)) => say(&format!("the data disk was trimmed: {} MB hold nothing", bytes >> 20)),
            Ok(Err(error)) => say(&format!("the data disk can't be trimmed: {error}")),
            Err(error) => say(&format!("the data disk can't be trimmed: {error}")),
        }
    }
}

/// By the calendar: other clocks stand still while the machine is suspended. When it was set back, nobody knows how long.
fn is_due(last: SystemTime, now: SystemTime) -> bool {
    now.duration_since(last).map_or(true, |since| since >= DAY)
}

/// Returns the bytes that hold nothing.
fn trim() -> io::Result<u64> {
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
    use super::*;

    #[test]
    fn a_day_on_the_calendar_is_a_day_though_the_machine_slept_through_it() {
        let last = SystemTime::UNIX_EPOCH + 100 * DAY;
        assert!(!is_due(last, last + DAY / 2));
        assert!(is_due(last, last + DAY));
        assert!(is_due(last, last - DAY), "nobody waits for a day that was over already");
    }

    #[test]
    fn only_counted_errors_are_told() {
        assert_eq!(counted("write_errs 0\nread_errs 0\n"), None);
        assert_eq!(
            counted("write_errs 2\nread_errs 0\ncorruption_errs 1\n").unwrap(),
            "2 write errs, 1 corruption errs"
        );
    }
}
