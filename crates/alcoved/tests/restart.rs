//! What a supervisor that was killed leaves to the next one: answers that were given, browsers that are signed in.
#![allow(clippy::unwrap_used)] // a test may fail that way

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use alcove_machine::{Home, Layout};
use serde_json::{Value, json};

/// One instance in folders of its own.
struct World {
    home: tempfile::TempDir,
    layout: Layout,
    supervisor: Option<Child>,
}

struct Answered {
    status: u16,
    head: String,
    body: Value,
}

impl World {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let layout = Layout::new(Home::at(home.path()).unwrap(), "test".parse().unwrap());
        let mut world = Self { home, layout, supervisor: None };
        world.supervise();
        world
    }

    fn supervise(&mut self) {
        let child = Command::new(env!("CARGO_BIN_EXE_alcoved"))
            .env("ALCOVE_HOME", self.home.path())
            .env("ALCOVE_INSTANCE", "test")
            .env("ALCOVE_SECRETS", "file")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.supervisor = Some(child);
        let until = Instant::now() + Duration::from_secs(30);
        while UnixStream::connect(self.layout.api_sock()).is_err() || !self.layout.endpoint_json().exists() {
            assert!(Instant::now() < until, "the supervisor does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// As a power cut would, and a new one.
    fn killed_and_restarted(&mut self) {
        let mut child = self.supervisor.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        fs::remove_file(self.layout.endpoint_json()).unwrap();
        self.supervise();
    }

    /// Through the owner's socket; `key` is an idempotency key.
    fn ask(&self, method: &str, path: &str, key: &str, body: &Value) -> Answered {
        let mut stream = UnixStream::connect(self.layout.api_sock()).unwrap();
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let key = if key.is_empty() { String::new() } else { format!("Idempotency-Key: {key}\r\n") };
        write!(
            stream,
            "{method} /api/v1{path} HTTP/1.1\r\nHost: alcove.localhost\r\n{key}Connection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        answered(stream)
    }

    /// As a browser, on loopback.
    fn browse(&self, path: &str, cookie: &str) -> Answered {
        let port = self.port();
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: alcove.localhost:{port}\r\nCookie: {cookie}\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        answered(stream)
    }

    fn port(&self) -> u16 {
        let endpoint: Value = serde_json::from_slice(&fs::read(self.layout.endpoint_json()).unwrap()).unwrap();
        u16::try_from(endpoint["port"].as_u64().unwrap()).unwrap()
    }

    fn theme(&self) -> Value {
        self.ask("GET", "/settings", "", &Value::Null).body["settings"]["theme"].clone()
    }

    fn tasks(&self) -> Vec<Value> {
        self.ask("GET", "/tasks", "", &Value::Null).body["tasks"].as_array().unwrap().clone()
    }

    /// Takes the answers back out of what is remembered: as if the supervisor had been killed before it wrote them.
    fn forget_answers(&self) {
        let files: Vec<PathBuf> = fs::read_dir(self.layout.requests()).unwrap().map(|f| f.unwrap().path()).collect();
        assert!(!files.is_empty());
        for file in files {
            let mut record: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
            assert!(record.as_object_mut().unwrap().remove("answer").is_some());
            fs::write(&file, record.to_string()).unwrap();
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(mut child) = self.supervisor.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = fs::remove_dir_all(self.layout.runtime());
    }
}

fn answered(mut stream: impl Read) -> Answered {
    let mut text = Vec::new();
    stream.read_to_end(&mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answered { status, head: head.to_owned(), body: serde_json::from_str(body).unwrap_or(Value::Null) }
}

fn setup() -> Value {
    json!({ "memory_bytes": 2u64 << 30, "cpus": 2, "disk_bytes": 16u64 << 30 })
}

#[test]
fn a_request_that_is_repeated_after_a_crash_gets_its_answer_and_is_not_carried_out_twice() {
    let mut world = World::new();
    // There is no image, so the task fails; what counts is that it was begun.
    let made = world.ask("POST", "/machine", "make", &setup());
    assert_eq!(made.status, 202, "{}", made.body);
    let dark = world.ask("PATCH", "/settings", "dark", &json!({ "theme": "dark" }));
    assert_eq!(dark.body["settings"]["theme"], "dark");
    world.ask("PATCH", "/settings", "light", &json!({ "theme": "light" }));

    world.killed_and_restarted();
    let again = world.ask("POST", "/machine", "make", &setup());
    assert_eq!((again.status, &again.body), (202, &made.body), "the same answer");
    assert_eq!(world.tasks().len(), 1);
    let again = world.ask("PATCH", "/settings", "dark", &json!({ "theme": "dark" }));
    assert_eq!(again.body, dark.body);
    assert_eq!(world.theme(), "light", "it was carried out again");
    let other = world.ask("PATCH", "/settings", "dark", &json!({ "theme": "light" }));
    assert_eq!((other.status, &other.body["code"]), (409, &json!("conflict")), "the key belongs to another request");
}

#[test]
fn a_request_that_was_cut_off_is_answered_with_its_task_or_done() {
    let mut world = World::new();
    let made = world.ask("POST", "/machine", "make", &setup()).body;
    world.ask("PATCH", "/settings", "dark", &json!({ "theme": "dark" }));
    world.ask("PATCH", "/settings", "", &json!({ "theme": "light" }));
    world.forget_answers();
    world.killed_and_restarted();
    let again = world.ask("POST", "/machine", "make", &setup());
    assert_eq!((again.status, &again.body["id"]), (202, &made["id"]), "the task that it began");
    assert_eq!(world.tasks().len(), 1);
    // No task: it may not have been done, and doing it twice does no harm.
    world.ask("PATCH", "/settings", "dark", &json!({ "theme": "dark" }));
    assert_eq!(world.theme(), "dark");
    // From here on there is an answer.
    world.ask("PATCH", "/settings", "", &json!({ "theme": "light" }));
    world.killed_and_restarted();
    world.ask("PATCH", "/settings", "dark", &json!({ "theme": "dark" }));
    assert_eq!(world.theme(), "light");
}

#[test]
fn a_browser_stays_signed_in_and_a_ticket_stays_used_when_the_supervisor_is_killed() {
    let mut world = World::new();
    let url =
        world.ask("POST", "/tickets", "link", &json!({ "for": "native" })).body["url"].as_str().unwrap().to_owned();
    let ticket = url[url.find("/.alcove").unwrap()..].to_owned();
    let entered = world.browse(&ticket, "");
    assert_eq!(entered.status, 303, "{}", entered.head);
    let cookie = entered.head.lines().find_map(|l| l.strip_prefix("set-cookie: ")).unwrap();
    let cookie = cookie.split(';').next().unwrap().to_owned();
    assert_eq!(world.browse("/api/v1/version", &cookie).status, 200);
    let port = world.port();

    world.killed_and_restarted();
    assert_eq!(world.port(), port, "the cookie is named after the port");
    assert_eq!(world.browse("/api/v1/version", &cookie).status, 200);
    assert_eq!(world.browse("/api/v1/version", "").status, 401);
    assert_eq!(world.browse(&ticket, "").status, 401, "a ticket replayed");
    // Neither the link nor the cookie can be had from the disk.
    let secrets = [ticket.rsplit('/').next().unwrap(), cookie.split('=').nth(1).unwrap()];
    let requests = fs::read_dir(world.layout.requests()).unwrap().map(|f| f.unwrap().path());
    for file in requests.chain([world.layout.sessions_json(), world.layout.supervisor_log()]) {
        let text = fs::read_to_string(&file).unwrap();
        assert!(!secrets.iter().any(|s| text.contains(s)), "{}", file.display());
    }
}
