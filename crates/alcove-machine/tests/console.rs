//! The serial console of a machine that the stand-in runs: its log, and those who look at it.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod common;

use std::{fs, io::Write};

use alcove_machine::{MachineError, Provider, QemuProvider, StartOptions};
use alcove_types::ErrorCode;
use common::{Bench, eventually};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

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
    // Its end is kept, and what was written meanwhile.
    assert!(fs::metadata(bench.layout.serial_log_before()).unwrap().len() <= 8 << 20);
    bench.tick_after(count).await;
}

async fn reads(console: &mut UnixStream, expected: &str) {
    let mut bytes = vec![0; expected.len()];
    let read = tokio::time::timeout(std::time::Duration::from_secs(60), console.read_exact(&mut bytes)).await;
    read.expect("the console is silent").unwrap();
    assert_eq!(String::from_utf8(bytes).unwrap(), expected);
}

/// QEMU serves one client; two people see the same all the same, and either may type.
#[tokio::test]
async fn two_look_at_one_console() {
    let (bench, provider) = started().await;
    let mut first = provider.console().await.unwrap();
    let mut second = provider.clone().console().await.unwrap();
    for (typist, text) in [(0, "one"), (1, "two")] {
        let console = if typist == 0 { &mut first } else { &mut second };
        console.write_all(text.as_bytes()).await.unwrap();
        reads(&mut first, text).await;
        reads(&mut second, text).await;
    }
    // One who goes takes nobody along.
    drop(first);
    second.write_all(b"three").await.unwrap();
    reads(&mut second, "three").await;
    // When nobody looks any more, the socket is free for others; while one of them has it, that is said.
    drop(second);
    let mut other = UnixStream::connect(bench.layout.console_sock()).await.unwrap();
    other.write_all(b"four").await.unwrap();
    reads(&mut other, "four").await;
    let error = provider.console().await.unwrap_err();
    assert!(matches!(error, MachineError::ConsoleTaken), "{error:?}");
    assert!(error.api().code == ErrorCode::Conflict && error.api().hint.contains("console.sock"));
    drop(other);
    let mut again = provider.console().await.unwrap();
    again.write_all(b"five").await.unwrap();
    reads(&mut again, "five").await;
    // The machine ends, and with it the console.
    provider.kill().await.unwrap();
    assert_eq!(again.read(&mut [0; 8]).await.unwrap_or(0), 0);
    assert!(matches!(provider.console().await, Err(MachineError::WrongState { .. })));
    // The next machine has one of its own.
    provider.start(&bench.spec, &bench.image, StartOptions::default()).await.unwrap();
    let mut anew = provider.console().await.unwrap();
    anew.write_all(b"six").await.unwrap();
    reads(&mut anew, "six").await;
}
