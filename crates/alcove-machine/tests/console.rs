//! The serial console of a machine that the stand-in runs: its log, and those who look at it.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod common;

use std::{fs, io::Write};

use alcove_machine::{Provider, QemuProvider, StartOptions};
use common::{Bench, eventually};

async fn started() -> (Bench, QemuProvider) {
    let bench = Bench::standin();
    let provider = bench.provider();
    provider.prepare(&bench.spec, &bench.image).await.unwrap();
    provider.start(&bench.spec, &bench.image, StartOptions::default()).await.unwrap();
    (bench, provider)
}

/// A guest that floods its console fills nobody's disk, however long it runs.
#[tokio::test]
async fn the_serial_log_is_bounded_while_the_machine_runs() {
    let (bench, _provider) = started().await;
    let count = bench.tick_after(0).await;
    let flood = format!("{:0999}\n", 0).repeat(10 << 10);
    fs::OpenOptions::new().append(true).open(bench.layout.serial_log()).unwrap().write_all(flood.as_bytes()).unwrap();
    let long = || fs::metadata(bench.layout.serial_log()).is_ok_and(|m| m.len() > 1 << 20);
    eventually("the log is short again", || !long()).await;
    assert!(fs::metadata(bench.layout.serial_log_before()).unwrap().len() <= 4 << 20);
    bench.tick_after(count).await;
}
