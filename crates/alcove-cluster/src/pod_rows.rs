//! Rows of pods.

use std::collections::HashMap;

use alcove_types::cluster::{Health, PodRow};
use jiff::{SignedDuration, Timestamp};

use crate::{
    object::{Pod, PodMetrics},
    pod_status::{Derived, derive, holds},
    quantity,
};

/// A container that ended by itself this recently is something to look at, even while it runs again.
const RECENT_RESTART: SignedDuration = SignedDuration::from_mins(10);
/// A pod that runs without being ready for longer than this is something to look at.
const SLOW_READY: SignedDuration = SignedDuration::from_mins(2);
/// A deletion that takes this much longer than it may is something to look at.
const SLOW_DELETION: SignedDuration = SignedDuration::from_mins(1);

/// Turns pods into rows, with what they use where metrics are known. Order: namespace, then name.
#[must_use]
pub fn pods(pods: &[Pod], metrics: Option<&[PodMetrics]>, now: Timestamp) -> Vec<PodRow> {
    let used: HashMap<(&str, &str), &PodMetrics> = metrics
        .unwrap_or_default()
        .iter()
        .map(|m| ((m.metadata.namespace.as_str(), m.metadata.name.as_str()), m))
        .collect();
    let mut rows: Vec<PodRow> = pods
        .iter()
        .map(|pod| row(pod, used.get(&(pod.metadata.namespace.as_str(), pod.metadata.name.as_str())).copied(), now))
        .collect();
    rows.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    rows
}

fn row(pod: &Pod, metrics: Option<&PodMetrics>, now: Timestamp) -> PodRow {
    let derived = derive(pod);
    let health = health(pod, &derived, now);
    let owner = pod.metadata.owner_references.iter().find(|o| o.controller).or(pod.metadata.owner_references.first());
    let spec = &pod.spec;
    PodRow {
        namespace: pod.metadata.namespace.clone(),
        name: pod.metadata.name.clone(),
        health,
        ready: derived.ready,
        containers: derived.containers,
        container_names: spec.init_containers.iter().chain(&spec.containers).map(|c| c.name.clone()).collect(),
        restarts: derived.restarts,
        last_restart: derived.last_restart.clone(),
        node: spec.node_name.clone().filter(|n| !n.is_empty()),
        address: pod.status.pod_ip.clone().filter(|a| !a.is_empty()),
        owner: owner.map(|o| format!("{}/{}", o.kind, o.name)),
        cpu_used_m: metrics.and_then(|m| sum(m, "cpu", quantity::millis)),
        memory_used_bytes: metrics.and_then(|m| sum(m, "memory", quantity::bytes)),
        created: pod.metadata.creation_timestamp.clone().unwrap_or_default(),
        message: if health == Health::Good { None } else { message(pod) },
        status: derived.status,
    }
}

fn sum(metrics: &PodMetrics, resource: &str, read: fn(&str) -> Option<u64>) -> Option<u64> {
    let mut values = metrics.containers.iter().filter_map(|c| c.usage.get(resource).and_then(|q| read(q)));
    let first = values.next()?;
    Some(values.fold(first, u64::saturating_add))
}

fn health(pod: &Pod, derived: &Derived, now: Timestamp) -> Health {
    let older_than = |time: Option<&str>, age: SignedDuration| {
        time.and_then(|t| t.parse::<Timestamp>().ok()).is_some_and(|t| now.duration_since(t) > age)
    };
    if let Some(since) = derived.down_with_machine.as_deref() {
        return if older_than(Some(since), SLOW_READY) { Health::Attention } else { Health::Busy };
    }
    match derived.status.as_str() {
        "Succeeded" | "Completed" => Health::Good,
        "Running" | "NotReady" => {
            if derived.ready < derived.containers || derived.status == "NotReady" || !holds(&pod.status, "Ready") {
                let since = derived.running_since.as_deref().or(derived.last_restart.as_deref());
                let since = since.or(pod.metadata.creation_timestamp.as_deref());
                if older_than(since, SLOW_READY) { Health::Attention } else { Health::Busy }
            } else {
                let failed = derived.last_failure.as_deref();
                let lately = derived.restarts > 0 && failed.is_some() && !older_than(failed, RECENT_RESTART);
                if lately { Health::Attention } else { Health::Good }
            }
        }
        "Pending" => {
            let refused = pod.status.conditions.iter().any(|c| c.r#type == "PodScheduled" && c.status == "False");
            if refused { Health::Attention } else { Health::Busy }
        }
        "SchedulingGated" => Health::Attention,
        "Terminating" => {
            // The timestamp already lies the grace period ahead of the request.
            let due = pod.metadata.deletion_timestamp.as_deref();
            if older_than(due, SLOW_DELETION) { Health::Attention } else { Health::Busy }
        }
        "ContainerCreating" | "PodInitializing" => Health::Busy,
        status => match status.strip_prefix("Init:") {
            Some(step) if step.starts_with(|c: char| c.is_ascii_digit()) => Health::Busy,
            _ => Health::Failed,
        },
    }
}

/// Why a pod is not well, in the words of whoever knows most: the container, the scheduler, the pod.
fn message(pod: &Pod) -> Option<String> {
    let status = &pod.status;
    let all = || status.init_container_statuses.iter().chain(&status.container_statuses);
    let waits = all().find_map(|c| {
        let waiting = c.state.waiting.as_ref().filter(|w| !w.message.is_empty())?;
        Some(format!("{}: {}", c.name, waiting.message))
    });
    let ended = all().find_map(|c| {
        let ended = c.state.terminated.as_ref().or(c.last_state.terminated.as_ref());
        let ended = ended.filter(|t| t.exit_code != 0 && !t.with_machine())?;
        let mut text = format!("{}: ended with exit code {}", c.name, ended.exit_code);
        if !ended.reason.is_empty() && ended.reason != "Error" {
            text = format!("{text} ({})", ended.reason);
        }
        if !ended.message.is_empty() {
            text = format!("{text}: {}", ended.message.trim());
        }
        Some(text)
    });
    let unmet = ["PodScheduled", "Initialized", "ContainersReady", "Ready"].iter().find_map(|kind| {
        let condition = status.conditions.iter().find(|c| c.r#type == *kind && c.status != "True")?;
        Some(condition.message.clone()).filter(|m| !m.is_empty())
    });
    let own = Some(status.message.clone()).filter(|m| !m.is_empty());
    own.or(waits).or(ended).or(unmet)
}
