//! The status of a pod as `kubectl get pods` shows it. The phase alone says `Running` of a pod whose container dies
//! over and over; this walks the containers the way the API server does when it prints a table.

use crate::object::{ContainerStatus, Pod, PodStatus, Terminated};

/// What the walk over the containers finds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Derived {
    pub(crate) status: String,
    pub(crate) ready: u32,
    pub(crate) containers: u32,
    pub(crate) restarts: u32,
    pub(crate) last_restart: Option<String>,
    /// Since when the latest of its containers runs.
    pub(crate) running_since: Option<String>,
    /// The last restart that was not the machine's.
    pub(crate) last_failure: Option<String>,
    /// Since when the pod is down because the machine went off, and nothing else is the matter.
    pub(crate) down_with_machine: Option<String>,
}

/// Counts restarts and remembers when the last ones were.
#[derive(Default)]
struct Restarts {
    count: u32,
    last: Option<String>,
    last_failure: Option<String>,
}

impl Restarts {
    fn add(&mut self, container: &ContainerStatus) {
        self.count += container.restart_count;
        let Some(ended) = &container.last_state.terminated else { return };
        // RFC 3339 in UTC with the same precision: the order of the text is the order of time.
        if ended.finished_at > self.last {
            self.last.clone_from(&ended.finished_at);
        }
        if !ended.with_machine() && ended.finished_at > self.last_failure {
            self.last_failure.clone_from(&ended.finished_at);
        }
    }
}

pub(crate) fn derive(pod: &Pod) -> Derived {
    let status = &pod.status;
    let sidecar = |name: &str| {
        pod.spec.init_containers.iter().any(|c| c.name == name && c.restart_policy.as_deref() == Some("Always"))
    };
    let sidecars = pod.spec.init_containers.iter().filter(|c| sidecar(&c.name)).count();
    let containers = u32::try_from(pod.spec.containers.len() + sidecars).unwrap_or(u32::MAX);

    let mut shown = if status.reason.is_empty() { status.phase.clone() } else { status.reason.clone() };
    if status.conditions.iter().any(|c| c.r#type == "PodScheduled" && c.reason == "SchedulingGated") {
        shown = "SchedulingGated".to_owned();
    }

    let mut ready = 0;
    let mut restarts = Restarts::default();
    let mut sidecar_restarts = Restarts::default();
    let mut initializing = false;
    for (i, container) in status.init_container_statuses.iter().enumerate() {
        let is_sidecar = sidecar(&container.name);
        restarts.add(container);
        if is_sidecar {
            sidecar_restarts.add(container);
        }
        let state = &container.state;
        match (&state.terminated, &state.waiting) {
            (Some(ended), _) if ended.exit_code == 0 => continue,
            _ if is_sidecar && container.started => {
                ready += u32::from(container.ready);
                continue;
            }
            (Some(ended), _) => shown = format!("Init:{}", ending(ended)),
            (None, Some(waiting)) if !waiting.reason.is_empty() && waiting.reason != "PodInitializing" => {
                shown = format!("Init:{}", waiting.reason);
            }
            _ => shown = format!("Init:{i}/{}", pod.spec.init_containers.len()),
        }
        initializing = true;
        break;
    }

    if !initializing || holds(status, "Initialized") {
        restarts = sidecar_restarts;
        let mut one_runs = false;
        for container in status.container_statuses.iter().rev() {
            restarts.add(container);
            let state = &container.state;
            match (&state.waiting, &state.terminated) {
                (Some(waiting), _) if !waiting.reason.is_empty() => shown.clone_from(&waiting.reason),
                (_, Some(ended)) => shown = ending(ended),
                _ if container.ready && state.running.is_some() => {
                    one_runs = true;
                    ready += 1;
                }
                _ => {}
            }
        }
        // One container has done its work while another goes on.
        if shown == "Completed" && one_runs {
            shown = if holds(status, "Ready") { "Running" } else { "NotReady" }.to_owned();
        }
    }

    if pod.metadata.deletion_timestamp.is_some() {
        if status.reason == "NodeLost" {
            shown = "Unknown".to_owned();
        } else if !matches!(status.phase.as_str(), "Failed" | "Succeeded") {
            shown = "Terminating".to_owned();
        }
    }
    if shown.is_empty() {
        shown = "Unknown".to_owned();
    }
    let all = || status.init_container_statuses.iter().chain(&status.container_statuses);
    let running_since = all().filter_map(|c| c.state.running.as_ref()?.started_at.clone()).max();
    let comes_back = pod.metadata.deletion_timestamp.is_none()
        && status.phase != "Failed"
        && matches!(shown.as_str(), "Unknown" | "Init:Unknown");
    let lost = all().filter_map(|c| c.state.terminated.as_ref()).filter(|ended| ended.with_machine() && comes_back);
    let down_with_machine = lost.filter_map(|ended| ended.finished_at.clone()).max();
    Derived {
        status: shown,
        ready,
        containers,
        restarts: restarts.count,
        last_restart: restarts.last,
        running_since,
        last_failure: restarts.last_failure,
        down_with_machine,
    }
}

fn ending(ended: &Terminated) -> String {
    match (ended.reason.as_str(), ended.signal) {
        ("", 0) => format!("ExitCode:{}", ended.exit_code),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

/// Whether a condition of the pod is True.
pub(crate) fn holds(status: &PodStatus, condition: &str) -> bool {
    status.conditions.iter().any(|c| c.r#type == condition && c.status == "True")
}
