//! The API's routes: each turns a request into one operation of [`alcove_api::Supervisor`].

mod cluster;
mod events;
mod images;
mod logs;
mod machine;
mod session;
mod work;

use axum::{
    Extension, Router, middleware,
    routing::{any, delete, get, post},
};

use crate::{access, forward, openapi, pages, replay, state::App};

/// Everything that the supervisor serves on loopback, and, without a browser's needs, on its socket.
pub(crate) fn all(app: App) -> Router {
    let api = Router::new()
        .route("/version", get(session::version))
        .route("/openapi.json", get(openapi::document))
        .route("/status", get(machine::status))
        .route("/machine", get(machine::machine).post(machine::create))
        .route("/machine/proposal", get(machine::proposal))
        .route("/machine/start", post(machine::start))
        .route("/machine/suspend", post(machine::suspend))
        .route("/machine/resume", post(machine::resume))
        .route("/machine/stop", post(machine::stop))
        .route("/machine/restart", post(machine::restart))
        .route("/machine/kill", post(machine::kill))
        .route("/machine/reset", post(machine::reset))
        .route("/machine/boot", get(machine::boot))
        .route("/machine/console", get(logs::console))
        .route("/machine/console/attach", any(logs::attach))
        .route("/machine/shell", any(logs::shell))
        .route("/machine/logs", get(logs::logs))
        .route("/machine/snapshots", get(machine::snapshots).post(machine::snapshot))
        .route("/machine/snapshots/{name}", delete(machine::delete_snapshot))
        .route("/machine/snapshots/{name}/restore", post(machine::restore))
        .route("/images", get(images::images))
        .route("/images/fetch", post(images::fetch))
        .route("/images/{version}", delete(images::remove))
        .route("/host", get(machine::host))
        .route("/doctor", get(machine::doctor))
        .route("/settings", get(work::settings).patch(work::change_settings))
        .route("/tasks", get(work::tasks))
        .route("/tasks/{id}", get(work::task))
        .route("/tasks/{id}/cancel", post(work::cancel))
        .route("/operations", get(work::operations))
        .route("/events", get(events::stream))
        .route("/tickets", post(session::ticket))
        .route("/quit", post(session::quit))
        .route("/cluster/overview", get(cluster::overview))
        .route("/cluster/nodes", get(cluster::nodes))
        .route("/cluster/pods", get(cluster::pods))
        .route("/cluster/events", get(cluster::events))
        .route("/cluster/pods/{namespace}/{name}/logs", get(cluster::logs))
        .fallback(session::no_such_route)
        .layer(middleware::from_fn_with_state(app.clone(), replay::once));
    let guarded = Router::new()
        .nest("/api/v1", api)
        .route("/kubernetes", any(forward::cluster))
        .route("/kubernetes/{*path}", any(forward::cluster))
        .layer(middleware::from_fn_with_state(app.clone(), access::api_gate))
        .layer(middleware::map_response(forward::no_page));
    Router::new()
        .merge(guarded)
        .route("/.alcove/ticket/{ticket}", get(access::redeem))
        .fallback(pages::native)
        .layer(middleware::from_fn_with_state(app.clone(), forward::by_host))
        .layer(Extension(cluster::Reader::default()))
        .with_state(app)
}
