//! The QEMU provider against a stand-in that behaves as documented: the contract, and what can go wrong.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod common;
mod contract;

use std::{fs, time::Duration};

use alcove_machine::{
    MachineError, MachineSpec, Power, Provider, ProviderEvent, QemuProvider, StartOptions, image::Image, liveness,
    provider::Standstill, qemu::qga::Agent,
};
use alcove_types::ErrorCode;
use common::{Bench, MIB, eventually, inject, runs, started, starts_cold};

impl contract::Subject for Bench {
    fn provider(&self) -> Box<dyn Provider> {
        Box::new(Bench::provider(self))
    }

    fn spec(&self) -> &MachineSpec {
        &self.spec
    }

    fn image(&self) -> &Image {
        &self.image
    }

    fn has_power_button(&self) -> bool {
        true
    }

    async fn count_after(&self, count: u64) -> u64 {
        self.tick_after(count).await
    }
}

#[tokio::test]
async fn keeps_the_contract() {
    contract::whole_life(&Bench::standin()).await;
}

#[tokio::test]
async fn keeps_the_contract_with_a_qemu_that_can_do_less() {
    for words in ["no-ignore-shared", "version=8.2.1\nno-ignore-shared\nno-mapped-ram\nno-sandbox"] {
        let bench = Bench::standin();
        bench.script(words);
        contract::whole_life(&bench).await;
    }
}

#[tokio::test]
async fn says_what_to_install() {
    let mut bench = Bench::standin();
    bench.script("version=7.2.4");
    let error = bench.provider().prepare(&bench.spec, &bench.image).await.unwrap_err().api();
    assert_eq!(error.code, ErrorCode::HypervisorMissing);
    assert!(error.message.contains("7.2.4") && !error.hint.is_empty());
    bench.qemu = Some("/nowhere/qemu-system-x86_64".into());
    let error = bench.provider().prepare(&bench.spec, &bench.image).await.unwrap_err().api();
    assert_eq!(error.code, ErrorCode::HypervisorMissing);
}

#[tokio::test]
async fn passes_on_the_last_words_of_a_qemu_that_dies_at_once() {
    let bench = Bench::standin();
    let provider = bench.provider();
    provider.prepare(&bench.spec, &bench.image).await.unwrap();
    bench.script("die-at-start=could not allocate memory");
    let error = provider.start(&bench.spec, &bench.image, StartOptions::default()).await.unwrap_err();
    assert_eq!(error.last_words(), ["qemu-system-x86_64: could not allocate memory"]);
    assert_eq!(error.api().code, ErrorCode::HypervisorFailed);
    assert!(error.api().details.is_some());
    bench.script("");
    starts_cold(&bench, &provider).await;
}

#[tokio::test]
async fn two_starts_at_once_make_one_machine() {
    let bench = Bench::standin();
    let (a, b) = (bench.provider(), bench.provider());
    a.prepare(&bench.spec, &bench.image).await.unwrap();
    let (one, two) = tokio::join!(
        a.start(&bench.spec, &bench.image, StartOptions::default()),
        b.start(&bench.spec, &bench.image, StartOptions::default()),
    );
    let refused = [one, two].into_iter().filter_map(Result::err).collect::<Vec<_>>();
    assert_eq!(refused.len(), 1);
    assert!(matches!(refused[0], MachineError::Busy | MachineError::WrongState { .. }));
    assert!(runs(&a).await);
}

/// A supervisor that looks all the time does not come between a start and its QEMU.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn looking_disturbs_nothing() {
    let bench = Bench::standin();
    let provider = bench.provider();
    provider.prepare(&bench.spec, &bench.image).await.unwrap();
    let watching = provider.clone();
    let looking = tokio::spawn(async move {
        loop {
            watching.observe().await.unwrap();
            tokio::task::yield_now().await;
        }
    });
    for _ in 0..5 {
        let mut events = provider.events().await.unwrap();
        provider.start(&bench.spec, &bench.image, StartOptions::default()).await.unwrap();
        provider.suspend().await.unwrap();
        while !matches!(events.recv().await.unwrap(), ProviderEvent::Exited { .. }) {}
        provider.resume(&bench.spec, &bench.image).await.unwrap();
        provider.kill().await.unwrap();
        while !matches!(events.recv().await.unwrap(), ProviderEvent::Exited { .. }) {}
    }
    looking.abort();
}

#[tokio::test]
async fn a_dropped_request_does_not_stop_half_way() {
    let bench = Bench::standin();
    let provider = bench.provider();
    provider.prepare(&bench.spec, &bench.image).await.unwrap();
    let start = provider.start(&bench.spec, &bench.image, StartOptions::default());
    assert!(tokio::time::timeout(Duration::from_millis(1), start).await.is_err());
    eventually("it runs", || bench.ticks() > 0).await;
    assert!(tokio::time::timeout(Duration::from_millis(1), provider.suspend()).await.is_err());
    eventually("it is suspended", || bench.pid().is_none()).await;
    assert!(matches!(provider.observe().await.unwrap().power, Power::Suspended { .. }));
}

#[tokio::test]
async fn a_pidfile_proves_nothing_its_lock_does() {
    let bench = Bench::standin();
    let provider = bench.provider();
    provider.prepare(&bench.spec, &bench.image).await.unwrap();
    // A live process that has nothing to do with it, and garbage.
    for content in [format!("{}\n", std::process::id()), "garbage".into(), String::new()] {
        fs::write(bench.layout.pidfile(), content).unwrap();
        assert_eq!(provider.observe().await.unwrap().power, Power::Off);
    }
    starts_cold(&bench, &provider).await;
    let pid = bench.pid().unwrap();
    fs::write(bench.layout.pidfile(), "1\n").unwrap();
    assert_eq!(liveness::holder(&bench.layout.pidfile()).unwrap(), Some(pid));
    provider.kill().await.unwrap();
    assert_eq!(bench.pid(), None);
}

#[tokio::test]
async fn tells_how_a_machine_ended() {
    let (bench, provider) = started().await;
    let mut events = provider.events().await.unwrap();
    bench.tick_after(0).await;
    provider.kill().await.unwrap();
    let event = loop {
        if let event @ ProviderEvent::Exited { .. } = events.recv().await.unwrap() {
            break event;
        }
    };
    let ProviderEvent::Exited { code, last_words } = event else { unreachable!() };
    assert_eq!(code, None);
    assert!(last_words.iter().any(|l| l.starts_with("TICK ")), "{last_words:?}");
    let observation = provider.observe().await.unwrap();
    assert_eq!(observation.power, Power::Off);
    assert!(!observation.last_words.is_empty());
}

#[tokio::test]
async fn tells_what_happens_and_survives_a_full_disk() {
    let (bench, provider) = started().await;
    let mut events = provider.events().await.unwrap();
    inject(&bench, "BLOCK_IO_ERROR", "io-error", r#"{"device":"","action":"stop","operation":"write","nospace":true}"#);
    assert_eq!(events.recv().await.unwrap(), ProviderEvent::IoError { nospace: true });
    let Power::On(on) = provider.observe().await.unwrap().power else { panic!() };
    assert!(on.io_error && on.standstill == Some(Standstill::Midway));
    provider.continue_running().await.unwrap();
    assert_eq!(events.recv().await.unwrap(), ProviderEvent::Resumed);
    assert!(runs(&provider).await);
    inject(&bench, "VSERPORT_CHANGE", "running", r#"{"id":"agent","open":true}"#);
    assert_eq!(events.recv().await.unwrap(), ProviderEvent::GuestAgentUp);
    inject(&bench, "RESET", "running", r#"{"guest":true,"reason":"guest-reset"}"#);
    assert_eq!(events.recv().await.unwrap(), ProviderEvent::Reset);
    // The guest has said something before it panics.
    bench.tick_after(0).await;
    inject(&bench, "GUEST_PANICKED", "guest-panicked", r#"{"action":"pause"}"#);
    assert_eq!(events.recv().await.unwrap(), ProviderEvent::Panicked);
    let observation = provider.observe().await.unwrap();
    assert!(matches!(observation.power, Power::On(on) if on.panicked));
    assert!(!observation.last_words.is_empty());
    for refused in [provider.suspend().await.map(|_| ()), provider.continue_running().await] {
        assert!(matches!(refused, Err(MachineError::WrongState { .. })), "{refused:?}");
    }
}

#[tokio::test]
async fn the_guest_goes_on_when_its_memory_can_not_be_saved() {
    for (words, code) in [
        ("save-fails=Unable to write to file: No space left on device", ErrorCode::DiskFull),
        ("save-fails=State blocked by non-migratable device", ErrorCode::HypervisorFailed),
    ] {
        let (bench, provider) = started().await;
        let count = bench.tick_after(0).await;
        bench.script(words);
        provider.kill().await.unwrap();
        provider.start(&bench.spec, &bench.image, StartOptions::default()).await.unwrap();
        let error = provider.suspend().await.unwrap_err();
        assert_eq!(error.api().code, code, "{error:?}");
        assert!(runs(&provider).await);
        bench.tick_after(count).await;
        assert_eq!(fs::read_dir(bench.layout.state()).unwrap().count(), 0, "nothing is left behind");
        assert_eq!(provider.observe().await.unwrap().disk.unwrap().total, 1024 * MIB);
    }
}

#[tokio::test]
async fn a_qemu_that_does_not_end_is_ended() {
    let bench = Bench::standin();
    bench.script("ignore-quit\nignore-power");
    let provider = bench.provider();
    provider.prepare(&bench.spec, &bench.image).await.unwrap();
    provider.start(&bench.spec, &bench.image, StartOptions::default()).await.unwrap();
    let error = provider.stop(Duration::from_millis(50)).await.unwrap_err();
    assert_eq!(error.api().code, ErrorCode::Timeout);
    provider.suspend().await.unwrap();
    assert_eq!(bench.pid(), None);
    bench.script("");
    provider.resume(&bench.spec, &bench.image).await.unwrap();
}

/// A guest that nobody told of its power button still has its agent.
#[tokio::test]
async fn a_guest_without_a_button_is_shut_down_by_its_agent() {
    let bench = Bench::standin();
    bench.script("no-button");
    let provider = bench.provider();
    provider.prepare(&bench.spec, &bench.image).await.unwrap();
    provider.start(&bench.spec, &bench.image, StartOptions::default()).await.unwrap();
    provider.stop(Duration::from_secs(60)).await.unwrap();
    assert_eq!(provider.observe().await.unwrap().power, Power::Off);
}

/// A QEMU that hangs is seen to be silent, and since when; it can be ended, and the next one speaks.
#[tokio::test]
async fn a_qemu_that_does_not_answer_is_called_silent() {
    use rustix::process::{Pid, Signal, kill_process};
    let (bench, provider) = started().await;
    let silent = async |provider: &QemuProvider| match provider.observe().await.unwrap().power {
        Power::On(on) => on.silent_since,
        other => panic!("{other:?}"),
    };
    assert_eq!(silent(&provider).await, None);
    let pid = Pid::from_raw(i32::try_from(bench.pid().unwrap()).unwrap()).unwrap();
    let stop = async || {
        kill_process(pid, Signal::STOP).unwrap();
        // A signal takes effect a little later.
        let stat = format!("/proc/{}/stat", pid.as_raw_nonzero());
        while !std::fs::read_to_string(&stat).unwrap().contains(") T ") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    stop().await;
    let since = silent(&provider).await.expect("it answered");
    assert_eq!(silent(&provider).await, Some(since), "it counts from the first time");
    // As does the supervisor that finds it so.
    let fresh = bench.provider();
    assert!(silent(&fresh).await.is_some());
    drop(fresh);
    kill_process(pid, Signal::CONT).unwrap();
    assert_eq!(silent(&provider).await, None, "one that was only busy is as it was");
    stop().await;
    assert!(silent(&provider).await.is_some_and(|again| again > since));
    provider.kill().await.unwrap();
    starts_cold(&bench, &provider).await;
    assert_eq!(silent(&provider).await, None);
}

#[tokio::test]
async fn speaks_with_the_guest_agent() {
    let (bench, _provider) = started().await;
    let mut agent = Agent::connect(&bench.layout.qga_sock(), Duration::from_secs(5)).await.unwrap();
    agent.execute(qapi::qga::guest_ping {}).await.unwrap();
    let refused = agent.execute(qapi::qga::guest_get_time {}).await.unwrap_err();
    assert!(refused.to_string().contains("guest-get-time"));
    agent.execute(qapi::qga::guest_ping {}).await.unwrap();
    agent.shut_down().await.unwrap();
}

#[tokio::test]
async fn secrets_stay_in_files_of_their_own() {
    use std::os::unix::fs::PermissionsExt;
    let (bench, provider) = started().await;
    let pid = bench.pid().unwrap();
    let argv = fs::read(format!("/proc/{pid}/cmdline")).unwrap();
    let argv = String::from_utf8_lossy(&argv).into_owned();
    for entry in fs::read_dir(bench.layout.credentials()).unwrap().flatten() {
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.path());
        let secret = fs::read_to_string(entry.path()).unwrap();
        let line = secret.lines().map(str::trim).max_by_key(|l| l.len()).unwrap();
        assert!(!argv.contains(line));
    }
    let blob = bench.guest_secrets();
    assert_eq!(blob.len(), 16384);
    let seen: alcove_types::guest::MachineCredentials = serde_json::from_slice(&blob).unwrap();
    assert_eq!(seen.hostname, "alcove-test");
    assert!(!bench.layout.credentials_blob().exists(), "what the guest got is left on the disk");
    // The same keys after a restart.
    provider.kill().await.unwrap();
    provider.prepare(&bench.spec, &bench.image).await.unwrap();
    starts_cold(&bench, &provider).await;
    let again: alcove_types::guest::MachineCredentials = serde_json::from_slice(&bench.guest_secrets()).unwrap();
    assert_eq!((again.identity_key, again.door), (seen.identity_key, seen.door));
}

#[tokio::test]
async fn a_start_that_fails_leaves_no_secrets_behind_either() {
    let bench = Bench::standin();
    let provider = bench.provider();
    provider.prepare(&bench.spec, &bench.image).await.unwrap();
    bench.script("die-at-cont\n");
    assert!(provider.start(&bench.spec, &bench.image, StartOptions::default()).await.is_err());
    assert!(!bench.layout.credentials_blob().exists());
}
