//! The guest API.

use std::{convert::Infallible, sync::Arc, time::Duration};

use alcove_types::{
    ApiError, ConditionStatus, ErrorCode,
    guest::{ClockOffset, ClockSetting, DiskBytes, GuestEvent, GuestStatus},
};
use axum::{
    Json, Router,
    extract::{
        FromRequest, FromRequestParts, State,
        rejection::{JsonRejection, QueryRejection},
    },
    http::StatusCode,
    response::{
        IntoResponse, Response, Sse,
        sse::{Event, KeepAlive},
    },
    routing::{get, post},
};
use futures_util::{Stream, StreamExt, stream};
use tokio::sync::broadcast::{Receiver, error::RecvError};

use super::{
    clock, disk, logs, power, shell,
    state::{Guest, StreamGuard, Words},
};

/// How far the clock may be off before a person is told.
const CLOCK_OFF_MS: i64 = 2_000;

/// Everything that the service `guest` answers.
pub(super) fn router(guest: Arc<Guest>) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/events", get(events))
        .route("/v1/time", post(time))
        .route("/v1/resumed", post(resumed))
        .route("/v1/suspend-prepare", post(suspend_prepare))
        .route("/v1/shutdown", post(shutdown))
        .route("/v1/disk/grow", post(grow))
        .route("/v1/logs", get(logs::get))
        .route("/v1/shell", get(shell::get))
        .fallback(unknown)
        .method_not_allowed_fallback(unknown)
        .with_state(guest)
}

/// A refusal, with the HTTP status that goes with its code.
pub(super) struct Refusal(pub(super) ApiError);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = match self.0.code {
            ErrorCode::BadRequest => StatusCode::BAD_REQUEST,
            ErrorCode::NotFound => StatusCode::NOT_FOUND,
            ErrorCode::Conflict | ErrorCode::WrongState => StatusCode::CONFLICT,
            ErrorCode::Timeout => StatusCode::GATEWAY_TIMEOUT,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (status, Json(self.0)).into_response()
    }
}

impl Refusal {
    pub(super) fn internal(what: &str, error: &dyn std::fmt::Display) -> Self {
        let hint = "Look at the log of alcove-guest; restarting the machine is safe.";
        Self(ApiError::new(ErrorCode::Internal, format!("{what}: {error}"), hint))
    }

    pub(super) fn bad_request(what: &str, hint: &str) -> Self {
        Self(ApiError::new(ErrorCode::BadRequest, what, hint))
    }
}

/// A JSON body; one that can't be read is refused in the product's own words.
#[derive(FromRequest)]
#[from_request(via(Json), rejection(Refusal))]
struct Body<T>(T);

/// The query of an address, likewise.
#[derive(FromRequestParts)]
#[from_request(via(axum::extract::Query), rejection(Refusal))]
pub(super) struct Asked<T>(pub(super) T);

impl From<JsonRejection> for Refusal {
    fn from(rejection: JsonRejection) -> Self {
        Self::bad_request(&rejection.body_text(), "The guest's API is described in ARCHITECTURE.md.")
    }
}

impl From<QueryRejection> for Refusal {
    fn from(rejection: QueryRejection) -> Self {
        Self::bad_request(&rejection.body_text(), "The guest's API is described in ARCHITECTURE.md.")
    }
}

async fn unknown() -> Refusal {
    let hint = "The machine's image may be older than the supervisor: restart the machine to use its newest image.";
    Refusal(ApiError::new(ErrorCode::NotFound, "the guest does not know this request", hint))
}

async fn status(State(guest): State<Arc<Guest>>) -> Json<GuestStatus> {
    Json(guest.status())
}

/// What has happened in this boot, how the guest is, and then whatever changes.
async fn events(State(guest): State<Arc<Guest>>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let guard = guest.stream();
    let (past, receiver) = guest.listen();
    let now = GuestEvent::Status(Box::new(guest.status()));
    let past = stream::iter(past.into_iter().map(GuestEvent::Boot).chain([now]).map(Arc::new).collect::<Vec<_>>());
    let events = past.chain(stream::unfold((receiver, guard), next_event)).map(|event| {
        // The type has no shape that JSON could not hold.
        Ok(Event::default().json_data(&*event).unwrap_or_default())
    });
    Sse::new(events).keep_alive(KeepAlive::new().interval(Duration::from_secs(15)))
}

type Listener = (Receiver<Arc<GuestEvent>>, StreamGuard);

async fn next_event((mut receiver, guard): Listener) -> Option<(Arc<GuestEvent>, Listener)> {
    loop {
        match receiver.recv().await {
            Ok(event) => return Some((event, (receiver, guard))),
            // One who listens too slowly misses something; the next status has it all.
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return None,
        }
    }
}

async fn time(
    State(guest): State<Arc<Guest>>,
    Body(setting): Body<ClockSetting>,
) -> Result<Json<ClockOffset>, Refusal> {
    let offset_ms = set_clock(&guest, &setting)?;
    Ok(Json(ClockOffset { offset_ms }))
}

/// The machine was suspended and is back: its clock is set. Everything is looked at in its turn, for the person's own
/// first request should not have to wait for that.
async fn resumed(State(guest): State<Arc<Guest>>, Body(setting): Body<ClockSetting>) -> Result<StatusCode, Refusal> {
    set_clock(&guest, &setting)?;
    Ok(StatusCode::NO_CONTENT)
}

fn set_clock(guest: &Guest, setting: &ClockSetting) -> Result<i64, Refusal> {
    let offset = clock::set(setting.unix_time_ns).map_err(|error| {
        guest.set_condition(
            "ClockInSync",
            ConditionStatus::False,
            Words::new("CannotSet", format!("the guest's clock can't be set: {error}"), "Restart the machine."),
        );
        Refusal::internal("the clock can't be set", &error)
    })?;
    guest.clock_offset_ms.store(offset, std::sync::atomic::Ordering::Relaxed);
    let message = if offset.abs() > CLOCK_OFF_MS {
        format!("the clock was off by {} s and has been set", offset / 1000)
    } else {
        "the clock agrees with the host's".to_owned()
    };
    guest.set_condition("ClockInSync", ConditionStatus::True, Words::new("SetByHost", message, ""));
    Ok(offset)
}

/// Makes the disk consistent with what is in memory, so that a state which can't be used later costs nothing. Caches are
/// left alone: freeing them now would not make the state smaller (their pages keep their content until they are used
/// anew), and the resumed machine would have to read them again.
async fn suspend_prepare() -> Result<StatusCode, Refusal> {
    tokio::task::spawn_blocking(rustix::fs::sync)
        .await
        .map_err(|error| Refusal::internal("the machine can't be made ready", &error))?;
    Ok(StatusCode::NO_CONTENT)
}

async fn shutdown() -> Result<StatusCode, Refusal> {
    power::off().map_err(|error| Refusal::internal("the machine can't be switched off", &error))?;
    Ok(StatusCode::ACCEPTED)
}

async fn grow() -> Result<Json<DiskBytes>, Refusal> {
    blocking("the data disk can't be grown", disk::grow).await
}

async fn blocking(
    what: &'static str,
    work: impl FnOnce() -> std::io::Result<u64> + Send + 'static,
) -> Result<Json<DiskBytes>, Refusal> {
    let outcome = tokio::task::spawn_blocking(work).await.map_err(|error| Refusal::internal(what, &error))?;
    outcome.map(|bytes| Json(DiskBytes { bytes })).map_err(|error| Refusal::internal(what, &error))
}
