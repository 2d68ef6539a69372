//! Nodes, events and the overview.

use alcove_cluster::{
    events, nodes,
    object::{Event, Node, NodeMetrics, Pod},
    overview, pods,
};
use serde_json::{Value, json};

fn node(ready: &str, more: &[Value]) -> Node {
    let mut conditions = vec![
        json!({"type": "MemoryPressure", "status": "False", "message": "kubelet has sufficient memory available"}),
        json!({"type": "Ready", "status": ready, "message": "kubelet is posting ready status"}),
    ];
    conditions.extend_from_slice(more);
    serde_json::from_value(json!({
        "metadata": {"name": "alcove", "creationTimestamp": "2026-06-01T09:00:00Z", "labels": {
            "kubernetes.io/os": "linux", "node-role.kubernetes.io/control-plane": "true",
            "node-role.kubernetes.io/master": "true"}},
        "spec": {},
        "status": {
            "conditions": conditions,
            "addresses": [{"type": "Hostname", "address": "alcove"}, {"type": "InternalIP", "address": "10.0.2.15"}],
            "capacity": {"cpu": "2"}, "allocatable": {"cpu": "1900m", "memory": "3975552Ki", "pods": "110"},
            "nodeInfo": {"kernelVersion": "6.12.48", "osImage": "Debian GNU/Linux 13 (trixie)",
                "containerRuntimeVersion": "containerd://2.1.4", "kubeletVersion": "v1.36.3"}
        }
    }))
    .unwrap()
}

fn bound(node: &str, phase: &str) -> Pod {
    serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": {"nodeName": node}, "status": {"phase": phase}}))
        .unwrap()
}

#[test]
fn a_node_in_full() {
    let metrics: NodeMetrics = serde_json::from_value(
        json!({"metadata": {"name": "alcove"}, "usage": {"cpu": "137452189n", "memory": "612345Ki"}}),
    )
    .unwrap();
    let pods = [bound("alcove", "Running"), bound("alcove", "Succeeded"), bound("other", "Running")];
    let row = nodes(&[node("True", &[])], Some(&[metrics]), &pods).remove(0);
    assert_eq!((row.status.as_str(), row.ready), ("Ready", true));
    assert_eq!(row.roles, ["control-plane", "master"]);
    assert_eq!((row.cpu_allocatable_m, row.memory_allocatable_bytes), (1900, 3_975_552 * 1024));
    assert_eq!((row.cpu_used_m, row.memory_used_bytes), (Some(138), Some(612_345 * 1024)));
    assert_eq!((row.address.as_str(), row.pods), ("10.0.2.15", 1));
    assert_eq!(row.runtime, "containerd://2.1.4");
    assert!(row.problems.is_empty());
}

#[test]
fn nodes_that_are_not_well() {
    let pressure = json!({"type": "DiskPressure", "status": "True", "message": "kubelet has disk pressure"});
    let cases = [
        ("True", vec![], "Ready", vec![]),
        ("False", vec![], "NotReady", vec!["Not ready: kubelet is posting ready status"]),
        ("Unknown", vec![], "Unknown", vec!["Not heard of: kubelet is posting ready status"]),
        ("True", vec![pressure], "Ready", vec!["Short of disk space: kubelet has disk pressure"]),
    ];
    for (ready, more, status, problems) in cases {
        let row = nodes(&[node(ready, &more)], None, &[]).remove(0);
        assert_eq!((row.status.as_str(), row.ready), (status, ready == "True"));
        assert_eq!(row.problems, problems);
        assert_eq!(row.cpu_used_m, None);
    }
    let mut cordoned = node("True", &[]);
    cordoned.spec.unschedulable = true;
    assert_eq!(nodes(&[cordoned], None, &[])[0].status, "Ready,SchedulingDisabled");
    assert_eq!(nodes(&[Node::default()], None, &[])[0].status, "Unknown");
}

fn event(name: &str, more: Value) -> Event {
    let mut event = json!({"metadata": {"name": name, "namespace": "shop", "creationTimestamp": "2026-06-01T08:00:00Z"},
        "involvedObject": {"kind": "Pod", "name": "web-1", "namespace": "shop"}, "type": "Warning",
        "reason": "BackOff", "message": "Back-off restarting failed container\n"});
    event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(event).unwrap()
}

#[test]
fn events_newest_first_whichever_field_dates_them() {
    let all = [
        event("old", json!({"lastTimestamp": "2026-06-01T10:00:00Z", "count": 3, "source": {"component": "kubelet"}})),
        event(
            "series",
            json!({"eventTime": "2026-06-01T09:00:00.123456Z", "lastTimestamp": null,
            "series": {"count": 7, "lastObservedTime": "2026-06-01T11:59:00.5Z"}, "reportingComponent": "scheduler"}),
        ),
        event("single", json!({"eventTime": "2026-06-01T11:00:00.000001Z", "type": "Normal", "count": null})),
        event("undated", json!({})),
    ];
    let rows = events(&all, 10);
    let seen: Vec<_> = rows.iter().map(|r| (r.last.as_str(), r.count, r.source.as_str())).collect();
    assert_eq!(
        seen,
        [
            ("2026-06-01T11:59:00.5Z", 7, "scheduler"),
            ("2026-06-01T11:00:00.000001Z", 1, ""),
            ("2026-06-01T10:00:00Z", 3, "kubelet"),
            ("2026-06-01T08:00:00Z", 1, ""),
        ]
    );
    assert_eq!(rows[0].object, "Pod/web-1");
    assert_eq!(rows[0].message, "Back-off restarting failed container");
    assert_eq!(events(&all, 2).len(), 2);
}

#[test]
fn the_overview_counts() {
    let now = "2026-06-01T12:00:00Z".parse().unwrap();
    let all = [
        event("a", json!({"lastTimestamp": "2026-06-01T11:30:00Z"})),
        event("b", json!({"lastTimestamp": "2026-06-01T10:30:00Z"})),
        event("c", json!({"lastTimestamp": "2026-06-01T11:30:00Z", "type": "Normal"})),
    ];
    let rows = pods(&[bound("alcove", "Succeeded"), bound("alcove", "Failed")], None, now);
    let seen = overview(&[node("True", &[]), node("False", &[])], &rows, &all, "v1.36.3", now);
    assert_eq!((seen.nodes.total, seen.nodes.well, seen.pods.total, seen.pods.well), (2, 1, 2, 1));
    assert_eq!((seen.warnings, seen.version.as_str()), (1, "v1.36.3"));
}
