//! The status of pods, one case for each that kubectl knows.

use alcove_cluster::{object::Pod, pods};
use alcove_types::cluster::{Health, PodRow};
use jiff::Timestamp;
use serde_json::{Value, json};

const NOW: &str = "2026-06-01T12:00:00Z";
const LONG_AGO: &str = "2026-06-01T09:00:00Z";

/// A pod with these statuses; `containers` and `init` are container statuses.
fn pod(phase: &str, init: Value, containers: Value, more: Value) -> Value {
    let names = |statuses: &Value| -> Vec<Value> {
        statuses
            .as_array()
            .unwrap()
            .iter()
            .map(|s| {
                json!({"name": s["name"], "image": "alcove.local/x:1",
            "restartPolicy": s["sidecar"].as_bool().map(|_| "Always")})
            })
            .collect()
    };
    let mut pod = json!({
        "metadata": {"name": "web-1", "namespace": "shop", "uid": "u", "creationTimestamp": LONG_AGO,
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "controller": true}]},
        "spec": {"nodeName": "alcove", "initContainers": names(&init), "containers": names(&containers)},
        "status": {"phase": phase, "podIP": "10.42.0.7", "initContainerStatuses": init,
            "containerStatuses": containers, "conditions": []}
    });
    merge(&mut pod, more);
    pod
}

fn merge(into: &mut Value, more: Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => {
            for (key, value) in more {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, more) => *into = more,
    }
}

fn row(pod: Value) -> PodRow {
    let pod: Pod = serde_json::from_value(pod).unwrap();
    pods(&[pod], None, NOW.parse::<Timestamp>().unwrap()).remove(0)
}

fn running(name: &str) -> Value {
    json!({"name": name, "ready": true, "started": true, "restartCount": 0, "state": {"running": {"startedAt": LONG_AGO}}})
}

fn waiting(name: &str, reason: &str) -> Value {
    json!({"name": name, "ready": false, "restartCount": 0, "state": {"waiting": {"reason": reason}}})
}

fn ended(name: &str, code: i32, reason: &str) -> Value {
    json!({"name": name, "ready": false, "restartCount": 0,
        "state": {"terminated": {"exitCode": code, "reason": reason, "finishedAt": LONG_AGO}}})
}

fn ready() -> Value {
    json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}})
}

fn deleted() -> Value {
    json!({"metadata": {"deletionTimestamp": "2026-06-01T11:59:50Z"}})
}

#[test]
fn every_status_that_kubectl_shows() {
    let none = || json!([]);
    let sidecar = |mut status: Value| {
        status["sidecar"] = json!(true);
        status
    };
    let signal = json!({"name": "a", "restartCount": 0, "state": {"terminated": {"exitCode": 0, "signal": 9}}});
    let unnamed = |code: i32| json!({"name": "a", "restartCount": 0, "state": {"terminated": {"exitCode": code}}});
    let unscheduled = json!({"spec": {"nodeName": null}, "status": {"conditions": [{"type": "PodScheduled",
        "status": "False", "reason": "Unschedulable", "message": "0/1 nodes are available: 1 Insufficient memory."}]}});
    let gated = json!({"status": {"conditions": [{"type": "PodScheduled", "status": "False",
        "reason": "SchedulingGated"}]}});
    let initialized = json!({"status": {"conditions": [{"type": "Initialized", "status": "True"}]}});
    let lost = json!({"metadata": {"deletionTimestamp": LONG_AGO}, "status": {"reason": "NodeLost"}});
    let evicted = json!({"status": {"reason": "Evicted", "message": "The node was low on resource: memory."}});
    let stuck = json!({"metadata": {"deletionTimestamp": LONG_AGO}});

    let cases: Vec<(&str, Value, &str, u32, u32, Health)> = vec![
        (
            "all run",
            pod("Running", none(), json!([running("a"), running("b")]), ready()),
            "Running",
            2,
            2,
            Health::Good,
        ),
        (
            "one is not ready for long",
            pod("Running", none(), json!([running("a"), waiting("b", "")]), json!({})),
            "Running",
            1,
            2,
            Health::Attention,
        ),
        (
            "just bound",
            pod("Pending", none(), json!([waiting("a", "ContainerCreating")]), json!({})),
            "ContainerCreating",
            0,
            1,
            Health::Busy,
        ),
        (
            "not bound yet",
            pod("Pending", none(), none(), json!({"spec": {"nodeName": null}})),
            "Pending",
            0,
            0,
            Health::Busy,
        ),
        ("can't be bound", pod("Pending", none(), none(), unscheduled), "Pending", 0, 0, Health::Attention),
        ("gated", pod("Pending", none(), none(), gated), "SchedulingGated", 0, 0, Health::Attention),
        (
            "dies over and over",
            pod("Running", none(), json!([waiting("a", "CrashLoopBackOff")]), json!({})),
            "CrashLoopBackOff",
            0,
            1,
            Health::Failed,
        ),
        (
            "no image",
            pod("Pending", none(), json!([waiting("a", "ImagePullBackOff")]), json!({})),
            "ImagePullBackOff",
            0,
            1,
            Health::Failed,
        ),
        (
            "bad configuration",
            pod("Pending", none(), json!([waiting("a", "CreateContainerConfigError")]), json!({})),
            "CreateContainerConfigError",
            0,
            1,
            Health::Failed,
        ),
        (
            "a job is done",
            pod("Succeeded", none(), json!([ended("a", 0, "Completed")]), json!({})),
            "Completed",
            0,
            1,
            Health::Good,
        ),
        (
            "a job failed",
            pod("Failed", none(), json!([ended("a", 1, "Error")]), json!({})),
            "Error",
            0,
            1,
            Health::Failed,
        ),
        (
            "out of memory",
            pod("Failed", none(), json!([ended("a", 137, "OOMKilled")]), json!({})),
            "OOMKilled",
            0,
            1,
            Health::Failed,
        ),
        ("ended by a signal", pod("Failed", none(), json!([signal]), json!({})), "Signal:9", 0, 1, Health::Failed),
        (
            "ended without a word",
            pod("Failed", none(), json!([unnamed(3)]), json!({})),
            "ExitCode:3",
            0,
            1,
            Health::Failed,
        ),
        (
            "one done, one runs and is ready",
            pod("Running", none(), json!([ended("a", 0, "Completed"), running("b")]), ready()),
            "Running",
            1,
            2,
            Health::Attention,
        ),
        (
            "one done, one runs",
            pod("Running", none(), json!([ended("a", 0, "Completed"), running("b")]), json!({})),
            "NotReady",
            1,
            2,
            Health::Attention,
        ),
        ("evicted", pod("Failed", none(), none(), evicted), "Evicted", 0, 0, Health::Failed),
        ("being deleted", pod("Running", none(), json!([running("a")]), deleted()), "Terminating", 1, 1, Health::Busy),
        (
            "deletion hangs",
            pod("Running", none(), json!([running("a")]), stuck),
            "Terminating",
            1,
            1,
            Health::Attention,
        ),
        (
            "a done job being deleted",
            pod("Succeeded", none(), json!([ended("a", 0, "Completed")]), deleted()),
            "Completed",
            0,
            1,
            Health::Good,
        ),
        ("node lost", pod("Running", none(), json!([running("a")]), lost), "Unknown", 1, 1, Health::Failed),
        (
            "first init container runs",
            pod(
                "Pending",
                json!([running("i"), waiting("j", "PodInitializing")]),
                json!([waiting("a", "PodInitializing")]),
                json!({}),
            ),
            "Init:0/2",
            0,
            1,
            Health::Busy,
        ),
        (
            "second init container waits",
            pod(
                "Pending",
                json!([ended("i", 0, "Completed"), waiting("j", "PodInitializing")]),
                json!([waiting("a", "PodInitializing")]),
                json!({}),
            ),
            "Init:1/2",
            0,
            1,
            Health::Busy,
        ),
        (
            "init container failed",
            pod("Pending", json!([ended("i", 1, "Error")]), json!([waiting("a", "PodInitializing")]), json!({})),
            "Init:Error",
            0,
            1,
            Health::Failed,
        ),
        (
            "init container ended without a word",
            pod("Pending", json!([unnamed(2)]), json!([waiting("a", "PodInitializing")]), json!({})),
            "Init:ExitCode:2",
            0,
            1,
            Health::Failed,
        ),
        (
            "init container dies over and over",
            pod(
                "Pending",
                json!([waiting("i", "CrashLoopBackOff")]),
                json!([waiting("a", "PodInitializing")]),
                json!({}),
            ),
            "Init:CrashLoopBackOff",
            0,
            1,
            Health::Failed,
        ),
        (
            "init containers done",
            pod("Pending", json!([ended("i", 0, "Completed")]), json!([waiting("a", "PodInitializing")]), json!({})),
            "PodInitializing",
            0,
            1,
            Health::Busy,
        ),
        (
            "a sidecar counts",
            pod("Running", json!([sidecar(running("s"))]), json!([running("a")]), ready()),
            "Running",
            2,
            2,
            Health::Good,
        ),
        (
            "a sidecar starts",
            pod(
                "Pending",
                json!([sidecar(json!({"name": "s", "restartCount": 0, "started": false, "state": {"running": {}}}))]),
                json!([waiting("a", "PodInitializing")]),
                json!({}),
            ),
            "Init:0/1",
            0,
            2,
            Health::Busy,
        ),
        (
            "a sidecar died after all were up",
            pod("Running", json!([sidecar(waiting("s", "CrashLoopBackOff"))]), json!([running("a")]), initialized),
            "Init:CrashLoopBackOff",
            1,
            2,
            Health::Failed,
        ),
        ("nothing known", pod("", none(), none(), json!({})), "Unknown", 0, 0, Health::Failed),
    ];
    for (what, pod, status, ready, containers, health) in cases {
        let row = row(pod);
        assert_eq!((row.status.as_str(), row.ready, row.containers), (status, ready, containers), "{what}");
        assert_eq!(row.health, health, "{what}");
        assert_eq!(health == Health::Good, row.health == Health::Good && row.message.is_none(), "{what}: {row:?}");
    }
}

#[test]
fn restarts_are_counted_and_dated() {
    let again = |name: &str, count: u32, at: &str| {
        let mut status = running(name);
        status["restartCount"] = json!(count);
        status["lastState"] = json!({"terminated": {"exitCode": 1, "reason": "Error", "finishedAt": at}});
        status
    };
    let done = |count: u32| {
        let mut status = ended("i", 0, "Completed");
        status["restartCount"] = json!(count);
        status
    };
    let statuses = json!([again("a", 2, "2026-06-01T10:00:00Z"), again("b", 1, "2026-06-01T10:30:00Z")]);
    // Init containers have done their work: how often they were tried no longer matters.
    let calm = row(pod("Running", json!([done(5)]), statuses, ready()));
    assert_eq!((calm.restarts, calm.last_restart.as_deref()), (3, Some("2026-06-01T10:30:00Z")));
    assert_eq!((calm.health, calm.message), (Health::Good, None));

    let shaky = row(pod("Running", json!([]), json!([again("a", 1, "2026-06-01T11:55:00Z")]), ready()));
    assert_eq!(shaky.health, Health::Attention);
    assert_eq!(shaky.message.as_deref(), Some("a: ended with exit code 1"));

    // Every boot of the machine is a restart, and nobody's fault.
    let off = json!({"terminated": {"exitCode": 255, "reason": "Unknown", "finishedAt": "2026-06-01T11:59:00Z"}});
    let mut back = again("a", 1, "2026-06-01T11:59:00Z");
    back["lastState"] = off.clone();
    let booted = row(pod("Running", json!([]), json!([back]), ready()));
    assert_eq!((booted.health, booted.restarts, booted.message), (Health::Good, 1, None));
    // It has its time from when it runs again, not from when it was off.
    let mut slow = again("a", 1, "2026-06-01T11:50:00Z");
    (slow["ready"], slow["state"]) = (json!(false), json!({"running": {"startedAt": "2026-06-01T11:59:30Z"}}));
    assert_eq!(row(pod("Running", json!([]), json!([slow]), json!({}))).health, Health::Busy);
    let mut down = running("a");
    (down["ready"], down["state"]) = (json!(false), off);
    let booting = row(pod("Running", json!([]), json!([down.clone()]), json!({})));
    assert_eq!((booting.health, booting.status.as_str(), booting.message), (Health::Busy, "Unknown", None));
    assert_eq!(row(pod("Failed", json!([]), json!([down.clone()]), json!({}))).health, Health::Failed);
    down["state"]["terminated"]["finishedAt"] = json!(LONG_AGO);
    assert_eq!(row(pod("Running", json!([]), json!([down]), json!({}))).health, Health::Attention);

    let mut init = waiting("i", "CrashLoopBackOff");
    init["restartCount"] = json!(4);
    let stuck = row(pod("Pending", json!([init]), json!([waiting("a", "PodInitializing")]), json!({})));
    assert_eq!(stuck.restarts, 4);
}

#[test]
fn the_message_comes_from_who_knows_most() {
    let mut pull = waiting("a", "ImagePullBackOff");
    pull["state"]["waiting"]["message"] = json!("Back-off pulling image \"x:1\"");
    assert_eq!(
        row(pod("Pending", json!([]), json!([pull]), json!({}))).message.as_deref(),
        Some("a: Back-off pulling image \"x:1\"")
    );
    let killed = row(pod("Failed", json!([]), json!([ended("a", 137, "OOMKilled")]), json!({})));
    assert_eq!(killed.message.as_deref(), Some("a: ended with exit code 137 (OOMKilled)"));
    let evicted = json!({"status": {"reason": "Evicted", "message": "The node was low on resource: memory."}});
    let evicted = row(pod("Failed", json!([]), json!([]), evicted));
    assert_eq!(evicted.message.as_deref(), Some("The node was low on resource: memory."));
    let unscheduled = json!({"status": {"conditions": [{"type": "PodScheduled", "status": "False",
        "reason": "Unschedulable", "message": "0/1 nodes are available."}]}});
    let unscheduled = row(pod("Pending", json!([]), json!([]), unscheduled));
    assert_eq!(unscheduled.message.as_deref(), Some("0/1 nodes are available."));
}

#[test]
fn rows_carry_the_rest() {
    let row = row(pod("Running", json!([ended("i", 0, "Completed")]), json!([running("a"), running("b")]), ready()));
    assert_eq!((row.namespace.as_str(), row.name.as_str()), ("shop", "web-1"));
    assert_eq!(row.container_names, ["i", "a", "b"]);
    assert_eq!(row.owner.as_deref(), Some("ReplicaSet/web"));
    assert_eq!((row.node.as_deref(), row.address.as_deref()), (Some("alcove"), Some("10.42.0.7")));
    assert_eq!(row.created, LONG_AGO);
    assert_eq!((row.cpu_used_m, row.memory_used_bytes), (None, None));
}

#[test]
fn metrics_join_by_namespace_and_name() {
    let pod: Pod = serde_json::from_value(pod("Running", json!([]), json!([running("a")]), ready())).unwrap();
    let metrics = |namespace: &str| {
        serde_json::from_value(json!({"metadata": {"name": "web-1", "namespace": namespace}, "containers": [
            {"name": "a", "usage": {"cpu": "12345678n", "memory": "20Mi"}},
            {"name": "b", "usage": {"cpu": "1m", "memory": "1024Ki"}}]}))
        .unwrap()
    };
    let now = NOW.parse().unwrap();
    let row = pods(std::slice::from_ref(&pod), Some(&[metrics("shop")]), now).remove(0);
    assert_eq!((row.cpu_used_m, row.memory_used_bytes), (Some(14), Some(21 << 20)));
    let row = pods(&[pod], Some(&[metrics("other")]), now).remove(0);
    assert_eq!((row.cpu_used_m, row.memory_used_bytes), (None, None));
}

#[test]
fn gos_empty_lists_are_no_error() {
    let text = r#"{"metadata":{"name":"a","namespace":"b","creationTimestamp":null,"labels":null,"ownerReferences":null},
        "spec":{"containers":null,"nodeName":null},"status":{"phase":"Pending","conditions":null,"containerStatuses":null}}"#;
    let pod: Pod = serde_json::from_str(text).unwrap();
    assert_eq!(pods(&[pod], None, NOW.parse().unwrap())[0].status, "Pending");
}
