//! A supervisor of few words, for tests of the shell: it answers like the real one and has no machine. It notes what it
//! was asked in `asked`, under `ALCOVE_HOME`. A test stand-in, never shipped.
//!
//! `STAND_IN_PHASE` names the phase of its machine; with `STAND_IN_QUIT=refuse` it can't put the machine away.

use std::{
    convert::Infallible,
    fs,
    io::Write,
    net::Ipv4Addr,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use alcove_machine::{Home, InstanceName, Layout};
use alcove_types::{
    ApiError, Condition, ConditionStatus, ErrorCode,
    event::Event,
    machine::{Capabilities, Desired, Machine, Phase},
    session::{Ticket, VersionInfo},
    settings::{Settings, SettingsView},
};
use anyhow::Context;
use axum::{
    Json, Router,
    body::Bytes,
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, header},
    middleware::{self, Next},
    response::{Html, IntoResponse, Response, Sse, sse},
    routing::{get, post},
};
use clap::Parser;
use futures_util::{Stream, StreamExt, stream};
use serde_json::json;
use tokio::{
    net::{TcpListener, UnixListener},
    sync::{Notify, watch},
};
use tower_http::cors::{AllowOrigin, Any, CorsLayer};

#[derive(Parser)]
struct Args {
    #[arg(long, env = "ALCOVE_INSTANCE", default_value_t)]
    instance: InstanceName,
}

struct StandIn {
    instance: InstanceName,
    port: u16,
    machine: watch::Sender<Machine>,
    asked: Mutex<fs::File>,
    over: Notify,
}

type Shared = State<Arc<StandIn>>;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let home = Home::from_env().map_err(|e| anyhow::anyhow!("{e}"))?;
    let layout = Layout::new(home, args.instance.clone());
    layout.create().map_err(|e| anyhow::anyhow!("{e}"))?;
    let folder = std::env::var_os("ALCOVE_HOME").map(PathBuf::from).context("ALCOVE_HOME is not set")?;
    let asked = fs::OpenOptions::new().create(true).append(true).open(folder.join("asked"))?;

    let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let port = tcp.local_addr()?.port();
    // One that was killed leaves its socket behind.
    let _ = fs::remove_file(layout.api_sock());
    let socket = UnixListener::bind(layout.api_sock())?;
    let endpoint = layout.endpoint_json();
    fs::write(
        &endpoint,
        json!({ "pid": std::process::id(), "port": port, "token": format!("token-{port}") }).to_string(),
    )?;
    fs::set_permissions(&endpoint, fs::Permissions::from_mode(0o600))?;

    let stand_in = Arc::new(StandIn {
        instance: args.instance.clone(),
        port,
        machine: watch::Sender::new(machine(&args.instance, phase())),
        asked: Mutex::new(asked),
        over: Notify::new(),
    });
    let app = router(Arc::clone(&stand_in));
    tokio::select! {
        ended = axum::serve(tcp, app.clone()) => ended?,
        ended = axum::serve(socket, app) => ended?,
        () = stand_in.over.notified() => {}
    }
    // Ended in order: nothing that looks alive stays.
    fs::remove_file(endpoint)?;
    fs::remove_file(layout.api_sock())?;
    Ok(())
}

fn router(stand_in: Arc<StandIn>) -> Router {
    let cors = CorsLayer::new()
        .allow_origin(AllowOrigin::exact(header::HeaderValue::from_static("tauri://localhost")))
        .allow_methods(Any)
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            header::HeaderName::from_static("idempotency-key"),
            header::HeaderName::from_static("last-event-id"),
        ]);
    Router::new()
        .route("/api/v1/version", get(version))
        .route("/api/v1/machine", get(|State(s): Shared| async move { Json(s.machine.borrow().clone()) }))
        .route("/api/v1/machine/{operation}", post(operate))
        .route("/api/v1/settings", get(settings))
        .route("/api/v1/tasks", get(|| async { Json(json!({ "tasks": [] })) }))
        .route("/api/v1/operations", get(|| async { Json(json!({ "operations": [], "next_before": null })) }))
        .route("/api/v1/machine/snapshots", get(|| async { Json(json!({ "snapshots": [] })) }))
        .route("/api/v1/events", get(events))
        .route("/api/v1/tickets", post(ticket))
        .route("/api/v1/quit", post(quit))
        .fallback(page)
        .layer(middleware::from_fn_with_state(Arc::clone(&stand_in), note))
        .layer(cors)
        .with_state(stand_in)
}

/// Writes down what changes something.
async fn note(State(s): Shared, request: Request, next: Next) -> Response {
    if request.method() == Method::GET {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap_or_default();
    if let Ok(mut asked) = s.asked.lock() {
        let line = format!("{} {} {}\n", parts.method, parts.uri.path(), String::from_utf8_lossy(&body));
        let _ = asked.write_all(line.as_bytes());
    }
    next.run(Request::from_parts(parts, body.into())).await
}

async fn version(State(s): Shared) -> Json<VersionInfo> {
    Json(VersionInfo {
        alcove: env!("CARGO_PKG_VERSION").into(),
        api: "v1".into(),
        instance: s.instance.to_string(),
        pid: std::process::id(),
    })
}

async fn settings() -> Json<SettingsView> {
    let settings = Settings::default();
    Json(SettingsView { settings: settings.clone(), defaults: settings, restart_needed: vec![], problem: None })
}

async fn events(State(s): Shared) -> Sse<impl Stream<Item = Result<sse::Event, Infallible>>> {
    let changes = stream::unfold(s.machine.subscribe(), |mut machine| async move {
        machine.changed().await.ok()?;
        let event = Event::Machine(Box::new(machine.borrow_and_update().clone()));
        let event = sse::Event::default().event("machine").json_data(&event).ok()?;
        Some((Ok(event), machine))
    });
    Sse::new(stream::once(async { Ok(sse::Event::default().comment("hello")) }).chain(changes))
}

async fn ticket(State(s): Shared) -> Json<Ticket> {
    Json(Ticket {
        url: format!("http://desktop.localhost:{}/.alcove/ticket/once", s.port),
        expires_at: "2030-01-01T00:00:00Z".into(),
    })
}

async fn operate(State(s): Shared, uri: axum::http::Uri) -> StatusCode {
    let phase = match uri.path().rsplit('/').next() {
        Some("suspend") => Phase::Suspended,
        Some("stop") => Phase::Stopped,
        _ => Phase::Running,
    };
    s.machine.send_replace(machine(&s.instance, phase));
    StatusCode::NO_CONTENT
}

async fn quit(State(s): Shared, _body: Bytes) -> Response {
    if std::env::var("STAND_IN_QUIT").as_deref() == Ok("refuse") {
        let error = ApiError::new(ErrorCode::DiskFull, "There is no space to save the machine", "Free some space.");
        return (StatusCode::INSUFFICIENT_STORAGE, Json(error)).into_response();
    }
    s.machine.send_replace(machine(&s.instance, Phase::Suspended));
    s.over.notify_one();
    Json(json!({ "ended": true })).into_response()
}

/// The web desktop's page, and nothing else.
async fn page(headers: HeaderMap) -> Response {
    let host = headers.get(header::HOST).and_then(|h| h.to_str().ok()).unwrap_or_default();
    if host.starts_with("desktop.localhost:") {
        return Html("<!doctype html><title>Stand-in desktop</title><h1>The web desktop</h1>").into_response();
    }
    let error = ApiError::new(ErrorCode::NotFound, "The stand-in has no such thing", "");
    (StatusCode::NOT_FOUND, Json(error)).into_response()
}

fn phase() -> Phase {
    let named = std::env::var("STAND_IN_PHASE").ok();
    named.and_then(|name| serde_json::from_value(json!(name)).ok()).unwrap_or(Phase::Running)
}

fn machine(instance: &InstanceName, phase: Phase) -> Machine {
    let up = phase == Phase::Running;
    Machine {
        instance: instance.to_string(),
        provider: "stand-in".into(),
        capabilities: Capabilities {
            suspend: true,
            snapshot: false,
            grow_disk: false,
            hot_plug: false,
            gpu: vec![],
            file_sharing: vec![],
            returns_memory: false,
        },
        acceleration: None,
        setup: Some(alcove_types::machine::MachineSetup { memory_bytes: 4 << 30, cpus: 2, disk_bytes: 64 << 30 }),
        desired: Desired::Running,
        phase,
        since: "2026-01-01T00:00:00Z".into(),
        generation: 1,
        observed_generation: 1,
        conditions: vec![Condition {
            kind: "PlatformReady".into(),
            status: if up { ConditionStatus::True } else { ConditionStatus::False },
            reason: "StandIn".into(),
            message: String::new(),
            hint: String::new(),
            since: "2026-01-01T00:00:00Z".into(),
        }],
        failure: None,
        boot: None,
        guest: None,
        image: None,
        host_memory_bytes: None,
        host_cpu_share: None,
        disk_file: None,
        state_bytes: None,
        restart_needed: vec![],
    }
}
