//! Guest images.

use alcove_types::{
    image::{ImageFetch, ImageList},
    task::Task,
};
use axum::{
    Extension, Json,
    extract::{Path, State},
};
use http::{HeaderMap, StatusCode};

use super::work::Object;
use crate::{
    access::{Channel, caller},
    answer::Answer,
    state::App,
};

pub(super) async fn images(State(app): State<App>) -> Answer<Json<ImageList>> {
    Ok(Json(app.supervisor.images().await?))
}

pub(super) async fn fetch(
    State(app): State<App>,
    Extension(channel): Extension<Channel>,
    headers: HeaderMap,
    request: Option<Object<ImageFetch>>,
) -> Answer<(StatusCode, Json<Task>)> {
    let request = request.map(|Object(request)| request).unwrap_or_default();
    let task = app.supervisor.fetch_image(request, &caller(channel, &headers))?;
    Ok((StatusCode::ACCEPTED, Json(task)))
}

pub(super) async fn remove(
    State(app): State<App>,
    Extension(channel): Extension<Channel>,
    headers: HeaderMap,
    Path(version): Path<String>,
) -> Answer<Json<ImageList>> {
    app.supervisor.remove_image(version, &caller(channel, &headers)).await?;
    Ok(Json(app.supervisor.images().await?))
}
