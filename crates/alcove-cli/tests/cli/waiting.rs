//! Waiting for what was begun, and being called away from it.

use std::{fs, time::Duration};

use crate::support::{Ran, Reply, Supervisor, boot, event, machine, task, version, without_machine};
use serde_json::{Value, json};
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(20);

fn starting() -> Supervisor {
    let supervisor = Supervisor::listening();
    supervisor
        .route("GET /api/v1/machine", Reply::Json(200, machine("starting", false)))
        .route("POST /api/v1/machine/start", Reply::Json(202, task("running")))
        .route("GET /api/v1/tasks/t-1", Reply::Json(200, task("running")));
    supervisor
}

#[tokio::test]
async fn start_comes_back_when_the_web_desktop_answers() {
    let supervisor = starting();
    supervisor.then(
        "POST /api/v1/machine/start",
        vec![
            event("boot", boot(&["kernel"], Some("initrd"))),
            event("boot", boot(&["kernel", "initrd"], Some("apiserver"))),
            event("machine", machine("running", false)),
            event("task", task("succeeded")),
            event("boot", boot(&["kernel", "initrd", "apiserver", "platform"], None)),
            event("machine", machine("running", true)),
        ],
    );
    let ran = timeout(SOON, supervisor.run(&["start", "--wait", "--timeout", "600"])).await.unwrap();
    assert_eq!((ran.code, ran.out.as_str()), (0, ""), "{ran:?}");
    let lines: Vec<&str> = ran.err.lines().collect();
    assert_eq!(
        lines[..4],
        [
            "✓ Linux kernel             1.5 s",
            "✓ First files              1.5 s",
            "✓ Kubernetes API           1.5 s",
            "✓ Web desktop              1.5 s",
        ]
    );
    assert!(lines[4].starts_with("The web desktop answers (") && lines.len() == 5, "{ran:?}");

    let seen = supervisor.seen();
    let start = seen.iter().find(|s| s.path == "/api/v1/machine/start").unwrap();
    assert_eq!(start.body, json!({"rescue": false}));
    assert_eq!(start.headers["user-agent"], "alcove-cli/0.1.0");
    assert_eq!(start.headers["idempotency-key"].len(), 36);
    assert!(seen.iter().filter(|s| s.method == "GET").all(|s| !s.headers.contains_key("idempotency-key")));
}

#[tokio::test]
async fn for_programs_only_the_task_is_printed() {
    let supervisor = starting();
    supervisor.then(
        "POST /api/v1/machine/start",
        vec![
            event("boot", boot(&["kernel"], None)),
            event("machine", machine("running", true)),
            event("task", task("succeeded")),
        ],
    );
    let ran = timeout(SOON, supervisor.run(&["start", "--json"])).await.unwrap();
    assert_eq!((ran.code, ran.json(), ran.err.as_str()), (0, task("succeeded"), ""));
}

#[tokio::test]
async fn a_start_that_fails_says_why() {
    let supervisor = starting();
    supervisor.then("POST /api/v1/machine/start", vec![event("task", task("failed"))]);
    let ran = timeout(SOON, supervisor.run(&["start"])).await.unwrap();
    assert_eq!(ran.code, 1);
    assert_eq!(ran.err, "error: QEMU ended at once\n  | qemu: bad [2Joption\nhint: See `alcove logs --source qemu`.\n");
}

#[tokio::test]
async fn a_machine_that_fails_after_its_start_says_why() {
    let supervisor = starting();
    let mut failed = machine("failed", false);
    failed["failure"] = json!({"error": {"code": "guest_unreachable", "message": "the guest never answered",
        "hint": "Look at `alcove shell --rescue`."}, "last_words": ["Kernel panic"], "at": "2026-01-01T00:00:00Z"});
    supervisor.then("POST /api/v1/machine/start", vec![event("task", task("succeeded")), event("machine", failed)]);
    let ran = timeout(SOON, supervisor.run(&["start"])).await.unwrap();
    assert_eq!(ran.code, 5);
    assert_eq!(ran.err, "error: the guest never answered\n  | Kernel panic\nhint: Look at `alcove shell --rescue`.\n");
}

#[tokio::test]
async fn a_deadline_ends_the_waiting_not_the_work() {
    let supervisor = starting();
    supervisor.then("POST /api/v1/machine/start", vec![event("task", task("succeeded"))]);
    let ran = timeout(SOON, supervisor.run(&["start", "--timeout", "2"])).await.unwrap();
    assert_eq!(ran.code, 4);
    assert_eq!(
        ran.err,
        "error: the web desktop does not answer after 2.0 s (the gateway has not started)\n\
         hint: It goes on; `alcove task wait t-1` follows it, `alcove logs` says more.\n"
    );
}

#[tokio::test]
async fn one_deadline_holds_for_all_that_is_waited_for() {
    let supervisor = Supervisor::listening();
    let sizes = json!({"memory_bytes": 4_294_967_296_u64, "cpus": 2, "disk_bytes": 68_719_476_736_u64});
    let proposal = json!({"setup": sizes, "least": sizes, "most": sizes, "folder": "/data", "folder_free": 1,
        "checks": []});
    supervisor
        .route("GET /api/v1/machine", Reply::Json(200, without_machine()))
        .route("GET /api/v1/machine/proposal", Reply::Json(200, proposal))
        .route("POST /api/v1/machine", Reply::Late(Duration::from_millis(700), task("succeeded")))
        .route("POST /api/v1/machine/start", Reply::Json(202, task("running")))
        .route("GET /api/v1/tasks/t-1", Reply::Json(200, task("running")));
    // Making the machine has used up all of it.
    let ran = timeout(SOON, supervisor.run(&["start", "--timeout", "0.5"])).await.unwrap();
    assert_eq!(ran.code, 4, "{ran:?}");
    assert!(supervisor.seen().iter().all(|s| s.path != "/api/v1/machine/start"), "{:?}", supervisor.seen());
}

#[tokio::test]
async fn a_supervisor_that_is_started_anew_is_waited_for() {
    let mut supervisor = starting();
    let child = supervisor.command(&["start", "-q"]).spawn().unwrap();
    timeout(SOON, async {
        while supervisor.seen().iter().filter(|s| s.path == "/api/v1/machine").count() < 3 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .unwrap();
    supervisor.vanish();
    // Away for longer than the command goes without reading the state, and shorter than it waits.
    tokio::time::sleep(Duration::from_secs(6)).await;
    supervisor.route("GET /api/v1/tasks/t-1", Reply::Json(200, task("succeeded")));
    supervisor.route("GET /api/v1/tasks/t-1", Reply::Json(200, task("succeeded")));
    supervisor.route("GET /api/v1/machine", Reply::Json(200, machine("running", true)));
    supervisor.route("GET /api/v1/machine", Reply::Json(200, machine("running", true)));
    supervisor.listen();
    let ran = Ran::from(timeout(SOON, child.wait_with_output()).await.unwrap().unwrap());
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{ran:?}");
}

#[tokio::test]
async fn a_supervisor_that_stays_away_is_given_up_on() {
    let mut supervisor = starting();
    let child = supervisor.command(&["start", "-q"]).spawn().unwrap();
    timeout(SOON, async {
        while supervisor.seen().iter().filter(|s| s.path == "/api/v1/machine").count() < 3 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .unwrap();
    supervisor.vanish();
    let ran = Ran::from(timeout(Duration::from_secs(40), child.wait_with_output()).await.unwrap().unwrap());
    assert_eq!(ran.code, 5, "{ran:?}");
}

#[tokio::test]
async fn what_needs_no_machine_starts_a_supervisor_that_leaves_it_as_it_is() {
    for arguments in [&["settings"][..], &["task"], &["snapshot"], &["operations"], &["image"]] {
        let home = Supervisor::absent();
        let mark = home.home.path().join("mark");
        let script = format!("echo $@ >{0}; exit 1", mark.display());
        let executable = home.installed(&[("alcoved", &script)]);
        let run = home.command_at(&executable, arguments).output();
        assert_eq!(Ran::from(timeout(SOON, run).await.unwrap().unwrap()).code, 5);
        assert_eq!(fs::read_to_string(&mark).unwrap(), "--instance default --keep\n", "{arguments:?}");
    }
}

#[tokio::test]
async fn a_newer_request_replaces_it() {
    let supervisor = starting();
    supervisor.then("POST /api/v1/machine/start", vec![event("task", task("cancelled"))]);
    let ran = timeout(SOON, supervisor.run(&["start", "-q"])).await.unwrap();
    assert_eq!(ran.code, 6);
    assert!(ran.err.starts_with("error: machine.start was cancelled or replaced by a newer request\n"), "{ran:?}");
}

#[tokio::test]
async fn without_waiting_the_task_is_named() {
    let supervisor = starting();
    let ran = timeout(SOON, supervisor.run(&["start", "--no-wait"])).await.unwrap();
    assert_eq!((ran.code, ran.err.as_str()), (0, "Begun; `alcove task wait t-1` follows it.\n"));
}

#[tokio::test]
async fn a_lost_event_does_not_keep_us_waiting() {
    let supervisor = starting();
    supervisor
        .route("GET /api/v1/tasks/t-1", Reply::Json(200, task("succeeded")))
        .route("GET /api/v1/machine", Reply::Json(200, machine("starting", false)))
        .route("GET /api/v1/machine", Reply::Json(200, machine("starting", false)))
        .route("GET /api/v1/machine", Reply::Json(200, machine("running", true)));
    let ran = timeout(Duration::from_secs(30), supervisor.run(&["start"])).await.unwrap();
    assert_eq!(ran.code, 0, "{ran:?}");
}

#[tokio::test]
async fn events_that_were_missed_are_read_anew() {
    let supervisor = starting();
    supervisor.then("POST /api/v1/machine/start", vec![event("resync", Value::Null)]);
    supervisor
        .route("GET /api/v1/tasks/t-1", Reply::Json(200, task("succeeded")))
        .route("GET /api/v1/machine", Reply::Json(200, machine("starting", false)))
        .route("GET /api/v1/machine", Reply::Json(200, machine("running", true)));
    let ran = timeout(SOON, supervisor.run(&["start"])).await.unwrap();
    assert_eq!(ran.code, 0, "{ran:?}");
}

#[tokio::test]
async fn ctrl_c_detaches() {
    let supervisor = starting();
    let child = supervisor.command(&["start"]).spawn().unwrap();
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
    timeout(SOON, async {
        // It listens for signals when it reads the machine for the third time.
        while supervisor.seen().iter().filter(|s| s.path == "/api/v1/machine").count() < 3 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let ran = Ran::from(timeout(SOON, child.wait_with_output()).await.unwrap().unwrap());
    assert_eq!((ran.code, ran.err.as_str()), (130, "Detached. It goes on; `alcove task wait t-1` follows it.\n"));
}

#[tokio::test]
async fn start_makes_the_machine_first() {
    let supervisor = Supervisor::listening();
    let sizes = json!({"memory_bytes": 4_294_967_296_u64, "cpus": 2, "disk_bytes": 68_719_476_736_u64});
    let proposal = json!({"setup": sizes, "least": sizes, "most": sizes, "folder": "/data", "folder_free": 1,
        "checks": []});
    supervisor
        .route("GET /api/v1/machine", Reply::Json(200, without_machine()))
        .route("GET /api/v1/machine", Reply::Json(200, without_machine()))
        .route("GET /api/v1/machine", Reply::Json(200, without_machine()))
        .route("GET /api/v1/machine", Reply::Json(200, machine("running", true)))
        .route("GET /api/v1/machine/proposal", Reply::Json(200, proposal))
        .route("POST /api/v1/machine", Reply::Json(202, task("succeeded")))
        .route("POST /api/v1/machine/start", Reply::Json(202, task("succeeded")));
    let ran = timeout(SOON, supervisor.run(&["start"])).await.unwrap();
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.err.starts_with("Making a machine in /data with 4 GB of memory, 2 processors"), "{ran:?}");
    assert_eq!(supervisor.body("POST /api/v1/machine"), sizes);
}

#[tokio::test]
async fn a_computer_that_can_not_is_told_before_anything_is_made() {
    let supervisor = Supervisor::listening();
    let sizes = json!({"memory_bytes": 1, "cpus": 1, "disk_bytes": 1});
    let check = json!({"id": "qemu", "title": "QEMU", "status": "fail", "message": "QEMU is not installed",
        "hint": "Install it."});
    supervisor.route("GET /api/v1/machine", Reply::Json(200, without_machine())).route(
        "GET /api/v1/machine/proposal",
        Reply::Json(
            200,
            json!({"setup": sizes, "least": sizes, "most": sizes, "folder": "/data", "folder_free": 1,
            "checks": [check]}),
        ),
    );
    let ran = timeout(SOON, supervisor.run(&["start"])).await.unwrap();
    assert_eq!((ran.code, ran.err.as_str()), (7, "error: QEMU is not installed\nhint: Install it.\n"));
}

#[tokio::test]
async fn a_supervisor_that_dies_at_once_is_quoted() {
    let home = Supervisor::absent();
    let executable = home.installed(&[("alcoved", "echo 'settings are damaged' >&2; exit 3")]);
    let run = home.command_at(&executable, &["start"]).output();
    let ran = Ran::from(timeout(SOON, run).await.unwrap().unwrap());
    assert_eq!(ran.code, 5);
    assert_eq!(
        ran.err,
        "error: Alcove's supervisor could not be started: it ended at once, exit status: 3 (settings are damaged)\n  \
         | settings are damaged\nhint: See `alcove logs --source alcoved`.\n"
    );
}

#[tokio::test]
async fn a_supervisor_is_started_in_a_session_of_its_own_and_waited_for() {
    let home = Supervisor::absent();
    home.route("GET /api/v1/machine", Reply::Json(200, machine("running", true)))
        .route("POST /api/v1/machine/start", Reply::Json(202, task("succeeded")));
    let mark = home.home.path().join("mark");
    // Field 6 of stat is the session.
    let script =
        format!("echo $$ $(cut -d' ' -f6 /proc/$$/stat) $@ >{0}.tmp; mv {0}.tmp {0}; exec sleep 20", mark.display());
    let executable = home.installed(&[("alcoved", &script)]);
    let child = home.command_at(&executable, &["start", "-q"]).spawn().unwrap();
    timeout(SOON, async {
        while !mark.exists() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .unwrap();
    home.listen();
    let ran = Ran::from(timeout(SOON, child.wait_with_output()).await.unwrap().unwrap());
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    let words = fs::read_to_string(&mark).unwrap();
    let words: Vec<&str> = words.split_whitespace().collect();
    assert_eq!(words[0], words[1], "it leads its own session");
    assert_eq!(words[2..], ["--instance", "default"]);
    let pid = rustix::process::Pid::from_raw(words[0].parse().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
}

#[tokio::test]
async fn quit_waits_until_nobody_answers() {
    let supervisor = Supervisor::listening();
    let settings = json!({"machine": null, "start": "running", "start_at_login": false, "suspend_on_quit": true,
        "theme": "system", "language": null, "display_name": ""});
    let view = json!({"settings": settings, "defaults": settings, "restart_needed": [], "problem": null});
    supervisor
        .route("GET /api/v1/settings", Reply::Json(200, view))
        .route("GET /api/v1/machine", Reply::Json(200, machine("running", true)))
        .route("POST /api/v1/quit", Reply::Json(202, task("succeeded")))
        .route("GET /api/v1/version", Reply::Json(200, version()));
    let child = supervisor.command(&["quit"]).spawn().unwrap();
    timeout(SOON, async {
        while !supervisor.seen().iter().any(|s| s.path == "/api/v1/quit") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .unwrap();
    fs::remove_file(supervisor.layout.api_sock()).unwrap();
    let ran = Ran::from(timeout(SOON, child.wait_with_output()).await.unwrap().unwrap());
    assert_eq!((ran.code, ran.err.as_str()), (0, "Alcove has quit.\n"));
    assert_eq!(supervisor.body("POST /api/v1/quit"), json!({"suspend": true}));
}
