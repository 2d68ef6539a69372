//! Versions, tickets, the end.

use alcove_types::{
    ApiError, ErrorCode,
    machine::QuitRequest,
    session::{Ticket, TicketRequest, VersionInfo},
};
use axum::{
    Extension, Json,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode, Uri};
use serde_json::json;

use super::work::Object;
use crate::{
    access::{Channel, caller},
    answer::{Answer, Refusal},
    state::App,
};

pub(super) async fn version(State(app): State<App>) -> Json<VersionInfo> {
    Json(VersionInfo {
        alcove: env!("CARGO_PKG_VERSION").into(),
        api: "v1".into(),
        instance: app.supervisor.instance().into(),
        pid: std::process::id(),
    })
}

pub(super) async fn ticket(State(app): State<App>, Object(request): Object<TicketRequest>) -> Answer<Json<Ticket>> {
    Ok(Json(app.sessions.ticket(request.surface, &app.origin(request.surface))?))
}

/// Brings the machine to rest and ends the supervisor. Answers at once, with the task that brings the machine to rest
/// where there is one; when that fails, the supervisor goes on and the task says why.
pub(super) async fn quit(
    State(app): State<App>,
    Extension(channel): Extension<Channel>,
    headers: HeaderMap,
    Object(request): Object<QuitRequest>,
) -> Answer<Response> {
    let caller = caller(channel, &headers);
    app.supervisor.record(&caller, "supervisor.quit", app.supervisor.instance(), "accepted", "");
    let resting = if request.suspend { app.supervisor.put_away(&caller).await? } else { None };
    let (supervisor, ending, task) = (app.supervisor.clone(), app.ending.clone(), resting.clone());
    tokio::spawn(async move {
        match supervisor.quit(task.as_ref()).await {
            Ok(()) => ending.cancel(),
            Err(error) => tracing::warn!(%error, "not ending: the machine could not be brought to rest"),
        }
    });
    Ok(match resting {
        Some(task) => (StatusCode::ACCEPTED, Json(task)).into_response(),
        None => (StatusCode::OK, Json(json!({ "ended": true }))).into_response(),
    })
}

pub(super) async fn no_such_route(uri: Uri) -> Refusal {
    Refusal(ApiError::new(
        ErrorCode::NotFound,
        format!("There is no {:?} in this API.", uri.path()),
        "The API's description is at /api/v1/openapi.json.",
    ))
}
