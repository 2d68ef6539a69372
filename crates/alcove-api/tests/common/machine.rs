//! The machine of the stage: what is seen of it, what was asked of it, and what its guest does.

use std::collections::HashMap;

use alcove_api::clock;
use alcove_machine::{Power, ProviderEvent};
use alcove_types::{Condition, machine::Snapshot};
use serde_json::json;
use tokio::{sync::broadcast, task::JoinHandle};

/// What a guest does with its image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Does {
    ComesUp,
    /// QEMU itself ends at once.
    NeverStarts,
    /// It runs, and nobody answers.
    StaysSilent,
    /// Its kernel crashes each time.
    Panics,
    /// The host has no room for it.
    FindsNoRoom,
}

pub(crate) struct Machine {
    pub(crate) does: HashMap<String, Does>,
    /// The images of all boots.
    pub(crate) started: Vec<String>,
    /// The larger sizes that the disk was to get.
    pub(crate) grown: Vec<u64>,
    /// How often the guest was told to take up a larger disk.
    pub(crate) told: usize,
    /// How often it was looked at.
    pub(crate) looked: usize,
    /// How often the guest was told the time.
    pub(crate) told_the_time: usize,
    /// The guest can't do so now.
    pub(crate) busy: bool,
    pub(crate) disk: u64,
    /// The guest says that Kubernetes and the platform are up; a guest without them says nothing of them.
    pub(crate) platform: bool,
    /// The platform does not answer, whatever the guest says.
    pub(crate) platform_silent: bool,
    /// How often the platform was asked for something.
    pub(crate) platform_asked: usize,
    /// What the guest says of itself beyond that.
    pub(crate) says: Vec<Condition>,
    /// It was last started for rescue.
    pub(super) rescue: bool,
    pub(super) power: Power,
    pub(super) guest: Option<JoinHandle<()>>,
    pub(super) snapshots: Vec<Snapshot>,
    pub(super) events: broadcast::Sender<ProviderEvent>,
}

impl Machine {
    pub(super) fn absent() -> Self {
        Self {
            does: HashMap::new(),
            started: Vec::new(),
            grown: Vec::new(),
            told: 0,
            looked: 0,
            told_the_time: 0,
            busy: false,
            disk: 0,
            platform: false,
            platform_silent: false,
            platform_asked: 0,
            says: Vec::new(),
            rescue: false,
            power: Power::Absent,
            guest: None,
            snapshots: Vec::new(),
            events: broadcast::channel(16).0,
        }
    }

    pub(super) fn is_on(&self) -> bool {
        matches!(self.power, Power::On(_))
    }

    pub(super) fn is_suspended(&self) -> bool {
        matches!(self.power, Power::Suspended { .. })
    }

    /// The hypervisor ends when it is alive, and leaves this.
    pub(super) fn end(&mut self, left: Power) {
        if !self.is_on() {
            return;
        }
        self.power = left;
        if let Some(guest) = self.guest.take() {
            guest.abort();
        }
        // Nobody may be listening.
        let _ = self.events.send(ProviderEvent::Exited { code: Some(0), last_words: Vec::new() });
    }
}

/// What is seen of a machine of this image whose memory lies on the disk.
pub(super) fn saved(image: &str) -> Power {
    let state = json!({
        "schema": 1, "format": "stream", "created": clock::now(), "bytes": 1, "allocated": 1, "head_sha256": "",
        "fingerprint": { "image": image, "hypervisor": "10", "hardware": "h", "acceleration": "tcg", "cpu": "max" },
        "disk": { "bytes": 1, "written_ns": 1 },
    });
    Power::Suspended { state: serde_json::from_value(state).unwrap() }
}
