//! The event stream (server-sent events).

use std::{convert::Infallible, time::Duration};

use alcove_api::events::Numbered;
use alcove_types::event::Event as Change;
use axum::{
    extract::State,
    response::sse::{Event, KeepAlive, Sse},
};
use futures_util::stream::{self, Stream, StreamExt};
use http::HeaderMap;
use serde_json::Value;
use tokio::sync::broadcast::error::RecvError;

use crate::state::App;

/// `GET /api/v1/events`: what changes, from now on or from where `Last-Event-ID` says. Begins with the machine as it
/// is, so that a new client needs no other request to show something.
pub(super) async fn stream(
    State(app): State<App>,
    headers: HeaderMap,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let last = headers.get("last-event-id").and_then(|v| v.to_str().ok());
    let subscription = app.supervisor.events().subscribe(last);
    let now = if last.is_none() {
        let machine = Change::Machine(Box::new(app.supervisor.machine()));
        vec![Numbered { event: machine, ..app.supervisor.events().resync() }]
    } else {
        Vec::new()
    };
    let first = stream::iter(now.into_iter().chain(subscription.missed));
    let ending = app.ending.clone();
    let live = stream::unfold((subscription.live, app), |(mut live, app)| async move {
        match live.recv().await {
            Ok(event) => Some((event, (live, app))),
            Err(RecvError::Lagged(_)) => Some((app.supervisor.events().resync(), (live, app))),
            Err(RecvError::Closed) => None,
        }
    });
    let all = first.chain(live).take_until(ending.cancelled_owned()).map(|numbered| Ok(to_sse(&numbered)));
    Sse::new(all).keep_alive(KeepAlive::new().interval(Duration::from_secs(15)))
}

/// The wire type is `{event, data}`; in the stream its tag is the SSE event's name.
fn to_sse(numbered: &Numbered) -> Event {
    let mut document = serde_json::to_value(&numbered.event).unwrap_or_default();
    let name = document.get("event").and_then(Value::as_str).unwrap_or("resync").to_owned();
    let data = document.get_mut("data").map_or(Value::Null, Value::take);
    Event::default().id(&numbered.id).event(name).data(data.to_string())
}
