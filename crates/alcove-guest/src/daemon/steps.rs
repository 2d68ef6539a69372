//! Turning what Kubernetes says while it starts into steps of the boot.

use std::{
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};

use alcove_types::boot::StepState;
use anyhow::{Context, Result};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
};

use super::state::Guest;

/// Lines of log that are passed on: at most one in this time, so that a talkative start costs nothing.
const LOG_EVERY: Duration = Duration::from_millis(700);
const LOG_BYTES: usize = 300;
/// The steps that Kubernetes goes through, in order.
const STEPS: [&str; 7] = ["certificates", "containerd", "datastore", "apiserver", "controllers", "node", "images"];

/// Follows the log of Kubernetes until its start is over.
pub(super) async fn follow(guest: Arc<Guest>) {
    if !guest.about.has_kubernetes() {
        for step in STEPS.into_iter().chain(["platform"]) {
            guest.boot(step, StepState::Skipped, Some("this image holds no Kubernetes".to_owned()));
        }
        return;
    }
    if guest.step("node") == Some(StepState::Done) {
        // The daemon was started anew in a machine that is up.
        return;
    }
    guest.boot("certificates", StepState::Running, None);
    if let Err(error) = read(&guest).await {
        super::say(&format!("the log of Kubernetes can't be followed: {error:#}"));
    }
}

async fn read(guest: &Guest) -> Result<()> {
    let mut journal = Command::new("/usr/bin/journalctl")
        .args(["--boot", "--unit=k3s.service", "--follow", "--lines=all", "--output=cat", "--quiet", "--no-pager"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .context("journalctl can't be started")?;
    let mut lines = BufReader::new(journal.stdout.take().context("journalctl says nothing")?).lines();
    let mut logged = Instant::now();
    while let Some(line) = lines.next_line().await? {
        if let Some((step, state)) = parse(&line) {
            guest.boot(step, state, None);
            if state == StepState::Done {
                begin_next(guest, step);
            }
            guest.look.notify_one();
        } else if logged.elapsed() >= LOG_EVERY {
            logged = Instant::now();
            if let Some(step) = current(guest) {
                guest.boot_log(step, clip(&line));
            }
        }
        if guest.step("node") == Some(StepState::Done) && guest.step("images") == Some(StepState::Done) {
            break;
        }
    }
    // Nobody needs it any more, and it holds memory.
    let _ = journal.kill().await;
    Ok(())
}

/// What runs after a step has ended. Several steps run at once; this is the one that a person is shown.
fn begin_next(guest: &Guest, step: &str) {
    let next = match step {
        "certificates" => &["containerd", "datastore"][..],
        "datastore" => &["apiserver"],
        "apiserver" => &["controllers", "node"],
        "containerd" => &["images"],
        _ => &[],
    };
    for step in next {
        guest.boot(step, StepState::Running, None);
    }
}

fn current(guest: &Guest) -> Option<&'static str> {
    STEPS.into_iter().find(|step| guest.step(step) == Some(StepState::Running))
}

/// `alcove-step NAME STATE`, with Kubernetes's own words for both.
fn parse(line: &str) -> Option<(&'static str, StepState)> {
    let mut words = line.trim().strip_prefix("alcove-step ")?.split_ascii_whitespace();
    let name = words.next()?;
    let step = STEPS.into_iter().find(|step| *step == name)?;
    let state = match words.next()? {
        "started" | "running" | "listening" => StepState::Running,
        "done" | "ready" | "registered" => StepState::Done,
        "failed" => StepState::Failed,
        _ => return None,
    };
    Some((step, state))
}

fn clip(line: &str) -> &str {
    match line.char_indices().nth(LOG_BYTES) {
        Some((at, _)) => &line[..at],
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_kubernetes_become_steps() {
        assert_eq!(parse("alcove-step datastore ready"), Some(("datastore", StepState::Done)));
        assert_eq!(parse("alcove-step apiserver listening"), Some(("apiserver", StepState::Running)));
        assert_eq!(parse("alcove-step images failed\n"), Some(("images", StepState::Failed)));
        for line in ["alcove-step kubelet ready", "alcove-step node", "alcove-step node maybe", "E1121 node ready", ""]
        {
            assert_eq!(parse(line), None, "{line}");
        }
    }

    #[test]
    fn long_lines_are_clipped_between_characters() {
        assert_eq!(clip("short"), "short");
        assert_eq!(clip(&"é".repeat(400)).chars().count(), LOG_BYTES);
    }
}
