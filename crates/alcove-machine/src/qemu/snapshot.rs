//! Kept copies of a stopped or suspended machine.
//!
//! The disk's copy is a snapshot inside its file: made in a moment, sharing what has not changed. The memory of a
//! suspended machine is kept beside it; it is never changed in place, so a hard link is a copy.
//!
//! All of this changes the disk's file, and a saved memory belongs to the file as it is. So what is about to be done is
//! written down first (`moving.json`). Whoever finds it there ends what was begun, or gives it up, before anything else
//! is done with the machine, and the memory goes on with the file as it is then: the guest's own disk is the same. A
//! file that was changed while nothing of this was under way is another one, and stays that.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use alcove_types::machine::{Snapshot, SnapshotRequest};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{
    disk::{self, SnapshotAction},
    process, run,
};
use crate::{
    Layout, MachineError, Result, files,
    state::{DiskMark, Reason, StateFacts, StateFolder},
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

/// What is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Doing {
    Create,
    Restore,
    Delete,
}

/// What is about to be done to the disk's file.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Moving {
    schema: u32,
    doing: Doing,
    /// The snapshot.
    name: String,
    /// The disk's file before.
    disk: DiskMark,
}

impl Moving {
    /// Writes it down.
    fn begin(layout: &Layout, doing: Doing, name: &str) -> Result<Self> {
        let disk = DiskMark::of(&layout.data_disk())?;
        let moving = Self { schema: SCHEMA, doing, name: name.to_owned(), disk };
        files::write_json(&layout.moving_json(), &moving)?;
        Ok(moving)
    }

    /// The guest's disk is what it was, and its file another: a memory that belonged to the one belongs to the other.
    async fn moved(&self, layout: &Layout) -> Result<()> {
        // A tool that was given up on may still be writing; then all of this is for whoever comes next.
        if !process::wait_for_end(layout, Instant::now() + run::QUIT).await? {
            return Err(MachineError::Busy);
        }
        let state = StateFolder::new(layout.state());
        match state.facts() {
            Ok(facts) if facts.disk == self.disk => state.disk_moved_on(&facts, &layout.data_disk()),
            _ => Ok(()),
        }
    }

    /// It is done, or given up.
    fn end(layout: &Layout) -> Result<()> {
        files::remove_if_there(&layout.moving_json())?;
        files::sync_parent(&layout.moving_json())
    }
}

/// Whether something is being done to the disk's file, or was when a supervisor died.
pub(crate) fn is_moving(layout: &Layout) -> bool {
    layout.moving_json().exists()
}

/// Ends what a supervisor that died has begun. The machine must be off, and nobody else at work on it.
pub(crate) async fn settle(layout: &Layout, img: &Path) -> Result<()> {
    let moving: Moving = match files::read_versioned(&layout.moving_json(), SCHEMA) {
        Ok(Some(moving)) => moving,
        Ok(None) => return Ok(()),
        Err(e @ MachineError::FileCorrupt { .. }) => {
            tracing::warn!(error = %e, "what was being done to the disk can't be read");
            return Moving::end(layout);
        }
        Err(other) => return Err(other),
    };
    tracing::info!(doing = ?moving.doing, snapshot = moving.name, "ending what was interrupted");
    let place = Place::of(layout, &moving.name)?;
    // What fails here is told, and given up: the machine must not wait for it.
    let ended = match (moving.doing, place.load()) {
        // It was complete but for this.
        (Doing::Create, Ok(Some(_))) => Ok(()),
        (Doing::Create, _) => forget(layout, img, &moving.name, &place).await,
        (Doing::Restore, Ok(Some(record))) => put(layout, img, &record, &place).await,
        (Doing::Restore, _) => Err(MachineError::NotFound(format!("snapshot {:?}", moving.name))),
        (Doing::Delete, _) => forget(layout, img, &moving.name, &place).await,
    };
    if let Err(e) = ended {
        tracing::warn!(error = %e, doing = ?moving.doing, snapshot = moving.name, "this could not be ended");
    }
    if moving.doing != Doing::Restore {
        moving.moved(layout).await?;
    }
    Moving::end(layout)
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
pub(crate) async fn create(layout: &Layout, img: &Path, request: &SnapshotRequest, image: &str) -> Result<Snapshot> {
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
    if facts.as_ref().is_some_and(|f| DiskMark::of(&disk).ok().as_ref() != Some(&f.disk)) {
        return Err(MachineError::StateInvalid(Reason::DiskChanged));
    }
    let moving = Moving::begin(layout, Doing::Create, &request.name)?;
    if let Err(e) = keep(layout, img, &request.name, &place, facts.is_some()).await {
        // Half a snapshot takes room for nothing; where even this fails, the next one of its name tries again.
        if let Err(e) = forget(layout, img, &request.name, &place).await {
            tracing::warn!(error = %e, "half a snapshot is left behind");
        }
        moving.moved(layout).await?;
        Moving::end(layout)?;
        return Err(e);
    }
    moving.moved(layout).await?;
    let snapshot = Snapshot {
        name: request.name.clone(),
        created: jiff::Timestamp::now().to_string(),
        with_memory: facts.is_some(),
        image: facts.as_ref().map_or_else(|| image.to_owned(), |f| f.fingerprint.image.clone()),
        state_bytes: facts.as_ref().map_or(0, |f| f.allocated),
        note: request.note.clone(),
    };
    files::write_json(&place.record_file(), &Record { schema: SCHEMA, snapshot: snapshot.clone(), state: facts })?;
    Moving::end(layout)?;
    Ok(snapshot)
}

/// Makes what a snapshot consists of, but for its record, which is written last and makes it one.
async fn keep(layout: &Layout, img: &Path, name: &str, place: &Place, memory: bool) -> Result<()> {
    // What an interrupted attempt has left is removed first.
    forget(layout, img, name, place).await?;
    fs::create_dir_all(&place.folder).map_err(|e| MachineError::io("can't make", &place.folder, e))?;
    disk::snapshot(img, &layout.data_disk(), SnapshotAction::Create, &tag(name)).await?;
    if memory {
        files::link_or_copy(&StateFolder::new(layout.state()).memory(), &place.memory())?;
    }
    Ok(())
}

/// Deletes whatever there is of a snapshot. Its record goes after the disk's part: until then it can be asked for again.
async fn forget(layout: &Layout, img: &Path, name: &str, place: &Place) -> Result<()> {
    let (disk, tag) = (layout.data_disk(), tag(name));
    if disk::snapshots(img, &disk).await?.contains(&tag) {
        disk::snapshot(img, &disk, SnapshotAction::Delete, &tag).await?;
    }
    files::remove_if_there(&place.record_file())?;
    match fs::remove_dir_all(&place.folder) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(MachineError::io("can't delete", &place.folder, e)),
        _ => Ok(()),
    }
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
pub(crate) async fn restore(layout: &Layout, img: &Path, name: &str) -> Result<Snapshot> {
    let place = Place::of(layout, name)?;
    let record = place.load()?.ok_or_else(|| MachineError::NotFound(format!("snapshot {name:?}")))?;
    Moving::begin(layout, Doing::Restore, name)?;
    let restored = put(layout, img, &record, &place).await;
    // One that failed is not tried again by itself: the machine is what it was, or boots from its disk.
    Moving::end(layout)?;
    restored.map(|()| record.snapshot)
}

/// Puts disk and memory of a snapshot in the place of the machine's. May be repeated.
async fn put(layout: &Layout, img: &Path, record: &Record, place: &Place) -> Result<()> {
    let state = StateFolder::new(layout.state());
    let disk = layout.data_disk();
    // Until this has changed the file, the present memory is good; from then on it does not fit the file any more.
    disk::snapshot(img, &disk, SnapshotAction::Apply, &tag(&record.snapshot.name)).await?;
    state.discard()?;
    if let Some(facts) = &record.state {
        files::link_or_copy(&place.memory(), &state.memory())?;
        state.disk_moved_on(facts, &disk)?;
    }
    Ok(())
}

/// Deletes a snapshot. The machine must be off.
pub(crate) async fn delete(layout: &Layout, img: &Path, name: &str) -> Result<()> {
    let place = Place::of(layout, name)?;
    if place.load()?.is_none() {
        return Err(MachineError::NotFound(format!("snapshot {name:?}")));
    }
    let moving = Moving::begin(layout, Doing::Delete, name)?;
    let deleted = forget(layout, img, name, &place).await;
    moving.moved(layout).await?;
    Moving::end(layout)?;
    deleted
}
