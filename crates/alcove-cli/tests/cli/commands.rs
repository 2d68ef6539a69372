//! The commands against a stand-in for the supervisor: words, JSON, exit codes.

use std::{fs, path::PathBuf};

use crate::support::{Ran, Reply, Supervisor, machine, task, version, without_machine};
use serde_json::{Value, json};

fn status() -> Value {
    json!({
        "desired": "running", "phase": "starting",
        "conditions": [
            {"type": "DoorOpen", "status": "True", "reason": "Answers", "message": "the door answers", "hint": "",
             "since": "2020-01-01T00:00:00Z"},
            {"type": "PlatformReady", "status": "False", "reason": "Starting",
             "message": "the gateway has not started", "hint": "Wait a little.", "since": "2020-01-01T00:00:00Z"},
        ],
        "machine": {"provider": "qemu", "acceleration": "tcg", "memory_bytes": 4_294_967_296_u64, "cpus": 2,
            "image": "0123456789ab"},
        "kubernetes": {"distribution": "modules", "version": "v1.36.3", "node_ready": false},
        "endpoints": {"native": "http://alcove.localhost:4000/", "desktop": "http://desktop.localhost:4000/",
            "kubernetes": "http://127.0.0.1:4000/kubernetes"}
    })
}

#[tokio::test]
async fn what_is_not_understood_is_a_usage_error() {
    let home = Supervisor::absent();
    for arguments in [
        &["bogus"][..],
        &["start", "--timeout", "soon"],
        &["--instance", "../etc", "status"],
        &["logs", "--source", "radio"],
        &["setup", "--memory", "lots"],
        &["shell", "--rescue", "--", "ls"],
        &[],
        &["help", "bogus"],
        &["reset"],
        &["reset", "--confirm", "another"],
    ] {
        let ran = home.run(arguments).await;
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{arguments:?}: {ran:?}");
        assert!(!ran.err.is_empty());
    }
    let ran = home.run(&["--json", "bogus"]).await;
    let error: Value = serde_json::from_str(&ran.err).unwrap();
    assert_eq!(
        (ran.code, &error["code"], &error["message"]),
        (2, &json!("bad_request"), &json!("unrecognized subcommand 'bogus'"))
    );
}

#[tokio::test]
async fn without_a_supervisor() {
    let home = Supervisor::absent();
    for arguments in [&["status"][..], &["stop"], &["logs"], &["kubectl", "get", "pods"]] {
        let ran = home.run(arguments).await;
        assert_eq!(ran.code, 5, "{ran:?}");
        assert!(
            ran.err.starts_with("error: Alcove's supervisor is not running (there is no socket)\nhint: "),
            "{ran:?}"
        );
    }
    assert_eq!(home.run(&["quit"]).await.code, 0);
    assert_eq!(home.run(&["version"]).await.out, "alcove 0.1.0\nsupervisor not running\n");
    let doctor = home.run(&["--json", "doctor"]).await;
    let ids: Vec<Value> = doctor.json()["checks"].as_array().unwrap().iter().map(|c| c["id"].clone()).collect();
    assert_eq!(ids, ["virtualisation", "qemu", "memory", "processors", "disk", "ports", "time", "secrets"]);
    // A socket that nobody listens on any more.
    drop(std::os::unix::net::UnixListener::bind(home.layout.api_sock()).unwrap());
    let ran = home.run(&["status"]).await;
    assert_eq!(ran.err.lines().next(), Some("error: Alcove's supervisor is not running (nobody answers)"));
}

#[tokio::test]
async fn what_is_lost_is_asked_about_first() {
    let supervisor = Supervisor::listening();
    supervisor
        .route("GET /api/v1/machine", Reply::Json(200, machine("stopped", false)))
        .route("POST /api/v1/machine/kill", Reply::Json(202, task("succeeded")))
        .route("POST /api/v1/machine/snapshots/before/restore", Reply::Json(202, task("succeeded")))
        .route("DELETE /api/v1/machine/snapshots/before", Reply::Json(202, task("succeeded")))
        .route("DELETE /api/v1/images/4be1c93a77d0", Reply::Json(200, json!({"images": []})));
    for arguments in [
        &["kill"][..],
        &["snapshot", "restore", "before"],
        &["snapshot", "delete", "before"],
        &["image", "remove", "4be1c93a77d0"],
    ] {
        for more in [&[][..], &["--json"]] {
            let ran = supervisor.run(&[arguments, more].concat()).await;
            assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{ran:?}");
            assert!(ran.err.contains("--yes"), "{ran:?}");
        }
        assert!(supervisor.seen().iter().all(|s| s.method == "GET"), "{arguments:?}: {:?}", supervisor.seen());
    }
    for arguments in [
        &["kill", "--yes"][..],
        &["snapshot", "restore", "before", "--yes"],
        &["--json", "snapshot", "delete", "before", "-y"],
    ] {
        let ran = supervisor.run(arguments).await;
        assert_eq!(ran.code, 0, "{ran:?}");
    }
    assert_eq!(supervisor.seen().iter().filter(|s| s.method != "GET").count(), 3);
}

#[tokio::test]
async fn logs_of_this_computer_need_no_supervisor() {
    let home = Supervisor::absent();
    fs::write(home.layout.serial_log(), "one\ntwo\nthree\n").unwrap();
    assert_eq!(home.run(&["logs", "-s", "serial", "-n", "2"]).await.out, "two\nthree\n");
    let ran = home.run(&["--json", "logs", "-s", "serial", "-n", "1"]).await;
    assert_eq!(ran.json(), json!({"source": "serial", "line": "three"}));
    let ran = home.run(&["logs", "-s", "qemu"]).await;
    assert_eq!(ran.code, 3, "{ran:?}");
}

#[tokio::test]
async fn status_for_programs_is_the_body_itself() {
    let supervisor = Supervisor::listening();
    supervisor.route("GET /api/v1/status", Reply::Json(200, status()));
    let ran = supervisor.run(&["status", "--json"]).await;
    assert_eq!((ran.code, ran.json(), ran.err.as_str()), (0, status(), ""));
}

#[tokio::test]
async fn status_for_people() {
    let supervisor = Supervisor::listening();
    supervisor.route("GET /api/v1/status", Reply::Json(200, status()));
    let out = supervisor.run(&["status"]).await.out;
    let days = out.split(['(', ')']).find(|t| t.ends_with(" days")).unwrap().to_owned();
    assert_eq!(
        out.replace(&days, "N days"),
        "The machine is starting, wanted is running
  machine     4 GB of memory, 2 processors, emulated, image 0123456789ab
  kubernetes  v1.36.3 (modules), node not ready
  native      http://alcove.localhost:4000/
  desktop     http://desktop.localhost:4000/

  ✓ DoorOpen         the door answers (N days)
  ✗ PlatformReady    the gateway has not started (N days)
    hint: Wait a little.
"
    );
}

#[tokio::test]
async fn status_without_a_machine_says_what_to_do_and_not_what_is_wanted() {
    let supervisor = Supervisor::listening();
    let mut none = status();
    none["phase"] = json!("absent");
    supervisor.route("GET /api/v1/status", Reply::Json(200, none));
    let out = supervisor.run(&["status"]).await.out;
    assert!(out.starts_with("The machine is not made yet\n  hint: Make it with `alcove setup`.\n"), "{out}");
}

#[tokio::test]
async fn every_error_has_its_exit_code_and_the_same_words() {
    let supervisor = Supervisor::listening();
    let codes = [
        ("bad_request", 2),
        ("unauthenticated", 3),
        ("forbidden", 3),
        ("not_found", 3),
        ("conflict", 3),
        ("wrong_state", 3),
        ("machine_not_running", 3),
        ("timeout", 4),
        ("guest_unreachable", 5),
        ("kubernetes_unreachable", 5),
        ("source_unreachable", 5),
        ("cancelled", 6),
        ("hypervisor_missing", 7),
        ("image_invalid", 7),
        ("disk_full", 7),
        ("unsupported", 7),
        ("hypervisor_failed", 1),
        ("state_invalid", 1),
        ("file_corrupt", 1),
        ("too_new", 1),
        ("internal", 1),
    ];
    for (code, _) in codes {
        let error = json!({"code": code, "message": "it\u{1b}[2J can't", "hint": "Do this."});
        supervisor.route("GET /api/v1/tasks/x", Reply::Json(409, error.clone()));
        supervisor.route("GET /api/v1/tasks/y", Reply::Json(409, error));
    }
    for (code, exit) in codes {
        let ran = supervisor.run(&["task", "show", "x"]).await;
        assert_eq!((ran.code, ran.err.as_str()), (exit, "error: it[2J can't\nhint: Do this.\n"), "{code}");
        let ran = supervisor.run(&["task", "show", "y", "--json"]).await;
        let error: Value = serde_json::from_str(&ran.err).unwrap();
        assert_eq!((ran.code, &error["code"], ran.out.as_str()), (exit, &json!(code), ""));
    }
}

#[tokio::test]
async fn logs_stream_as_text_and_as_json_lines() {
    let supervisor = Supervisor::listening();
    supervisor.route("GET /api/v1/machine/logs", Reply::Text("a\x1b[2Jb\nlast"));
    let ran = supervisor.run(&["logs", "--source", "alcove-guest", "-n", "7", "--follow"]).await;
    assert_eq!((ran.code, ran.out.as_str()), (0, "a[2Jb\nlast\n"));
    let asked = supervisor.seen().last().unwrap().path.clone();
    assert_eq!(asked, "/api/v1/machine/logs?source=alcove-guest&lines=7&follow=1");
    let ran = supervisor.run(&["--json", "logs"]).await;
    let lines: Vec<Value> = ran.out.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines, [json!({"source": "all", "line": "a\u{1b}[2Jb"}), json!({"source": "all", "line": "last"})]);
}

fn settings() -> Value {
    let defaults = json!({"machine": null, "start": "running", "start_at_login": false, "suspend_on_quit": true,
        "theme": "system", "language": null, "display_name": ""});
    let mut now = defaults.clone();
    now["machine"] = json!({"memory_bytes": 4_294_967_296_u64, "cpus": 2, "disk_bytes": 68_719_476_736_u64});
    now["theme"] = json!("dark");
    json!({"settings": now, "defaults": defaults, "restart_needed": ["machine.memory_bytes"], "problem": null})
}

#[tokio::test]
async fn settings_are_shown_and_changed() {
    let supervisor = Supervisor::listening();
    supervisor.route("GET /api/v1/settings", Reply::Json(200, settings()));
    supervisor.route("PATCH /api/v1/settings", Reply::Json(200, settings()));
    let out = supervisor.run(&["settings"]).await.out;
    for line in [
        "machine.memory_bytes  4294967296 (4 GB)    waits for a restart",
        "theme                 dark                 changed",
    ] {
        assert!(out.lines().any(|l| l == line), "{out}");
    }
    assert_eq!(supervisor.run(&["settings", "get", "theme"]).await.out, "dark\n");
    assert_eq!(supervisor.run(&["--json", "settings", "get", "machine.cpus"]).await.json(), json!(2));
    let ran = supervisor.run(&["settings", "get", "colour"]).await;
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("There are: display_name, language, machine.cpus"), "{ran:?}");

    let ran = supervisor.run(&["settings", "set", "machine.memory_bytes", "6GiB"]).await;
    assert_eq!(supervisor.body("PATCH /api/v1/settings"), json!({"machine": {"memory_bytes": 6_442_450_944_u64}}));
    assert!(ran.err.contains("alcove restart"), "{ran:?}");
    assert_eq!(supervisor.run(&["settings", "unset", "theme"]).await.code, 0);
    assert_eq!(supervisor.seen().last().unwrap().body, json!({"theme": null}));
    let ran = supervisor.run(&["settings", "set", "start_at_login", "on"]).await;
    assert_eq!(supervisor.seen().last().unwrap().body, json!({"start_at_login": true}));
    assert!(ran.err.contains("else when it is opened next"), "who sets it is told what it waits for: {ran:?}");
}

#[tokio::test]
async fn the_rest_prints_what_the_supervisor_says() {
    let supervisor = Supervisor::listening();
    let operation = json!({"id": 7, "at": "2026-01-01T00:00:00Z", "who": "owner", "via": "cli", "what": "machine.start",
        "subject": "default", "result": "succeeded", "message": "ok"});
    supervisor
        .route("GET /api/v1/operations", Reply::Json(200, json!({"operations": [operation], "next_before": 7})))
        .route("GET /api/v1/tasks", Reply::Json(200, json!({"tasks": [task("failed")]})))
        .route("GET /api/v1/tasks/t-1", Reply::Json(200, task("failed")))
        .route("POST /api/v1/tasks/t-1/cancel", Reply::Empty(204))
        .route(
            "GET /api/v1/machine/snapshots",
            Reply::Json(
                200,
                json!([{"name": "before", "created":
            "2026-01-01T00:00:00Z", "with_memory": true, "image": "0123456789ab", "state_bytes": 1_073_741_824,
            "note": "first try"}]),
            ),
        )
        .route(
            "POST /api/v1/tickets",
            Reply::Json(
                200,
                json!({"url": "http://desktop.localhost:4000/.alcove/ticket/x",
            "expires_at": "2026-01-01T00:00:00Z"}),
            ),
        );
    let ran = supervisor.run(&["operations", "--limit", "1"]).await;
    assert_eq!(ran.out, "7  2026-01-01T00:00:00Z  owner (cli)  machine.start  succeeded  ok\n");
    assert_eq!(ran.err, "Older ones: `alcove operations --before 7`.\n");
    let out = supervisor.run(&["task", "list"]).await.out;
    assert!(out.starts_with("t-1  machine.start  failed") && out.ends_with("QEMU ended at once\n"), "{out}");
    assert!(supervisor.run(&["task", "show", "t-1"]).await.out.contains("hint     See `alcove logs"));
    assert_eq!(supervisor.run(&["task", "cancel", "t-1"]).await.code, 0);
    let out = supervisor.run(&["snapshot"]).await.out;
    assert_eq!(out, "before  2026-01-01T00:00:00Z  suspended, 1 GB  first try\n");
    let ran = supervisor.run(&["open", "desktop", "--print", "-q"]).await;
    assert_eq!((ran.out.as_str(), ran.err.as_str()), ("http://desktop.localhost:4000/.alcove/ticket/x\n", ""));
    assert_eq!(supervisor.body("POST /api/v1/tickets"), json!({"for": "desktop"}));
    let ran = supervisor.run(&["version", "--json"]).await;
    assert_eq!(ran.json(), json!({"alcove": "0.1.0", "supervisor": version()}));
}

#[tokio::test]
async fn a_link_that_could_not_be_opened_is_printed() {
    let supervisor = Supervisor::listening();
    let link = "http://desktop.localhost:4000/.alcove/ticket/x";
    supervisor
        .route("POST /api/v1/tickets", Reply::Json(200, json!({"url": link, "expires_at": "2026-01-01T00:00:00Z"})));
    let run = async |opener: &str| {
        let executable = supervisor.installed(&[("xdg-open", opener), ("alcove-desktop", opener)]);
        let mut command = supervisor.command_at(&executable, &["open"]);
        command.env("DISPLAY", ":none").env("PATH", executable.parent().unwrap());
        Ran::from(command.output().await.unwrap())
    };
    let ran = run("exit 3").await;
    assert_eq!((ran.code, ran.out.trim()), (1, link), "{ran:?}");
    assert!(ran.err.contains("exit status: 3") && ran.err.contains("hint: "), "{ran:?}");
    let ran = run("exit 0").await;
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (0, "", ""));
}

#[tokio::test]
async fn a_command_in_the_machine_passes_its_exit_code_on() {
    let supervisor = Supervisor::listening();
    supervisor.route("GET /api/v1/machine/shell", Reply::Terminal("hello\r\n", 42));
    let ran = supervisor.run(&["shell", "--", "sh", "-c", "exit 42"]).await;
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (42, "hello\r\n", ""));
    let asked = supervisor.seen().last().unwrap().path.clone();
    assert_eq!(asked, "/api/v1/machine/shell?cols=80&rows=24&command=sh%20-c%20%27exit%2042%27");
    let ran = supervisor.run(&["--json", "shell", "--", "true"]).await;
    assert_eq!((ran.code, ran.json()), (42, json!({"exit_code": 42, "output": "hello\r\n"})));
    supervisor.route(
        "GET /api/v1/machine/console/attach",
        Reply::Json(
            409,
            json!({"code": "machine_not_running",
        "message": "the machine is stopped", "hint": "Start it."}),
        ),
    );
    let ran = supervisor.run(&["shell", "--rescue"]).await;
    assert_eq!((ran.code, ran.err.as_str()), (3, "error: the machine is stopped\nhint: Start it.\n"));
}

#[tokio::test]
async fn kubectl_gets_a_way_of_its_own_and_keeps_its_exit_code() {
    let supervisor = Supervisor::listening();
    supervisor.route("GET /kubernetes/api/v1/pods", Reply::Json(200, json!({"kind": "PodList", "items": []})));
    let script = "echo \"$@\"; stat -c %a \"$KUBECONFIG\"; echo \"$KUBECONFIG\"; cat \"$KUBECONFIG\"; exit 9";
    let executable = supervisor.installed(&[("kubectl", script)]);
    for arguments in
        [&["kubectl", "--", "get", "pods", "-A", "--json"][..], &["kubectl", "get", "pods", "-A", "--json"]]
    {
        let ran = Ran::from(supervisor.command_at(&executable, arguments).output().await.unwrap());
        assert_eq!((ran.code, ran.err.as_str()), (9, ""), "{ran:?}");
        let lines: Vec<&str> = ran.out.lines().collect();
        assert_eq!(lines[..2], ["get pods -A --json", "600"]);
        assert!(!std::path::Path::new(lines[2]).exists(), "it is gone with the command");
        let config: Value = serde_json::from_str(lines[3]).unwrap();
        let cluster = &config["clusters"][0]["cluster"];
        assert_eq!(cluster["server"], "https://default.alcove.localhost");
        let port = cluster["proxy-url"].as_str().unwrap();
        assert!(port.starts_with("http://127.0.0.1:"), "{port}");
    }
}

/// kubectl itself: the one that `ALCOVE_TEST_KUBECTL` names (`cargo xtask test` does, once it is built), or one on PATH.
fn kubectl() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("ALCOVE_TEST_KUBECTL") {
        let named = PathBuf::from(named);
        assert!(named.is_file(), "{} is no kubectl", named.display());
        return Some(named);
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join("kubectl")).find(|file| file.is_file())
}

/// Its TLS, its token, its raw requests.
#[tokio::test]
async fn a_real_kubectl_comes_through() {
    let Some(kubectl) = kubectl() else { return };
    let supervisor = Supervisor::listening();
    let refusal =
        json!({"code": "kubernetes_unreachable", "message": "Kubernetes is starting", "hint": "Wait a little."});
    supervisor
        .route(
            "GET /kubernetes/version",
            Reply::Json(200, json!({"major": "1", "minor": "36", "gitVersion": "v1.36.3"})),
        )
        .route("GET /kubernetes/healthz", Reply::Json(503, refusal.clone()))
        .route("GET /kubernetes/api", Reply::Json(503, refusal));
    let run = async |arguments: &[&str]| {
        let mut command = supervisor.command(arguments);
        command.env("ALCOVE_KUBECTL", &kubectl).env("HOME", supervisor.home.path());
        Ran::from(command.output().await.unwrap())
    };
    let ran = run(&["kubectl", "get", "--raw", "/version"]).await;
    assert_eq!((ran.code, &ran.json()["gitVersion"]), (0, &json!("v1.36.3")), "{ran:?}");
    let seen = supervisor.seen();
    assert!(seen.iter().all(|s| !s.headers.contains_key("authorization")), "its token ends at this command");
    let ran = run(&["kubectl", "get", "--raw", "/healthz"]).await;
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("Kubernetes is starting. Wait a little."), "{ran:?}");
    assert!(!ran.err.contains("hint:"), "said once: {ran:?}");
    // Of what it asks first it tells no reason.
    let ran = run(&["kubectl", "get", "pods"]).await;
    assert_eq!(ran.code, 1);
    assert!(ran.err.ends_with("error: Kubernetes is starting\nhint: Wait a little.\n"), "{ran:?}");
}

/// Each command is another port of loopback, but not another cluster to learn about.
#[tokio::test]
async fn what_kubectl_learned_of_the_cluster_is_kept_with_the_machine() {
    let Some(kubectl) = kubectl() else { return };
    let supervisor = Supervisor::listening();
    let pods =
        json!({"name": "pods", "singularName": "pod", "namespaced": true, "kind": "Pod", "verbs": ["get", "list"]});
    let answers = [
        ("", json!({"kind": "APIVersions", "versions": ["v1"]})),
        ("s", json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": []})),
        ("/v1", json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "v1", "resources": [pods]})),
        ("/v1/namespaces/default/pods", json!({"kind": "PodList", "apiVersion": "v1", "items": []})),
    ];
    for (path, answer) in answers {
        supervisor.route(&format!("GET /kubernetes/api{path}"), Reply::Json(200, answer));
    }
    let mut asked = Vec::new();
    for _ in 0..2 {
        let before = supervisor.seen().len();
        let mut command = supervisor.command(&["kubectl", "get", "pods", "-o", "name"]);
        command.env("ALCOVE_KUBECTL", &kubectl).env("HOME", supervisor.home.path()).env_remove("KUBECACHEDIR");
        let ran = Ran::from(command.output().await.unwrap());
        assert_eq!(ran.code, 0, "{ran:?}");
        let mut paths: Vec<String> = supervisor.seen().drain(before..).map(|s| s.path).collect();
        paths.retain(|path| path.starts_with("/kubernetes"));
        asked.push(paths);
    }
    assert_eq!(asked[1], ["/kubernetes/api/v1/namespaces/default/pods?limit=500"], "before: {:?}", asked[0]);
    assert!(!supervisor.home.path().join(".kube").exists());
    let kept = supervisor.home.path().join("data/machines/default/kubectl-cache/discovery");
    assert_eq!(fs::read_dir(kept).unwrap().count(), 1);
}

#[tokio::test]
async fn the_way_of_one_kubectl_is_closed_to_others() {
    let Some(kubectl) = kubectl() else { return };
    let supervisor = Supervisor::listening();
    supervisor.route("GET /kubernetes/version", Reply::Json(200, json!({"gitVersion": "v1.36.3"})));
    // The same way twice: with the token that belongs to it, and with another.
    for (token, answers) in [("&", true), ("\"token\":\"guess\"", false)] {
        let script = format!(
            "sed 's/\"token\":\"[^\"]*\"/{token}/' \"$KUBECONFIG\" >\"$KUBECONFIG.x\"; \
             KUBECONFIG=\"$KUBECONFIG.x\" HOME=/nonexistent exec '{}' get --raw /version",
            kubectl.display()
        );
        let executable = supervisor.installed(&[("kubectl", &script)]);
        let asked = supervisor.seen().len();
        let mut command = supervisor.command_at(&executable, &["kubectl"]);
        let ran = Ran::from(command.env_remove("ALCOVE_KUBECTL").output().await.unwrap());
        assert_eq!(ran.code == 0, answers, "{token}: {ran:?}");
        let came = supervisor.seen()[asked..].iter().any(|s| s.path == "/kubernetes/version");
        assert_eq!(came, answers, "{token}: {ran:?}");
    }
}

#[tokio::test]
async fn help_manual_and_completions() {
    let home = Supervisor::absent();
    let ran = home.run(&["help", "exit-codes"]).await;
    assert!(
        ran.out.contains("    5  The supervisor, the machine, the cluster or an image's source does not answer.\n"),
        "{ran:?}"
    );
    assert!(home.run(&["help", "start"]).await.out.contains("Usage: alcove start"));
    assert!(home.run(&["help"]).await.out.contains("suspend"));
    let ran = home.run(&["--json", "help", "start"]).await;
    assert!(ran.json()["help"].as_str().unwrap().contains("Usage: alcove start"), "{ran:?}");
    let folder = home.home.path().join("man");
    assert_eq!(home.run(&["man", folder.to_str().unwrap()]).await.code, 0);
    let page = fs::read_to_string(folder.join("alcove.1")).unwrap();
    assert!(page.contains("EXIT STATUS") && page.contains("ALCOVE_HOME"));
    assert!(folder.join("alcove-task-wait.1").exists());
    for shell in ["bash", "zsh", "fish"] {
        assert!(home.run(&["completions", shell]).await.out.contains("suspend"));
    }
}

#[tokio::test]
async fn setup_keeps_within_what_the_computer_has() {
    let supervisor = Supervisor::listening();
    let gib = |n: u64| n << 30;
    let sizes =
        |memory: u64, cpus: u32, disk: u64| json!({"memory_bytes": gib(memory), "cpus": cpus, "disk_bytes": gib(disk)});
    supervisor
        .route("GET /api/v1/machine", Reply::Json(200, without_machine()))
        .route(
            "GET /api/v1/machine/proposal",
            Reply::Json(
                200,
                json!({"setup": sizes(4, 4, 64), "least": sizes(2, 2, 10),
            "most": sizes(12, 8, 100), "folder": "/data", "folder_free": gib(102), "checks": []}),
            ),
        )
        .route("POST /api/v1/machine", Reply::Json(202, task("succeeded")));
    let ran = supervisor.run(&["setup", "--memory", "64GiB"]).await;
    assert_eq!(
        (ran.code, ran.err.as_str()),
        (2, "error: 64 GB of memory can't be had on this computer\nhint: Choose from 2 GB to 12 GB.\n")
    );
    let ran = supervisor.run(&["setup", "--memory", "6G", "--cpus", "3"]).await;
    assert_eq!((ran.code, ran.out.as_str()), (0, "Made. `alcove start` brings it up.\n"), "{ran:?}");
    assert_eq!(ran.err, "Making a machine in /data with 6 GB of memory, 3 processors and a disk of up to 64 GB.\n");
    assert_eq!(supervisor.body("POST /api/v1/machine"), sizes(6, 3, 64));
    let made = Supervisor::listening();
    made.route("GET /api/v1/machine", Reply::Json(200, machine("stopped", false)));
    assert_eq!(made.run(&["setup"]).await.code, 3);
}
