//! Kept copies of a stopped or suspended machine.
//!
//! The disk's copy is a snapshot inside its file: made in a moment, sharing what has not changed. The memory of a
//! suspended machine is kept beside it; it is never changed in place, so a hard link is a copy.

use std::{fs, io, path::PathBuf};

use alcove_types::machine::{Snapshot, SnapshotRequest};
use serde::{Deserialize, Serialize};

use super::disk::{self, SnapshotAction};
use crate::{
    Layout, MachineError, Result, files,
    state::{StateFacts, StateFolder},
};

const SCHEMA: u32 = 1;
const LONGEST_NAME: usize = 40;
const LONGEST_NOTE: usize = 1000;

#[derive(Debug, Serialize, Deserialize)]
struct Record {
    schema: u32,
    snapshot: Snapshot,
    state: Option<StateFacts>,
}

fn check_name(name: &str) -> Result<()> {
    let fine = (1..=LONGEST_NAME).contains(&name.len())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    if fine {
        return Ok(());
    }
    Err(MachineError::BadRequest {
        message: format!("{name:?} can't be the name of a snapshot"),
        hint: "Use 1 to 40 letters, digits, dashes and underscores.".into(),
    })
}

/// The tag of a snapshot inside the disk's file. Its prefix keeps it from being taken for a number.
fn tag(name: &str) -> String {
    format!("alcove-{name}")
}

struct Place {
    folder: PathBuf,
}

impl Place {
    fn of(layout: &Layout, name: &str) -> Result<Self> {
        check_name(name)?;
        Ok(Self { folder: layout.snapshots().join(name) })
    }

    fn record_file(&self) -> PathBuf {
        self.folder.join("snapshot.json")
    }

    fn memory(&self) -> PathBuf {
        self.folder.join("state.bin")
    }

    fn load(&self) -> Result<Option<Record>> {
        files::read_versioned(&self.record_file(), SCHEMA)
    }
}

/// Makes a snapshot. The machine must be off.
pub(crate) async fn create(
    layout: &Layout,
    img: &std::path::Path,
    request: &SnapshotRequest,
    image: &str,
) -> Result<Snapshot> {
    let place = Place::of(layout, &request.name)?;
    if request.note.len() > LONGEST_NOTE {
        return Err(MachineError::BadRequest {
            message: "the note is too long".into(),
            hint: format!("Use at most {LONGEST_NOTE} bytes."),
        });
    }
    if place.load()?.is_some() {
        return Err(MachineError::Exists(format!("the snapshot {}", request.name)));
    }
    let state = StateFolder::new(layout.state());
    let facts = state.facts().ok();
    let disk = layout.data_disk();
    if facts.as_ref().is_some_and(|f| crate::state::DiskMark::of(&disk).ok().as_ref() != Some(&f.disk)) {
        return Err(MachineError::StateInvalid(crate::state::Reason::DiskChanged));
    }
    // What an interrupted attempt has left is removed first; the record is written last and makes it a snapshot.
    let _ = fs::remove_dir_all(&place.folder);
    fs::create_dir_all(&place.folder).map_err(|e| MachineError::io("can't make", &place.folder, e))?;
    let tag = tag(&request.name);
    if disk::snapshots(img, &disk).await?.contains(&tag) {
        disk::snapshot(img, &disk, SnapshotAction::Delete, &tag).await?;
    }
    disk::snapshot(img, &disk, SnapshotAction::Create, &tag).await?;
    if let Some(facts) = &facts {
        state.disk_moved_on(facts, &disk)?;
        files::link_or_copy(&state.memory(), &place.memory())?;
    }
    let snapshot = Snapshot {
        name: request.name.clone(),
        created: jiff::Timestamp::now().to_string(),
        with_memory: facts.is_some(),
        image: facts.as_ref().map_or_else(|| image.to_owned(), |f| f.fingerprint.image.clone()),
        state_bytes: facts.as_ref().map_or(0, |f| f.allocated),
        note: request.note.clone(),
    };
    files::write_json(&place.record_file(), &Record { schema: SCHEMA, snapshot: snapshot.clone(), state: facts })?;
    Ok(snapshot)
}

/// The snapshots that are kept, oldest first. One whose record can't be read is left out.
pub(crate) fn list(layout: &Layout) -> Result<Vec<Snapshot>> {
    let folder = layout.snapshots();
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(MachineError::io("can't read", &folder, e)),
    };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        match (Place { folder: entry.path() }).load() {
            Ok(Some(record)) => found.push(record.snapshot),
            Ok(None) => {}
            Err(e) => tracing::warn!(folder = %entry.path().display(), error = %e, "a snapshot can't be read"),
        }
    }
    found.sort_by(|a, b| (&a.created, &a.name).cmp(&(&b.created, &b.name)));
    Ok(found)
}

/// Puts a snapshot in the place of the machine as it is. The machine must be off.
pub(crate) async fn restore(layout: &Layout, img: &std::path::Path, name: &str) -> Result<Snapshot> {
    let place = Place::of(layout, name)?;
    let record = place.load()?.ok_or_else(|| MachineError::NotFound(format!("snapshot {name:?}")))?;
    let state = StateFolder::new(layout.state());
    let disk = layout.data_disk();
    // The present memory does not belong to the disk that comes: it goes first.
    state.discard()?;
    disk::snapshot(img, &disk, SnapshotAction::Apply, &tag(name)).await?;
    if let Some(facts) = &record.state {
        files::link_or_copy(&place.memory(), &state.memory())?;
        state.disk_moved_on(facts, &disk)?;
    }
    Ok(record.snapshot)
}

/// Deletes a snapshot. The machine must be off.
pub(crate) async fn delete(layout: &Layout, img: &std::path::Path, name: &str) -> Result<()> {
    let place = Place::of(layout, name)?;
    if place.load()?.is_none() {
        return Err(MachineError::NotFound(format!("snapshot {name:?}")));
    }
    let state = StateFolder::new(layout.state());
    let facts = state.facts().ok();
    let disk = layout.data_disk();
    let untouched = facts.filter(|f| crate::state::DiskMark::of(&disk).ok().as_ref() == Some(&f.disk));
    let tag = tag(name);
    if disk::snapshots(img, &disk).await?.contains(&tag) {
        disk::snapshot(img, &disk, SnapshotAction::Delete, &tag).await?;
    }
    if let Some(facts) = untouched {
        state.disk_moved_on(&facts, &disk)?;
    }
    files::remove_if_there(&place.record_file())?;
    fs::remove_dir_all(&place.folder).map_err(|e| MachineError::io("can't delete", &place.folder, e))
}
