//! The QEMU provider against a stand-in that behaves as documented: the contract, and what can go wrong.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod common;
mod contract;

use std::{fs, io::Write, time::Duration};

use alcove_machine::{
    Home, Layout, MachineError, MachineSpec, Power, Provider, ProviderEvent, QemuProvider, StartOptions,
    image::Image,
    liveness,
    provider::Standstill,
    qemu::qga::Agent,
    state::{Reason, Validity},
    warm,
};
use alcove_types::ErrorCode;
use common::{Bench, MIB, eventually};

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

async fn started() -> (Bench, QemuProvider) {
    let bench = Bench::standin();
    let provider = bench.provider();
    provider.prepare(&bench.spec, &bench.image).await.unwrap();
    provider.start(&bench.spec, &bench.image, StartOptions::default()).await.unwrap();
    (bench, provider)
}

async fn suspended() -> (Bench, QemuProvider) {
    let (bench, provider) = started().await;
    bench.tick_after(0).await;
    provider.suspend().await.unwrap();
    (bench, provider)
}

async fn runs(provider: &QemuProvider) -> bool {
    matches!(provider.observe().await.unwrap().power, Power::On(on) if on.standstill.is_none())
}

async fn reason(bench: &Bench, provider: &QemuProvider) -> Reason {
    let Err(MachineError::StateInvalid(reason)) = provider.resume(&bench.spec, &bench.image).await else {
        panic!("the state was accepted")
    };
    reason
}

/// After whatever went wrong with a state, the machine starts from nothing.
async fn starts_cold(bench: &Bench, provider: &QemuProvider) {
    provider.start(&bench.spec, &bench.image, StartOptions::default()).await.unwrap();
    assert!(runs(provider).await);
    assert!(!bench.layout.state().join("state.bin").exists());
}

/// A state that another version wrote in a way of its own is no state, and says so before anything is started.
#[tokio::test]
async fn a_state_in_an_unknown_format_is_given_up() {
    let (bench, provider) = suspended().await;
    let facts = bench.layout.state().join("state.json");
    let mut content: serde_json::Value = serde_json::from_slice(&fs::read(&facts).unwrap()).unwrap();
    content["format"] = "of-another-time".into();
    fs::write(&facts, content.to_string()).unwrap();
    let told = Reason::Format("of-another-time".into());
    let state = provider.state(&bench.spec, &bench.image).await.unwrap();
    assert_eq!(state, Some(Validity::Discard(told.clone())));
    assert_eq!(reason(&bench, &provider).await, told);
    starts_cold(&bench, &provider).await;
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

/// Makes something happen to the stand-in's machine, through the control socket for diagnosis.
fn inject(bench: &Bench, event: &str, state: &str, data: &str) {
    use std::io::{BufRead, BufReader};
    let mut socket = std::os::unix::net::UnixStream::connect(bench.layout.qmp_diag_sock()).unwrap();
    let request = format!(
        r#"{{"execute":"standin-event","id":1,"arguments":{{"event":"{event}","state":"{state}","data":{data}}}}}"#
    );
    writeln!(socket, "{request}").unwrap();
    let mut lines = BufReader::new(socket).lines();
    assert!(lines.any(|l| l.unwrap().contains(r#""id":1"#)));
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
async fn a_qemu_that_dies_while_it_saves_leaves_no_state() {
    for words in ["die-during-save", "die-after-save"] {
        let bench = Bench::standin();
        bench.script(words);
        let provider = bench.provider();
        provider.prepare(&bench.spec, &bench.image).await.unwrap();
        provider.start(&bench.spec, &bench.image, StartOptions::default()).await.unwrap();
        assert!(provider.suspend().await.is_err(), "{words}");
        eventually("it has ended", || bench.pid().is_none()).await;
        assert_eq!(provider.observe().await.unwrap().power, Power::Off);
        bench.script("");
        starts_cold(&bench, &provider).await;
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

/// A supervisor that is killed while the memory is being saved: the next one saves it again.
#[tokio::test]
async fn an_interrupted_save_is_done_again() {
    let (bench, provider) = started().await;
    let count = bench.tick_after(0).await;
    // What the killed supervisor had come to: stopped, saved, nothing described.
    let mut socket = std::os::unix::net::UnixStream::connect(bench.layout.qmp_diag_sock()).unwrap();
    let making = bench.layout.state().join("state.tmp");
    writeln!(socket, r#"{{"execute":"stop","id":1}}"#).unwrap();
    writeln!(socket, r#"{{"execute":"migrate","id":2,"arguments":{{"uri":"file:{}"}}}}"#, making.display()).unwrap();
    eventually("it is saved", || fs::metadata(&making).is_ok_and(|m| m.len() > 0)).await;
    drop((socket, provider));
    let fresh = bench.provider();
    fresh.suspend().await.unwrap();
    fresh.resume(&bench.spec, &bench.image).await.unwrap();
    bench.tick_after(count).await;
}

/// A supervisor that is killed after everything was written, before QEMU was ended.
#[tokio::test]
async fn an_interrupted_end_of_a_suspend_loses_nothing() {
    for suspend_again in [true, false] {
        let (bench, provider) = suspended().await;
        let count = bench.ticks();
        let kept = bench.dir.path().join("kept");
        fs::create_dir(&kept).unwrap();
        for name in ["state.bin", "state.json"] {
            fs::copy(bench.layout.state().join(name), kept.join(name)).unwrap();
        }
        provider.resume(&bench.spec, &bench.image).await.unwrap();
        inject(&bench, "STOP", "postmigrate", "{}");
        for name in ["state.bin", "state.json"] {
            fs::copy(kept.join(name), bench.layout.state().join(name)).unwrap();
        }
        let Power::On(on) = provider.observe().await.unwrap().power else { panic!() };
        assert_eq!(on.standstill, Some(Standstill::Saved));
        if suspend_again {
            provider.suspend().await.unwrap();
            assert!(matches!(provider.observe().await.unwrap().power, Power::Suspended { .. }));
        } else {
            // The other way on: the guest continues, and the state is gone before it does.
            provider.continue_running().await.unwrap();
            assert!(runs(&provider).await);
            assert_eq!(fs::read_dir(bench.layout.state()).unwrap().count(), 0);
            bench.tick_after(count).await;
        }
    }
}

#[tokio::test]
async fn damaged_states_are_named_and_left_behind() {
    type Damage = fn(&std::path::Path);
    let cut: Damage = |state| fs::write(state.join("state.bin"), b"{").unwrap();
    let flip: Damage = |state| {
        let mut content = fs::read(state.join("state.bin")).unwrap();
        content[0] ^= 1;
        fs::write(state.join("state.bin"), content).unwrap();
    };
    let gone: Damage = |state| fs::remove_file(state.join("state.bin")).unwrap();
    let torn: Damage = |state| fs::write(state.join("state.json"), b"{\"schema\":1,\"fin").unwrap();
    let newer: Damage = |state| fs::write(state.join("state.json"), b"{\"schema\":2}").unwrap();
    for (damage, expected) in
        [(cut, "Truncated"), (flip, "Truncated"), (gone, "Truncated"), (torn, "Corrupt"), (newer, "TooNew")]
    {
        let (bench, provider) = suspended().await;
        damage(&bench.layout.state());
        let found = reason(&bench, &provider).await;
        assert!(format!("{found:?}").starts_with(expected), "{found:?}");
        assert!(!matches!(provider.observe().await.unwrap().power, Power::On(_)));
        assert!(matches!(provider.state(&bench.spec, &bench.image).await.unwrap(), Some(Validity::Discard(_))));
        starts_cold(&bench, &provider).await;
    }
}

#[tokio::test]
async fn states_of_another_machine_are_refused() {
    // Other sizes.
    let (mut bench, provider) = suspended().await;
    bench.spec.setup.memory_bytes += 2 * MIB;
    assert_eq!(reason(&bench, &provider).await, Reason::Hardware);
    bench.spec.setup.memory_bytes -= 2 * MIB;
    // Another image.
    let own = bench.image.clone();
    bench.image = common::make_image(&bench.dir.path().join("images/def456"), "def456", b"kernel", b"initrd");
    assert!(matches!(reason(&bench, &provider).await, Reason::Image { .. }));
    bench.image = own;
    // A disk that went on.
    let disk = fs::read(bench.layout.data_disk()).unwrap();
    fs::OpenOptions::new().append(true).open(bench.layout.data_disk()).unwrap().write_all(b"x").unwrap();
    assert_eq!(reason(&bench, &provider).await, Reason::DiskChanged);
    fs::write(bench.layout.data_disk(), disk).unwrap();
    assert_eq!(reason(&bench, &provider).await, Reason::DiskChanged);
    // QEMU can't load it.
    let (bench, provider) = suspended().await;
    bench.script("load-fails=Invalid argument");
    let found = reason(&bench, &provider).await;
    assert_eq!(found, Reason::LoadFailed("qemu-system-x86_64: load of migration failed: Invalid argument".into()));
    assert_eq!(bench.pid(), None);
    bench.script("");
    starts_cold(&bench, &provider).await;
}

#[tokio::test]
async fn a_state_of_another_qemu_is_refused_and_the_machine_type_stays() {
    let (mut bench, provider) = suspended().await;
    // An updated QEMU lies at another path with another version; it still has the old machine type.
    let newer = bench.dir.path().join("newer");
    fs::create_dir(&newer).unwrap();
    for name in ["qemu-system-x86_64", "qemu-img"] {
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_qemu-standin"), newer.join(name)).unwrap();
    }
    fs::write(newer.join("script"), "version=11.0.0\nmachines=pc-q35-10.0 pc-q35-11.0").unwrap();
    bench.qemu = Some(newer.join("qemu-system-x86_64"));
    drop(provider);
    let provider = bench.provider();
    assert!(matches!(reason(&bench, &provider).await, Reason::Hypervisor { .. }));
    starts_cold(&bench, &provider).await;
    let chosen = fs::read_to_string(bench.layout.qemu_json()).unwrap();
    assert!(chosen.contains("pc-q35-10.0"), "{chosen}");
}

#[tokio::test]
async fn a_death_at_the_last_step_of_a_resume_does_not_reuse_the_state() {
    let (bench, provider) = suspended().await;
    bench.script("die-at-cont");
    assert!(provider.resume(&bench.spec, &bench.image).await.is_err());
    assert_eq!(bench.pid(), None);
    // The guest did not run, and the disk shows it: the state is as good as before.
    bench.script("");
    provider.resume(&bench.spec, &bench.image).await.unwrap();
    // Now it has run: killed, it starts from nothing.
    provider.kill().await.unwrap();
    assert_eq!(provider.observe().await.unwrap().power, Power::Off);
}

#[tokio::test]
async fn files_that_are_missing_or_from_the_future_are_named() {
    let (bench, provider) = started().await;
    provider.kill().await.unwrap();
    fs::remove_file(bench.layout.data_disk()).unwrap();
    let error = provider.prepare(&bench.spec, &bench.image).await.unwrap_err();
    assert_eq!(error.api().code, ErrorCode::FileCorrupt, "a lost disk is not replaced by an empty one");
    let spec = fs::read_to_string(bench.layout.machine_json()).unwrap();
    fs::write(bench.layout.machine_json(), spec.replace("\"schema\": 1", "\"schema\": 2")).unwrap();
    assert_eq!(MachineSpec::load(&bench.layout).unwrap_err().api().code, ErrorCode::TooNew);
    fs::write(bench.layout.machine_json(), &spec[..spec.len() / 2]).unwrap();
    let error = MachineSpec::load(&bench.layout).unwrap_err();
    let MachineError::FileCorrupt { kept: Some(kept), .. } = &error else { panic!("{error:?}") };
    assert_eq!(fs::read_to_string(kept).unwrap(), &spec[..spec.len() / 2]);
    fs::write(bench.layout.machine_json(), spec.replace("52:54:00", "52:54:00,romfile=/etc")).unwrap();
    assert_eq!(MachineSpec::load(&bench.layout).unwrap_err().api().code, ErrorCode::FileCorrupt);
}

#[tokio::test]
async fn warm_machines_are_adopted_many_times() {
    let (bench, provider) = suspended().await;
    let count = bench.ticks();
    let warm = bench.layout.machine().to_path_buf();
    drop(provider);
    for name in ["one", "two"] {
        let layout = Layout::new(Home::at(bench.dir.path().join("clones")).unwrap(), name.parse().unwrap());
        let spec = warm::adopt_with(&warm, &layout, &bench.options()).await.unwrap();
        assert_eq!(spec.uuid, bench.spec.uuid);
        let clone = QemuProvider::new(layout.clone(), bench.options());
        clone.prepare(&spec, &bench.image).await.unwrap();
        clone.resume(&spec, &bench.image).await.unwrap();
        let log = layout.serial_log();
        eventually("it goes on", || fs::read_to_string(&log).is_ok_and(|l| l.contains(&format!("TICK {}", count + 5))))
            .await;
        assert!(matches!(warm::adopt_with(&warm, &layout, &bench.options()).await, Err(MachineError::Exists(_))));
        clone.kill().await.unwrap();
        clone.destroy().await.unwrap();
        fs::remove_dir_all(layout.runtime()).unwrap();
    }
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
async fn a_disk_that_grew_while_the_machine_ran_leaves_its_saved_state_good() {
    let (bench, provider) = started().await;
    let more = bench.spec.setup.disk_bytes + (64 << 20);
    provider.grow_disk(more).await.unwrap();
    provider.suspend().await.unwrap();
    let mut spec = bench.spec.clone();
    spec.setup.disk_bytes = more;
    // Whether or not the new size was noted before the supervisor died.
    for spec in [&bench.spec, &spec] {
        assert!(matches!(provider.state(spec, &bench.image).await.unwrap(), Some(Validity::Usable(_))));
    }
    let larger = provider.grow_disk(more + (64 << 20)).await;
    assert!(matches!(larger, Err(MachineError::WrongState { .. })), "the saved memory knows the disk as it is");
    provider.resume(&spec, &bench.image).await.unwrap();
    assert_eq!(provider.observe().await.unwrap().disk.unwrap().total, more);
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
