//! Rows of nodes.

use std::collections::HashMap;

use alcove_types::cluster::NodeRow;

use crate::{
    object::{Node, NodeMetrics, ObjectCondition, Pod},
    quantity,
};

/// Turns nodes into rows, with what they use where metrics are known and the pods that are bound to them. Order: name.
#[must_use]
pub fn nodes(nodes: &[Node], metrics: Option<&[NodeMetrics]>, pods: &[Pod]) -> Vec<NodeRow> {
    let mut bound: HashMap<&str, u32> = HashMap::new();
    for pod in pods {
        // A pod that has ended holds nothing on its node any more.
        if !matches!(pod.status.phase.as_str(), "Succeeded" | "Failed")
            && let Some(node) = pod.spec.node_name.as_deref()
        {
            *bound.entry(node).or_default() += 1;
        }
    }
    let mut rows: Vec<NodeRow> = nodes
        .iter()
        .map(|node| {
            let used = metrics.and_then(|all| all.iter().find(|m| m.metadata.name == node.metadata.name));
            row(node, used, bound.get(node.metadata.name.as_str()).copied().unwrap_or(0))
        })
        .collect();
    rows.sort_by(|a, b| a.name.cmp(&b.name));
    rows
}

fn row(node: &Node, metrics: Option<&NodeMetrics>, pods: u32) -> NodeRow {
    let condition = node.status.conditions.iter().find(|c| c.r#type == "Ready");
    let ready = is_ready(node);
    let mut status = match condition.map(|c| c.status.as_str()) {
        Some("True") => "Ready",
        Some("False") => "NotReady",
        // Its kubelet has not been heard of: kubectl calls that NotReady too, but the difference matters.
        _ => "Unknown",
    }
    .to_owned();
    if node.spec.unschedulable {
        status.push_str(",SchedulingDisabled");
    }
    let address = |kind: &str| node.status.addresses.iter().find(|a| a.r#type == kind).map(|a| a.address.clone());
    let allocatable = |resource: &str| node.status.allocatable.get(resource).map_or("", String::as_str);
    let used = |resource: &str| metrics.and_then(|m| m.usage.get(resource));
    let info = &node.status.node_info;
    NodeRow {
        name: node.metadata.name.clone(),
        status,
        ready,
        roles: roles(node),
        version: info.kubelet_version.clone(),
        address: address("InternalIP").or_else(|| address("ExternalIP")).unwrap_or_default(),
        os: info.os_image.clone(),
        kernel: info.kernel_version.clone(),
        runtime: info.container_runtime_version.clone(),
        cpu_allocatable_m: quantity::millis(allocatable("cpu")).unwrap_or(0),
        memory_allocatable_bytes: quantity::bytes(allocatable("memory")).unwrap_or(0),
        cpu_used_m: used("cpu").and_then(|q| quantity::millis(q)),
        memory_used_bytes: used("memory").and_then(|q| quantity::bytes(q)),
        pods,
        created: node.metadata.creation_timestamp.clone().unwrap_or_default(),
        problems: node.status.conditions.iter().filter_map(problem).collect(),
    }
}

/// Whether the node's Ready condition is True.
pub(crate) fn is_ready(node: &Node) -> bool {
    node.status.conditions.iter().any(|c| c.r#type == "Ready" && c.status == "True")
}

fn roles(node: &Node) -> Vec<String> {
    let mut roles: Vec<String> = node
        .metadata
        .labels
        .iter()
        .filter_map(|(key, value)| match key.strip_prefix("node-role.kubernetes.io/") {
            Some(role) => Some(role.to_owned()),
            None if key == "kubernetes.io/role" => Some(value.clone()),
            None => None,
        })
        .filter(|role| !role.is_empty())
        .collect();
    roles.sort();
    roles.dedup();
    roles
}

/// Ready should be True; every other condition of a node names trouble and should be False.
fn problem(condition: &ObjectCondition) -> Option<String> {
    let wanted = if condition.r#type == "Ready" { "True" } else { "False" };
    if condition.status == wanted {
        return None;
    }
    let name = match (condition.r#type.as_str(), condition.status.as_str()) {
        ("Ready", "False") => "Not ready",
        ("Ready", _) => "Not heard of",
        ("MemoryPressure", _) => "Short of memory",
        ("DiskPressure", _) => "Short of disk space",
        ("PIDPressure", _) => "Too many processes",
        ("NetworkUnavailable", _) => "Its network is not set up",
        (other, _) => other,
    };
    Some(if condition.message.is_empty() { name.to_owned() } else { format!("{name}: {}", condition.message) })
}
