//! QEMU's process: starting it so that it outlives us, watching it end, and what the host knows of it.

use std::{
    ffi::OsString,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    process::Command,
    sync::watch,
    time::{Instant, sleep},
};

use super::disk;
use crate::{Layout, MachineError, Result, files, liveness, serial};

/// How often the lock on the pidfile is looked at while something waits for it. Looking costs a system call.
const INTERVAL: Duration = Duration::from_millis(10);

/// A process that we started.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    pid: u32,
    ended: watch::Receiver<Option<Option<i32>>>,
    log: PathBuf,
    log_from: u64,
}

impl Process {
    /// Starts QEMU in a session of its own, so that neither our end nor a terminal's takes it along. Its output goes to
    /// the log.
    pub(crate) fn spawn(qemu: &Path, arguments: &[OsString], layout: &Layout) -> Result<Self> {
        let log = &layout.qemu_log();
        serial::keep_short(log, &layout.qemu_log_before())?;
        let mut out = files::append(log)?;
        let when = jiff::Timestamp::now();
        writeln!(out, "--- {when} {}", qemu.display()).map_err(|e| MachineError::io("can't write", log, e))?;
        let log_from = out.metadata().map(|m| m.len()).unwrap_or(0);
        let err = out.try_clone().map_err(|e| MachineError::io("can't write", log, e))?;
        let mut command = Command::new(qemu);
        command.args(arguments).stdin(Stdio::null()).stdout(out).stderr(err).current_dir("/");
        // SAFETY: between fork and exec only setsid is called, which is async-signal-safe and touches no memory.
        unsafe {
            command.pre_exec(|| rustix::process::setsid().map(|_| ()).map_err(io::Error::from));
        }
        let mut child = command.spawn().map_err(|e| match e.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => MachineError::HypervisorMissing {
                looked: format!("{} can't be run ({e})", qemu.display()),
                hint: super::version::hint(),
            },
            _ => MachineError::io("can't run", qemu, e),
        })?;
        let pid = child.id().unwrap_or(0);
        let (ending, ended) = watch::channel(None);
        tokio::spawn(async move {
            let status = child.wait().await;
            ending.send_replace(Some(status.ok().and_then(|s| s.code())));
        });
        Ok(Self { pid, ended, log: log.into(), log_from })
    }

    /// Its number.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether it is known to have ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.borrow().is_some()
    }

    /// Waits until it has ended; its exit code, if it was not ended by a signal.
    pub(crate) async fn ended(&self) -> Option<i32> {
        let mut ended = self.ended.clone();
        ended.wait_for(Option::is_some).await.ok().and_then(|code| (*code).flatten())
    }

    /// What it has written to its log since it was started.
    pub(crate) fn words(&self) -> Vec<String> {
        let length = fs::metadata(&self.log).map(|m| m.len()).unwrap_or(0);
        if length <= self.log_from { Vec::new() } else { qemu_words(&self.log) }
    }
}

/// QEMU's last words: the lines since its last start.
pub(crate) fn qemu_words(log: &Path) -> Vec<String> {
    let lines = files::last_lines(log, 40);
    let from = lines.iter().rposition(|l| l.starts_with("--- ")).map_or(0, |i| i + 1);
    let mut words = lines[from..].to_vec();
    words.split_off(words.len().saturating_sub(10))
}

/// Waits until nobody holds the lock on the pidfile any more, nor one on the disk: a process that ends lets go of one
/// file after the other, and of the guest's memory in between.
pub(crate) async fn wait_for_end(layout: &Layout, deadline: Instant) -> Result<bool> {
    loop {
        if liveness::holder(&layout.pidfile())?.is_none() && !disk::is_locked(&layout.data_disk())? {
            return Ok(true);
        }
        if Instant::now() >= deadline {
            return Ok(false);
        }
        sleep(INTERVAL).await;
    }
}

/// Ends the process that holds the lock on the pidfile, at once.
pub(crate) async fn kill_holder(layout: &Layout) -> Result<()> {
    const PATIENCE: Duration = Duration::from_secs(10);
    let pidfile = layout.pidfile();
    let Some(pid) = liveness::holder(&pidfile)? else { return Ok(()) };
    let Some(target) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return Err(MachineError::Unsupported {
            message: "the machine's process can't be seen from here".into(),
            hint: "It runs in another container or namespace: end it there.".into(),
        });
    };
    match kill_process(target, Signal::KILL) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => {}
        Err(e) => return Err(MachineError::io("can't end the process of", pidfile, e.into())),
    }
    if wait_for_end(layout, Instant::now() + PATIENCE).await? {
        return Ok(());
    }
    Err(MachineError::Timeout { what: format!("the end of process {pid}"), after: PATIENCE })
}

/// What the host knows of a process.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct ProcessFacts {
    pub(crate) rss_bytes: Option<u64>,
    pub(crate) cpu_time_ms: Option<u64>,
    pub(crate) started_at: Option<jiff::Timestamp>,
}

/// Reads them from `/proc`; empty where there is none.
pub(crate) fn facts(pid: u32) -> ProcessFacts {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return ProcessFacts::default() };
    let boot_time = fs::read_to_string("/proc/stat")
        .ok()
        .and_then(|s| s.lines().find_map(|l| l.strip_prefix("btime ")?.trim().parse::<i64>().ok()));
    parse_stat(&stat, boot_time, rustix::param::clock_ticks_per_second(), rustix::param::page_size() as u64)
}

fn parse_stat(stat: &str, boot_time: Option<i64>, ticks: u64, page: u64) -> ProcessFacts {
    // The second field is the name in parentheses, which may hold anything.
    let Some((_, rest)) = stat.rsplit_once(')') else { return ProcessFacts::default() };
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let number = |i: usize| fields.get(i).and_then(|f| f.parse::<u64>().ok());
    let ms = |t: u64| t.saturating_mul(1000) / ticks.max(1);
    ProcessFacts {
        cpu_time_ms: number(11).zip(number(12)).map(|(user, system)| ms(user + system)),
        rss_bytes: number(21).map(|pages| pages.saturating_mul(page)),
        started_at: number(19)
            .zip(boot_time)
            .and_then(|(t, boot)| jiff::Timestamp::from_millisecond(boot * 1000 + i64::try_from(ms(t)).ok()?).ok()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn process_facts_are_read() {
        let stat = "42 (qemu) evil) S 1 42 42 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 6 0 12345 3000000 1000 18446744073709551615";
        let facts = parse_stat(stat, Some(1_700_000_000), 100, 4096);
        assert_eq!(facts.cpu_time_ms, Some(2000));
        assert_eq!(facts.rss_bytes, Some(4_096_000));
        assert_eq!(facts.started_at.unwrap().as_millisecond(), 1_700_000_123_450);
        assert_eq!(parse_stat("garbage", None, 100, 4096), ProcessFacts::default());
    }

    #[test]
    fn last_words_are_those_since_the_last_start() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("qemu.log");
        fs::write(&log, "--- a\nold\n--- b\nnew\x1b[0m\nnewer\n").unwrap();
        assert_eq!(qemu_words(&log), ["new", "newer"]);
        assert!(qemu_words(&dir.path().join("none")).is_empty());
    }
}
