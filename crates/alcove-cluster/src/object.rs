//! The parts of Kubernetes' objects that the read models use. Everything else is skipped while reading, so a list of
//! ten thousand pods costs what its rows cost. Unknown and missing fields are no error: another version of Kubernetes
//! is still readable.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

/// Reads `null` as the default: Go writes empty lists that way.
fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

macro_rules! object {
    ($($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Default, PartialEq, Deserialize)]
        #[serde(rename_all = "camelCase")]
        pub struct $name {
            $($(#[$field_doc])* #[serde(default, deserialize_with = "or_default")] pub $field: $type,)*
        }
    )*};
}

/// A page of a list.
#[derive(Debug, Clone, Deserialize)]
pub struct List<T> {
    /// About the page.
    #[serde(default)]
    pub metadata: ListMeta,
    /// The objects.
    #[serde(default = "Vec::new", deserialize_with = "or_default", bound(deserialize = "T: Deserialize<'de>"))]
    pub items: Vec<T>,
}

object! {
    /// About a page of a list.
    ListMeta {
        /// Asks for the next page.
        r#continue: String,
    }

    /// What every object has.
    Meta {
        /// Name.
        name: String,
        /// Namespace.
        namespace: String,
        /// Labels.
        labels: BTreeMap<String, String>,
        /// When it was made.
        creation_timestamp: Option<String>,
        /// When its deletion was asked for.
        deletion_timestamp: Option<String>,
        /// Seconds that its deletion may take.
        deletion_grace_period_seconds: Option<i64>,
        /// What owns it.
        owner_references: Vec<Owner>,
    }

    /// What owns an object.
    Owner {
        /// Kind.
        kind: String,
        /// Name.
        name: String,
        /// Whether it is the one in charge.
        controller: bool,
    }

    /// A condition of a node or pod.
    ObjectCondition {
        /// Its name.
        r#type: String,
        /// `True`, `False` or `Unknown`.
        status: String,
        /// One word.
        reason: String,
        /// For people.
        message: String,
    }

    /// A pod.
    Pod {
        /// What every object has.
        metadata: Meta,
        /// What is wanted.
        spec: PodSpec,
        /// What is seen.
        status: PodStatus,
    }

    /// What is wanted of a pod.
    PodSpec {
        /// The node it is bound to.
        node_name: Option<String>,
        /// Containers that run before the others.
        init_containers: Vec<Container>,
        /// Its containers.
        containers: Vec<Container>,
    }

    /// A container.
    Container {
        /// Name.
        name: String,
        /// `Always` makes an init container a sidecar.
        restart_policy: Option<String>,
    }

    /// What is seen of a pod.
    PodStatus {
        /// Phase.
        phase: String,
        /// Why the phase, such as `Evicted`.
        reason: String,
        /// For people.
        message: String,
        /// Address.
        #[serde(rename = "podIP")]
        pod_ip: Option<String>,
        /// Conditions.
        conditions: Vec<ObjectCondition>,
        /// Init containers.
        init_container_statuses: Vec<ContainerStatus>,
        /// Containers.
        container_statuses: Vec<ContainerStatus>,
    }

    /// What is seen of a container.
    ContainerStatus {
        /// Name.
        name: String,
        /// Whether it passes its readiness probe.
        ready: bool,
        /// Whether it passed its startup probe.
        started: bool,
        /// How often it was started again.
        restart_count: u32,
        /// What it does now.
        state: ContainerState,
        /// What it did before.
        last_state: ContainerState,
    }

    /// One of three.
    ContainerState {
        /// Waits.
        waiting: Option<Waiting>,
        /// Runs.
        running: Option<Running>,
        /// Has ended.
        terminated: Option<Terminated>,
    }

    /// Why a container waits.
    Waiting {
        /// One word.
        reason: String,
        /// For people.
        message: String,
    }

    /// A container that runs.
    Running {
        /// Since when.
        started_at: Option<String>,
    }

    /// How a container ended.
    Terminated {
        /// Exit code.
        exit_code: i32,
        /// Signal.
        signal: i32,
        /// One word.
        reason: String,
        /// For people.
        message: String,
        /// When.
        finished_at: Option<String>,
    }

    /// A node.
    Node {
        /// What every object has.
        metadata: Meta,
        /// What is wanted.
        spec: NodeSpec,
        /// What is seen.
        status: NodeStatus,
    }

    /// What is wanted of a node.
    NodeSpec {
        /// Takes no new pods.
        unschedulable: bool,
    }

    /// What is seen of a node.
    NodeStatus {
        /// Conditions.
        conditions: Vec<ObjectCondition>,
        /// Addresses.
        addresses: Vec<Address>,
        /// What pods can have.
        allocatable: BTreeMap<String, String>,
        /// Versions.
        node_info: NodeInfo,
    }

    /// An address.
    Address {
        /// Such as `InternalIP`.
        r#type: String,
        /// The address.
        address: String,
    }

    /// Versions of a node's parts.
    NodeInfo {
        /// Kernel.
        kernel_version: String,
        /// Operating system.
        os_image: String,
        /// Container runtime.
        container_runtime_version: String,
        /// Kubelet.
        kubelet_version: String,
    }

    /// An event.
    Event {
        /// What every object has.
        metadata: Meta,
        /// What it is about.
        involved_object: ObjectReference,
        /// `Normal` or `Warning`.
        r#type: String,
        /// One word.
        reason: String,
        /// For people.
        message: String,
        /// How often.
        count: u32,
        /// Last seen, in events of the older kind.
        last_timestamp: Option<String>,
        /// Seen, in events of the newer kind.
        event_time: Option<String>,
        /// Repetitions, in events of the newer kind.
        series: Option<EventSeries>,
        /// Who reports it, in events of the older kind.
        source: EventSource,
        /// Who reports it, in events of the newer kind.
        reporting_component: String,
    }

    /// Which object.
    ObjectReference {
        /// Kind.
        kind: String,
        /// Name.
        name: String,
        /// Namespace.
        namespace: String,
    }

    /// Repetitions of an event.
    EventSeries {
        /// How often.
        count: u32,
        /// Last seen.
        last_observed_time: Option<String>,
    }

    /// Who reports an event.
    EventSource {
        /// Such as `kubelet`.
        component: String,
    }

    /// What a node uses.
    NodeMetrics {
        /// What every object has.
        metadata: Meta,
        /// Use.
        usage: BTreeMap<String, String>,
    }

    /// What a pod uses.
    PodMetrics {
        /// What every object has.
        metadata: Meta,
        /// Its containers.
        containers: Vec<ContainerMetrics>,
    }

    /// What a container uses.
    ContainerMetrics {
        /// Use.
        usage: BTreeMap<String, String>,
    }

    /// Version of the API server.
    Version {
        /// Such as `v1.36.3`.
        git_version: String,
    }

    /// Kubernetes' own error.
    Status {
        /// For people.
        message: String,
        /// One word.
        reason: String,
    }
}

impl Terminated {
    /// Whether the container went off together with the machine: nobody saw its end, and containerd has its own word and
    /// code for that (`unknownExitReason`, `unknownExitCode`).
    pub(crate) fn with_machine(&self) -> bool {
        self.reason == "Unknown" && self.exit_code == 255
    }
}
