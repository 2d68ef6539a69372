//! What the supervisor's parts share, and what is seen of the machine.

use std::sync::{Arc, Mutex, PoisonError};

use alcove_door::{ClientPem, DoorError};
use alcove_machine::{layout::Layout, provider::Provider};
use alcove_types::{
    ApiError, Condition, ConditionStatus, condition,
    event::Event,
    guest::GuestStatus,
    machine::{Acceleration, Desired, Failure, Machine, MachineSetup, Phase},
};

use crate::{
    Config, boot::Boot, clock, events::Events, link::Link, operations::Operations, settings::SettingsStore,
    tasks::Tasks,
};

/// What all parts of one supervisor share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) layout: Layout,
    pub(crate) provider: Arc<dyn Provider>,
    pub(crate) events: Arc<Events>,
    pub(crate) operations: Arc<Operations>,
    pub(crate) tasks: Arc<Tasks>,
    pub(crate) settings: Arc<SettingsStore>,
    view: Mutex<View>,
    door: Mutex<Option<DoorConfig>>,
}

/// How the door of these keys is spoken to.
type DoorConfig = (ClientPem, Arc<tokio_rustls::rustls::ClientConfig>);

/// The machine as it is seen.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) desired: Desired,
    pub(crate) generation: u64,
    pub(crate) observed_generation: u64,
    pub(crate) phase: Phase,
    pub(crate) since: String,
    pub(crate) conditions: Vec<Condition>,
    pub(crate) failure: Option<Failure>,
    pub(crate) boot: Option<Boot>,
    pub(crate) guest: Option<GuestStatus>,
    pub(crate) link: Option<Link>,
    pub(crate) setup: Option<MachineSetup>,
    /// Its making was asked for and has not ended.
    pub(crate) being_made: bool,
    /// Why what is there of the machine can't be used. Nothing is done to it then.
    pub(crate) unusable: Option<ApiError>,
    pub(crate) image: Option<String>,
    pub(crate) acceleration: Option<Acceleration>,
    pub(crate) host_memory_bytes: Option<u64>,
    pub(crate) host_cpu_share: Option<f64>,
    pub(crate) disk_file: Option<alcove_types::guest::Usage>,
    pub(crate) state_bytes: Option<u64>,
}

impl Default for View {
    fn default() -> Self {
        Self {
            desired: Desired::Stopped,
            generation: 0,
            observed_generation: 0,
            phase: Phase::Absent,
            since: clock::now(),
            conditions: Vec::new(),
            failure: None,
            boot: None,
            guest: None,
            link: None,
            setup: None,
            being_made: false,
            unusable: None,
            image: None,
            acceleration: None,
            host_memory_bytes: None,
            host_cpu_share: None,
            disk_file: None,
            state_bytes: None,
        }
    }
}

impl Shared {
    pub(crate) fn new(
        config: Config,
        layout: Layout,
        provider: Arc<dyn Provider>,
        events: Arc<Events>,
        operations: Arc<Operations>,
        tasks: Arc<Tasks>,
        settings: Arc<SettingsStore>,
    ) -> Self {
        Self {
            config,
            layout,
            provider,
            events,
            operations,
            tasks,
            settings,
            view: Mutex::default(),
            door: Mutex::default(),
        }
    }

    /// How the door of these keys is spoken to. The same as before while the keys are: it remembers the sessions, and a
    /// guest that was suspended and resumed remembers them too, which spares both sides most of the greeting.
    pub(crate) fn door_config(&self, keys: ClientPem) -> Result<Arc<tokio_rustls::rustls::ClientConfig>, DoorError> {
        let mut known = self.door.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, config)) = known.as_ref().filter(|(of, _)| *of == keys) {
            return Ok(config.clone());
        }
        let config = alcove_door::client_config(&keys)?;
        *known = Some((keys, config.clone()));
        Ok(config)
    }

    /// The last lines that the machine wrote to its serial console.
    pub(crate) fn console_tail(&self, lines: usize) -> Vec<String> {
        alcove_machine::serial_tail(&self.layout, lines)
    }

    /// Reads the view.
    pub(crate) fn see<T>(&self, read: impl FnOnce(&View) -> T) -> T {
        read(&self.view.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes the view, and tells everybody when that changed what they can see.
    pub(crate) fn change(&self, change: impl FnOnce(&mut View)) {
        let mut view = self.view.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.machine_of(&view);
        change(&mut view);
        let after = self.machine_of(&view);
        drop(view);
        if visible(&before) != visible(&after) {
            self.events.publish(Event::Machine(Box::new(after)));
        }
    }

    /// Changes the boot, and tells everybody.
    pub(crate) fn boot(&self, change: impl FnOnce(&mut Boot)) {
        let mut view = self.view.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(boot) = view.boot.as_mut() else { return };
        change(boot);
        let report = boot.report();
        drop(view);
        self.events.publish(Event::Boot(report));
    }

    /// The machine as the API shows it.
    pub(crate) fn machine(&self) -> Machine {
        self.machine_of(&self.view.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn machine_of(&self, view: &View) -> Machine {
        Machine {
            instance: self.config.instance.clone(),
            provider: self.provider.name().to_owned(),
            capabilities: self.provider.capabilities(),
            acceleration: view.acceleration,
            setup: view.setup.clone(),
            desired: view.desired,
            phase: view.phase,
            since: view.since.clone(),
            generation: view.generation,
            observed_generation: view.observed_generation,
            conditions: view.conditions.clone(),
            failure: view.failure.clone(),
            boot: view.boot.as_ref().map(Boot::report),
            guest: view.guest.clone(),
            image: view.image.clone(),
            host_memory_bytes: view.host_memory_bytes,
            host_cpu_share: view.host_cpu_share,
            disk_file: view.disk_file.clone(),
            state_bytes: view.state_bytes,
            restart_needed: self.settings.view().restart_needed,
        }
    }
}

/// What of a machine is worth an event: everything but the passing of time, which a boot's own events carry.
fn visible(machine: &Machine) -> Machine {
    Machine { boot: None, ..machine.clone() }
}

impl View {
    pub(crate) fn set_phase(&mut self, phase: Phase) {
        if self.phase != phase {
            tracing::info!(from = ?self.phase, to = ?phase, "phase");
            self.phase = phase;
            self.since = clock::now();
        }
    }

    pub(crate) fn set_condition(
        &mut self,
        kind: &str,
        status: ConditionStatus,
        reason: &str,
        message: &str,
        hint: &str,
    ) {
        condition::set(
            &mut self.conditions,
            Condition {
                kind: kind.to_owned(),
                status,
                reason: reason.to_owned(),
                message: message.to_owned(),
                hint: hint.to_owned(),
                since: clock::now(),
            },
        );
    }

    pub(crate) fn drop_condition(&mut self, kind: &str) {
        self.conditions.retain(|c| c.kind != kind);
    }

    /// The guest is gone: nothing that it said holds any more.
    pub(crate) fn forget_guest(&mut self) {
        self.link = None;
        self.forget_what_the_guest_said();
    }

    /// The guest has begun anew.
    pub(crate) fn forget_what_the_guest_said(&mut self) {
        self.guest = None;
        for kind in GUEST_CONDITIONS {
            self.drop_condition(kind);
        }
    }

    pub(crate) fn holds(&self, kind: &str) -> bool {
        condition::find(&self.conditions, kind).is_some_and(Condition::holds)
    }

    /// There is a machine, and it can't be used. That stays said until it can, or is deleted.
    pub(crate) fn can_t_be_used(&mut self, error: ApiError) {
        self.unusable = Some(error.clone());
        self.fail(error, Vec::new());
    }

    /// What stood in the way is gone.
    pub(crate) fn can_be_used(&mut self) {
        self.unusable = None;
        self.failure = None;
    }

    pub(crate) fn fail(&mut self, error: ApiError, last_words: Vec<String>) {
        tracing::warn!(code = ?error.code, message = error.message, "the machine has failed");
        self.failure = Some(Failure { error, last_words, at: clock::now() });
        self.set_phase(Phase::Failed);
    }
}

/// Conditions that the guest reports.
pub(crate) const GUEST_CONDITIONS: [&str; 6] =
    ["DoorOpen", "KubernetesReady", "PlatformReady", "ClockInSync", "DiskHealthy", "MemoryHealthy"];
