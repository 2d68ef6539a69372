//! Guest images, and the kubectl that comes with one.

use std::fs;

use crate::support::{Ran, Reply, Supervisor, event, machine, task, without_machine, write_script};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

fn manifest(files: Value) -> Value {
    json!({
        "schema": 1, "version": "4be1c93a77d0", "created": "2026-09-01T00:00:00Z", "architecture": "x86_64",
        "kernel_version": "6.12.48", "cmdline": "", "kubernetes": {"distribution": "modules", "version": "v1.36.3"},
        "guest_version": "0.1.0", "files": files, "packages": [{"name": "bash", "version": "5.2"}], "containers": []
    })
}

fn files() -> Value {
    json!([{"name": "root.erofs", "bytes": 300 << 20, "sha256": "00"}])
}

fn list(images: &Value, source: &Value) -> Value {
    json!({"images": images, "damaged": [], "unfinished": [], "source": source, "task": null})
}

fn entry(folder: &str, files: &Value, role: &str) -> Value {
    json!([{"manifest": manifest(files.clone()), "folder": folder, "bytes": 300 << 20, "role": role, "own": true,
        "used_by": ["default"]}])
}

fn source() -> Value {
    json!({"schema": 1, "from": "https://images.example/4be1c93a77d0/", "manifest_sha256": "00",
        "manifest": manifest(files())})
}

fn fetching(state: &str, transfer: &Value) -> Value {
    let mut task = task(state);
    task["kind"] = json!("image.fetch");
    task["message"] = json!("file:root.erofs");
    task["transfer"] = transfer.clone();
    task
}

#[tokio::test]
async fn images_are_listed_in_words_and_for_programs() {
    let supervisor = Supervisor::listening();
    let mut images = list(&entry("/images/4be1c93a77d0", &files(), "trial"), &Value::Null);
    images["unfinished"] = json!([{"version": "def", "bytes": 1 << 20, "total_bytes": 4 << 20}]);
    images["damaged"] = json!([{"folder": "/images/bad", "reason": "vmlinuz is missing"}]);
    supervisor.route("GET /api/v1/images", Reply::Json(200, images));
    let ran = supervisor.run(&["image"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let lines: Vec<String> = ran.out.lines().map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(
        lines,
        [
            "4be1c93a77d0 on trial 2026-09-01T00:00:00Z Linux 6.12.48, Kubernetes v1.36.3 (modules), 1 packages 300 MB",
            "def unfinished 1 MB of 4 MB",
            "/images/bad damaged vmlinuz is missing",
        ]
    );
    let ran = supervisor.run(&["--json", "image", "list"]).await;
    assert_eq!(ran.json()["images"][0]["role"], "trial");

    let empty = Supervisor::listening();
    empty.route("GET /api/v1/images", Reply::Json(200, list(&json!([]), &source())));
    let ran = empty.run(&["image", "list"]).await;
    assert!(ran.out.contains("`alcove image fetch` brings one from https://images.example/"), "{ran:?}");
}

#[tokio::test]
async fn an_image_is_fetched_and_removed() {
    let supervisor = Supervisor::listening();
    supervisor
        .route("GET /api/v1/machine", Reply::Json(200, without_machine()))
        .route("POST /api/v1/images/fetch", Reply::Json(202, fetching("running", &Value::Null)))
        .route("DELETE /api/v1/images/4be1c93a77d0", Reply::Json(200, list(&json!([]), &Value::Null)))
        .then("POST /api/v1/images/fetch", vec![event("task", fetching("succeeded", &Value::Null))]);
    let mut command = supervisor.command(&["image", "fetch", "stick", "--sha256", "ab"]);
    let ran = Ran::from(command.current_dir(supervisor.home.path()).output().await.unwrap());
    assert_eq!((ran.code, ran.err.as_str()), (0, "The image is here. `alcove image` lists it.\n"), "{ran:?}");
    let body = supervisor.body("POST /api/v1/images/fetch");
    let whole = supervisor.home.path().canonicalize().unwrap().join("stick");
    assert_eq!(body, json!({"source": whole, "sha256": "ab"}), "the supervisor works in another folder");
    let ran = supervisor.run(&["image", "remove", "4be1c93a77d0", "--yes"]).await;
    assert_eq!((ran.code, ran.err.as_str()), (0, "4be1c93a77d0 is deleted.\n"), "{ran:?}");
}

#[tokio::test]
async fn a_fetch_that_takes_long_says_how_far_it_is() {
    let supervisor = Supervisor::listening();
    let transfer =
        json!({"bytes": 120 << 20, "total_bytes": 300 << 20, "bytes_per_second": 10 << 20, "seconds_left": 18});
    supervisor
        .route("GET /api/v1/machine", Reply::Json(200, without_machine()))
        .route("GET /api/v1/tasks/t-1", Reply::Json(200, fetching("running", &transfer)))
        .route("POST /api/v1/images/fetch", Reply::Json(202, fetching("running", &transfer)));
    let ran = supervisor.run(&["image", "fetch", "https://images.example/x/", "--timeout", "2"]).await;
    assert_eq!(ran.code, 4, "{ran:?}");
    assert!(ran.err.contains("root.erofs: 120 MB of 300 MB, 10 MB/s, 18 s left"), "{ran:?}");
    assert_eq!(supervisor.body("POST /api/v1/images/fetch")["source"], "https://images.example/x/");
    let ran = supervisor.run(&["task", "show", "t-1"]).await;
    assert!(ran.out.contains("120 MB of 300 MB"), "{ran:?}");
}

#[tokio::test]
async fn the_first_start_brings_the_packages_image() {
    let supervisor = Supervisor::listening();
    let proposal = json!({
        "setup": {"memory_bytes": 4_294_967_296_u64, "cpus": 2, "disk_bytes": 68_719_476_736_u64},
        "least": {"memory_bytes": 1, "cpus": 1, "disk_bytes": 1},
        "most": {"memory_bytes": u64::MAX / 2, "cpus": 64, "disk_bytes": u64::MAX / 2},
        "folder": "/data", "folder_free": 1, "checks": []
    });
    let made = |kind: &str| {
        let mut task = task("succeeded");
        task["kind"] = json!(kind);
        task
    };
    supervisor
        .route("GET /api/v1/machine", Reply::Json(200, without_machine()))
        .route("GET /api/v1/machine/proposal", Reply::Json(200, proposal))
        .route("GET /api/v1/images", Reply::Json(200, list(&json!([]), &source())))
        .route("POST /api/v1/images/fetch", Reply::Json(202, made("image.fetch")))
        .route("POST /api/v1/machine", Reply::Json(202, made("machine.create")));
    let ran = supervisor.run(&["setup"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.err.contains("Bringing the guest image (300 MB) from https://images.example/"), "{ran:?}");
    let asked: Vec<String> = supervisor.seen().iter().filter(|s| s.method == "POST").map(|s| s.path.clone()).collect();
    assert_eq!(asked, ["/api/v1/images/fetch", "/api/v1/machine"]);
}

#[tokio::test]
async fn kubectl_comes_from_the_image_when_it_is_what_the_manifest_says() {
    let supervisor = Supervisor::listening();
    supervisor.route("GET /api/v1/machine", Reply::Json(200, machine("running", true)));
    // A command without a kubectl beside it, and another kubectl on PATH.
    let executable = supervisor.installed(&[]);
    let path = supervisor.home.path().join("path");
    let image = supervisor.home.path().join("image");
    for (folder, code) in [(&path, 8), (&image, 9)] {
        fs::create_dir_all(folder).unwrap();
        write_script(&folder.join("kubectl"), &format!("exit {code}"));
    }
    let content = fs::read(image.join("kubectl")).unwrap();
    let sha256 = hex::encode(Sha256::digest(&content));
    let listed = json!([{"name": "kubectl", "bytes": content.len(), "sha256": sha256}]);
    let folder = image.to_str().unwrap();
    supervisor
        // An image without one, then one with it, which is then damaged.
        .route("GET /api/v1/images", Reply::Json(200, list(&entry(folder, &json!([]), "active"), &Value::Null)))
        .route("GET /api/v1/images", Reply::Json(200, list(&entry(folder, &listed, "next"), &Value::Null)))
        .route("GET /api/v1/images", Reply::Json(200, list(&entry(folder, &listed, "active"), &Value::Null)));
    let run = async |named: Option<&str>| {
        let mut command = supervisor.command_at(&executable, &["kubectl", "version"]);
        command.env("PATH", format!("{}:/usr/bin:/bin", path.display())).env_remove("ALCOVE_KUBECTL");
        if let Some(named) = named {
            command.env("ALCOVE_KUBECTL", named);
        }
        Ran::from(command.output().await.unwrap())
    };
    assert_eq!(run(None).await.code, 8, "the image has none");
    assert_eq!(run(None).await.code, 8, "the machine does not use that image");
    assert_eq!(run(None).await.code, 9, "the image's own");
    assert_eq!(run(Some("/bin/false")).await.code, 1, "the one that is named comes first");
    write_script(&image.join("kubectl"), "exit 6");
    let ran = run(None).await;
    assert_eq!(ran.code, 7, "an exit code of this command itself: {ran:?}");
    assert!(ran.err.contains("checksum differs") && ran.err.contains("alcove image fetch"), "{ran:?}");
}
