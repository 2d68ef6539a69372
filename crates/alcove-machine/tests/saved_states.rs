//! What becomes of a saved memory that is cut off, damaged, or of another machine; with a stand-in for QEMU.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on fails")]

mod common;

use std::{fs, io::Write};

use alcove_machine::{
    Home, Layout, MachineError, MachineSpec, Power, Provider, QemuProvider, StartOptions,
    provider::Standstill,
    state::{Reason, Validity},
    warm,
};
use alcove_types::ErrorCode;
use common::{Bench, MIB, eventually, inject, runs, started, starts_cold};

async fn suspended() -> (Bench, QemuProvider) {
    let (bench, provider) = started().await;
    bench.tick_after(0).await;
    provider.suspend().await.unwrap();
    (bench, provider)
}

async fn reason(bench: &Bench, provider: &QemuProvider) -> Reason {
    let Err(MachineError::StateInvalid(reason)) = provider.resume(&bench.spec, &bench.image).await else {
        panic!("the state was accepted")
    };
    reason
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
