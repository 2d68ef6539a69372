//! The orderly end of the pods. Kubernetes itself is down by then, so their processes are found by their control group
//! and asked one by one.

use std::{
    collections::BTreeSet,
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::Result;
use rustix::process::{Pid, Signal, kill_process};

const CGROUPS: &str = "/sys/fs/cgroup";
/// How long pods may take to end by themselves.
const GRACE: Duration = Duration::from_secs(20);
/// How long those that would not hear the request may take to begin hearing it. A process that has only just been born
/// loses it, when it is the first of its namespace; one that never listens can't end by itself.
const DEAF: Duration = Duration::from_secs(5);
/// How long those that were killed may take to be gone.
const KILLED: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// The process that holds a pod's namespaces. It ends when nothing else is left.
const HOLDER: &str = "pause";

/// Asks every pod's processes to end, waits, and kills what is left.
pub(crate) fn stop() -> Result<()> {
    let roots = roots(Path::new(CGROUPS));
    let workers = |roots: &[PathBuf]| -> BTreeSet<i32> {
        processes(roots).into_iter().filter(|pid| name(*pid).is_none_or(|name| name != HOLDER)).collect()
    };
    let mut asked = BTreeSet::new();
    let begun = Instant::now();
    let until = begun + GRACE;
    loop {
        let alive = workers(&roots);
        if alive.is_empty() {
            break;
        }
        // Some are born while others end. Whoever listens is asked once: a second request means "at once" to many.
        for &pid in &alive {
            if !asked.contains(&pid) {
                let heard = listens(pid);
                signal(pid, Signal::TERM);
                if heard {
                    asked.insert(pid);
                }
            }
        }
        if Instant::now() >= begun + DEAF && alive.is_disjoint(&asked) {
            break;
        }
        if Instant::now() >= until {
            let names: Vec<_> = alive.iter().filter_map(|pid| name(*pid)).collect();
            super::say(&format!("processes of pods did not end in {} s: {}", GRACE.as_secs(), names.join(", ")));
            break;
        }
        wait_for_change(&roots, until);
    }
    let until = Instant::now() + KILLED;
    loop {
        let alive = processes(&roots);
        if alive.is_empty() || Instant::now() >= until {
            return Ok(());
        }
        for pid in alive {
            signal(pid, Signal::KILL);
        }
        wait_for_change(&roots, until);
    }
}

/// The control groups that hold the pods: one with the kubelet's own driver, another with systemd's.
fn roots(cgroups: &Path) -> Vec<PathBuf> {
    ["kubepods", "kubepods.slice"].into_iter().map(|name| cgroups.join(name)).filter(|path| path.is_dir()).collect()
}

/// Every process in these groups and the groups under them.
fn processes(roots: &[PathBuf]) -> BTreeSet<i32> {
    let mut found = BTreeSet::new();
    for root in roots {
        let _ = collect(root, &mut found);
    }
    found
}

fn collect(group: &Path, found: &mut BTreeSet<i32>) -> io::Result<()> {
    let listed = fs::read_to_string(group.join("cgroup.procs"))?;
    found.extend(listed.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|pid| *pid > 1));
    for entry in fs::read_dir(group)?.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            // A group that has just gone is no error.
            let _ = collect(&entry.path(), found);
        }
    }
    Ok(())
}

/// Waits until the groups' state may have changed. `cgroup.events` tells only of whole groups, so there is a beat too.
fn wait_for_change(roots: &[PathBuf], until: Instant) {
    let left = until.saturating_duration_since(Instant::now()).min(LOOK_EVERY);
    // What has not been read since it was opened counts as changed.
    let read = |path: PathBuf| {
        let mut file = fs::File::open(path).ok()?;
        file.read_to_end(&mut Vec::new()).ok().map(|_| file)
    };
    let events: Vec<fs::File> = roots.iter().filter_map(|root| read(root.join("cgroup.events"))).collect();
    let mut polls: Vec<_> =
        events.iter().map(|file| rustix::event::PollFd::new(file, rustix::event::PollFlags::PRI)).collect();
    let beat = rustix::time::Timespec { tv_sec: 0, tv_nsec: i64::from(left.subsec_nanos()) };
    let _ = rustix::event::poll(&mut polls, Some(&beat));
}

fn name(pid: i32) -> Option<String> {
    fs::read_to_string(format!("/proc/{pid}/comm")).ok().map(|name| name.trim().to_owned())
}

/// Whether a request to end would reach the process: it catches the signal, or takes it from its queue.
fn listens(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|status| takes(&status, Signal::TERM))
}

fn takes(status: &str, signal: Signal) -> bool {
    let bit = 1u64 << (signal.as_raw() - 1);
    let mask = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        u64::from_str_radix(line.trim(), 16).ok()
    };
    ["SigCgt:", "SigBlk:"].into_iter().filter_map(mask).any(|mask| mask & bit != 0)
}

fn signal(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = kill_process(pid, signal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_reaches_who_catches_or_queues_it() {
        let status = |blocked: &str, ignored: &str, caught: &str| {
            format!("Name:\tx\nSigBlk:\t{blocked}\nSigIgn:\t{ignored}\nSigCgt:\t{caught}\n")
        };
        let (none, term) = ("0000000000000000", "0000000000004000");
        assert!(takes(&status(none, none, term), Signal::TERM));
        assert!(takes(&status(term, none, none), Signal::TERM));
        assert!(!takes(&status(none, term, none), Signal::TERM));
        assert!(!takes(&status(none, none, "0000000000002000"), Signal::TERM));
        assert!(!takes("", Signal::TERM));
        // A real one: `sleep` does nothing about signals.
        let mut sleeper = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        assert!(!listens(i32::try_from(sleeper.id()).unwrap()));
        sleeper.kill().unwrap();
        sleeper.wait().unwrap();
    }

    #[test]
    fn processes_are_found_in_nested_groups() {
        let cgroups = tempfile::tempdir().unwrap();
        let pod = cgroups.path().join("kubepods/burstable/pod1");
        fs::create_dir_all(&pod).unwrap();
        fs::write(cgroups.path().join("kubepods/cgroup.procs"), "").unwrap();
        fs::write(cgroups.path().join("kubepods/burstable/cgroup.procs"), "12\n").unwrap();
        fs::write(pod.join("cgroup.procs"), "34\n1\nx\n").unwrap();
        let roots = roots(cgroups.path());
        assert_eq!(roots.len(), 1);
        assert_eq!(processes(&roots), BTreeSet::from([12, 34]));
        assert!(processes(&[cgroups.path().join("none")]).is_empty());
    }
}
