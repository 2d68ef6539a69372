//! Rows of events.

use alcove_types::cluster::EventRow;
use jiff::Timestamp;

use crate::object::Event;

/// Turns events into rows, newest first, at most `limit`.
#[must_use]
pub fn events(events: &[Event], limit: usize) -> Vec<EventRow> {
    let mut timed: Vec<(Option<Timestamp>, &Event)> = events.iter().map(|e| (last_seen(e), e)).collect();
    timed.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.metadata.name.cmp(&b.1.metadata.name)));
    timed.into_iter().take(limit).map(|(last, event)| row(event, last)).collect()
}

/// When an event was last seen, whichever of its fields says so.
pub(crate) fn last_seen(event: &Event) -> Option<Timestamp> {
    let series = event.series.as_ref().and_then(|s| s.last_observed_time.as_deref());
    [series, event.last_timestamp.as_deref(), event.event_time.as_deref(), event.metadata.creation_timestamp.as_deref()]
        .into_iter()
        .flatten()
        .find_map(|text| text.parse().ok())
}

fn row(event: &Event, last: Option<Timestamp>) -> EventRow {
    let about = &event.involved_object;
    let first_of = |a: &str, b: &str| if a.is_empty() { b.to_owned() } else { a.to_owned() };
    EventRow {
        namespace: first_of(&about.namespace, &event.metadata.namespace),
        object: format!("{}/{}", about.kind, about.name),
        kind: first_of(&event.r#type, "Normal"),
        reason: event.reason.clone(),
        message: event.message.trim().to_owned(),
        count: event.series.as_ref().map_or(event.count, |s| s.count).max(1),
        last: last.map(|t| t.to_string()).unwrap_or_default(),
        source: first_of(&event.source.component, &event.reporting_component),
    }
}
