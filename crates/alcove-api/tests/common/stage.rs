//! A provider without a hypervisor: its machine is a task that answers at a real door. It keeps the contract, and notes
//! what it is asked.

use std::{
    fs,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use alcove_api::clock;
use alcove_door::{Door, DoorKeys, server_config};
use alcove_machine::{
    Layout, MachineError, MachineSpec, Observation, Power, Provider, ProviderEvent, Result, StartOptions, Started,
    Suspended,
    credentials::Credentials,
    image::Image,
    provider::{Capabilities, On},
    state::{Reason, Validity},
};
use alcove_types::{
    guest::Usage,
    machine::{Acceleration, Snapshot, SnapshotRequest},
};
use async_trait::async_trait;
use tokio::{
    net::{TcpListener, UnixStream},
    sync::broadcast,
};

use super::{
    guest,
    machine::{Does, Machine, saved},
};

pub(crate) struct Stage {
    /// Making, copying and destroying the machine wait for it: who holds it sees the midst of them.
    pub(crate) gate: tokio::sync::Mutex<()>,
    layout: Layout,
    machine: Arc<Mutex<Machine>>,
}

impl Stage {
    pub(super) fn new(layout: Layout) -> Self {
        Self { gate: tokio::sync::Mutex::default(), layout, machine: Arc::new(Mutex::new(Machine::absent())) }
    }

    pub(crate) fn machine(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap()
    }

    /// The hypervisor lives, and the guest does what its image says.
    pub(crate) async fn switch_on(&self, image: &str, keys: &DoorKeys) -> Started {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (door, started_at) = (listener.local_addr().unwrap(), jiff::Timestamp::now());
        let mut machine = self.machine();
        let does = machine.does[image];
        // For rescue there is a console, and nobody who would answer.
        if does == Does::ComesUp && !machine.rescue {
            let door = Door::new(server_config(&keys.server()).unwrap());
            machine.guest = Some(tokio::spawn(guest::serve(listener, door, self.machine.clone(), image.to_owned())));
        }
        machine.power = Power::On(On {
            pid: 1,
            standstill: None,
            run_state: "running".into(),
            silent_since: None,
            panicked: does == Does::Panics,
            io_error: false,
            image: Some(image.into()),
            rescue: machine.rescue,
            acceleration: Some(Acceleration::Tcg),
            started_at: Some(started_at),
            door: Some(door),
            rss_bytes: None,
            cpu_time_ms: None,
        });
        Started { door, acceleration: Acceleration::Tcg, started_at, took: Duration::ZERO }
    }

    /// The end of the hypervisor before this one is told, late.
    pub(crate) fn tell_an_old_end(&self) {
        let exited = ProviderEvent::Exited { code: Some(0), last_words: Vec::new() };
        self.machine().events.send(exited).unwrap();
    }

    /// The hypervisor has not answered since then; `None` lets it answer again.
    pub(crate) fn silence(&self, since: Option<Instant>) {
        if let Power::On(on) = &mut self.machine().power {
            on.silent_since = since;
        }
    }

    /// Takes the disk of a machine that is off away.
    pub(crate) fn take_disk(&self) -> Power {
        std::mem::replace(&mut self.machine().power, Power::Absent)
    }

    /// Puts it back.
    pub(crate) fn put_disk(&self, disk: Power) {
        self.machine().power = disk;
    }

    fn keys(&self) -> Result<DoorKeys> {
        let keys = Credentials::load(&self.layout)?.ok_or_else(|| MachineError::NotFound("keys".into()))?;
        Ok(keys.door)
    }

    fn must_be_off(&self) -> Result<()> {
        if self.machine().is_on() { refused("it is on") } else { Ok(()) }
    }
}

fn refused<T>(message: &str) -> Result<T> {
    Err(MachineError::WrongState { message: message.into(), hint: "Look at the test." })
}

#[async_trait]
impl Provider for Stage {
    fn name(&self) -> &'static str {
        "stage"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            suspend: true,
            snapshot: true,
            grow_disk: true,
            hot_plug: false,
            gpu: Vec::new(),
            file_sharing: Vec::new(),
            returns_memory: true,
        }
    }

    async fn prepare(&self, spec: &MachineSpec, _: &Image) -> Result<()> {
        let _open = self.gate.lock().await;
        Credentials::ensure(&self.layout)?;
        let mut machine = self.machine();
        if machine.power == Power::Absent {
            machine.power = Power::Off;
            machine.disk = spec.setup.disk_bytes;
        }
        Ok(())
    }

    async fn acceleration(&self, _: &Image) -> Result<Acceleration> {
        Ok(Acceleration::Tcg)
    }

    async fn start(&self, _: &MachineSpec, image: &Image, options: StartOptions) -> Result<Started> {
        self.must_be_off()?;
        let version = image.version();
        if self.machine().does[version] == Does::FindsNoRoom {
            return Err(MachineError::DiskFull { path: self.layout.machine().to_owned() });
        }
        self.machine().started.push(version.to_owned());
        self.machine().rescue = options.rescue;
        if self.machine().does[version] == Does::NeverStarts {
            return Err(MachineError::HypervisorFailed {
                message: "QEMU ended at once".into(),
                last_words: vec!["bad kernel".into()],
            });
        }
        Ok(self.switch_on(version, &self.keys()?).await)
    }

    async fn suspend(&self) -> Result<Suspended> {
        let mut machine = self.machine();
        let Power::On(On { panicked: false, image: Some(image), .. }) = &machine.power else {
            return refused("it does not run");
        };
        let saved = saved(image);
        machine.end(saved);
        Ok(Suspended { bytes: 1, took: Duration::ZERO })
    }

    async fn resume(&self, _: &MachineSpec, image: &Image) -> Result<Started> {
        self.must_be_off()?;
        if !self.machine().is_suspended() {
            return Err(MachineError::StateInvalid(Reason::None));
        }
        self.machine().rescue = false;
        Ok(self.switch_on(image.version(), &self.keys()?).await)
    }

    async fn state(&self, _: &MachineSpec, _: &Image) -> Result<Option<Validity>> {
        Ok(match &self.machine().power {
            Power::Suspended { state } => Some(Validity::Usable(state.clone())),
            _ => None,
        })
    }

    async fn discard_state(&self) -> Result<()> {
        let mut machine = self.machine();
        if machine.is_suspended() {
            machine.power = Power::Off;
        }
        Ok(())
    }

    async fn stop(&self, deadline: Duration) -> Result<()> {
        let mut machine = self.machine();
        if machine.guest.is_some() {
            machine.end(Power::Off);
        }
        // Nobody is there who would hear it: nothing is to be waited for.
        if machine.is_on() { Err(MachineError::Timeout { what: "the end".into(), after: deadline }) } else { Ok(()) }
    }

    async fn kill(&self) -> Result<()> {
        self.machine().end(Power::Off);
        Ok(())
    }

    async fn destroy(&self) -> Result<()> {
        let _open = self.gate.lock().await;
        self.must_be_off()?;
        fs::remove_dir_all(self.layout.credentials()).unwrap();
        fs::remove_file(self.layout.machine_json()).unwrap();
        let mut machine = self.machine();
        machine.power = Power::Absent;
        machine.snapshots.clear();
        Ok(())
    }

    async fn observe(&self) -> Result<Observation> {
        let mut machine = self.machine();
        machine.looked += 1;
        let disk = (machine.power != Power::Absent).then(|| Usage { used: 1, total: machine.disk });
        Ok(Observation { power: machine.power.clone(), disk, last_words: Vec::new() })
    }

    async fn console(&self) -> Result<UnixStream> {
        refused("not on this stage")
    }

    async fn events(&self) -> Result<broadcast::Receiver<ProviderEvent>> {
        Ok(self.machine().events.subscribe())
    }

    async fn snapshot(&self, request: &SnapshotRequest, image: &Image) -> Result<Snapshot> {
        let _open = self.gate.lock().await;
        self.must_be_off()?;
        let mut machine = self.machine();
        let snapshot = Snapshot {
            name: request.name.clone(),
            created: clock::now(),
            with_memory: machine.is_suspended(),
            image: image.version().into(),
            state_bytes: 1,
            note: request.note.clone(),
        };
        machine.snapshots.push(snapshot.clone());
        Ok(snapshot)
    }

    async fn list_snapshots(&self) -> Result<Vec<Snapshot>> {
        Ok(self.machine().snapshots.clone())
    }

    async fn restore(&self, name: &str) -> Result<Snapshot> {
        self.must_be_off()?;
        let mut machine = self.machine();
        let found = machine.snapshots.iter().find(|snapshot| snapshot.name == name).cloned();
        let snapshot = found.ok_or_else(|| MachineError::NotFound(name.into()))?;
        machine.power = if snapshot.with_memory { saved(&snapshot.image) } else { Power::Off };
        Ok(snapshot)
    }

    async fn delete_snapshot(&self, _: &str) -> Result<()> {
        refused("not on this stage")
    }

    async fn grow_disk(&self, bytes: u64) -> Result<()> {
        let mut machine = self.machine();
        if bytes > machine.disk {
            machine.grown.push(bytes);
        }
        if bytes < machine.disk || machine.is_suspended() {
            return refused("its disk can't get that size");
        }
        machine.disk = bytes;
        Ok(())
    }

    async fn continue_running(&self) -> Result<()> {
        refused("not on this stage")
    }

    fn serial_log(&self) -> PathBuf {
        self.layout.serial_log()
    }
}
