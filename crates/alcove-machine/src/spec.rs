//! What a machine is: its identity, its sizes and its images. Lies in `machine.json`.

use alcove_types::{guest::Account, machine::MachineSetup};
use serde::{Deserialize, Serialize};

use crate::{InstanceName, Layout, MachineError, Result, files};

/// The `schema` of `machine.json` that this version writes and reads.
pub const SCHEMA: u32 = 1;

const MIB: u64 = 1 << 20;
/// The least memory with which a guest comes up.
pub const LEAST_MEMORY: u64 = 256 * MIB;
/// The smallest data disk.
pub const LEAST_DISK: u64 = 256 * MIB;

/// What a machine is. What it was made as stays the same for its whole life: UUID, MAC, machine id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MachineSpec {
    /// Version of this structure.
    pub schema: u32,
    /// The instance it was made as. A copy of a machine in another instance keeps the name that its guest knows.
    pub instance: InstanceName,
    /// The machine's UUID.
    pub uuid: uuid::Uuid,
    /// The network card's address.
    pub mac: String,
    /// The guest's machine id, 32 hexadecimal digits.
    pub machine_id: String,
    /// Version of Alcove that made it.
    pub created_by_version: String,
    /// When it was made.
    pub created: jiff::Timestamp,
    /// Sizes.
    pub setup: MachineSetup,
    /// The owner's account, as the guest is told.
    pub account: Account,
    /// Images.
    pub slots: ImageSlots,
}

/// One of the two places for an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Slot {
    /// The first.
    A,
    /// The second.
    B,
}

/// The machine's images: the one in use, and a newer one on trial or an older one to return to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageSlots {
    /// Version of the image in slot A.
    pub a: Option<String>,
    /// Version of the image in slot B.
    pub b: Option<String>,
    /// The slot that is known to work.
    pub active: Slot,
    /// The slot that is on trial: used for the next start, and kept only if that comes up well.
    pub trial: Option<Slot>,
}

impl Slot {
    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

impl ImageSlots {
    /// A new machine's slots: its first image in A.
    pub fn first(version: impl Into<String>) -> Self {
        Self { a: Some(version.into()), b: None, active: Slot::A, trial: None }
    }

    /// The version in a slot.
    pub fn version(&self, slot: Slot) -> Option<&str> {
        match slot {
            Slot::A => self.a.as_deref(),
            Slot::B => self.b.as_deref(),
        }
    }

    /// The version to start: the one on trial, else the active one.
    pub fn current(&self) -> Option<&str> {
        self.trial.and_then(|slot| self.version(slot)).or_else(|| self.version(self.active))
    }

    /// Puts a version on trial in the slot that is not active. Nothing changes when it is in use already.
    pub fn try_out(&mut self, version: impl Into<String>) {
        let version = version.into();
        if self.version(self.active) == Some(&version) {
            self.trial = None;
            return;
        }
        let slot = self.active.other();
        match slot {
            Slot::A => self.a = Some(version),
            Slot::B => self.b = Some(version),
        }
        self.trial = Some(slot);
    }

    /// The image on trial has come up well: it is the active one from now on. The older one stays to return to.
    pub fn commit(&mut self) {
        if let Some(slot) = self.trial.take() {
            self.active = slot;
        }
    }

    /// The image on trial has failed: the older one is used again.
    pub fn roll_back(&mut self) {
        self.trial = None;
    }
}

impl MachineSpec {
    /// A new machine with an identity of its own.
    pub fn new(
        instance: InstanceName,
        setup: MachineSetup,
        account: Account,
        image: impl Into<String>,
    ) -> Result<Self> {
        check_setup(&setup)?;
        let id: [u8; 16] = rand::random();
        let tail: [u8; 3] = rand::random();
        Ok(Self {
            schema: SCHEMA,
            instance,
            uuid: uuid::Uuid::new_v4(),
            // QEMU's own prefix, so that it is known for a virtual card.
            mac: format!("52:54:00:{:02x}:{:02x}:{:02x}", tail[0], tail[1], tail[2]),
            machine_id: hex::encode(id),
            created_by_version: env!("CARGO_PKG_VERSION").into(),
            created: jiff::Timestamp::now(),
            setup,
            account,
            slots: ImageSlots::first(image),
        })
    }

    /// Reads `machine.json`. `None` when there is none. A damaged one is copied to `machine.json.damaged` and left.
    pub fn load(layout: &Layout) -> Result<Option<Self>> {
        let path = layout.machine_json();
        let spec: Option<Self> = files::read_versioned(&path, SCHEMA).map_err(files::keep_damaged)?;
        if let Some(spec) = &spec {
            spec.check()
                .map_err(|reason| files::keep_damaged(MachineError::FileCorrupt { path, reason, kept: None }))?;
        }
        Ok(spec)
    }

    /// Writes `machine.json`.
    pub fn save(&self, layout: &Layout) -> Result<()> {
        check_setup(&self.setup)?;
        files::write_json(&layout.machine_json(), self)
    }

    /// Whether the fields hold what they must: they end up on a command line.
    fn check(&self) -> Result<(), String> {
        let mac = self.mac.split(':').collect::<Vec<_>>();
        if mac.len() != 6 || mac.iter().any(|b| b.len() != 2 || !b.chars().all(|c| c.is_ascii_hexdigit())) {
            return Err(format!("{:?} is not a network address", self.mac));
        }
        if self.machine_id.len() != 32 || !self.machine_id.chars().all(|c| c.is_ascii_hexdigit()) {
            return Err("the machine id is not 32 hexadecimal digits".into());
        }
        for version in [&self.slots.a, &self.slots.b].into_iter().flatten() {
            if !crate::image::is_version(version) {
                return Err(format!("{version:?} is not an image's version"));
            }
        }
        check_setup(&self.setup).map_err(|e| e.to_string())
    }
}

/// Refuses sizes that can't work.
pub fn check_setup(setup: &MachineSetup) -> Result<()> {
    let refuse = |message: String, hint: &str| Err(MachineError::BadRequest { message, hint: hint.into() });
    if setup.memory_bytes < LEAST_MEMORY || !setup.memory_bytes.is_multiple_of(2 * MIB) {
        return refuse(
            format!("the machine can't have {} bytes of memory", setup.memory_bytes),
            "Give it at least 256 MiB, in steps of 2 MiB.",
        );
    }
    if !(1..=255).contains(&setup.cpus) {
        return refuse(format!("the machine can't have {} processors", setup.cpus), "Give it 1 to 255 processors.");
    }
    if setup.disk_bytes < LEAST_DISK || !setup.disk_bytes.is_multiple_of(MIB) {
        return refuse(
            format!("the data disk can't have {} bytes", setup.disk_bytes),
            "Give it at least 256 MiB, in steps of 1 MiB.",
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_tried_committed_and_rolled_back() {
        let mut slots = ImageSlots::first("one");
        assert_eq!(slots.current(), Some("one"));
        slots.try_out("one");
        assert_eq!(slots.trial, None, "what is in use needs no trial");
        slots.try_out("two");
        assert_eq!((slots.current(), slots.active), (Some("two"), Slot::A));
        slots.roll_back();
        assert_eq!(slots.current(), Some("one"));
        slots.try_out("two");
        slots.commit();
        assert_eq!((slots.current(), slots.active), (Some("two"), Slot::B));
        slots.try_out("three");
        assert_eq!(slots.version(Slot::A), Some("three"), "the older one makes room");
        slots.roll_back();
        assert_eq!(slots.current(), Some("two"));
    }

    #[test]
    fn sizes_that_can_not_work_are_refused() {
        let good = MachineSetup { memory_bytes: 2048 * MIB, cpus: 2, disk_bytes: 4096 * MIB };
        assert!(check_setup(&good).is_ok());
        for bad in [
            MachineSetup { memory_bytes: 0, ..good },
            MachineSetup { memory_bytes: 2048 * MIB + 1, ..good },
            MachineSetup { cpus: 0, ..good },
            MachineSetup { cpus: 256, ..good },
            MachineSetup { disk_bytes: 1, ..good },
        ] {
            assert!(matches!(check_setup(&bad), Err(MachineError::BadRequest { .. })), "{bad:?}");
        }
    }
}
