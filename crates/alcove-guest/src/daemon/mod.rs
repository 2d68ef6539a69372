//! The daemon's parts.

mod api;
mod clock;
mod cluster;
mod conditions;
mod disk;
mod door;
mod images;
mod logs;
mod memory;
mod notify;
mod platform;
pub(crate) mod pods;
mod power;
mod shell;
mod state;
mod steps;

use std::{io::Write, sync::Arc, time::Duration};

use alcove_guest::boot_port::{BootLog, step_event};
use alcove_types::{boot::StepState, guest::MachineCredentials};
use anyhow::{Context, Result};

use self::state::Guest;

const CREDENTIALS: &str = "/run/alcove/credentials";

/// Writes a line to the journal, by way of standard error.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Runs the daemon until systemd ends it.
pub(crate) fn run() -> Result<()> {
    // Before anything else: the host learns that user space is there.
    let mut log = BootLog::open();
    log.write(&step_event("userspace", StepState::Done, None));
    log.write(&step_event("network", StepState::Done, None));
    let machine = credentials()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(8)
        .thread_stack_size(512 * 1024)
        .enable_all()
        .build()
        .context("the runtime can't be started")?;
    runtime.block_on(serve(machine, log))
}

async fn serve(machine: MachineCredentials, log: BootLog) -> Result<()> {
    let guest = Arc::new(Guest::new(machine, log));
    guest.boot("door", StepState::Running, None);
    let door = door::open(&guest).await?;
    guest.boot("door", StepState::Done, None);
    notify::send("READY=1\nSTATUS=the door is open");

    power::watch_buttons();
    tokio::spawn(notify::watchdog());
    tokio::spawn(door::serve(Arc::clone(&guest), door));
    tokio::spawn(steps::follow(Arc::clone(&guest)));
    tokio::spawn(conditions::watch(Arc::clone(&guest)));
    tokio::spawn(conditions::report(Arc::clone(&guest)));
    tokio::spawn(disk::trim_daily());
    if let Err(error) = platform::install(&guest.machine) {
        say(&format!("the platform's manifests can't be written: {error:#}"));
        guest.boot("platform", StepState::Failed, Some(format!("{error:#}")));
    }
    let mut end = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    end.recv().await;
    notify::send("STOPPING=1");
    // Those who follow the log hear its last lines; systemd gives this much and more.
    tokio::time::timeout(Duration::from_millis(200), guest.idle()).await.ok();
    Ok(())
}

/// What the initrd left. The error never quotes it.
fn credentials() -> Result<MachineCredentials> {
    let text = std::fs::read(CREDENTIALS).context("the machine's credentials are missing")?;
    serde_json::from_slice(&text).map_err(|error| {
        anyhow::anyhow!("the machine's credentials are damaged at line {} column {}", error.line(), error.column())
    })
}
