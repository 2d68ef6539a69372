//! Watching over what the machine promises.

use std::{sync::Arc, time::Duration};

use alcove_guest::addresses::GATEWAY;
use alcove_types::{
    ConditionStatus::{False, True, Unknown},
    boot::StepState,
};
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpStream,
    time::{MissedTickBehavior, interval, timeout},
};

use super::{
    disk, memory,
    state::{Guest, Words},
};

/// How often a machine that is coming up is looked at, and one that is up.
const SOON: Duration = Duration::from_secs(1);
const LATER: Duration = Duration::from_secs(10);
/// How often those who listen are told how the guest is even though nothing changed: its figures are read from memory.
const REPORT: Duration = Duration::from_secs(5);
const GATEWAY_DEADLINE: Duration = Duration::from_secs(5);
/// Share of the disk and of the memory that should stay free.
const FREE: f64 = 0.05;

/// Looks again and again until the daemon ends.
pub(super) async fn watch(guest: Arc<Guest>) {
    let opened = Words::new("Listening", "the guest's daemon answers", "");
    guest.set_condition("DoorOpen", True, opened);
    let untold = Words::new("NotTold", "the host has not told the time yet", "");
    guest.set_condition("ClockInSync", Unknown, untold);
    loop {
        look_at_disk(&guest);
        look_at_memory(&guest);
        if guest.about.has_kubernetes() {
            look_at_kubernetes(&guest).await;
            look_at_platform(&guest).await;
        } else {
            let none = || Words::new("NotInImage", "this image holds no Kubernetes", "Use an image that holds it.");
            guest.set_condition("KubernetesReady", False, none());
            guest.set_condition("PlatformReady", False, none());
        }
        let up = !guest.about.has_kubernetes() || guest.holds("KubernetesReady") && guest.holds("PlatformReady");
        let _ = timeout(if up { LATER } else { SOON }, guest.look.notified()).await;
    }
}

/// Tells those who listen how the guest is, until the daemon ends.
pub(super) async fn report(guest: Arc<Guest>) {
    let mut tick = interval(REPORT);
    // After a suspend there is nothing to be made up for.
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        guest.publish_status();
    }
}

async fn look_at_kubernetes(guest: &Guest) {
    let hint = "The boot's steps show how far it is; `alcove logs --source k3s` shows what it says.";
    if let Err(error) = guest.cluster.ready().await {
        guest.set_node(false, None);
        guest.set_condition("KubernetesReady", False, Words::new("ApiNotReady", format!("{error:#}"), hint));
        return;
    }
    // The official K3s does not tell its steps: what is seen here stands for those that must have come before.
    for step in ["certificates", "containerd", "datastore", "apiserver"] {
        if guest.step(step) != Some(StepState::Done) {
            guest.boot(step, StepState::Done, None);
        }
    }
    match guest.cluster.node().await {
        Ok(node) if node.ready => {
            guest.set_node(true, node.version.filter(|_| guest.about.kubernetes.version.is_empty()));
            guest.set_condition(
                "KubernetesReady",
                True,
                Words::new("Ready", "the cluster's API answers and its node is ready", ""),
            );
            for step in ["controllers", "node", "images"] {
                guest.boot(step, StepState::Done, None);
            }
        }
        Ok(node) => {
            guest.set_node(false, None);
            guest.set_condition("KubernetesReady", False, Words::new("NodeNotReady", node.message, hint));
        }
        Err(error) => {
            guest.set_node(false, None);
            guest.set_condition("KubernetesReady", Unknown, Words::new("NodeUnknown", format!("{error:#}"), hint));
        }
    }
}

async fn look_at_platform(guest: &Guest) {
    let hint = "The pods of the namespace alcove-system show what it waits for.";
    if !guest.holds("KubernetesReady") && !guest.holds("PlatformReady") {
        let waits = Words::new("WaitsForKubernetes", "the platform starts when Kubernetes is ready", "");
        return guest.set_condition("PlatformReady", False, waits);
    }
    guest.boot("platform", StepState::Running, None);
    match timeout(GATEWAY_DEADLINE, gateway_answers()).await {
        Ok(Ok(())) => {
            guest.set_condition("PlatformReady", True, Words::new("Ready", "the web desktop answers", ""));
            guest.boot("platform", StepState::Done, None);
        }
        Ok(Err(error)) => {
            guest.set_condition("PlatformReady", False, Words::new("GatewayNotReady", format!("{error:#}"), hint));
        }
        Err(_) => {
            let message = format!("the gateway did not answer in {} s", GATEWAY_DEADLINE.as_secs());
            guest.set_condition("PlatformReady", False, Words::new("GatewaySilent", message, hint));
        }
    }
}

async fn gateway_answers() -> Result<()> {
    let stream = TcpStream::connect(GATEWAY).await.context("the gateway's address does not answer")?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let task = tokio::spawn(connection);
    let request = Request::get("/healthz").header("host", "gateway").body(Empty::<Bytes>::new())?;
    let answer = sender.send_request(request).await?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), 64).collect().await;
    task.abort();
    ensure!(status.is_success(), "the gateway answers {status}");
    // Whatever else may answer at this address is not the gateway.
    let body = body.map_err(|error| anyhow::anyhow!(error))?.to_bytes();
    ensure!(body.trim_ascii() == b"ok", "what answers at the gateway's address is not the gateway");
    Ok(())
}

fn look_at_disk(guest: &Guest) {
    let usage = disk::usage();
    if let Some(errors) = disk::errors() {
        let hint = "Make a snapshot of the machine and check the host's disk.";
        let message = format!("the data disk has counted errors: {errors}");
        return guest.set_condition("DiskHealthy", False, Words::new("DeviceErrors", message, hint));
    }
    let words = if usage.total == 0 {
        return guest.set_condition("DiskHealthy", Unknown, Words::new("NotSeen", "the data disk is not seen", ""));
    } else if is_scarce(usage.used, usage.total) {
        let message = format!("{} MB of {} MB are left", (usage.total - usage.used) >> 20, usage.total >> 20);
        let hint = "Remove what is not needed, or make the disk larger in Settings.";
        return guest.set_condition("DiskHealthy", False, Words::new("NearlyFull", message, hint));
    } else {
        Words::new("Healthy", "the data disk has space and no errors", "")
    };
    guest.set_condition("DiskHealthy", True, words);
}

fn look_at_memory(guest: &Guest) {
    let usage = memory::usage();
    if usage.total > 0 && is_scarce(usage.used, usage.total) {
        let hint = "Give the machine more memory in Settings, or stop an app.";
        let message = "less than a twentieth of the memory is left";
        guest.set_condition("MemoryHealthy", False, Words::new("Scarce", message, hint));
    } else {
        guest.set_condition("MemoryHealthy", True, Words::new("Healthy", "there is memory left", ""));
    }
}

fn is_scarce(used: u64, total: u64) -> bool {
    (total.saturating_sub(used)) as f64 <= total as f64 * FREE
}

#[cfg(test)]
mod tests {
    use super::is_scarce;

    #[test]
    fn a_twentieth_should_stay_free() {
        assert!(!is_scarce(90, 100));
        assert!(is_scarce(96, 100));
        assert!(is_scarce(100, 100));
    }
}
