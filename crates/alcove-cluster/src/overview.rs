//! Counts for the head of the page.

use alcove_types::cluster::{ClusterOverview, Count, Health, PodRow};
use jiff::{SignedDuration, Timestamp};

use crate::{
    event_rows::last_seen,
    node_rows::is_ready,
    object::{Event, Node},
};

/// How far back warnings count.
const WARNINGS: SignedDuration = SignedDuration::from_hours(1);

/// Counts what there is and what is well.
#[must_use]
pub fn overview(nodes: &[Node], pods: &[PodRow], events: &[Event], version: &str, now: Timestamp) -> ClusterOverview {
    let warnings = events
        .iter()
        .filter(|e| e.r#type == "Warning")
        .filter(|e| last_seen(e).is_some_and(|t| now.duration_since(t) <= WARNINGS));
    ClusterOverview {
        nodes: Count { total: count(nodes.iter()), well: count(nodes.iter().filter(|n| is_ready(n))) },
        pods: Count { total: count(pods.iter()), well: count(pods.iter().filter(|p| p.health == Health::Good)) },
        version: version.to_owned(),
        warnings: count(warnings),
    }
}

fn count<T>(items: impl Iterator<Item = T>) -> u32 {
    u32::try_from(items.count()).unwrap_or(u32::MAX)
}
