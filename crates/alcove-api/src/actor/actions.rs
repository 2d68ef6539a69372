//! The actions: each is a future that owns what it needs, so that the reconciler stays free to listen.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use alcove_door::DoorClient;
use alcove_machine::{
    MachineError,
    credentials::Credentials,
    image::{Check, Image, Images},
    provider::{On, Power, StartOptions, Started},
    spec::MachineSpec,
    state::Validity,
};
use alcove_types::{
    ConditionStatus,
    boot::{BootKind, StepState},
    machine::Phase,
};

use super::{Action, Actor, Done, Trouble, by_itself};
use crate::{boot::Boot, link::Link, shared::Shared, watch::Watch};

/// A guest that is up shuts down within this, or the person is asked.
const SHUTDOWN: Duration = Duration::from_secs(150);
/// False while the machine is on without its system.
pub(super) const SYSTEM: &str = "SystemUp";
/// A guest that never came up is switched off after this.
const SHUTDOWN_UNREADY: Duration = Duration::from_secs(15);

impl Actor {
    pub(super) fn boot(&mut self) -> Action {
        let Some(mut spec) = self.spec.clone() else { return Box::pin(std::future::pending()) };
        let shared = self.shared.clone();
        let rescue = std::mem::take(&mut self.rescue);
        self.restart = false;
        let chosen = choose_image(&shared, &mut spec, self.shared.settings.get().machine, rescue);
        self.spec = Some(spec.clone());
        self.coming_up(BootKind::Cold);
        self.rescued = rescue;
        self.never_up = true;
        // A disk that has grown without its guest is not made smaller.
        let disk_now = self.seen.as_ref().and_then(|seen| seen.disk.as_ref()).map_or(0, |disk| disk.total);
        Box::pin(async move {
            let started = async {
                let image = chosen?;
                image.verify(Check::Quick)?;
                let acceleration = shared.provider.acceleration(&image).await?;
                shared.change(|v| v.acceleration = Some(acceleration));
                // A damaged state does not count as one; what becomes of it is told all the same.
                if let Some(Validity::Discard(reason)) = shared.provider.state(&spec, &image).await? {
                    by_itself(&shared, "machine.discard_state", "succeeded", &reason.to_string());
                }
                shared.provider.prepare(&spec, &image).await?;
                shared.provider.grow_disk(spec.setup.disk_bytes.max(disk_now)).await?;
                shared.provider.start(&spec, &image, StartOptions { rescue }).await
            };
            Done::Started(BootKind::Cold, started.await.map_err(Trouble::from))
        })
    }

    pub(super) fn resume(&mut self) -> Action {
        let Some(spec) = self.spec.clone() else { return Box::pin(std::future::pending()) };
        let shared = self.shared.clone();
        self.coming_up(BootKind::Resume);
        self.unproven = true;
        Box::pin(async move {
            let started = async {
                let image = image_of(&shared, &spec)?;
                shared.provider.resume(&spec, &image).await
            };
            Done::Started(BootKind::Resume, started.await.map_err(Trouble::from))
        })
    }

    /// A boot that begins now; `ago` is how long the hypervisor runs already.
    pub(super) fn new_boot(&self, kind: BootKind, ago: Duration) -> Boot {
        Boot::begin(kind, &self.shared.layout.machine().join("boot-times.json"), ago)
    }

    fn coming_up(&mut self, kind: BootKind) {
        self.ready = false;
        self.unproven = false;
        self.rescued = false;
        self.never_up = false;
        self.ready_by = None;
        let mut boot = self.new_boot(kind, Duration::ZERO);
        let first = if kind == BootKind::Resume { "restore" } else { "kernel" };
        boot.host_sees(first, StepState::Running, None);
        self.shared.change(|view| {
            view.forget_guest();
            view.failure = None;
            view.boot = Some(boot);
            view.set_phase(Phase::Starting);
        });
        self.shared.boot(|_| ());
    }

    /// Listens to a machine that is on now.
    pub(super) fn listen(&mut self, started: &Started, kind: BootKind) {
        let link = match link(&self.shared, started.door) {
            Ok(link) => Some(link),
            Err(error) => {
                tracing::error!(%error, "the door's keys can't be used");
                None
            }
        };
        self.shared.change(|view| {
            view.acceleration = Some(started.acceleration);
            view.link.clone_from(&link);
            view.drop_condition(super::keys::CONDITION);
        });
        self.watch = Some(Watch::begin(
            self.shared.provider.clone(),
            link,
            self.shared.layout.boot_jsonl(),
            kind == BootKind::Resume,
            self.heard.0.clone(),
        ));
    }

    /// Takes over a machine that was on already: the supervisor before this one died.
    pub(super) fn adopt(&mut self) {
        let Some(Power::On(On { door: Some(door), started_at, acceleration, rescue, .. })) =
            self.seen.as_ref().map(|s| s.power.clone())
        else {
            return;
        };
        let ago = started_at
            .and_then(|at| Duration::try_from(jiff::Timestamp::now().duration_since(at)).ok())
            .unwrap_or_default();
        let boot = self.new_boot(BootKind::Adopted, ago);
        let link =
            link(&self.shared, door).map_err(|error| tracing::error!(%error, "the door's keys can't be used")).ok();
        self.ready = false;
        self.never_up = false;
        self.rescued = rescue;
        self.ready_by = (!rescue).then(|| Instant::now() + self.shared.config.boot_deadline);
        self.shared.change(|view| {
            view.boot = Some(boot);
            view.acceleration = acceleration.or(view.acceleration);
            view.link.clone_from(&link);
        });
        if rescue {
            self.on_for_rescue();
        }
        self.shared.settings.machine_runs_with(self.spec.as_ref().map(|s| s.setup.clone()));
        self.watch = Some(Watch::begin(
            self.shared.provider.clone(),
            link,
            self.shared.layout.boot_jsonl(),
            false,
            self.heard.0.clone(),
        ));
        tracing::info!("took over the machine that was on already");
    }

    /// Says that only a console is to come up.
    pub(super) fn on_for_rescue(&self) {
        self.shared.change(|view| {
            view.set_condition(
                SYSTEM,
                ConditionStatus::False,
                "Rescue",
                "The machine was started for rescue: a console, and nothing else.",
                "`alcove shell --rescue` opens the console; `alcove start` brings the system up again.",
            );
        });
    }

    pub(super) fn suspend(&mut self) -> Action {
        let shared = self.shared.clone();
        let link = shared.see(|v| v.link.clone());
        let ready = self.ready;
        shared.change(|view| view.set_phase(Phase::Suspending));
        Box::pin(async move {
            if let Some(link) = link.filter(|_| ready)
                && let Err(error) = link.prepare_suspend(Duration::from_secs(5)).await
            {
                tracing::warn!(%error, "the guest did not prepare for the suspend; its state will be larger");
            }
            let saved = shared.provider.suspend().await.map(|s| s.bytes).map_err(Trouble::from);
            match saved {
                Err(trouble) if is_off(&shared).await => Done::SuspendLost(trouble),
                saved => Done::Suspended(saved),
            }
        })
    }

    pub(super) fn shut_down(&mut self) -> Action {
        let shared = self.shared.clone();
        let link = shared.see(|v| v.link.clone()).filter(|_| !self.rescued);
        // Of a machine that was on before this supervisor nobody knows that it has never been up: it may only be that
        // its keys can't be read at this moment.
        let nothing_to_lose = self.never_up;
        shared.change(|view| view.set_phase(Phase::Stopping));
        Box::pin(async move {
            let asked = match &link {
                Some(link) => link.shutdown().await.is_ok(),
                None => false,
            };
            let result = if asked {
                wait_off(&shared, SHUTDOWN).await
            } else {
                shared.provider.stop(if nothing_to_lose { SHUTDOWN_UNREADY } else { SHUTDOWN }).await
            };
            let result = match result {
                // What never came up has nothing to lose but what its file system keeps anyway.
                Err(_) if nothing_to_lose => {
                    by_itself(&shared, "machine.kill", "succeeded", "It had not come up and did not answer.");
                    shared.provider.kill().await
                }
                other => other,
            };
            Done::ShutDown(result.map_err(Trouble::from))
        })
    }

    pub(super) fn discard_state(&mut self) -> Action {
        let shared = self.shared.clone();
        self.restart = false;
        Box::pin(async move { Done::Discarded(shared.provider.discard_state().await.map_err(Trouble::from)) })
    }

    pub(super) fn kill(&mut self) -> Action {
        let shared = self.shared.clone();
        shared.change(|view| view.set_phase(Phase::Stopping));
        Box::pin(async move { Done::Killed(shared.provider.kill().await.map_err(Trouble::from)) })
    }

    /// Ends a machine that a supervisor before this one had not got to run.
    pub(super) fn end(&mut self) -> Action {
        tracing::info!("a start or a resume was interrupted before the guest ran: it is done again");
        let shared = self.shared.clone();
        Box::pin(async move { Done::Ended(shared.provider.kill().await.map_err(Trouble::from)) })
    }

    pub(super) fn continue_running(&mut self) -> Action {
        let shared = self.shared.clone();
        Box::pin(async move { Done::Continued(shared.provider.continue_running().await.map_err(Trouble::from)) })
    }
}

async fn is_off(shared: &Shared) -> bool {
    matches!(shared.provider.observe().await, Ok(seen) if !matches!(seen.power, Power::On(_)))
}

/// Waits until the machine is off.
async fn wait_off(shared: &Shared, deadline: Duration) -> Result<(), MachineError> {
    let until = Instant::now() + deadline;
    let mut events = shared.provider.events().await?;
    loop {
        if !matches!(shared.provider.observe().await?.power, Power::On(_)) {
            return Ok(());
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(MachineError::Timeout { what: "the guest's shutdown".into(), after: deadline });
        }
        // Woken by the hypervisor's word; looked at now and then all the same, should the word be missed.
        let _ = tokio::time::timeout(left.min(Duration::from_secs(2)), events.recv()).await;
    }
}

/// The image that the machine was last started with.
fn image_of(shared: &Shared, spec: &MachineSpec) -> Result<Image, MachineError> {
    let images = Images::find(&shared.layout, &shared.config.image_folders);
    let version = spec.slots.current().unwrap_or_default();
    images.version(version).cloned()
}

/// The image to boot: a newer one that has appeared goes on trial. Takes over new sizes, too.
fn choose_image(
    shared: &Arc<Shared>,
    spec: &mut MachineSpec,
    setup: Option<alcove_types::machine::MachineSetup>,
    rescue: bool,
) -> Result<Image, MachineError> {
    let images = Images::find(&shared.layout, &shared.config.image_folders);
    if let Some(setup) = setup {
        let disk_bytes = setup.disk_bytes.max(spec.setup.disk_bytes);
        spec.setup = alcove_types::machine::MachineSetup { disk_bytes, ..setup };
    }
    // Who rescues a machine wants it as it is.
    if let Some(newest) = images.newest()
        && !rescue
        && spec.slots.trial.is_none()
        && spec.slots.current() != Some(newest.version())
        && !shared.config.refused_images(&shared.layout).contains(newest.version())
    {
        tracing::info!(version = newest.version(), "a newer image goes on trial");
        spec.slots.try_out(newest.version());
    }
    spec.save(&shared.layout)?;
    let image = images.version(spec.slots.current().unwrap_or_default())?;
    Ok(image.clone())
}

/// The link through the door at `address`.
fn link(shared: &Shared, address: std::net::SocketAddr) -> Result<Link, MachineError> {
    let credentials = Credentials::load(&shared.layout)?
        .ok_or_else(|| MachineError::NotFound("credentials of the machine".into()))?;
    Ok(Link::new(DoorClient::new(address, shared.door_config(credentials.door.client())?)))
}
