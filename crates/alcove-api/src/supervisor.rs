//! The one entry for all faces.

use std::{io, path::Path, sync::Arc, time::Duration};

use alcove_machine::{layout::Layout, provider::Provider, spec::MachineSpec};
use alcove_types::{
    ApiError, ErrorCode,
    boot::BootReport,
    host::{DoctorReport, HostFacts},
    machine::{Desired, Machine, MachineProposal, MachineSetup, Phase, Snapshot, SnapshotRequest},
    operation::OperationList,
    settings::{SettingsView, StartPolicy},
    status::{Endpoints, Status, StatusKubernetes, StatusMachine},
    task::Task,
};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use crate::{
    Config,
    actor::{Actor, Command, Exclusive, Taken, absent, made_already},
    desired::Wanted,
    events::Events,
    link::Link,
    operations::{Caller, Operations},
    settings::SettingsStore,
    shared::Shared,
    tasks::Tasks,
};

/// Everything that a face can ask for. Cheap to clone.
#[derive(Clone)]
pub struct Supervisor {
    pub(crate) shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
}

impl Supervisor {
    /// Takes over the instance: reads what is wanted, looks at the machine and begins to reconcile.
    ///
    /// # Errors
    /// When the instance's folders can't be used.
    pub fn begin(config: Config, layout: Layout, provider: Arc<dyn Provider>) -> Result<Self, ApiError> {
        layout.create().map_err(|e| e.api())?;
        let events = Arc::<Events>::default();
        let operations = Operations::open(&layout.operations_jsonl(), events.clone())
            .map_err(|e| unusable(&layout.operations_jsonl(), &e))?;
        let operations = Arc::new(operations);
        let tasks = Tasks::open(&layout.tasks(), events.clone(), operations.clone())
            .map_err(|e| unusable(&layout.tasks(), &e))?;
        let settings = SettingsStore::open(&layout.settings_json(), events.clone());
        settings.watch();
        let wanted_path = config.wanted_json(&layout);
        let shared =
            Arc::new(Shared::new(config, layout, provider, events, operations, Arc::new(tasks), settings.clone()));

        let mut wanted = Wanted::load(&wanted_path);
        if wanted.at_work {
            tracing::warn!("the last supervisor did not end in order; going on towards what was wanted");
        } else if settings.get().start == StartPolicy::Running && !shared.config.keep {
            wanted.desired = Desired::Running;
            wanted.generation += 1;
        }
        wanted.at_work = true;
        let spec = match MachineSpec::load(&shared.layout) {
            Ok(spec) => spec,
            Err(error) => {
                let trouble = error.api();
                shared.change(|view| view.can_t_be_used(trouble));
                None
            }
        };
        if let Some(spec) = &spec {
            // Who asks before the first look must find the machine; whether it is on is not known yet.
            shared.change(|view| {
                view.setup = Some(spec.setup.clone());
                view.set_phase(Phase::Starting);
            });
        }
        let (commands, receiver) = mpsc::channel(32);
        tokio::spawn(Actor::new(shared.clone(), receiver, wanted, spec).run());
        Ok(Self { shared, commands })
    }

    /// The instance's name.
    pub fn instance(&self) -> &str {
        &self.shared.config.instance
    }

    /// Every path of the instance.
    pub fn layout(&self) -> &Layout {
        &self.shared.layout
    }

    /// The stream of changes.
    pub fn events(&self) -> &Events {
        &self.shared.events
    }

    /// Long work.
    pub fn tasks(&self) -> &Tasks {
        &self.shared.tasks
    }

    /// The provider, for its console and logs.
    pub fn provider(&self) -> &Arc<dyn Provider> {
        &self.shared.provider
    }

    /// The machine as it is.
    pub fn machine(&self) -> Machine {
        self.shared.machine()
    }

    /// The present or last boot.
    ///
    /// # Errors
    /// When this supervisor has seen none.
    pub fn boot(&self) -> Result<BootReport, ApiError> {
        self.shared.see(|v| v.boot.as_ref().map(crate::boot::Boot::report)).ok_or_else(|| {
            ApiError::new(ErrorCode::NotFound, "The machine has not been started yet.", "Start it to see how it boots.")
        })
    }

    /// The way through the machine's door.
    ///
    /// # Errors
    /// When the machine is not up.
    pub fn link(&self) -> Result<Link, ApiError> {
        let (link, phase) = self.shared.see(|v| (v.link.clone(), v.phase));
        link.ok_or_else(|| {
            let hint = match phase {
                Phase::Starting => "It is starting: wait a moment.",
                Phase::Absent => "Make it first: open Alcove, or run `alcove setup`.",
                _ => "Start it first.",
            };
            ApiError::new(ErrorCode::MachineNotRunning, "The machine is not running.", hint)
        })
    }

    /// The whole state in one small document.
    pub fn status(&self, endpoints: Endpoints) -> Status {
        let machine = self.shared.machine();
        let kubernetes = machine.guest.as_ref().map(|g| g.kubernetes.clone());
        let up = machine.phase == Phase::Running;
        Status {
            desired: machine.desired,
            phase: machine.phase,
            machine: StatusMachine {
                provider: machine.provider,
                acceleration: machine.acceleration,
                memory_bytes: machine.setup.as_ref().map_or(0, |s| s.memory_bytes),
                cpus: machine.setup.as_ref().map_or(0, |s| s.cpus),
                image: machine.image,
            },
            kubernetes: StatusKubernetes {
                distribution: kubernetes.as_ref().map(|k| k.distribution.clone()),
                version: kubernetes.as_ref().map(|k| k.version.clone()),
                node_ready: kubernetes.is_some_and(|k| k.node_ready) && up,
            },
            conditions: machine.conditions,
            endpoints,
        }
    }

    /// Sane sizes for a machine on this host.
    pub fn proposal(&self) -> MachineProposal {
        alcove_host::proposal(self.shared.layout.home().data())
    }

    /// Facts about this host.
    ///
    /// # Errors
    /// When looking at it broke off.
    pub async fn host(&self) -> Result<HostFacts, ApiError> {
        self.look(|layout| {
            alcove_host::with_secrets(alcove_host::facts(layout.home().data()), &alcove_machine::secrets::kept(layout))
        })
        .await
    }

    /// Checks this host.
    ///
    /// # Errors
    /// When looking at it broke off.
    pub async fn doctor(&self) -> Result<DoctorReport, ApiError> {
        self.look(|layout| {
            let mut checks = alcove_host::checks(layout.home().data());
            checks.push(alcove_host::secrets_check(&alcove_machine::secrets::kept(layout)));
            DoctorReport { checks }
        })
        .await
    }

    /// Looks at the host off the event loop: a program is asked for its version, a keychain whether it is open.
    async fn look<T: Send + 'static>(&self, look: impl FnOnce(&Layout) -> T + Send + 'static) -> Result<T, ApiError> {
        let layout = self.shared.layout.clone();
        tokio::task::spawn_blocking(move || look(&layout)).await.map_err(|error| {
            ApiError::new(ErrorCode::Internal, format!("This computer could not be looked at: {error}."), "Try again.")
        })
    }

    /// Makes the machine; it is started when the start policy says so.
    ///
    /// # Errors
    /// When there is one, or the sizes can't be.
    pub async fn create(&self, setup: MachineSetup, caller: &Caller) -> Result<Task, ApiError> {
        alcove_machine::spec::check_setup(&setup).map_err(|e| e.api())?;
        if let Some(unusable) = self.shared.see(|v| v.unusable.clone()) {
            return Err(unusable);
        }
        let mut free = false;
        self.shared.change(|view| {
            free = view.setup.is_none() && !view.being_made;
            view.being_made |= free;
        });
        if !free {
            return Err(made_already());
        }
        let begun = match self.shared.settings.patch(&json!({ "machine": setup })) {
            Ok(_) => self.exclusive("machine.create", Exclusive::Create(setup), caller).await,
            Err(error) => Err(error),
        };
        if begun.is_err() {
            self.shared.change(|view| view.being_made = false);
        }
        begun
    }

    /// Brings the machine up, from its saved state where there is one. With `rescue`, to a shell on the serial console.
    ///
    /// # Errors
    /// When there is no machine.
    pub async fn start(&self, rescue: bool, caller: &Caller) -> Result<Task, ApiError> {
        self.want("machine.start", Desired::Running, false, rescue, true, caller).await
    }

    /// Brings a saved machine back; the same as [`Self::start`] when there is nothing saved.
    ///
    /// # Errors
    /// When there is no machine.
    pub async fn resume(&self, caller: &Caller) -> Result<Task, ApiError> {
        self.want("machine.resume", Desired::Running, false, false, true, caller).await
    }

    /// Saves the machine to disk.
    ///
    /// # Errors
    /// When there is no machine, or the provider can't suspend.
    pub async fn suspend(&self, caller: &Caller) -> Result<Task, ApiError> {
        if !self.shared.provider.capabilities().suspend {
            return Err(ApiError::new(
                ErrorCode::Unsupported,
                "This machine can't be suspended.",
                "Stop it instead: it shuts down in order.",
            ));
        }
        self.want("machine.suspend", Desired::Suspended, false, false, false, caller).await
    }

    /// Shuts the machine down in order.
    ///
    /// # Errors
    /// When there is no machine.
    pub async fn stop(&self, caller: &Caller) -> Result<Task, ApiError> {
        self.want("machine.stop", Desired::Stopped, false, false, false, caller).await
    }

    /// Shuts the machine down and boots it anew.
    ///
    /// # Errors
    /// When there is no machine.
    pub async fn restart(&self, caller: &Caller) -> Result<Task, ApiError> {
        self.want("machine.restart", Desired::Running, true, false, true, caller).await
    }

    /// Switches the machine off at once.
    ///
    /// # Errors
    /// When there is no machine.
    pub async fn kill(&self, caller: &Caller) -> Result<Task, ApiError> {
        if self.shared.see(|v| v.phase == Phase::Absent) {
            return Err(absent());
        }
        let (task, _) = self.shared.tasks.begin("machine.kill", self.instance(), caller, false);
        self.ask(|taken| Command::Kill { task: task.id.clone(), taken }).await?;
        Ok(task)
    }

    /// Destroys the machine and everything in it. `confirm` is the instance's name.
    ///
    /// # Errors
    /// When the confirmation does not fit, or there is no machine.
    pub async fn reset(&self, confirm: &str, caller: &Caller) -> Result<Task, ApiError> {
        if confirm != self.instance() {
            return Err(ApiError::new(
                ErrorCode::BadRequest,
                "The machine was not reset: the confirmation is not its name.",
                format!("Type `{}` to confirm. Everything in the machine will be gone.", self.instance()),
            ));
        }
        self.exclusive("machine.reset", Exclusive::Reset, caller).await
    }

    /// The copies that are kept, oldest first.
    ///
    /// # Errors
    /// When they can't be read.
    pub async fn snapshots(&self) -> Result<Vec<Snapshot>, ApiError> {
        self.shared.provider.list_snapshots().await.map_err(|e| e.api())
    }

    /// Keeps a copy of the stopped or suspended machine.
    ///
    /// # Errors
    /// When there is no machine.
    pub async fn snapshot(&self, request: SnapshotRequest, caller: &Caller) -> Result<Task, ApiError> {
        self.there()?;
        self.exclusive("snapshot.create", Exclusive::Snapshot(request), caller).await
    }

    /// Puts a copy in the place of the stopped or suspended machine.
    ///
    /// # Errors
    /// When there is no machine.
    pub async fn restore(&self, name: String, caller: &Caller) -> Result<Task, ApiError> {
        self.there()?;
        self.exclusive("snapshot.restore", Exclusive::Restore(name), caller).await
    }

    /// Deletes a copy.
    ///
    /// # Errors
    /// When there is no machine.
    pub async fn delete_snapshot(&self, name: String, caller: &Caller) -> Result<Task, ApiError> {
        self.there()?;
        self.exclusive("snapshot.delete", Exclusive::DeleteSnapshot(name), caller).await
    }

    /// Settings.
    pub fn settings(&self) -> SettingsView {
        self.shared.settings.view()
    }

    /// Changes settings by a JSON merge patch.
    ///
    /// # Errors
    /// When the patch makes no valid settings.
    pub fn change_settings(&self, patch: &Value, caller: &Caller) -> Result<SettingsView, ApiError> {
        let view = self.shared.settings.patch(patch)?;
        let keys = patch.as_object().map(|o| o.keys().cloned().collect::<Vec<_>>().join(", ")).unwrap_or_default();
        self.shared.operations.record(caller, "settings.change", &keys, "succeeded", "", None);
        // A larger disk takes effect at once. A reconciler that is busy looks by itself when it has time.
        let _ = self.commands.try_send(Command::LookAgain);
        Ok(view)
    }

    /// A page of the operation log.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn operations(&self, limit: usize, before: Option<u64>) -> Result<OperationList, ApiError> {
        self.shared.operations.page(limit, before).map_err(|e| unusable(&self.shared.layout.operations_jsonl(), &e))
    }

    /// Notes something that a face did which is no task.
    pub fn record(&self, caller: &Caller, what: &str, subject: &str, result: &str, message: &str) {
        self.shared.operations.record(caller, what, subject, result, message, None);
    }

    /// Begins to bring the machine to rest, suspended or shut down as the settings say. `None` when there is no machine.
    ///
    /// # Errors
    /// When the supervisor is ending.
    pub async fn put_away(&self, caller: &Caller) -> Result<Option<Task>, ApiError> {
        if self.shared.see(|v| v.setup.is_none()) {
            return Ok(None);
        }
        if self.shared.provider.capabilities().suspend && self.settings().settings.suspend_on_quit {
            self.suspend(caller).await.map(Some)
        } else {
            self.stop(caller).await.map(Some)
        }
    }

    /// Ends in order, once `resting` (a task of [`Self::put_away`]) has succeeded. Waits for the end.
    ///
    /// # Errors
    /// When the machine could not be brought to rest; the supervisor then goes on.
    pub async fn quit(&self, resting: Option<&Task>) -> Result<(), ApiError> {
        if let Some(task) = resting {
            self.wait(&task.id, Duration::from_secs(600)).await?;
        }
        self.leave().await;
        let path = self.shared.config.wanted_json(&self.shared.layout);
        let mut wanted = Wanted::load(&path);
        wanted.at_work = false;
        if self.shared.see(|v| v.setup.is_some())
            && let Err(error) = wanted.save(&path)
        {
            // There is no way back: the reconciler has ended. The next supervisor takes this for a crash, no more.
            tracing::error!(%error, "that this was an orderly end can't be written");
        }
        Ok(())
    }

    /// Stops reconciling and leaves the machine as it is; the next supervisor takes it over.
    pub async fn leave(&self) {
        let (done, left) = oneshot::channel();
        if self.send(Command::Leave { done }).await.is_ok() {
            // An error means that the reconciler is gone already.
            let _ = left.await;
        }
    }

    /// Waits until a task has ended, and returns it when it succeeded.
    ///
    /// # Errors
    /// The task's own error, or that it took too long.
    pub async fn wait(&self, id: &str, deadline: Duration) -> Result<Task, ApiError> {
        let mut live = self.shared.events.subscribe(None).live;
        let ended = async {
            loop {
                let task = self.shared.tasks.get(id)?;
                if task.state.ended() {
                    return match task.error {
                        Some(error) => Err(error),
                        None => Ok(task),
                    };
                }
                // Lagging or closed: the task's state is read again either way.
                let _ = live.recv().await;
            }
        };
        tokio::time::timeout(deadline, ended).await.unwrap_or_else(|_| {
            Err(ApiError::new(
                ErrorCode::Timeout,
                format!("The task was not done after {} s.", deadline.as_secs()),
                "It goes on; `alcove task list` shows it.",
            ))
        })
    }

    /// There is a machine, or there will be one as soon as the reconciler gets to it.
    fn there(&self) -> Result<(), ApiError> {
        if self.shared.see(|v| v.phase == Phase::Absent && !v.being_made) { Err(absent()) } else { Ok(()) }
    }

    async fn want(
        &self,
        kind: &str,
        desired: Desired,
        restart: bool,
        rescue: bool,
        cancellable: bool,
        caller: &Caller,
    ) -> Result<Task, ApiError> {
        self.there()?;
        let (task, cancel) = self.shared.tasks.begin(kind, self.instance(), caller, cancellable);
        self.ask(|taken| Command::Want { desired, restart, rescue, task: task.id.clone(), taken }).await?;
        if cancellable {
            let (commands, id, shared) = (self.commands.clone(), task.id.clone(), self.shared.clone());
            tokio::spawn(async move {
                let mut live = shared.events.subscribe(None).live;
                loop {
                    tokio::select! {
                        () = cancel.cancelled() => {
                            // The reconciler being gone means that there is nothing left to cancel.
                            let _ = commands.send(Command::GiveUp { task: id }).await;
                            return;
                        }
                        _ = live.recv() => if shared.tasks.get(&id).is_ok_and(|t| t.state.ended()) { return },
                    }
                }
            });
        }
        Ok(task)
    }

    async fn exclusive(&self, kind: &str, work: Exclusive, caller: &Caller) -> Result<Task, ApiError> {
        let (task, _) = self.shared.tasks.begin(kind, self.instance(), caller, false);
        self.send(Command::Exclusive { work, task: task.id.clone() }).await?;
        Ok(task)
    }

    /// Hands over what is wanted, and waits until that is on the disk: what was answered is not forgotten.
    async fn ask(&self, command: impl FnOnce(Taken) -> Command) -> Result<(), ApiError> {
        let (taken, told) = oneshot::channel();
        self.send(command(taken)).await?;
        told.await.map_err(|_| ending())?
    }

    async fn send(&self, command: Command) -> Result<(), ApiError> {
        self.commands.send(command).await.map_err(|_| ending())
    }
}

fn ending() -> ApiError {
    ApiError::new(ErrorCode::SupervisorUnreachable, "The supervisor is ending.", "Start Alcove again.")
}

pub(crate) fn unusable(path: &Path, error: &io::Error) -> ApiError {
    let code = if error.kind() == io::ErrorKind::StorageFull { ErrorCode::DiskFull } else { ErrorCode::FileCorrupt };
    ApiError::new(
        code,
        format!("{} can't be used: {error}.", path.display()),
        "Check the disk's free space and the folder's permissions.",
    )
}
