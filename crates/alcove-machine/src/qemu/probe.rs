//! Which acceleration works on this host: found out by booting the image's own kernel, never by what seems to be there.
//!
//! `/dev/kvm` may open and a machine may be created while guests still hang or QEMU dies. So the kernel is booted without
//! a disk and must come as far as looking for its root file system. The answer is kept for this host kernel, QEMU,
//! guest kernel and processor; one that only was too late for us is kept for a day, for the host may have been busy.

use std::{
    fs::{self, OpenOptions},
    path::Path,
    process::Stdio,
    time::Duration,
};

use alcove_types::machine::Acceleration;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::{
    io::AsyncReadExt,
    process::Command,
    time::{Instant, timeout_at},
};

use super::{argv, version::Installed};
use crate::{Layout, Result, files, image::Image};

/// How long a kernel may take with hardware virtualisation; it needs a fraction of a second.
const DEADLINE: Duration = Duration::from_secs(6);
/// The kernel has come all the way to its root file system, which it was not given.
const MARK: &str = "Unable to mount root fs";
/// How long the answer is kept that a guest hangs: it may only have been slow. A machine that boots from its disk tries
/// again after that; one that is resumed must come up as it was.
const HUNG_KEPT: SignedDuration = SignedDuration::from_hours(24);
const SCHEMA: u32 = 2;
/// Answers that are kept.
const KEPT: usize = 16;

/// Which acceleration is used, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The acceleration.
    pub acceleration: Acceleration,
    /// Why this one, for people.
    pub reason: String,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Cache {
    schema: u32,
    answers: Vec<Answer>,
}

/// What was found out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Answer {
    /// For which kernel, QEMU and processor.
    key: String,
    verdict: Verdict,
    /// When it is worth another trial; absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<Timestamp>,
}

/// For what the answer is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    /// A boot from the disk, which can be had with either.
    Boot,
    /// A saved state, which goes on with what it was saved with; or a question.
    Other,
}

impl Answer {
    fn of(key: String, trial: Result<(), NoBoot>, now: Timestamp) -> Self {
        let (verdict, until) = match trial {
            Ok(()) => (Verdict { acceleration: Acceleration::Kvm, reason: "a guest booted with KVM".into() }, None),
            Err(NoBoot { why, hung }) => {
                let reason = format!("no guest boots with KVM here: {why}");
                let until = hung.then(|| now.checked_add(HUNG_KEPT).unwrap_or(now));
                (Verdict { acceleration: Acceleration::Tcg, reason }, until)
            }
        };
        Self { key, verdict, until }
    }
}

impl Cache {
    /// What is known already.
    fn find(&self, key: &str, occasion: Occasion, now: Timestamp) -> Option<&Verdict> {
        let answer = self.answers.iter().find(|a| a.key == key)?;
        let old = occasion == Occasion::Boot && answer.until.is_some_and(|until| until <= now);
        (!old).then_some(&answer.verdict)
    }

    /// Keeps an answer in the place of an older one.
    fn keep(&mut self, answer: Answer) {
        self.schema = SCHEMA;
        self.answers.retain(|a| a.key != answer.key);
        self.answers.push(answer);
        let surplus = self.answers.len().saturating_sub(KEPT);
        self.answers.drain(..surplus);
    }
}

/// Chooses the acceleration: the given one, `ALCOVE_ACCEL`, what is remembered, or what a trial shows.
pub async fn choose(
    layout: &Layout,
    installed: &Installed,
    image: &Image,
    given: Option<Acceleration>,
    occasion: Occasion,
) -> Result<Verdict> {
    let named = std::env::var("ALCOVE_ACCEL").ok().and_then(|word| argv::parse_acceleration(&word));
    if let Some(acceleration) = given.or(named) {
        return Ok(Verdict { acceleration, reason: "it was asked for".into() });
    }
    if let Err(e) = OpenOptions::new().read(true).write(true).open("/dev/kvm") {
        // Not remembered: a permission or a module may be there the next time.
        let reason = format!("hardware virtualisation is not available (/dev/kvm: {e})");
        return Ok(Verdict { acceleration: Acceleration::Tcg, reason });
    }
    let key = key(installed, image);
    let path = layout.probe_json();
    let mut cache: Cache = files::read_versioned(&path, SCHEMA).ok().flatten().unwrap_or_default();
    if let Some(verdict) = cache.find(&key, occasion, Timestamp::now()) {
        return Ok(verdict.clone());
    }
    let mut trial = boots(installed, image, Acceleration::Kvm, DEADLINE).await;
    // The answer is kept for good, so a single mishap must not decide it. A guest that hangs is asked again another day.
    if matches!(&trial, Err(NoBoot { hung: false, .. })) {
        trial = boots(installed, image, Acceleration::Kvm, DEADLINE).await;
    }
    let answer = Answer::of(key, trial, Timestamp::now());
    let verdict = answer.verdict.clone();
    tracing::info!(acceleration = ?verdict.acceleration, reason = verdict.reason, "acceleration was tried");
    cache.keep(answer);
    // A memory that can't be written only costs the next start a trial.
    if let Err(e) = files::write_json(&path, &cache) {
        tracing::warn!(error = %e, "the acceleration's trial can't be remembered");
    }
    Ok(verdict)
}

fn key(installed: &Installed, image: &Image) -> String {
    let host = rustix::system::uname();
    let mut hash = Sha256::new();
    for part in [
        host.release().to_string_lossy().as_ref(),
        host.version().to_string_lossy().as_ref(),
        &installed.qemu.to_string_lossy(),
        &installed.version,
        image.kernel_sha256(),
        &host_cpu(),
    ] {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    hex::encode(&hash.finalize()[..8])
}

/// The host's processor: model and abilities.
pub fn host_cpu() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let value = |key: &str| {
        info.lines().find(|l| l.starts_with(key)).and_then(|l| l.split_once(':')).map_or("", |(_, v)| v.trim())
    };
    let flags = hex::encode(&Sha256::digest(value("flags").as_bytes())[..4]);
    format!("{} {flags}", value("model name"))
}

/// Why a kernel did not come up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoBoot {
    /// It stood still until the deadline; otherwise QEMU ended.
    pub hung: bool,
    /// What was seen, for people.
    pub why: String,
}

impl NoBoot {
    fn ended(why: impl Into<String>) -> Self {
        Self { hung: false, why: why.into() }
    }

    fn hung(why: impl Into<String>) -> Self {
        Self { hung: true, why: why.into() }
    }
}

/// Boots the kernel alone.
pub async fn boots(
    installed: &Installed,
    image: &Image,
    acceleration: Acceleration,
    deadline: Duration,
) -> Result<(), NoBoot> {
    let machine = installed.machine_types.first().map_or("q35", String::as_str);
    let mut child = Command::new(&installed.qemu)
        .args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-m", "256M"])
        .args(["-machine", machine, "-accel", argv::acceleration_word(acceleration)])
        .args(["-cpu", argv::cpu_model(acceleration), "-serial", "stdio"])
        .args(["-append", "console=ttyS0 earlyprintk=serial,ttyS0 panic=0"])
        .arg("-kernel")
        .arg(image.kernel())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| NoBoot::ended(e.to_string()))?;
    let mut said = Vec::new();
    let came_up = match child.stdout.take() {
        Some(mut out) => timeout_at(Instant::now() + deadline, read_until_mark(&mut out, &mut said)).await,
        None => return Err(NoBoot::ended("its output can't be read")),
    };
    // Ends it whether it hangs, runs or has ended; its words are complete after that.
    let _ = child.start_kill();
    let words = child.wait_with_output().await.map(|o| String::from_utf8_lossy(&o.stderr).trim().to_owned());
    match came_up {
        Ok(true) => Ok(()),
        Ok(false) => {
            let words = words.unwrap_or_default();
            let said = String::from_utf8_lossy(&said).into_owned();
            let last = words.lines().chain(said.lines().rev().map(str::trim).filter(|l| !l.is_empty())).next();
            Err(NoBoot::ended(format!("QEMU ended ({})", last.unwrap_or("without a word"))))
        }
        Err(_) if said.is_empty() => {
            Err(NoBoot::hung(format!("the guest hangs (not a word in {} s)", deadline.as_secs())))
        }
        Err(_) => Err(NoBoot::hung(format!("the guest hangs while it boots ({} s)", deadline.as_secs()))),
    }
}

async fn read_until_mark(out: &mut (impl AsyncReadExt + Unpin), said: &mut Vec<u8>) -> bool {
    let mut buffer = [0; 4096];
    loop {
        match out.read(&mut buffer).await {
            Ok(0) | Err(_) => return false,
            Ok(n) => said.extend_from_slice(&buffer[..n]),
        }
        if said.windows(MARK.len()).any(|w| w == MARK.as_bytes()) {
            return true;
        }
        // The kernel says a few kilobytes; what says more than this is no kernel.
        if said.len() > 1 << 20 {
            return false;
        }
    }
}

/// The processor as a suspended state remembers it.
pub(crate) fn cpu_fingerprint(acceleration: Acceleration) -> String {
    match acceleration {
        Acceleration::Tcg => argv::cpu_model(acceleration).into(),
        other => format!("{} {}", argv::cpu_model(other), host_cpu()),
    }
}

/// Whether this path can be opened for direct input and output: not every file system can.
pub(crate) fn takes_direct_io(folder: &Path) -> bool {
    let path = folder.join(".direct");
    let opened = rustix::fs::open(
        &path,
        rustix::fs::OFlags::CREATE
            | rustix::fs::OFlags::RDWR
            | rustix::fs::OFlags::DIRECT
            | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
    );
    let _ = fs::remove_file(&path);
    opened.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_that_was_slow_once_is_tried_again_at_a_boot_of_another_day() {
        let now: Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
        let later = now.checked_add(SignedDuration::from_hours(25)).unwrap();
        let mut cache = Cache::default();
        let known = |cache: &Cache, occasion, at| cache.find("k", occasion, at).map(|v| v.acceleration);
        assert_eq!(known(&cache, Occasion::Boot, now), None);
        cache.keep(Answer::of("k".into(), Err(NoBoot::hung("not a word in 6 s")), now));
        // Not at every boot: each trial takes its seconds where a guest really hangs.
        assert_eq!(known(&cache, Occasion::Boot, now), Some(Acceleration::Tcg));
        assert_eq!(known(&cache, Occasion::Boot, later), None);
        assert_eq!(known(&cache, Occasion::Other, later), Some(Acceleration::Tcg), "a saved state stays usable");
        // What QEMU itself says is the host's answer, and stays.
        cache.keep(Answer::of("k".into(), Err(NoBoot::ended("QEMU ended (no KVM)")), now));
        assert_eq!(known(&cache, Occasion::Boot, later), Some(Acceleration::Tcg));
        cache.keep(Answer::of("k".into(), Ok(()), now));
        assert_eq!(known(&cache, Occasion::Boot, later), Some(Acceleration::Kvm));
        assert_eq!(cache.answers.len(), 1);
    }
}
