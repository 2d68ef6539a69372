//! The serial log: what the guest wrote to its console. QEMU appends to it by itself, so that it has the guest's words
//! whether or not a supervisor lives.

use std::{
    fs::{self, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use crate::{Layout, MachineError, Result, files};

/// How the line begins with which each boot begins.
const BOOT: &str = "--- boot ";
/// A log that is longer than this is begun anew.
pub(crate) const LONGEST: u64 = 4 << 20;

/// The last lines that the guest wrote to its serial console in its present (or last) boot, oldest first, as plain text.
/// Empty when it has said nothing, or the log can't be read: it is asked for when something has gone wrong already.
pub fn serial_tail(layout: &Layout, lines: usize) -> Vec<String> {
    // One more, which may be the one with which the boot begins.
    let mut found = files::last_lines(&layout.serial_log(), lines.saturating_add(1));
    if let Some(at) = found.iter().rposition(|l| l.starts_with(BOOT)) {
        found.drain(..=at);
    } else if found.len() < lines {
        // The log was begun anew in the midst of this boot.
        let mut earlier = files::last_lines(&layout.serial_log_before(), lines - found.len());
        if let Some(at) = earlier.iter().rposition(|l| l.starts_with(BOOT)) {
            earlier.drain(..=at);
        }
        earlier.append(&mut found);
        found = earlier;
    }
    found.split_off(found.len().saturating_sub(lines))
}

/// Notes that a boot begins, so that nobody takes an earlier one's words for this one's.
pub(crate) fn begin(layout: &Layout) -> Result<()> {
    let log = layout.serial_log();
    keep_short(&log, &layout.serial_log_before())?;
    let failed = |e| MachineError::io("can't write", &log, e);
    let mut file = files::append(&log)?;
    // The last boot may have ended in the midst of a line.
    let torn = if file.metadata().is_ok_and(|m| m.len() > 0) { "\n" } else { "" };
    file.write_all(format!("{torn}{BOOT}{}\n", jiff::Timestamp::now()).as_bytes()).map_err(failed)
}

/// Begins a log anew that has grown long; its end goes to `before`, over what was there. Whoever appends to it (QEMU opens
/// it for that) goes on at its new end. What is written between the last reading and the cut is lost: a few lines, where
/// somebody writes without a pause.
pub(crate) fn keep_short(log: &Path, before: &Path) -> Result<()> {
    if !fs::metadata(log).is_ok_and(|m| m.len() > LONGEST) {
        return Ok(());
    }
    let cut = || -> io::Result<()> {
        let mut from = OpenOptions::new().read(true).write(true).open(log)?;
        // A supervisor that was away for long finds more than it keeps.
        let length = from.metadata()?.len();
        from.seek(SeekFrom::Start(length.saturating_sub(LONGEST)))?;
        let aside = before.with_extension("tmp");
        let mut to = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&aside)?;
        io::copy(&mut (&mut from).take(2 * LONGEST), &mut to)?;
        fs::rename(&aside, before)?;
        from.set_len(0)
    };
    cut().map_err(|e| MachineError::io("can't shorten", log, e))
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::{Home, InstanceName};

    fn place() -> (tempfile::TempDir, Layout) {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(Home::at(dir.path()).unwrap(), InstanceName::default());
        fs::create_dir_all(layout.logs()).unwrap();
        (dir, layout)
    }

    fn say(layout: &Layout, text: &str) {
        files::append(&layout.serial_log()).unwrap().write_all(text.as_bytes()).unwrap();
    }

    #[test]
    fn the_last_words_are_those_of_this_boot_as_plain_text() {
        let (_dir, layout) = place();
        assert!(serial_tail(&layout, 20).is_empty());
        begin(&layout).unwrap();
        say(&layout, "old\ntorn");
        begin(&layout).unwrap();
        assert!(serial_tail(&layout, 20).is_empty(), "a guest that hangs at once has said nothing");
        say(&layout, "\x1b[1;31mKernel\x1b[0m panic\r\n\x1b]0;open\nnot \x07syncing\n");
        assert_eq!(serial_tail(&layout, 20), ["Kernel panic", "not syncing"]);
        assert_eq!(serial_tail(&layout, 1), ["not syncing"]);
        say(&layout, &"x".repeat(100_000));
        assert!(serial_tail(&layout, 20).iter().all(|l| l.len() <= 500));
    }

    /// QEMU keeps the log open: it must go on in the same file, and what is kept is the end.
    #[test]
    fn a_log_that_grew_long_is_cut_under_its_writer() {
        let (_dir, layout) = place();
        let mut qemu = files::append(&layout.serial_log()).unwrap();
        let length = || fs::metadata(layout.serial_log()).unwrap().len();
        let cut = || keep_short(&layout.serial_log(), &layout.serial_log_before()).unwrap();
        writeln!(qemu, "{BOOT}now\nfirst").unwrap();
        cut();
        assert!(serial_tail(&layout, 5) == ["first"] && length() > 0, "a short one stays");
        // As after a night without a supervisor.
        qemu.write_all(format!("{:099}\n", 0).repeat(130_000).as_bytes()).unwrap();
        writeln!(qemu, "last").unwrap();
        cut();
        assert_eq!(length(), 0);
        let kept = fs::metadata(layout.serial_log_before()).unwrap().len();
        assert!((LONGEST / 2..=LONGEST).contains(&kept), "{kept}");
        writeln!(qemu, "next").unwrap();
        assert_eq!(fs::read_to_string(layout.serial_log()).unwrap(), "next\n");
        assert_eq!(serial_tail(&layout, 2), ["last", "next"], "the words of one boot lie in both");
    }
}
