//! What is seen of a machine.

use std::net::{Ipv4Addr, SocketAddr};

use qapi::qmp;
use tokio::time::timeout;

use super::{
    argv::Identity,
    disk, process,
    provider::{LOOK, QemuProvider},
    qmp::Qmp,
    run, snapshot,
};
use crate::{
    MachineError, Result,
    provider::{Observation, On, Power},
};

/// What QEMU is said to do when it does not answer.
const UNKNOWN: &str = "unknown";

impl QemuProvider {
    pub(super) async fn seen(&self) -> Result<Observation> {
        let disk = disk::usage(&self.layout.data_disk())?;
        let power = match self.alive()? {
            Some(pid) => {
                let power = self.look(pid).await;
                // It may have ended while it was looked at.
                if self.alive()? == Some(pid) { power } else { self.power_when_off(disk.is_some()) }
            }
            None => {
                self.settle_if_idle().await;
                self.power_when_off(disk.is_some())
            }
        };
        let silent = matches!(&power, Power::On(on) if !on.panicked) || matches!(&power, Power::Absent);
        let last_words = if silent { Vec::new() } else { self.watch.last_words() };
        Ok(Observation { power, disk, last_words })
    }

    async fn look(&self, pid: u32) -> Power {
        let facts = process::facts(pid);
        let mut on = On {
            pid,
            standstill: None,
            run_state: UNKNOWN.into(),
            silent_since: None,
            panicked: false,
            io_error: false,
            image: None,
            rescue: false,
            acceleration: None,
            started_at: facts.started_at,
            door: None,
            rss_bytes: facts.rss_bytes,
            cpu_time_ms: facts.cpu_time_ms,
        };
        let asked = timeout(LOOK, async {
            let qmp = self.watch.link(LOOK).await?;
            if let Some(qmp) = &qmp {
                on.run_state = qmp.run_state().await?;
                if let Some(identity) = identity(qmp).await {
                    on.acceleration = Some(identity.acceleration);
                    on.rescue = identity.rescue;
                    on.image = Some(identity.image);
                }
                on.door = self.watch.door(pid, qmp).await.map(door_address);
            }
            Ok::<_, MachineError>(())
        });
        let asked =
            asked.await.unwrap_or_else(|_| Err(MachineError::Timeout { what: "an answer".into(), after: LOOK }));
        on.silent_since = self.watch.answered(pid, asked.is_ok());
        if let Err(e) = asked {
            tracing::warn!(pid, error = %e, "QEMU lives but does not answer");
        }
        // One that has not said what it does is not known to stand still.
        if on.run_state != UNKNOWN {
            on.standstill = run::standstill(&on.run_state, self.state_folder().facts().is_ok());
            on.panicked = run::has_crashed(&on.run_state);
            on.io_error = on.run_state == "io-error";
        }
        Power::On(on)
    }

    /// What the machine is depends on it, so that looking comes to its end first. Whoever is at work on the machine does
    /// that by himself.
    async fn settle_if_idle(&self) {
        if !snapshot::is_moving(&self.layout) {
            return;
        }
        let settled = self.detached(|this| async move {
            match this.lock() {
                Ok(_lock) => this.settle().await,
                Err(MachineError::Busy) => Ok(()),
                Err(other) => Err(other),
            }
        });
        if let Err(e) = settled.await {
            tracing::warn!(error = %e, "what was being done to the machine's disk has not ended yet");
        }
    }

    fn power_when_off(&self, disk: bool) -> Power {
        if !disk {
            return Power::Absent;
        }
        match self.state_folder().facts() {
            Ok(state) => Power::Suspended { state },
            Err(_) => Power::Off,
        }
    }
}

/// What the live QEMU was started as.
pub(crate) async fn identity(qmp: &Qmp) -> Option<Identity> {
    let name = qmp.execute_raw(qmp::query_name {}).await.ok()?;
    Identity::parse(name.get("name")?.as_str()?)
}

pub(crate) fn door_address(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}
