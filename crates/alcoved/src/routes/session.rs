//! Versions, tickets, the end.

use alcove_types::{
    ApiError, ErrorCode,
    machine::QuitRequest,
    session::{Ticket, TicketRequest, VersionInfo},
};
use axum::{Extension, Json, extract::State};
use http::{HeaderMap, StatusCode, Uri};
use serde_json::{Value, json};

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

/// Brings the machine to rest, answers, and ends the supervisor. When the machine can't be brought to rest, the
/// supervisor goes on and says why.
pub(super) async fn quit(
    State(app): State<App>,
    Extension(channel): Extension<Channel>,
    headers: HeaderMap,
    Object(request): Object<QuitRequest>,
) -> Answer<(StatusCode, Json<Value>)> {
    let caller = caller(channel, &headers);
    app.supervisor.record(&caller, "supervisor.quit", app.supervisor.instance(), "accepted", "");
    // A client that goes away must not leave a quit half done.
    let (supervisor, ending) = (app.supervisor.clone(), app.ending.clone());
    let quitting = tokio::spawn(async move {
        let result = supervisor.quit(request.suspend, &caller).await;
        if result.is_ok() {
            ending.cancel();
        }
        result
    });
    quitting
        .await
        .map_err(|e| ApiError::new(ErrorCode::Internal, e.to_string(), "Look at the supervisor's log."))??;
    Ok((StatusCode::OK, Json(json!({ "ended": true }))))
}

pub(super) async fn no_such_route(uri: Uri) -> Refusal {
    Refusal(ApiError::new(
        ErrorCode::NotFound,
        format!("There is no {:?} in this API.", uri.path()),
        "The API's description is at /api/v1/openapi.json.",
    ))
}
