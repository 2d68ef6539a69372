//! A stand-in for the supervisor: answers what a test tells it to, on the socket where the command looks.

use std::{
    collections::VecDeque,
    convert::Infallible,
    fs,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use alcove_machine::{Home, InstanceName, Layout};
use futures_util::{SinkExt as _, StreamExt as _};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::{
    HeaderMap, Request, Response, StatusCode,
    body::{Bytes, Frame, Incoming},
    header,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{net::UnixListener, process::Command, sync::broadcast};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, handshake::derive_accept_key, protocol::Role},
};
use tokio_util::sync::CancellationToken;

type Body = BoxBody<Bytes, Infallible>;

/// What to answer.
#[derive(Clone)]
pub(crate) enum Reply {
    /// A document.
    Json(u16, Value),
    /// A document that is long in coming.
    Late(Duration, Value),
    /// Nothing.
    Empty(u16),
    /// Text.
    Text(&'static str),
    /// A terminal: sends this output, answers each input in capitals, ends with this code when told `q` or Ctrl-D.
    Terminal(&'static str, i32),
}

/// A request that came.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

#[derive(Default)]
struct State {
    routes: Vec<(String, VecDeque<Reply>)>,
    seen: Vec<Seen>,
    /// Sent to those who follow events once a request to this path came.
    script: Option<(String, Vec<Value>)>,
    resized: Vec<Value>,
}

/// The stand-in, with a home of its own.
pub(crate) struct Supervisor {
    pub(crate) home: tempfile::TempDir,
    pub(crate) layout: Layout,
    state: Arc<Mutex<State>>,
    events: broadcast::Sender<Value>,
    /// Gone when it vanishes, and with it all that it serves.
    alive: Mutex<CancellationToken>,
}

impl Supervisor {
    /// A home without a supervisor.
    pub(crate) fn absent() -> Self {
        let home = tempfile::tempdir().unwrap();
        let layout = Layout::new(Home::at(home.path()).unwrap(), InstanceName::default());
        layout.create().unwrap();
        let supervisor =
            Self { home, layout, state: Arc::default(), events: broadcast::channel(256).0, alive: Mutex::default() };
        supervisor.route("GET /api/v1/version", Reply::Json(200, version()));
        supervisor
    }

    /// A supervisor that listens.
    pub(crate) fn listening() -> Self {
        let supervisor = Self::absent();
        supervisor.listen();
        supervisor
    }

    pub(crate) fn listen(&self) {
        let listener = UnixListener::bind(self.layout.api_sock()).unwrap();
        let (state, events) = (Arc::clone(&self.state), self.events.clone());
        let alive = self.alive.lock().unwrap().clone();
        tokio::spawn(alive.clone().run_until_cancelled_owned(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (state, events) = (Arc::clone(&state), events.clone());
                tokio::spawn(alive.clone().run_until_cancelled_owned(async move {
                    let service = service_fn(|request| answer(request, Arc::clone(&state), events.clone()));
                    let connection = hyper::server::conn::http1::Builder::new();
                    let _ = connection.serve_connection(TokioIo::new(stream), service).with_upgrades().await;
                }));
            }
        }));
    }

    /// Is gone at once, with its connections; it can listen anew.
    pub(crate) fn vanish(&mut self) {
        std::mem::take(&mut *self.alive.lock().unwrap()).cancel();
        fs::remove_file(self.layout.api_sock()).unwrap();
    }

    /// Answers `METHOD /path` so; several answers for one path come one after another, the last one stays.
    pub(crate) fn route(&self, what: &str, reply: Reply) -> &Self {
        let mut state = self.state.lock().unwrap();
        match state.routes.iter_mut().find(|(path, _)| path == what) {
            Some((_, replies)) => replies.push_back(reply),
            None => state.routes.push((what.to_owned(), [reply].into())),
        }
        drop(state);
        self
    }

    /// Streams these events as soon as a request to `METHOD /path` came.
    pub(crate) fn then(&self, what: &str, events: Vec<Value>) -> &Self {
        self.state.lock().unwrap().script = Some((what.to_owned(), events));
        self
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.state.lock().unwrap().seen.clone()
    }

    /// The body of the one request to `METHOD /path`.
    pub(crate) fn body(&self, what: &str) -> Value {
        let all: Vec<_> = self.seen().into_iter().filter(|s| format!("{} {}", s.method, s.path) == what).collect();
        assert_eq!(all.len(), 1, "{what}: {:?}", self.seen());
        all[0].body.clone()
    }

    pub(crate) fn resized(&self) -> Vec<Value> {
        self.state.lock().unwrap().resized.clone()
    }

    /// The command, to be run in this home.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        self.command_at(Path::new(env!("CARGO_BIN_EXE_alcove")), arguments)
    }

    pub(crate) fn command_at(&self, executable: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(executable);
        command.args(arguments).env("ALCOVE_HOME", self.home.path()).env_remove("ALCOVE_INSTANCE");
        command.env_remove("DISPLAY").env_remove("WAYLAND_DISPLAY");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    /// Runs the command.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Ran {
        Ran::from(self.command(arguments).output().await.unwrap())
    }

    /// Puts a copy of the command and small scripts into a folder of their own.
    pub(crate) fn installed(&self, scripts: &[(&str, &str)]) -> PathBuf {
        let bin = self.home.path().join("bin");
        fs::create_dir_all(&bin).unwrap();
        for (name, text) in scripts {
            write_script(&bin.join(name), text);
        }
        let executable = bin.join("alcove");
        install(Path::new(env!("CARGO_BIN_EXE_alcove")), &executable);
        executable
    }
}

/// Writes a shell's script that can be run.
pub(crate) fn write_script(path: &Path, text: &str) {
    let source = path.with_extension("text");
    fs::write(&source, format!("#!/bin/sh\n{text}\n")).unwrap();
    install(&source, path);
}

/// Copies a program. Another program does it: what is open for writing here is open as well in what another test starts
/// at that moment, and can't be run as long ("Text file busy").
fn install(from: &Path, to: &Path) {
    let status = std::process::Command::new("install").args(["-m", "755"]).args([from, to]).status().unwrap();
    assert!(status.success(), "{} can't be installed: {status}", to.display());
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.layout.runtime());
    }
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Ran {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}

async fn answer(
    request: Request<Incoming>,
    state: Arc<Mutex<State>>,
    events: broadcast::Sender<Value>,
) -> Result<Response<Body>, Infallible> {
    let (mut parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    let what = format!("{} {path}", parts.method);
    if what == "GET /api/v1/events" {
        let stream = futures_util::stream::unfold(events.subscribe(), |mut events| async {
            let event = events.recv().await.ok()?;
            let text = format!("id: 1\nevent: {}\ndata: {}\n\n", event["event"].as_str().unwrap(), event["data"]);
            Some((Ok(Frame::data(Bytes::from(text))), events))
        });
        let first = futures_util::stream::once(async { Ok(Frame::data(Bytes::from(": hello\n\n"))) });
        let body = StreamBody::new(first.chain(stream));
        return Ok(Response::new(BodyExt::boxed(body)));
    }
    let upgrade = parts.extensions.remove::<hyper::upgrade::OnUpgrade>();
    let body = body.collect().await.unwrap().to_bytes();
    let seen = Seen {
        method: parts.method.to_string(),
        path: path.clone(),
        headers: parts.headers.clone(),
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
    };
    let reply = {
        let mut state = state.lock().unwrap();
        state.seen.push(Seen { path: parts.uri.to_string(), ..seen });
        if state.script.as_ref().is_some_and(|(path, _)| *path == what)
            && let Some((_, script)) = state.script.take()
        {
            for event in script {
                let _ = events.send(event);
            }
        }
        match state.routes.iter_mut().find(|(path, _)| *path == what) {
            Some((_, replies)) if replies.len() > 1 => replies.pop_front().unwrap(),
            Some((_, replies)) => replies[0].clone(),
            None => Reply::Json(404, json!({"code": "not_found", "message": format!("no {what}"), "hint": "-"})),
        }
    };
    let (status, text) = match reply {
        Reply::Json(status, value) => (status, value.to_string()),
        Reply::Late(after, value) => {
            tokio::time::sleep(after).await;
            (200, value.to_string())
        }
        Reply::Empty(status) => (status, String::new()),
        Reply::Text(text) => (200, text.to_owned()),
        Reply::Terminal(greeting, code) => {
            let accept = derive_accept_key(parts.headers["sec-websocket-key"].as_bytes());
            tokio::spawn(async move {
                let stream = TokioIo::new(upgrade.unwrap().await.unwrap());
                terminal(WebSocketStream::from_raw_socket(stream, Role::Server, None).await, greeting, code, state)
                    .await;
            });
            let mut response = Response::new(BodyExt::boxed(Full::new(Bytes::new())));
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            let headers = response.headers_mut();
            headers.insert(header::UPGRADE, "websocket".parse().unwrap());
            headers.insert(header::CONNECTION, "upgrade".parse().unwrap());
            headers.insert("sec-websocket-accept", accept.parse().unwrap());
            return Ok(response);
        }
    };
    let mut response = Response::new(BodyExt::boxed(Full::new(Bytes::from(text))));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    Ok(response)
}

async fn terminal<S>(mut socket: WebSocketStream<S>, greeting: &'static str, code: i32, state: Arc<Mutex<State>>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    socket.send(Message::Binary(Bytes::from_static(greeting.as_bytes()))).await.unwrap();
    while let Some(Ok(message)) = socket.next().await {
        match message {
            Message::Binary(bytes) if bytes.iter().any(|b| *b == b'q' || *b == 4) => {
                socket.send(Message::Text(json!({ "exit": code }).to_string().into())).await.unwrap();
                let _ = socket.close(None).await;
                return;
            }
            Message::Binary(bytes) => {
                socket.send(Message::Binary(bytes.to_ascii_uppercase().into())).await.unwrap();
            }
            Message::Text(text) => {
                let value: Value = serde_json::from_str(&text).unwrap();
                state.lock().unwrap().resized.push(value["resize"].clone());
            }
            _ => {}
        }
    }
}

pub(crate) fn version() -> Value {
    json!({"alcove": "0.1.0", "api": "v1", "instance": "default", "pid": 4242})
}

pub(crate) fn task(state: &str) -> Value {
    let error = (state == "failed").then(|| {
        json!({"code": "hypervisor_failed", "message": "QEMU ended at once", "hint": "See `alcove logs --source qemu`.",
            "details": {"last_words": ["qemu: bad \u{1b}[2Joption"]}})
    });
    json!({"id": "t-1", "kind": "machine.start", "state": state, "message": "Waiting for the node", "progress": null,
        "cancellable": true, "created": "2026-01-01T00:00:00Z", "ended": null, "error": error})
}

pub(crate) fn machine(phase: &str, ready: bool) -> Value {
    let status = if ready { "True" } else { "False" };
    json!({
        "instance": "default", "provider": "qemu",
        "capabilities": {"suspend": true, "snapshot": true, "grow_disk": true, "hot_plug": false, "gpu": [],
            "file_sharing": [], "returns_memory": true},
        "acceleration": "tcg",
        "setup": {"memory_bytes": 4_294_967_296_u64, "cpus": 2, "disk_bytes": 68_719_476_736_u64},
        "desired": "running", "phase": phase, "since": "2026-01-01T00:00:00Z",
        "generation": 1, "observed_generation": 1,
        "conditions": [{"type": "PlatformReady", "status": status, "reason": "Answers",
            "message": "the gateway has not started", "hint": "", "since": "2026-01-01T00:00:00Z"}],
        "failure": null, "boot": null, "guest": null, "image": "0123456789ab", "host_memory_bytes": null,
        "host_cpu_share": null, "disk_file": null, "state_bytes": null, "restart_needed": []
    })
}

pub(crate) fn without_machine() -> Value {
    let mut machine = machine("absent", false);
    machine["setup"] = Value::Null;
    machine
}

/// A boot in which the named steps are done, each after 1.5 s, and the next one runs.
pub(crate) fn boot(done: &[&str], running: Option<&str>) -> Value {
    let mut steps: Vec<Value> = done
        .iter()
        .enumerate()
        .map(|(i, name)| {
            json!({"name": name, "state": "done", "started_ms": i * 1500, "ended_ms": (i + 1) * 1500, "message": null,
                "log": [], "expected_ms": null})
        })
        .collect();
    steps.extend(running.map(|name| {
        json!({"name": name, "state": "running", "started_ms": 3000, "ended_ms": null, "message": null,
            "log": ["starting"], "expected_ms": null})
    }));
    json!({"attempt": 3, "started_at": "2026-01-01T00:00:00Z", "kind": "cold", "elapsed_ms": 3000, "finished": false,
        "steps": steps, "estimate_ms": null})
}

pub(crate) fn event(kind: &str, data: Value) -> Value {
    json!({ "event": kind, "data": data })
}
