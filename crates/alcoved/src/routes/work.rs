//! Tasks, the operation log, settings; and how bodies and queries are read.

use alcove_types::{
    ApiError, ErrorCode,
    operation::OperationList,
    settings::SettingsView,
    task::{Task, TaskList},
};
use axum::{
    Extension, Json,
    extract::{FromRequest, FromRequestParts, OptionalFromRequest, Path, Query, Request, State},
};
use http::{HeaderMap, request::Parts};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    access::{Channel, caller},
    answer::{Answer, Refusal},
    state::App,
};

/// A JSON body; what can't be read is refused in the API's own words.
pub(super) struct Object<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Object<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let bytes = bytes::Bytes::from_request(request, state).await.map_err(|e| bad(&e.to_string()))?;
        serde_json::from_slice(&bytes).map(Object).map_err(|e| bad(&e.to_string()))
    }
}

impl<T: DeserializeOwned, S: Send + Sync> OptionalFromRequest<S> for Object<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Option<Self>, Refusal> {
        let bytes = bytes::Bytes::from_request(request, state).await.map_err(|e| bad(&e.to_string()))?;
        if bytes.is_empty() {
            return Ok(None);
        }
        serde_json::from_slice(&bytes).map(|v| Some(Object(v))).map_err(|e| bad(&e.to_string()))
    }
}

/// A query; what can't be read is refused in the API's own words.
pub(super) struct Asked<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        Query::try_from_uri(&parts.uri).map(|Query(q)| Asked(q)).map_err(|e| bad(&e.to_string()))
    }
}

fn bad(why: &str) -> Refusal {
    Refusal(ApiError::new(
        ErrorCode::BadRequest,
        format!("The request can't be read: {why}."),
        "The API's description is at /api/v1/openapi.json.",
    ))
}

pub(super) async fn tasks(State(app): State<App>) -> Json<TaskList> {
    Json(TaskList { tasks: app.supervisor.tasks().list() })
}

pub(super) async fn task(State(app): State<App>, Path(id): Path<String>) -> Answer<Json<Task>> {
    Ok(Json(app.supervisor.tasks().get(&id)?))
}

pub(super) async fn cancel(State(app): State<App>, Path(id): Path<String>) -> Answer<Json<Task>> {
    Ok(Json(app.supervisor.tasks().cancel(&id)?))
}

#[derive(Deserialize)]
pub(super) struct Page {
    limit: Option<usize>,
    before: Option<u64>,
}

pub(super) async fn operations(State(app): State<App>, Asked(page): Asked<Page>) -> Answer<Json<OperationList>> {
    let limit = page.limit.unwrap_or(100).clamp(1, 500);
    let reading = tokio::task::spawn_blocking(move || app.supervisor.operations(limit, page.before));
    let read = reading.await.unwrap_or_else(|error| {
        Err(ApiError::new(ErrorCode::Internal, format!("The log could not be read: {error}."), "Try again."))
    });
    Ok(Json(read?))
}

pub(super) async fn settings(State(app): State<App>) -> Json<SettingsView> {
    Json(app.supervisor.settings())
}

pub(super) async fn change_settings(
    State(app): State<App>,
    Extension(channel): Extension<Channel>,
    headers: HeaderMap,
    Object(patch): Object<Value>,
) -> Answer<Json<SettingsView>> {
    Ok(Json(app.supervisor.change_settings(&patch, &caller(channel, &headers))?))
}
