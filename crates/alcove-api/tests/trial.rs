//! A newer image goes on trial at the next cold boot, is kept when the machine came up with it, and is returned from by
//! itself, for good, when it did not: the real reconciler, over a provider whose guests come up or don't as their image
//! says, and a real door.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::{
    collections::HashMap,
    fs,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use alcove_api::{Config, Supervisor, operations::Caller};
use alcove_door::{Door, Service, server_config};
use alcove_machine::{
    Home, Layout, MachineError, MachineSpec, Observation, Power, Provider, ProviderEvent, Result, StartOptions,
    Started, Suspended,
    credentials::Credentials,
    image::Image,
    provider::{Capabilities, On},
    state::Validity,
};
use alcove_types::{
    ErrorCode,
    guest::{GuestEvent, GuestStatus, KubernetesStatus, Usage},
    image::{ImageFile, ImageKubernetes, ImageManifest, ImageRole},
    machine::{Acceleration, MachineSetup, Phase, Snapshot, SnapshotRequest},
};
use sha2::{Digest, Sha256};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, UnixStream},
    sync::broadcast,
    task::JoinHandle,
};

const DEADLINE: Duration = Duration::from_secs(40);

/// What a guest does with its image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Does {
    ComesUp,
    /// QEMU itself ends at once.
    NeverStarts,
    /// It runs, and nobody answers.
    StaysSilent,
    /// Its kernel crashes each time.
    Panics,
}

#[derive(Default)]
struct State {
    does: HashMap<String, Does>,
    made: bool,
    on: Option<On>,
    guest: Option<JoinHandle<()>>,
    /// The images of all starts.
    started: Vec<String>,
}

/// A provider without a hypervisor: its machine is a task that answers at the door.
struct Stage {
    layout: Layout,
    state: Arc<Mutex<State>>,
    events: broadcast::Sender<ProviderEvent>,
}

impl Stage {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn power_off(state: &Mutex<State>) {
        let mut state = state.lock().unwrap();
        state.on = None;
        if let Some(guest) = state.guest.take() {
            guest.abort();
        }
    }
}

fn no<T>() -> Result<T> {
    Err(MachineError::Unsupported { message: "not on this stage".into(), hint: String::new() })
}

#[async_trait::async_trait]
impl Provider for Stage {
    fn name(&self) -> &'static str {
        "stage"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            suspend: false,
            snapshot: false,
            grow_disk: false,
            hot_plug: false,
            gpu: Vec::new(),
            file_sharing: Vec::new(),
            returns_memory: false,
        }
    }

    async fn prepare(&self, _: &MachineSpec, _: &Image) -> Result<()> {
        Credentials::ensure(&self.layout)?;
        self.state().made = true;
        Ok(())
    }

    async fn acceleration(&self, _: &Image) -> Result<Acceleration> {
        Ok(Acceleration::Tcg)
    }

    async fn start(&self, _: &MachineSpec, image: &Image, _: StartOptions) -> Result<Started> {
        let version = image.version().to_owned();
        let does = self.state().does[&version];
        self.state().started.push(version.clone());
        if does == Does::NeverStarts {
            return Err(MachineError::HypervisorFailed {
                message: "QEMU ended at once".into(),
                last_words: vec!["bad kernel".into()],
            });
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let door = listener.local_addr().unwrap();
        let guest = (does == Does::ComesUp).then(|| {
            let keys = Credentials::load(&self.layout).unwrap().unwrap().door;
            let door = Door::new(server_config(&keys.server()).unwrap());
            tokio::spawn(guest(listener, door, self.state.clone(), version.clone()))
        });
        let started_at = jiff::Timestamp::now();
        let mut state = self.state();
        state.guest = guest;
        state.on = Some(On {
            pid: 1,
            standstill: None,
            run_state: "running".into(),
            panicked: does == Does::Panics,
            io_error: false,
            image: Some(version),
            acceleration: Some(Acceleration::Tcg),
            started_at: Some(started_at),
            door: Some(door),
            rss_bytes: None,
            cpu_time_ms: None,
        });
        Ok(Started { door, acceleration: Acceleration::Tcg, started_at, took: Duration::ZERO })
    }

    async fn suspend(&self) -> Result<Suspended> {
        no()
    }

    async fn resume(&self, _: &MachineSpec, _: &Image) -> Result<Started> {
        no()
    }

    async fn state(&self, _: &MachineSpec, _: &Image) -> Result<Option<Validity>> {
        Ok(None)
    }

    async fn discard_state(&self) -> Result<()> {
        Ok(())
    }

    async fn stop(&self, _: Duration) -> Result<()> {
        Self::power_off(&self.state);
        Ok(())
    }

    async fn kill(&self) -> Result<()> {
        Self::power_off(&self.state);
        Ok(())
    }

    async fn destroy(&self) -> Result<()> {
        no()
    }

    async fn observe(&self) -> Result<Observation> {
        let state = self.state();
        let power = match &state.on {
            Some(on) => Power::On(on.clone()),
            None if state.made => Power::Off,
            None => Power::Absent,
        };
        Ok(Observation { power, disk: None, last_words: Vec::new() })
    }

    async fn console(&self) -> Result<UnixStream> {
        no()
    }

    async fn events(&self) -> Result<broadcast::Receiver<ProviderEvent>> {
        Ok(self.events.subscribe())
    }

    async fn snapshot(&self, _: &SnapshotRequest, _: &Image) -> Result<Snapshot> {
        no()
    }

    async fn list_snapshots(&self) -> Result<Vec<Snapshot>> {
        Ok(Vec::new())
    }

    async fn restore(&self, _: &str) -> Result<Snapshot> {
        no()
    }

    async fn delete_snapshot(&self, _: &str) -> Result<()> {
        no()
    }

    async fn grow_disk(&self, _: u64) -> Result<()> {
        Ok(())
    }

    async fn continue_running(&self) -> Result<()> {
        no()
    }

    fn serial_log(&self) -> PathBuf {
        self.layout.serial_log()
    }
}

/// A guest that is up: says so to everybody who asks for its events, and shuts down when it is told to.
async fn guest(listener: TcpListener, door: Door, state: Arc<Mutex<State>>, image: String) {
    let door = Arc::new(door);
    while let Ok((tcp, _)) = listener.accept().await {
        let (door, state, image) = (door.clone(), state.clone(), image.clone());
        tokio::spawn(async move {
            let Ok((Service::Guest, mut stream)) = door.greet(tcp, DEADLINE).await else { return };
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let Ok(byte) = stream.read_u8().await else { return };
                head.push(byte);
            }
            if head.starts_with(b"POST /v1/shutdown") {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
                let _ = stream.flush().await;
                Stage::power_off(&state);
                return;
            }
            let status = GuestStatus {
                boot_id: "b".into(),
                version: "0".into(),
                image,
                kernel: "6.12".into(),
                kubernetes: KubernetesStatus { distribution: "none".into(), ..KubernetesStatus::default() },
                conditions: Vec::new(),
                memory: Usage::default(),
                disk: Usage::default(),
                cpu_share: 0.0,
                cpus: 1,
                uptime_s: 1,
                unix_time_ns: u64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap(),
            };
            let event = serde_json::to_string(&GuestEvent::Status(Box::new(status))).unwrap();
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: {event}\n\n");
            if stream.write_all(answer.as_bytes()).await.is_ok() && stream.flush().await.is_ok() {
                // Open until the host hangs up.
                let _ = stream.read_u8().await;
            }
        });
    }
}

struct World {
    _dir: tempfile::TempDir,
    layout: Layout,
    stage: Arc<Stage>,
    boot_deadline: Duration,
}

impl World {
    fn new(boot_deadline: Duration) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(Home::at(dir.path().join("home")).unwrap(), "test".parse().unwrap());
        let stage = Stage { layout: layout.clone(), state: Arc::default(), events: broadcast::channel(16).0 };
        Self { _dir: dir, layout, stage: Arc::new(stage), boot_deadline }
    }

    /// Puts an image into the data folder; later days are newer images.
    fn image(&self, version: &str, day: u32, does: Does) {
        let folder = self.layout.home().images().join(version);
        fs::create_dir_all(&folder).unwrap();
        let files = ["vmlinuz", "initrd", "root.erofs"].map(|name| {
            fs::write(folder.join(name), version).unwrap();
            let sha256 = hex::encode(Sha256::digest(version));
            ImageFile { name: name.into(), bytes: version.len() as u64, sha256 }
        });
        let manifest = ImageManifest {
            schema: 1,
            version: version.into(),
            created: format!("2026-01-{day:02}T00:00:00Z"),
            architecture: std::env::consts::ARCH.into(),
            kernel_version: "6.12".into(),
            cmdline: String::new(),
            kubernetes: ImageKubernetes { distribution: "none".into(), version: String::new() },
            guest_version: "0".into(),
            files: files.to_vec(),
            packages: Vec::new(),
            containers: Vec::new(),
        };
        fs::write(folder.join("manifest.json"), serde_json::to_vec(&manifest).unwrap()).unwrap();
        self.stage.state().does.insert(version.into(), does);
    }

    fn supervisor(&self) -> Supervisor {
        let config = Config {
            instance: "test".into(),
            image_folders: Vec::new(),
            image_source: self.layout.home().data().join("none.json"),
            boot_deadline: self.boot_deadline,
        };
        Supervisor::begin(config, self.layout.clone(), self.stage.clone()).unwrap()
    }

    /// A machine that is up with the image `one`.
    async fn running(&self) -> Supervisor {
        self.image("one", 1, Does::ComesUp);
        let supervisor = self.supervisor();
        let setup = MachineSetup { memory_bytes: 2 << 30, cpus: 1, disk_bytes: 8 << 30 };
        let made = supervisor.create(setup, &me()).await.unwrap();
        supervisor.wait(&made.id, DEADLINE).await.unwrap();
        let started = supervisor.start(false, &me()).await.unwrap();
        supervisor.wait(&started.id, DEADLINE).await.unwrap();
        supervisor
    }

    fn started(&self) -> Vec<String> {
        self.stage.state().started.clone()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.layout.runtime());
    }
}

fn me() -> Caller {
    Caller { who: "owner".into(), via: "cli".into() }
}

async fn restart(supervisor: &Supervisor) {
    let task = supervisor.restart(&me()).await.unwrap();
    supervisor.wait(&task.id, DEADLINE).await.unwrap();
}

async fn role(supervisor: &Supervisor, version: &str) -> ImageRole {
    let list = supervisor.images().await.unwrap();
    list.images.iter().find(|i| i.manifest.version == version).unwrap().role
}

async fn until(what: &str, met: impl AsyncFn() -> bool) {
    let by = Instant::now() + DEADLINE;
    while !met().await {
        assert!(Instant::now() < by, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What was done to images, in order: operation and message.
fn told(supervisor: &Supervisor) -> Vec<(String, String)> {
    let mut all = supervisor.operations(100, None).unwrap().operations;
    all.reverse();
    all.into_iter().filter(|o| o.what.starts_with("image.")).map(|o| (o.what, o.message)).collect()
}

fn slots(world: &World) -> alcove_machine::ImageSlots {
    MachineSpec::load(&world.layout).unwrap().unwrap().slots
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_image_goes_on_trial_at_the_next_boot_and_is_kept_when_it_comes_up() {
    let world = World::new(DEADLINE);
    let supervisor = world.running().await;
    world.image("two", 2, Does::ComesUp);
    assert_eq!(role(&supervisor, "two").await, ImageRole::Next);
    assert_eq!(role(&supervisor, "one").await, ImageRole::Active, "a running machine is left alone");
    assert_eq!(world.started(), ["one"]);

    restart(&supervisor).await;
    assert_eq!(world.started(), ["one", "two"]);
    assert_eq!(supervisor.machine().image.as_deref(), Some("two"));
    assert_eq!(told(&supervisor), [("image.commit".into(), "two".into())]);
    assert_eq!((slots(&world).trial, slots(&world).current()), (None, Some("two")), "it is written down");
    assert_eq!(role(&supervisor, "two").await, ImageRole::Active);
    assert_eq!(role(&supervisor, "one").await, ImageRole::Unused);
    restart(&supervisor).await;
    assert_eq!(world.started(), ["one", "two", "two"]);
    // The older one may go now, the one in use may not.
    assert_eq!(supervisor.remove_image("two".into(), &me()).await.unwrap_err().code, ErrorCode::Conflict);
    supervisor.remove_image("one".into(), &me()).await.unwrap();
}

/// The machine returns to `one` by itself, and the failed image is not tried again until a newer one comes.
async fn fails_its_trial(does: Does, boot_deadline: Duration, starts: usize) {
    let world = World::new(boot_deadline);
    let supervisor = world.running().await;
    world.image("two", 2, does);
    // The person's own request is fulfilled in the end, with the older image.
    restart(&supervisor).await;
    assert_eq!(supervisor.machine().phase, Phase::Running);
    assert_eq!(supervisor.machine().image.as_deref(), Some("one"));
    let mut expected = vec!["one".to_owned()];
    expected.extend(std::iter::repeat_n("two".to_owned(), starts));
    expected.push("one".into());
    assert_eq!(world.started(), expected);
    assert_eq!(told(&supervisor), [("image.roll_back".into(), "two did not come up".into())]);
    assert_eq!(slots(&world).current(), Some("one"));
    assert_eq!(role(&supervisor, "two").await, ImageRole::Refused);

    // Neither a restart nor another supervisor tries it again.
    restart(&supervisor).await;
    supervisor.leave().await;
    let supervisor = world.supervisor();
    until("the machine is taken over", async || supervisor.machine().phase == Phase::Running).await;
    restart(&supervisor).await;
    assert_eq!(world.started().len(), expected.len() + 2);
    assert!(world.started()[expected.len()..].iter().all(|v| v == "one"));
    assert_eq!(role(&supervisor, "two").await, ImageRole::Refused);

    world.image("three", 3, Does::ComesUp);
    restart(&supervisor).await;
    assert_eq!(supervisor.machine().image.as_deref(), Some("three"), "a newer one gets its chance");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_with_which_nothing_starts_is_returned_from_and_refused() {
    fails_its_trial(Does::NeverStarts, DEADLINE, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_that_never_gets_ready_is_returned_from_and_refused() {
    fails_its_trial(Does::StaysSilent, Duration::from_secs(3), 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_whose_kernel_crashes_again_and_again_is_returned_from_and_refused() {
    fails_its_trial(Does::Panics, DEADLINE, 4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trial_goes_on_under_the_next_supervisor() {
    let world = World::new(Duration::from_secs(3));
    let first = world.running().await;
    world.image("two", 2, Does::StaysSilent);
    first.restart(&me()).await.unwrap();
    until("the trial has begun", async || world.started().len() == 2).await;
    first.leave().await;
    assert!(slots(&world).trial.is_some());
    let second = world.supervisor();
    assert_eq!(role(&second, "two").await, ImageRole::Trial);
    assert_eq!(role(&second, "one").await, ImageRole::Fallback);
    let refused = second.remove_image("one".into(), &me()).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::Conflict, "what it may return to stays");
    until("it has returned", async || world.started().last().unwrap() == "one" && world.started().len() == 3).await;
    until("it is up", async || second.machine().phase == Phase::Running).await;
    assert_eq!(role(&second, "two").await, ImageRole::Refused);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lone_image_that_fails_is_told_and_not_refused() {
    let world = World::new(DEADLINE);
    let supervisor = world.running().await;
    world.stage.state().does.insert("one".into(), Does::NeverStarts);
    let task = supervisor.restart(&me()).await.unwrap();
    let error = supervisor.wait(&task.id, DEADLINE).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::HypervisorFailed);
    until("it is seen as failed", async || supervisor.machine().phase == Phase::Failed).await;
    assert_eq!(role(&supervisor, "one").await, ImageRole::Active);
    assert!(told(&supervisor).is_empty());
}
