//! The suspended state: the machine's memory on the disk, and whether it can still be used.
//!
//! The folder holds `state.bin` (memory and devices as the hypervisor wrote them) and `state.json` (what it belongs
//! to), which is written last: without it there is no state. A state can be used once, because the disk goes on as soon
//! as the guest runs; `state.json` is therefore moved aside before the guest is let go.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{MachineError, Result, files};

/// The `schema` of `state.json` that this version writes and reads.
pub const SCHEMA: u32 = 1;

/// What a suspended state belongs to. Everything here must be the same for it to be used again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// Version of the guest image.
    pub image: String,
    /// Version of the hypervisor.
    pub hypervisor: String,
    /// SHA-256 of everything that the guest can see of its hardware: not paths, ports or the instance's name.
    pub hardware: String,
    /// How the processor was virtualised.
    pub acceleration: alcove_types::machine::Acceleration,
    /// The processor's model as the guest sees it; with hardware virtualisation also the host's own processor.
    pub cpu: String,
}

/// The data disk as it was when the state was made. Memory and disk belong together: a disk that went on without the
/// memory would be damaged by it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskMark {
    /// Length of the file.
    pub bytes: u64,
    /// When it was last written, nanoseconds since 1970.
    pub written_ns: i64,
}

/// What is known of a suspended state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateFacts {
    /// Version of this structure.
    pub schema: u32,
    /// What it belongs to.
    pub fingerprint: Fingerprint,
    /// The data disk that it belongs to.
    pub disk: DiskMark,
    /// How the memory was written: `packed-zstd`, `mapped-ram-direct`, `mapped-ram` or `stream`.
    pub format: String,
    /// When it was made.
    pub created: jiff::Timestamp,
    /// Length of `state.bin`.
    pub bytes: u64,
    /// Bytes that `state.bin` takes on the disk.
    pub allocated: u64,
    /// SHA-256 of the first mebibyte of `state.bin`: enough to see that it is another file or was overwritten.
    pub head_sha256: String,
}

/// Whether a suspended state can be used.
#[derive(Debug, Clone, PartialEq)]
pub enum Validity {
    /// It can.
    Usable(StateFacts),
    /// It can't; a cold start is the way on.
    Discard(Reason),
}

/// Why a suspended state can't be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// There is none.
    #[error("there is none")]
    None,
    /// Its description is damaged.
    #[error("its description is damaged ({0})")]
    Corrupt(String),
    /// The saved memory is missing or not what was written.
    #[error("the saved memory is damaged ({0})")]
    Truncated(String),
    /// It was written by a newer version.
    #[error("it was written by a newer Alcove")]
    TooNew,
    /// It was written in a way that this version does not read.
    #[error("it was written by another Alcove, in the format {0}")]
    Format(String),
    /// It was used before.
    #[error("it has been used already, and the disk has gone on since")]
    Used,
    /// The disk was written after it was made.
    #[error("the disk has been written since")]
    DiskChanged,
    /// It belongs to another image.
    #[error("it belongs to image {found}, the machine now has {wanted}")]
    Image {
        /// The image it was made with.
        found: String,
        /// The image of now.
        wanted: String,
    },
    /// It was made by another version of the hypervisor.
    #[error("QEMU {found} made it, this is QEMU {wanted}")]
    Hypervisor {
        /// The version that made it.
        found: String,
        /// The version of now.
        wanted: String,
    },
    /// The machine's sizes or devices are different now.
    #[error("the machine's hardware was changed since (memory, processors or devices)")]
    Hardware,
    /// The processor or its virtualisation is another.
    #[error("it was made on {found}, this is {wanted}")]
    Processor {
        /// What it was made on.
        found: String,
        /// What there is now.
        wanted: String,
    },
    /// The keys that the saved guest knows are gone from the keychain.
    #[error("the keys that belong to it are gone from your keychain")]
    KeysLost,
    /// The hypervisor tried to load it and failed.
    #[error("QEMU could not load it ({0})")]
    LoadFailed(String),
}

/// The folder of a suspended state.
#[derive(Debug, Clone)]
pub struct StateFolder {
    folder: PathBuf,
}

/// How much of `state.bin` is looked at before it is used. All of it would take longer than loading it.
const HEAD: u64 = 1 << 20;

impl DiskMark {
    /// The mark of a disk file as it is now.
    pub fn of(disk: &Path) -> Result<Self> {
        let meta = fs::metadata(disk).map_err(|e| MachineError::io("can't read", disk, e))?;
        Ok(Self {
            bytes: meta.len(),
            written_ns: meta.mtime().wrapping_mul(1_000_000_000).wrapping_add(meta.mtime_nsec()),
        })
    }
}

impl StateFolder {
    /// The state in this folder.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// The saved memory.
    pub fn memory(&self) -> PathBuf {
        self.folder.join("state.bin")
    }

    /// The saved memory while it is being written.
    pub fn memory_in_making(&self) -> PathBuf {
        self.folder.join("state.tmp")
    }

    /// A used memory that is being deleted.
    fn retired(&self) -> PathBuf {
        self.folder.join("state.retired")
    }

    /// What the saved memory belongs to.
    pub fn facts_file(&self) -> PathBuf {
        self.folder.join("state.json")
    }

    fn used_file(&self) -> PathBuf {
        self.folder.join("state.used.json")
    }

    /// What is known of the state; `Err` says why there is no usable one.
    pub fn facts(&self) -> std::result::Result<StateFacts, Reason> {
        let facts: StateFacts = match files::read_versioned(&self.facts_file(), SCHEMA) {
            Ok(Some(facts)) => facts,
            Ok(None) if self.used_file().exists() => return Err(Reason::Used),
            Ok(None) => return Err(Reason::None),
            Err(MachineError::TooNew { .. }) => return Err(Reason::TooNew),
            Err(MachineError::FileCorrupt { reason, .. }) => return Err(Reason::Corrupt(reason)),
            Err(other) => return Err(Reason::Corrupt(other.to_string())),
        };
        let memory = self.memory();
        match fs::metadata(&memory) {
            Ok(meta) if meta.len() == facts.bytes => Ok(facts),
            Ok(meta) => Err(Reason::Truncated(format!("it has {} bytes instead of {}", meta.len(), facts.bytes))),
            Err(e) => Err(Reason::Truncated(e.to_string())),
        }
    }

    /// Whether the state can be used by a machine with this fingerprint and this disk. `None` when there is none.
    pub fn check(&self, wanted: &Fingerprint, disk: &Path) -> Option<Validity> {
        let facts = match self.facts() {
            Ok(facts) => facts,
            Err(Reason::None) => return None,
            Err(reason) => return Some(Validity::Discard(reason)),
        };
        Some(match self.mismatch(&facts, wanted, disk) {
            Some(reason) => Validity::Discard(reason),
            None => Validity::Usable(facts),
        })
    }

    fn mismatch(&self, facts: &StateFacts, wanted: &Fingerprint, disk: &Path) -> Option<Reason> {
        let found = &facts.fingerprint;
        if found.image != wanted.image {
            return Some(Reason::Image { found: found.image.clone(), wanted: wanted.image.clone() });
        }
        if found.hypervisor != wanted.hypervisor {
            return Some(Reason::Hypervisor { found: found.hypervisor.clone(), wanted: wanted.hypervisor.clone() });
        }
        if (found.acceleration, &found.cpu) != (wanted.acceleration, &wanted.cpu) {
            let words = |f: &Fingerprint| format!("{} ({:?})", f.cpu, f.acceleration).to_lowercase();
            return Some(Reason::Processor { found: words(found), wanted: words(wanted) });
        }
        if found.hardware != wanted.hardware {
            return Some(Reason::Hardware);
        }
        if DiskMark::of(disk).ok().as_ref() != Some(&facts.disk) {
            return Some(Reason::DiskChanged);
        }
        match files::sha256(&self.memory(), Some(HEAD)) {
            Ok(head) if head == facts.head_sha256 => None,
            Ok(_) => Some(Reason::Truncated("its beginning is not what was written".into())),
            Err(e) => Some(Reason::Truncated(e.to_string())),
        }
    }

    /// Makes the memory that was written into [`StateFolder::memory_in_making`] the state: syncs it, gives it its name
    /// and writes its description, in this order. Blocks.
    pub fn complete(&self, fingerprint: Fingerprint, disk: &Path, format: &str) -> Result<StateFacts> {
        let making = self.memory_in_making();
        files::sync_file(&making)?;
        files::remove_if_there(&self.facts_file())?;
        files::remove_if_there(&self.used_file())?;
        let memory = self.memory();
        fs::rename(&making, &memory).map_err(|e| MachineError::io("can't rename", &making, e))?;
        files::sync_parent(&memory)?;
        self.describe(fingerprint, disk, format)
    }

    /// Writes the description of the memory that lies there. Blocks.
    pub fn describe(&self, fingerprint: Fingerprint, disk: &Path, format: &str) -> Result<StateFacts> {
        let memory = self.memory();
        let meta = fs::metadata(&memory).map_err(|e| MachineError::io("can't read", &memory, e))?;
        let facts = StateFacts {
            schema: SCHEMA,
            fingerprint,
            disk: DiskMark::of(disk)?,
            format: format.into(),
            created: jiff::Timestamp::now(),
            bytes: meta.len(),
            allocated: meta.blocks() * 512,
            head_sha256: files::sha256(&memory, Some(HEAD))?,
        };
        files::write_json(&self.facts_file(), &facts)?;
        Ok(facts)
    }

    /// The disk was changed in a way that the guest does not see (a snapshot inside the file was made): the state
    /// belongs to the disk as it is now.
    pub fn disk_moved_on(&self, facts: &StateFacts, disk: &Path) -> Result<()> {
        files::write_json(&self.facts_file(), &StateFacts { disk: DiskMark::of(disk)?, ..facts.clone() })
    }

    /// The guest is about to run on: whatever happens from now, the state must not be used again.
    pub fn mark_used(&self) -> Result<()> {
        let facts = self.facts_file();
        match fs::rename(&facts, self.used_file()) {
            Ok(()) => files::sync_parent(&facts),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(MachineError::io("can't rename", &facts, e)),
        }
    }

    /// The guest did not run on after all.
    pub fn unmark_used(&self) -> Result<()> {
        let used = self.used_file();
        fs::rename(&used, self.facts_file()).map_err(|e| MachineError::io("can't rename", &used, e))?;
        files::sync_parent(&used)
    }

    /// Deletes all of it. The description goes first: memory without one is nothing.
    pub fn discard(&self) -> Result<()> {
        files::remove_if_there(&self.facts_file())?;
        if self.memory().exists() {
            files::sync_parent(&self.memory())?;
        }
        files::remove_if_there(&self.memory())?;
        files::remove_if_there(&self.used_file())?;
        files::remove_if_there(&self.retired())?;
        files::remove_if_there(&self.memory_in_making())
    }

    /// Deletes a state that has been marked as used, without making anybody wait for the disk: the guest runs already.
    pub(crate) fn retire(&self) -> Result<()> {
        let (memory, retired) = (self.memory(), self.retired());
        match fs::rename(&memory, &retired) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(MachineError::io("can't rename", &memory, e)),
        }
        files::remove_if_there(&self.used_file())?;
        // Under its own name it is in nobody's way, however long the disk takes.
        std::thread::spawn(move || {
            if let Err(e) = files::remove_if_there(&retired) {
                tracing::warn!(error = %e, "the used state could not be deleted");
            }
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use alcove_types::machine::Acceleration;

    use super::*;

    fn fingerprint() -> Fingerprint {
        Fingerprint {
            image: "abc".into(),
            hypervisor: "10.0.2".into(),
            hardware: "h".into(),
            acceleration: Acceleration::Tcg,
            cpu: "max".into(),
        }
    }

    fn made() -> (tempfile::TempDir, StateFolder, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let folder = StateFolder::new(dir.path());
        let disk = dir.path().join("disk");
        fs::write(&disk, b"disk").unwrap();
        fs::write(folder.memory_in_making(), b"memory").unwrap();
        folder.complete(fingerprint(), &disk, "stream").unwrap();
        (dir, folder, disk)
    }

    fn discarded(folder: &StateFolder, wanted: &Fingerprint, disk: &Path) -> Reason {
        match folder.check(wanted, disk) {
            Some(Validity::Discard(reason)) => reason,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_complete_state_is_usable_once() {
        let (_dir, folder, disk) = made();
        assert!(matches!(folder.check(&fingerprint(), &disk), Some(Validity::Usable(_))));
        folder.mark_used().unwrap();
        assert_eq!(discarded(&folder, &fingerprint(), &disk), Reason::Used);
        folder.unmark_used().unwrap();
        assert!(matches!(folder.check(&fingerprint(), &disk), Some(Validity::Usable(_))));
        folder.discard().unwrap();
        assert_eq!(folder.check(&fingerprint(), &disk), None);
    }

    #[test]
    fn every_difference_is_named() {
        let (_dir, folder, disk) = made();
        let other = Fingerprint { image: "def".into(), ..fingerprint() };
        assert!(matches!(discarded(&folder, &other, &disk), Reason::Image { .. }));
        let other = Fingerprint { hypervisor: "10.1.0".into(), ..fingerprint() };
        assert!(matches!(discarded(&folder, &other, &disk), Reason::Hypervisor { .. }));
        let other = Fingerprint { hardware: "x".into(), ..fingerprint() };
        assert_eq!(discarded(&folder, &other, &disk), Reason::Hardware);
        let other = Fingerprint { acceleration: Acceleration::Kvm, ..fingerprint() };
        assert!(matches!(discarded(&folder, &other, &disk), Reason::Processor { .. }));
        fs::write(&disk, b"disk that went on").unwrap();
        assert_eq!(discarded(&folder, &fingerprint(), &disk), Reason::DiskChanged);
    }

    #[test]
    fn damage_is_found() {
        let (_dir, folder, disk) = made();
        fs::write(folder.memory(), b"mem").unwrap();
        assert!(matches!(discarded(&folder, &fingerprint(), &disk), Reason::Truncated(_)));
        fs::write(folder.memory(), b"MEMORY").unwrap();
        assert!(matches!(discarded(&folder, &fingerprint(), &disk), Reason::Truncated(_)));
        fs::write(folder.facts_file(), b"{\"schema\":1,").unwrap();
        assert!(matches!(discarded(&folder, &fingerprint(), &disk), Reason::Corrupt(_)));
        fs::write(folder.facts_file(), b"{\"schema\":99}").unwrap();
        assert_eq!(discarded(&folder, &fingerprint(), &disk), Reason::TooNew);
        fs::remove_file(folder.memory()).unwrap();
        folder.discard().unwrap();
    }
}
