//! A machine in a folder of its own, run by the stand-in or by the real QEMU.

#![allow(dead_code, reason = "not every test file uses all of it")]
#![allow(unreachable_pub, clippy::unwrap_used, clippy::panic, reason = "shared by several test programs")]

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use alcove_machine::{
    Home, Layout, MachineSpec, Power, Provider, QemuProvider, StartOptions, image::Image, liveness, qemu::QemuOptions,
};
use alcove_types::{
    guest::Account,
    image::{ImageFile, ImageKubernetes, ImageManifest, MANIFEST_SCHEMA},
    machine::{Acceleration, MachineSetup},
};
use sha2::{Digest, Sha256};

pub const MIB: u64 = 1 << 20;

/// One machine for one test.
pub struct Bench {
    pub dir: tempfile::TempDir,
    pub layout: Layout,
    pub image: Image,
    pub spec: MachineSpec,
    /// Absent: the real QEMU of this host.
    pub qemu: Option<PathBuf>,
}

impl Bench {
    /// With the stand-in.
    pub fn standin() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let bin = dir.path().join("bin");
        fs::create_dir(&bin).unwrap();
        for name in ["qemu-system-x86_64", "qemu-img"] {
            symlink(env!("CARGO_BIN_EXE_qemu-standin"), bin.join(name)).unwrap();
        }
        let qemu = bin.join("qemu-system-x86_64");
        Self::new(dir, b"kernel", b"initrd", Some(qemu))
    }

    pub fn new(dir: tempfile::TempDir, kernel: &[u8], initrd: &[u8], qemu: Option<PathBuf>) -> Self {
        let image = make_image(&dir.path().join("images/abc123"), "abc123", kernel, initrd);
        let layout = Layout::new(Home::at(dir.path().join("home")).unwrap(), "test".parse().unwrap());
        layout.create().unwrap();
        let setup = MachineSetup { memory_bytes: 512 * MIB, cpus: 1, disk_bytes: 1024 * MIB };
        let account = Account { name: "ada".into(), display_name: "Ada, of \"Lovelace\"".into() };
        let spec = MachineSpec::new(layout.instance().clone(), setup, account, "abc123").unwrap();
        spec.save(&layout).unwrap();
        Self { dir, layout, image, spec, qemu }
    }

    pub fn options(&self) -> QemuOptions {
        QemuOptions { qemu: self.qemu.clone(), acceleration: Some(Acceleration::Tcg) }
    }

    /// A provider as a supervisor makes it, new each time.
    pub fn provider(&self) -> QemuProvider {
        QemuProvider::new(self.layout.clone(), self.options())
    }

    /// What the stand-in is to do, a word a line.
    pub fn script(&self, words: &str) {
        fs::write(self.dir.path().join("bin/script"), words).unwrap();
    }

    /// What the stand-in read of the guest's secrets when it started.
    pub fn guest_secrets(&self) -> Vec<u8> {
        fs::read(self.dir.path().join("bin/fw_cfg")).unwrap()
    }

    /// The last count that the guest wrote to its console.
    pub fn ticks(&self) -> u64 {
        let log = fs::read(self.layout.serial_log()).unwrap_or_default();
        let log = String::from_utf8_lossy(&log).into_owned();
        log.lines().rev().find_map(|l| l.trim().strip_prefix("TICK ")?.trim().parse().ok()).unwrap_or(0)
    }

    /// Waits until the guest has counted further than this.
    pub async fn tick_after(&self, count: u64) -> u64 {
        eventually("the guest counts", || self.ticks() > count).await;
        self.ticks()
    }

    /// The process that runs, if one does.
    pub fn pid(&self) -> Option<u32> {
        liveness::holder(&self.layout.pidfile()).unwrap()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if let Ok(Some(pid)) = liveness::holder(&self.layout.pidfile()) {
            let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        let _ = fs::remove_dir_all(self.layout.runtime());
    }
}

/// Waits for a condition; generous, for the machines that run this may be slow.
pub async fn eventually(what: &str, mut look: impl FnMut() -> bool) {
    let by = Instant::now() + Duration::from_secs(60);
    while !look() {
        assert!(Instant::now() < by, "{what}: not in 60 s");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub fn make_image(folder: &Path, version: &str, kernel: &[u8], initrd: &[u8]) -> Image {
    fs::create_dir_all(folder).unwrap();
    let files = [("vmlinuz", kernel), ("initrd", initrd), ("root.erofs", &[0; 4096][..])];
    let files = files.map(|(name, content)| {
        fs::write(folder.join(name), content).unwrap();
        let sha256 = hex::encode(Sha256::digest(content));
        ImageFile { name: name.into(), bytes: content.len() as u64, sha256 }
    });
    let manifest = ImageManifest {
        schema: MANIFEST_SCHEMA,
        version: version.into(),
        created: "2026-01-01T00:00:00Z".into(),
        architecture: std::env::consts::ARCH.into(),
        kernel_version: "6.12".into(),
        cmdline: "console=ttyS0 panic=0".into(),
        kubernetes: ImageKubernetes { distribution: "none".into(), version: String::new() },
        guest_version: "0".into(),
        files: files.to_vec(),
        packages: Vec::new(),
        containers: Vec::new(),
    };
    fs::write(folder.join("manifest.json"), serde_json::to_vec(&manifest).unwrap()).unwrap();
    Image::open(folder).unwrap()
}

/// A machine that runs.
pub async fn started() -> (Bench, QemuProvider) {
    let bench = Bench::standin();
    let provider = bench.provider();
    provider.prepare(&bench.spec, &bench.image).await.unwrap();
    provider.start(&bench.spec, &bench.image, StartOptions::default()).await.unwrap();
    (bench, provider)
}

/// Whether it runs, and does not stand still.
pub async fn runs(provider: &QemuProvider) -> bool {
    matches!(provider.observe().await.unwrap().power, Power::On(on) if on.standstill.is_none())
}

/// After whatever went wrong with a state, the machine starts from nothing.
pub async fn starts_cold(bench: &Bench, provider: &QemuProvider) {
    provider.start(&bench.spec, &bench.image, StartOptions::default()).await.unwrap();
    assert!(runs(provider).await);
    assert!(!bench.layout.state().join("state.bin").exists());
}

/// Makes something happen to the stand-in's machine, through the control socket for diagnosis.
pub fn inject(bench: &Bench, event: &str, state: &str, data: &str) {
    use std::io::{BufRead, BufReader, Write};
    let mut socket = std::os::unix::net::UnixStream::connect(bench.layout.qmp_diag_sock()).unwrap();
    let request = format!(
        r#"{{"execute":"standin-event","id":1,"arguments":{{"event":"{event}","state":"{state}","data":{data}}}}}"#
    );
    writeln!(socket, "{request}").unwrap();
    let mut lines = BufReader::new(socket).lines();
    assert!(lines.any(|l| l.unwrap().contains(r#""id":1"#)));
}
