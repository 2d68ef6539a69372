//! The QEMU provider against the real QEMU, with a real kernel and a guest of one hundred bytes.
//!
//! Needs QEMU on this computer and, in `ALCOVE_TEST_IMAGE`, the folder of a guest image (its kernel is used). Without
//! them it would have to fail, so it runs when it is asked for: `cargo xtask test` does, with `--ignored`.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod common;
mod contract;

use std::{fs, path::PathBuf, time::Duration};

use alcove_machine::{
    Home, Layout, MachineError, MachineSpec, Power, Provider, QemuProvider, StartOptions,
    image::Image,
    qemu::{probe, qmp::Qmp},
    state::Reason,
    warm,
};
use alcove_types::machine::Acceleration;
use common::{Bench, eventually};

fn kernel() -> Vec<u8> {
    let folder = std::env::var_os("ALCOVE_TEST_IMAGE").map(PathBuf::from).expect(
        "ALCOVE_TEST_IMAGE must name the folder of a guest image (`cargo xtask image` builds one); its kernel is used",
    );
    fs::read(folder.join("vmlinuz")).unwrap()
}

fn bench() -> Bench {
    Bench::new(tempfile::tempdir().unwrap(), &kernel(), &initrd(), None)
}

/// The guest: it writes `TICK 0002`, `TICK 0003` … to the console, ten a second.
fn program() -> Vec<u8> {
    // _start: write(1, msg, 11); add one to the number in msg; nanosleep(100 ms); again.
    let code = "b801000000bf01000000488d352f000000ba0b0000000f05488d1d29000000fe03803b3a7508c6033048ffcbebf1\
                b823000000488d3d1600000031f60f05ebc0";
    let mut code = hex::decode(code.replace(char::is_whitespace, "")).unwrap();
    assert_eq!(code.len(), 0x40);
    code.extend(b"TICK 0001\r\n\0\0\0\0\0");
    code.extend([0_u64, 100_000_000].iter().flat_map(|n| n.to_le_bytes()));
    let (base, head) = (0x40_0000_u64, 120_u64);
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".to_vec();
    elf.extend([base + head, 64, 0].iter().flat_map(|n: &u64| n.to_le_bytes()));
    elf.extend(b"\0\0\0\0\x40\0\x38\0\x01\0\0\0\0\0\0\0");
    // One segment, readable, writable and executable.
    elf.extend([1_u32, 7].iter().flat_map(|n| n.to_le_bytes()));
    let length = head + code.len() as u64;
    elf.extend([0, base, base, length, length, 0x1000].iter().flat_map(|n: &u64| n.to_le_bytes()));
    elf.extend(code);
    elf
}

/// An archive with the guest's program and its console.
fn initrd() -> Vec<u8> {
    let mut archive = Vec::new();
    let mut add = |name: &str, mode: u32, device: (u32, u32), content: &[u8]| {
        let fields = [1, mode, 0, 0, 1, 0, content.len() as u32, 0, 0, device.0, device.1, name.len() as u32 + 1, 0];
        archive.extend(b"070701");
        archive.extend(fields.iter().flat_map(|f| format!("{f:08x}").into_bytes()));
        archive.extend(name.as_bytes());
        archive.push(0);
        archive.resize(archive.len().next_multiple_of(4), 0);
        archive.extend(content);
        archive.resize(archive.len().next_multiple_of(4), 0);
    };
    add("dev", 0o040_755, (0, 0), b"");
    add("dev/console", 0o020_600, (5, 1), b"");
    add("init", 0o100_755, (0, 0), &program());
    add("TRAILER!!!", 0, (0, 0), b"");
    archive
}

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
        false
    }

    async fn count_after(&self, count: u64) -> u64 {
        self.tick_after(count).await
    }
}

#[tokio::test]
#[ignore = "boots real machines: cargo xtask test runs it"]
async fn keeps_the_contract() {
    contract::whole_life(&bench()).await;
}

/// QEMU can write nothing: the guest goes on, and later it is saved after all.
#[tokio::test]
#[ignore = "boots real machines: cargo xtask test runs it"]
async fn a_save_that_fails_does_not_stop_the_guest() {
    let bench = bench();
    let provider = bench.provider();
    provider.prepare(&bench.spec, &bench.image).await.unwrap();
    provider.start(&bench.spec, &bench.image, StartOptions::default()).await.unwrap();
    let count = bench.tick_after(0).await;
    let pid = bench.pid().unwrap();
    let limit = |bytes: Option<u64>| {
        let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap());
        let limit = rustix::process::Rlimit { current: bytes, maximum: None };
        rustix::process::prlimit(pid, rustix::process::Resource::Fsize, limit).unwrap();
    };
    limit(Some(64 << 10));
    let error = provider.suspend().await.unwrap_err();
    println!("{error:?}");
    assert!(matches!(error, MachineError::HypervisorFailed { .. } | MachineError::DiskFull { .. }));
    let count = bench.tick_after(count).await;
    assert!(!bench.layout.state().join("state.bin").exists());
    limit(None);
    provider.suspend().await.unwrap();
    provider.resume(&bench.spec, &bench.image).await.unwrap();
    bench.tick_after(count).await;
}

/// Another supervisor looks at QEMU at any moment, and a state that was damaged anywhere is named.
#[tokio::test]
#[ignore = "boots real machines: cargo xtask test runs it"]
async fn overwritten_memory_is_refused() {
    let bench = bench();
    let provider = bench.provider();
    provider.prepare(&bench.spec, &bench.image).await.unwrap();
    provider.start(&bench.spec, &bench.image, StartOptions::default()).await.unwrap();
    bench.tick_after(0).await;
    let diag = Qmp::connect(&bench.layout.qmp_diag_sock(), tokio::time::Instant::now() + Duration::from_secs(5)).await;
    assert_eq!(diag.unwrap().run_state().await.unwrap(), "running");
    let suspended = provider.suspend().await.unwrap();
    println!("suspended: {suspended:?}");
    // What lies behind the beginning, which is looked at first, is overwritten.
    let memory = bench.layout.state().join("state.bin");
    let length = fs::metadata(&memory).unwrap().len();
    {
        use std::os::unix::fs::FileExt;
        let file = fs::OpenOptions::new().write(true).open(&memory).unwrap();
        file.write_all_at(&[0xa5; 64], length / 2).unwrap();
    }
    let error = provider.resume(&bench.spec, &bench.image).await.unwrap_err();
    println!("{error:?}");
    assert!(matches!(error, MachineError::StateInvalid(Reason::Truncated(_))), "{error:?}");
    eventually("QEMU has ended", || bench.pid().is_none()).await;
    provider.start(&bench.spec, &bench.image, StartOptions::default()).await.unwrap();
}

#[tokio::test]
#[ignore = "boots real machines: cargo xtask test runs it"]
async fn warm_machines_are_adopted() {
    let bench = bench();
    let provider = bench.provider();
    provider.prepare(&bench.spec, &bench.image).await.unwrap();
    provider.start(&bench.spec, &bench.image, StartOptions::default()).await.unwrap();
    let count = bench.tick_after(0).await;
    provider.suspend().await.unwrap();
    drop(provider);
    let mut clones = Vec::new();
    for name in ["one", "two"] {
        let layout = Layout::new(Home::at(bench.dir.path().join("clones")).unwrap(), name.parse().unwrap());
        let spec = warm::adopt_with(bench.layout.machine(), &layout, &bench.options()).await.unwrap();
        let clone = QemuProvider::new(layout.clone(), bench.options());
        let started = clone.resume(&spec, &bench.image).await.unwrap();
        println!("{name}: {started:?}");
        clones.push((layout, clone));
    }
    for (layout, clone) in clones {
        let log = layout.serial_log();
        let further = format!("TICK {:04}", count + 3);
        eventually("it goes on", || fs::read_to_string(&log).is_ok_and(|l| l.contains(&further))).await;
        clone.suspend().await.unwrap();
        assert!(matches!(clone.observe().await.unwrap().power, Power::Suspended { .. }));
        clone.destroy().await.unwrap();
        fs::remove_dir_all(layout.runtime()).unwrap();
    }
}

/// The trial of an acceleration tells a kernel that boots from one that does not.
#[tokio::test]
#[ignore = "boots real machines: cargo xtask test runs it"]
async fn the_trial_boots_the_kernel() {
    let bench = bench();
    let provider = bench.provider();
    let installed = provider.installed().await.unwrap();
    let deadline = Duration::from_secs(60);
    probe::boots(&installed, &bench.image, Acceleration::Tcg, deadline).await.unwrap();
    let hurried = Duration::from_millis(200);
    let why = probe::boots(&installed, &bench.image, Acceleration::Tcg, hurried).await.unwrap_err();
    assert!(why.hung, "{why:?}");
    let broken = common::make_image(&bench.dir.path().join("images/broken"), "broken", b"no kernel", b"");
    let why = probe::boots(&installed, &broken, Acceleration::Tcg, deadline).await.unwrap_err();
    assert!(!why.hung, "{why:?}");
    let options = alcove_machine::qemu::QemuOptions::default();
    let verdict = QemuProvider::new(bench.layout.clone(), options).acceleration_verdict(&bench.image).await.unwrap();
    println!("{verdict:?}");
}

/// The image itself: it boots until its door opens, and opens it again after a resume. Prints what that costs.
#[tokio::test]
#[ignore = "boots real machines: cargo xtask test runs it"]
async fn the_image_suspends_and_resumes() {
    use alcove_machine::{boot_log::BootLog, credentials::Credentials};
    use alcove_types::boot::StepState;
    let mut bench = bench();
    bench.image = Image::open(std::env::var_os("ALCOVE_TEST_IMAGE").unwrap()).unwrap();
    bench.spec.setup.memory_bytes = 2048 << 20;
    bench.spec.setup.cpus = 2;
    let provider = bench.provider();
    provider.prepare(&bench.spec, &bench.image).await.unwrap();
    let started = provider.start(&bench.spec, &bench.image, StartOptions::default()).await.unwrap();
    println!("started: {started:?}");
    let mut log = BootLog::new(bench.layout.boot_jsonl());
    let opened = async {
        loop {
            let event = log.next().await;
            if event.step == "door" && event.state == Some(StepState::Done) {
                break event.at_ms;
            }
        }
    };
    let at_ms = tokio::time::timeout(Duration::from_secs(300), opened).await.expect("the door opens");
    println!("door open after {at_ms} ms");
    let keys = Credentials::load(&bench.layout).unwrap().unwrap().door.client();
    knock(started.door, &keys).await;

    let suspended = provider.suspend().await.unwrap();
    println!("suspended: {} MiB in {:?}", suspended.bytes >> 20, suspended.took);
    let began = std::time::Instant::now();
    let resumed = provider.resume(&bench.spec, &bench.image).await.unwrap();
    knock(resumed.door, &keys).await;
    println!("resumed in {:?}, door open {:?} after the request", resumed.took, began.elapsed());
}

async fn knock(door: std::net::SocketAddr, keys: &alcove_door::ClientPem) {
    let client = alcove_door::DoorClient::new(door, alcove_door::client_config(keys).unwrap());
    drop(client.connect(alcove_door::Service::Guest, Duration::from_secs(30)).await.unwrap());
}
