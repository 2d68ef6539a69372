//! A supervisor over a provider and a guest that note what they are asked.

#![allow(dead_code, reason = "not every test file uses all of it")]
#![allow(unreachable_pub, clippy::unwrap_used, clippy::missing_errors_doc, reason = "shared by several test programs")]

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use alcove_api::{Config, Supervisor, operations::Caller};
use alcove_door::{Door, server_config};
use alcove_machine::{
    Home, Layout, MachineError, MachineSpec, Observation, Power, Provider, ProviderEvent, Result, StartOptions,
    Started, Suspended,
    credentials::Credentials,
    image::Image,
    provider::{Capabilities, On},
    state::{DiskMark, Fingerprint, StateFacts, Validity},
};
use alcove_types::{
    guest::{Account, DiskBytes, GuestEvent, GuestStatus, KubernetesStatus, Usage},
    machine::{Acceleration, MachineSetup, Phase, Snapshot, SnapshotRequest},
};
use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::{
    net::{TcpListener, UnixStream},
    sync::broadcast,
};

pub const GIB: u64 = 1 << 30;

/// A machine of which only power and disk are there.
pub struct Fake {
    pub layout: Layout,
    pub power: Mutex<Power>,
    pub disk: AtomicU64,
    pub events: broadcast::Sender<ProviderEvent>,
    pub grown: Mutex<Vec<u64>>,
}

fn not_here<T>() -> Result<T> {
    Err(MachineError::Unsupported { message: "not in this test".into(), hint: "Look at the test.".into() })
}

#[async_trait]
impl Provider for Fake {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            suspend: true,
            snapshot: false,
            grow_disk: true,
            hot_plug: false,
            gpu: Vec::new(),
            file_sharing: Vec::new(),
            returns_memory: true,
        }
    }

    async fn prepare(&self, _: &MachineSpec, _: &Image) -> Result<()> {
        not_here()
    }

    async fn acceleration(&self, _: &Image) -> Result<Acceleration> {
        not_here()
    }

    async fn start(&self, _: &MachineSpec, _: &Image, _: StartOptions) -> Result<Started> {
        not_here()
    }

    async fn suspend(&self) -> Result<Suspended> {
        not_here()
    }

    async fn resume(&self, _: &MachineSpec, _: &Image) -> Result<Started> {
        not_here()
    }

    async fn state(&self, _: &MachineSpec, _: &Image) -> Result<Option<Validity>> {
        not_here()
    }

    async fn discard_state(&self) -> Result<()> {
        not_here()
    }

    async fn stop(&self, _: Duration) -> Result<()> {
        not_here()
    }

    async fn kill(&self) -> Result<()> {
        not_here()
    }

    async fn destroy(&self) -> Result<()> {
        not_here()
    }

    async fn observe(&self) -> Result<Observation> {
        let disk = Some(Usage { used: GIB, total: self.disk.load(Ordering::SeqCst) });
        Ok(Observation { power: self.power.lock().unwrap().clone(), disk, last_words: Vec::new() })
    }

    async fn console(&self) -> Result<UnixStream> {
        not_here()
    }

    async fn events(&self) -> Result<broadcast::Receiver<ProviderEvent>> {
        Ok(self.events.subscribe())
    }

    async fn snapshot(&self, _: &SnapshotRequest, _: &Image) -> Result<Snapshot> {
        not_here()
    }

    async fn list_snapshots(&self) -> Result<Vec<Snapshot>> {
        not_here()
    }

    async fn restore(&self, _: &str) -> Result<Snapshot> {
        not_here()
    }

    async fn delete_snapshot(&self, _: &str) -> Result<()> {
        not_here()
    }

    async fn grow_disk(&self, bytes: u64) -> Result<()> {
        self.grown.lock().unwrap().push(bytes);
        self.disk.store(bytes, Ordering::SeqCst);
        Ok(())
    }

    async fn continue_running(&self) -> Result<()> {
        not_here()
    }

    fn serial_log(&self) -> PathBuf {
        self.layout.serial_log()
    }
}

/// What the guest was asked, and whether it can grow its file system.
#[derive(Default)]
pub struct Guest {
    pub asked: Mutex<Vec<String>>,
    pub broken: Mutex<bool>,
}

/// A guest behind a real door. It is up, without Kubernetes.
pub async fn guest(keys: &Credentials) -> (SocketAddr, Arc<Guest>) {
    let door = Door::new(server_config(&keys.door.server()).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let guest = Arc::<Guest>::default();
    let serving = guest.clone();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let (door, guest) = (door.clone(), serving.clone());
            tokio::spawn(async move {
                let Ok((_, stream)) = door.greet(tcp, Duration::from_secs(5)).await else { return };
                let answer = hyper::service::service_fn(move |request: Request<Incoming>| {
                    let guest = guest.clone();
                    async move { guest.answer(request.uri().path()) }
                });
                // The supervisor may go away at any time.
                let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
            });
        }
    });
    (address, guest)
}

impl Guest {
    fn answer(&self, path: &str) -> http::Result<Response<Full<Bytes>>> {
        let body = match path {
            "/v1/events" => {
                let status = GuestStatus {
                    boot_id: "b".into(),
                    version: "0".into(),
                    image: "i".into(),
                    kernel: "k".into(),
                    kubernetes: KubernetesStatus { distribution: "none".into(), ..Default::default() },
                    conditions: Vec::new(),
                    memory: Usage::default(),
                    disk: Usage::default(),
                    cpu_share: 0.0,
                    cpus: 1,
                    uptime_s: 1,
                    unix_time_ns: alcove_api::clock::unix_ns(),
                };
                format!("data:{}\n\n", serde_json::to_string(&GuestEvent::Status(Box::new(status))).unwrap())
            }
            "/v1/disk/grow" => {
                self.asked.lock().unwrap().push(path.to_owned());
                if *self.broken.lock().unwrap() {
                    let error = json!({ "code": "internal", "message": "It is busy.", "hint": "Wait." });
                    let response = Response::builder().status(StatusCode::INTERNAL_SERVER_ERROR);
                    return response.body(Full::from(error.to_string()));
                }
                serde_json::to_string(&DiskBytes { bytes: 1 }).unwrap()
            }
            _ => String::new(),
        };
        Response::builder().body(Full::from(body))
    }

    pub fn grown(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

pub struct World {
    pub _dir: tempfile::TempDir,
    pub layout: Layout,
    pub provider: Arc<Fake>,
    pub guest: Arc<Guest>,
    pub on: Power,
    pub supervisor: Supervisor,
}

impl World {
    pub async fn new(running: bool) -> Self {
        Self::with_keys(running, |layout| Credentials::ensure(layout).unwrap()).await
    }

    /// `make` makes the machine's keys.
    pub async fn with_keys(running: bool, make: impl FnOnce(&Layout) -> Credentials) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(Home::at(dir.path()).unwrap(), "test".parse().unwrap());
        layout.create().unwrap();
        let (door, guest) = guest(&make(&layout)).await;
        let setup = MachineSetup { memory_bytes: 2 * GIB, cpus: 2, disk_bytes: 16 * GIB };
        let account = Account { name: "ada".into(), display_name: "Ada".into() };
        MachineSpec::new(layout.instance().clone(), setup.clone(), account, "i").unwrap().save(&layout).unwrap();
        std::fs::write(layout.settings_json(), json!({ "schema": 1, "machine": setup }).to_string()).unwrap();
        let on = Power::On(On {
            pid: 1,
            standstill: None,
            run_state: "running".into(),
            panicked: false,
            io_error: false,
            image: None,
            acceleration: None,
            started_at: None,
            door: Some(door),
            rss_bytes: None,
            cpu_time_ms: None,
        });
        // The supervisor before this one was killed: this one goes on towards what was wanted.
        let desired = if running { "running" } else { "suspended" };
        let wanted = json!({ "desired": desired, "generation": 1, "at_work": true });
        std::fs::write(layout.machine().join("desired.json"), wanted.to_string()).unwrap();
        let provider = Arc::new(Fake {
            layout: layout.clone(),
            power: Mutex::new(if running { on.clone() } else { saved() }),
            disk: AtomicU64::new(16 * GIB),
            events: broadcast::channel(8).0,
            grown: Mutex::default(),
        });
        let config = Config {
            instance: "test".into(),
            image_folders: Vec::new(),
            image_source: "/nonexistent".into(),
            boot_deadline: Duration::from_secs(60),
        };
        let supervisor = Supervisor::begin(config, layout.clone(), provider.clone()).unwrap();
        Self { _dir: dir, layout, provider, guest, on, supervisor }
    }

    pub async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let by = Instant::now() + Duration::from_secs(30);
        while !holds(self) {
            assert!(Instant::now() < by, "{what}: not in 30 s; {:?}", self.supervisor.machine());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub fn wants(&self, gib: u64) {
        let patch = json!({ "machine": { "disk_bytes": gib * GIB } });
        self.supervisor.change_settings(&patch, &Caller::supervisor()).unwrap();
    }

    pub fn phase(&self) -> Phase {
        self.supervisor.machine().phase
    }

    pub fn grown(&self) -> Vec<u64> {
        self.provider.grown.lock().unwrap().clone()
    }

    pub fn noted(&self) -> u64 {
        MachineSpec::load(&self.layout).unwrap().unwrap().setup.disk_bytes
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(self.layout.runtime());
    }
}

pub fn saved() -> Power {
    let fingerprint = Fingerprint {
        image: "i".into(),
        hypervisor: "10".into(),
        hardware: "h".into(),
        acceleration: Acceleration::Tcg,
        cpu: "max".into(),
    };
    let state = StateFacts {
        schema: 1,
        fingerprint,
        disk: DiskMark { bytes: 1, written_ns: 1 },
        format: "stream".into(),
        created: jiff::Timestamp::now(),
        bytes: 1,
        allocated: 1,
        head_sha256: String::new(),
    };
    Power::Suspended { state }
}
