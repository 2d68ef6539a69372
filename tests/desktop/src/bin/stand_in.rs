//! A supervisor of few words, for tests of the shell: it answers like the real one and has no machine. It notes what it
//! was asked in `asked`, under `ALCOVE_HOME`. A test stand-in, never shipped.
//!
//! `STAND_IN_PHASE` names the phase of its machine. `STAND_IN_QUIT` says how it puts the machine away: not (`refuse`), in
//! no time (by default), without an end (`slow`), or killed at it (`die`). With `STAND_IN_WAIT` it answers only once there is
//! a file `go` under `ALCOVE_HOME`.

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
    machine::{Capabilities, Desired, Failure, Machine, Phase},
    session::{Ticket, VersionInfo},
    settings::{Settings, SettingsView},
    task::{Task, TaskState},
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
    settings: watch::Sender<Settings>,
    /// Puts the machine away, where that takes long.
    resting: watch::Sender<Option<Task>>,
    /// The cookie of the browser that is signed in, and how many have been given.
    session: Mutex<(Option<u32>, u32)>,
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

    while std::env::var_os("STAND_IN_WAIT").is_some() && !folder.join("go").exists() {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
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
        settings: watch::Sender::new(Settings::default()),
        resting: watch::Sender::new(None),
        session: Mutex::new((None, 0)),
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
        .route("/api/v1/settings", get(settings).patch(change))
        .route("/api/v1/tasks", get(|| async { Json(json!({ "tasks": [] })) }))
        .route("/api/v1/tasks/{id}", get(|State(s): Shared| async move { Json(s.resting.borrow().clone()) }))
        .route("/api/v1/forget", post(forget))
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

fn view(settings: Settings) -> SettingsView {
    SettingsView { settings, defaults: Settings::default(), restart_needed: vec![], problem: None }
}

async fn settings(State(s): Shared) -> Json<SettingsView> {
    Json(view(s.settings.borrow().clone()))
}

async fn change(State(s): Shared, Json(patch): Json<serde_json::Value>) -> Json<SettingsView> {
    let mut now = serde_json::to_value(s.settings.borrow().clone()).unwrap_or_default();
    for (key, value) in patch.as_object().into_iter().flatten() {
        now[key] = value.clone();
    }
    if let Ok(now) = serde_json::from_value(now) {
        s.settings.send_replace(now);
    }
    settings(State(s)).await
}

async fn events(State(s): Shared) -> Sse<impl Stream<Item = Result<sse::Event, Infallible>>> {
    let news = (s.machine.subscribe(), s.settings.subscribe());
    let changes = stream::unfold(news, |(mut machine, mut settings)| async move {
        let (name, event) = tokio::select! {
            changed = machine.changed() => {
                changed.ok()?;
                ("machine", Event::Machine(Box::new(machine.borrow_and_update().clone())))
            }
            changed = settings.changed() => {
                changed.ok()?;
                ("settings", Event::Settings(view(settings.borrow_and_update().clone())))
            }
        };
        // The name stands beside the document, as the real supervisor sends it.
        let document = serde_json::to_value(&event).ok()?["data"].take();
        let event = sse::Event::default().event(name).json_data(&document).ok()?;
        Some((Ok(event), (machine, settings)))
    });
    Sse::new(stream::once(async { Ok(sse::Event::default().comment("hello")) }).chain(changes))
}

/// A link that signs in. The browsers that were signed in before still are.
async fn ticket(State(s): Shared) -> Json<Ticket> {
    let mut session = s.session.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    session.1 += 1;
    Json(Ticket {
        url: format!("http://desktop.localhost:{}/.alcove/ticket/{}", s.port, session.1),
        expires_at: "2030-01-01T00:00:00Z".into(),
    })
}

/// Nobody is signed in any more.
async fn forget(State(s): Shared) -> StatusCode {
    s.session.lock().unwrap_or_else(std::sync::PoisonError::into_inner).0 = None;
    StatusCode::NO_CONTENT
}

async fn operate(State(s): Shared, uri: axum::http::Uri) -> StatusCode {
    let phase = match uri.path().rsplit('/').next() {
        Some("suspend") => Phase::Suspended,
        Some("stop") => Phase::Stopped,
        Some("fail") => Phase::Failed,
        _ => Phase::Running,
    };
    // Whatever else is asked for takes the place of what is under way.
    s.resting.send_modify(|task| {
        if let Some(task) = task {
            task.state = TaskState::Cancelled;
        }
    });
    s.machine.send_replace(machine(&s.instance, phase));
    StatusCode::NO_CONTENT
}

async fn quit(State(s): Shared, _body: Bytes) -> Response {
    match std::env::var("STAND_IN_QUIT").as_deref() {
        Ok("refuse") => {
            let error = ApiError::new(ErrorCode::DiskFull, "There is no space to save the machine", "Free some space.");
            return (StatusCode::INSUFFICIENT_STORAGE, Json(error)).into_response();
        }
        Ok("slow") => {
            let task = Task {
                id: "t-rest".into(),
                kind: "machine.suspend".into(),
                state: TaskState::Running,
                message: "Writing memory".into(),
                progress: Some(0.25),
                transfer: None,
                cancellable: false,
                created: "2026-01-01T00:00:00Z".into(),
                ended: None,
                error: None,
            };
            s.resting.send_replace(Some(task.clone()));
            return (StatusCode::ACCEPTED, Json(task)).into_response();
        }
        // As one that is killed: nothing is put in order.
        Ok("die") => std::process::abort(),
        _ => {}
    }
    s.machine.send_replace(machine(&s.instance, Phase::Suspended));
    s.over.notify_one();
    Json(json!({ "ended": true })).into_response()
}

/// The web desktop's page for who is signed in, and nothing else.
async fn page(State(s): Shared, uri: axum::http::Uri, headers: HeaderMap) -> Response {
    let text = |name| headers.get(name).and_then(|h| h.to_str().ok()).unwrap_or_default();
    if text(header::HOST).starts_with("desktop.localhost:") {
        let mut session = s.session.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(ticket) = uri.path().strip_prefix("/.alcove/ticket/") {
            session.0 = ticket.parse().ok();
            let to_the_page =
                [(header::SET_COOKIE, format!("session={ticket}; Path=/")), (header::LOCATION, "/".to_owned())];
            return (StatusCode::SEE_OTHER, to_the_page).into_response();
        }
        if session.0.is_some_and(|signed_in| text(header::COOKIE) == format!("session={signed_in}")) {
            return Html("<!doctype html><title>Stand-in desktop</title><h1>The web desktop</h1>").into_response();
        }
        return (StatusCode::UNAUTHORIZED, Html("<!doctype html><h1>You are not signed in</h1>")).into_response();
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
        failure: (phase == Phase::Failed).then(|| Failure {
            error: ApiError::new(ErrorCode::HypervisorFailed, "QEMU ended", "See its log."),
            last_words: vec![],
            at: "2026-01-01T00:00:00Z".into(),
        }),
        boot: None,
        guest: None,
        image: None,
        // One that was given up on is still on here.
        host_memory_bytes: (phase == Phase::Failed).then_some(1 << 30),
        host_cpu_share: None,
        disk_file: None,
        state_bytes: None,
        restart_needed: vec![],
    }
}
