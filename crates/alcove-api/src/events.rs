//! One stream of changes for every face, which a face can take up again where it left off.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use alcove_types::event::Event;
use tokio::sync::broadcast;

/// Changes kept for those who come back.
const KEPT: usize = 512;

/// A change with its place in the stream.
#[derive(Debug, Clone)]
pub struct Numbered {
    /// `<run>-<count>`: the run changes when the supervisor starts anew.
    pub id: String,
    /// The change.
    pub event: Event,
}

/// The stream of changes.
#[derive(Debug)]
pub struct Events {
    run: String,
    kept: Mutex<Kept>,
    sender: broadcast::Sender<Numbered>,
}

#[derive(Debug, Default)]
struct Kept {
    count: u64,
    ring: VecDeque<(u64, Numbered)>,
}

/// What a subscriber has missed, and what comes.
pub struct Subscription {
    /// What happened since the given id; a lone [`Event::Resync`] when that can't be told any more.
    pub missed: Vec<Numbered>,
    /// What comes.
    pub live: broadcast::Receiver<Numbered>,
}

impl Default for Events {
    fn default() -> Self {
        Self::new()
    }
}

impl Events {
    /// An empty stream.
    pub fn new() -> Self {
        let (sender, _) = broadcast::channel(256);
        Self { run: format!("{:08x}", rand::random::<u32>()), kept: Mutex::default(), sender }
    }

    /// Adds a change.
    pub fn publish(&self, event: Event) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.count += 1;
        let numbered = Numbered { id: format!("{}-{}", self.run, kept.count), event };
        let count = kept.count;
        kept.ring.push_back((count, numbered.clone()));
        if kept.ring.len() > KEPT {
            kept.ring.pop_front();
        }
        // Sent under the lock, so that a subscriber sees each change exactly once. Nobody listening is fine.
        let _ = self.sender.send(numbered);
    }

    /// Subscribes, from just after `last_id` when it is given and still known.
    pub fn subscribe(&self, last_id: Option<&str>) -> Subscription {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let live = self.sender.subscribe();
        let missed = match last_id {
            None => Vec::new(),
            Some(id) => self
                .since(&kept, id)
                .unwrap_or_else(|| vec![Numbered { id: format!("{}-{}", self.run, kept.count), event: Event::Resync }]),
        };
        Subscription { missed, live }
    }

    fn since(&self, kept: &Kept, id: &str) -> Option<Vec<Numbered>> {
        let (run, count) = id.rsplit_once('-')?;
        let count: u64 = count.parse().ok()?;
        if run != self.run || count > kept.count {
            return None;
        }
        let oldest = kept.ring.front().map_or(kept.count + 1, |(n, _)| *n);
        (count + 1 >= oldest).then(|| kept.ring.iter().filter(|(n, _)| *n > count).map(|(_, e)| e.clone()).collect())
    }

    /// How many changes a subscriber was too slow for means that it must read everything anew.
    pub fn resync(&self) -> Numbered {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        Numbered { id: format!("{}-{}", self.run, kept.count), event: Event::Resync }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_taken_up_where_it_was_left() {
        let events = Events::new();
        events.publish(Event::Resync);
        let first = events.subscribe(Some(&format!("{}-0", events.run))).missed;
        assert_eq!(first.len(), 1);
        events.publish(Event::Resync);
        events.publish(Event::Resync);
        assert_eq!(events.subscribe(Some(&first[0].id)).missed.len(), 2);
        assert!(events.subscribe(Some(&format!("{}-3", events.run))).missed.is_empty());
    }

    #[test]
    fn who_was_away_too_long_or_knew_another_run_reads_everything_anew() {
        let events = Events::new();
        for _ in 0..KEPT + 5 {
            events.publish(Event::Resync);
        }
        for id in [
            format!("{}-1", events.run),
            "feedbeef-3".to_owned(),
            "nonsense".to_owned(),
            format!("{}-9999", events.run),
        ] {
            assert!(matches!(events.subscribe(Some(&id)).missed[..], [Numbered { event: Event::Resync, .. }]), "{id}");
        }
    }
}
