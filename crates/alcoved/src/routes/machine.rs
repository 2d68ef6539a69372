//! The machine.

use alcove_types::{
    boot::BootReport,
    host::{DoctorReport, HostFacts},
    machine::{Machine, MachineProposal, MachineSetup, ResetRequest, Snapshot, SnapshotRequest, StartRequest},
    status::Status,
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

type Accepted = (StatusCode, Json<Task>);

fn accepted(task: Task) -> Answer<Accepted> {
    Ok((StatusCode::ACCEPTED, Json(task)))
}

pub(super) async fn status(State(app): State<App>) -> Json<Status> {
    Json(app.supervisor.status(app.endpoints()))
}

pub(super) async fn machine(State(app): State<App>) -> Json<Machine> {
    Json(app.supervisor.machine())
}

pub(super) async fn proposal(State(app): State<App>) -> Json<MachineProposal> {
    Json(app.supervisor.proposal())
}

pub(super) async fn host(State(app): State<App>) -> Answer<Json<HostFacts>> {
    Ok(Json(app.supervisor.host().await?))
}

pub(super) async fn doctor(State(app): State<App>) -> Answer<Json<DoctorReport>> {
    Ok(Json(app.supervisor.doctor().await?))
}

pub(super) async fn boot(State(app): State<App>) -> Answer<Json<BootReport>> {
    Ok(Json(app.supervisor.boot()?))
}

pub(super) async fn create(
    State(app): State<App>,
    Extension(channel): Extension<Channel>,
    headers: HeaderMap,
    Object(setup): Object<MachineSetup>,
) -> Answer<Accepted> {
    accepted(app.supervisor.create(setup, &caller(channel, &headers)).await?)
}

pub(super) async fn start(
    State(app): State<App>,
    Extension(channel): Extension<Channel>,
    headers: HeaderMap,
    request: Option<Object<StartRequest>>,
) -> Answer<Accepted> {
    let rescue = request.is_some_and(|Object(r)| r.rescue);
    accepted(app.supervisor.start(rescue, &caller(channel, &headers)).await?)
}

/// Operations without a body.
macro_rules! plain {
    ($($name:ident)*) => {$(
        pub(super) async fn $name(
            State(app): State<App>,
            Extension(channel): Extension<Channel>,
            headers: HeaderMap,
        ) -> Answer<Accepted> {
            accepted(app.supervisor.$name(&caller(channel, &headers)).await?)
        }
    )*};
}
plain!(suspend resume stop restart kill);

pub(super) async fn reset(
    State(app): State<App>,
    Extension(channel): Extension<Channel>,
    headers: HeaderMap,
    Object(request): Object<ResetRequest>,
) -> Answer<Accepted> {
    accepted(app.supervisor.reset(&request.confirm, &caller(channel, &headers)).await?)
}

pub(super) async fn snapshots(State(app): State<App>) -> Answer<Json<Vec<Snapshot>>> {
    Ok(Json(app.supervisor.snapshots().await?))
}

pub(super) async fn snapshot(
    State(app): State<App>,
    Extension(channel): Extension<Channel>,
    headers: HeaderMap,
    Object(request): Object<SnapshotRequest>,
) -> Answer<Accepted> {
    accepted(app.supervisor.snapshot(request, &caller(channel, &headers)).await?)
}

pub(super) async fn restore(
    State(app): State<App>,
    Extension(channel): Extension<Channel>,
    headers: HeaderMap,
    Path(name): Path<String>,
) -> Answer<Accepted> {
    accepted(app.supervisor.restore(name, &caller(channel, &headers)).await?)
}

pub(super) async fn delete_snapshot(
    State(app): State<App>,
    Extension(channel): Extension<Channel>,
    headers: HeaderMap,
    Path(name): Path<String>,
) -> Answer<Accepted> {
    accepted(app.supervisor.delete_snapshot(name, &caller(channel, &headers)).await?)
}
