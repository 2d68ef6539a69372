//! A file that is not whole yet: what is here of it, hashed as it grows.

use std::{
    fs::{self, File},
    io::{Read, Seek, SeekFrom, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use alcove_machine::{MachineError, Result};
use alcove_types::ApiError;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::{sync::mpsc, task::JoinHandle};

/// A file that is not whole yet.
pub(super) struct Part {
    path: PathBuf,
    file: File,
    have: u64,
    hash: Sha256,
    /// All of it was brought by this process.
    of_this_run: bool,
    tag: Option<String>,
}

/// Pieces that wait to be written.
const WAITING: usize = 16;

impl Part {
    /// Takes up what an earlier attempt has left, at most `most` bytes of it. Blocks: it is read from its start.
    pub(super) fn open(path: PathBuf, most: u64) -> Result<Self> {
        let failed = |e| MachineError::io("can't open", &path, e);
        let mut file =
            fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
        let mut have = file.metadata().map_err(failed)?.len();
        if have > most {
            file.set_len(0).map_err(failed)?;
            have = 0;
        }
        let mut hash = Sha256::new();
        let mut piece = vec![0; 1 << 20];
        let mut left = have;
        while left > 0 {
            let count = file.read(&mut piece).map_err(failed)?;
            if count == 0 {
                break;
            }
            hash.update(&piece[..count]);
            left = left.saturating_sub(count as u64);
        }
        let tag = fs::read_to_string(tag_of(&path)).ok().filter(|_| have > 0);
        Ok(Self { file, have, hash, of_this_run: have == 0, tag, path })
    }

    /// Bytes that are here.
    pub(super) const fn have(&self) -> u64 {
        self.have
    }

    /// SHA-256 of what is here.
    pub(super) fn sha256(&self) -> String {
        hex::encode(self.hash.clone().finalize())
    }

    /// Whether none of it was left by an earlier process.
    pub(super) const fn is_of_this_run(&self) -> bool {
        self.of_this_run
    }

    /// What the server called this content.
    pub(super) fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// Drops what is here.
    pub(super) fn begin_anew(&mut self) -> std::result::Result<(), ApiError> {
        let failed = |e| MachineError::io("can't write", &self.path, e).api();
        self.file.set_len(0).and_then(|()| self.file.seek(SeekFrom::Start(0))).map_err(failed)?;
        self.have = 0;
        self.hash = Sha256::new();
        self.of_this_run = true;
        self.remember(None);
        Ok(())
    }

    /// Remembers what the server calls this content, for a later attempt.
    pub(super) fn remember(&mut self, tag: Option<&str>) {
        self.tag = tag.map(str::to_owned);
        let path = tag_of(&self.path);
        // Without it a later attempt goes on all the same: the hash decides in the end.
        let _ = match tag {
            Some(tag) => fs::write(path, tag),
            None => fs::remove_file(path),
        };
    }

    /// Drops the file.
    pub(super) fn discard(self) {
        let _ = fs::remove_file(tag_of(&self.path));
        let _ = fs::remove_file(&self.path);
    }

    /// Gives the whole file its name, when its content is safe. Blocks.
    pub(super) fn finish(self, whole: &Path, executable: bool) -> Result<()> {
        let failed = |e| MachineError::io("can't write", whole, e);
        let mode = if executable { 0o755 } else { 0o644 };
        self.file.set_permissions(fs::Permissions::from_mode(mode)).map_err(failed)?;
        self.file.sync_all().map_err(failed)?;
        fs::rename(&self.path, whole).map_err(failed)
    }

    /// Writes and hashes on a thread of its own, so that neither a slow disk nor the hash holds up anybody else.
    pub(super) fn writer(mut self) -> Writer {
        let (pieces, mut coming) = mpsc::channel::<Bytes>(WAITING);
        let thread = tokio::task::spawn_blocking(move || {
            while let Some(piece) = coming.blocking_recv() {
                self.file.write_all(&piece).map_err(|e| MachineError::io("can't write", &self.path, e))?;
                self.hash.update(&piece);
                self.have += piece.len() as u64;
            }
            Ok(self)
        });
        Writer { pieces, thread }
    }
}

fn tag_of(part: &Path) -> PathBuf {
    part.with_extension("tag")
}

/// Writes a part.
pub(super) struct Writer {
    pieces: mpsc::Sender<Bytes>,
    thread: JoinHandle<Result<Part>>,
}

impl Writer {
    /// Hands over a piece. False when writing has failed; [`Writer::close`] says why.
    pub(super) async fn write(&mut self, piece: Bytes) -> bool {
        self.pieces.send(piece).await.is_ok()
    }

    /// Waits until everything is written.
    pub(super) async fn close(self) -> std::result::Result<Part, ApiError> {
        drop(self.pieces);
        match self.thread.await {
            Ok(done) => done.map_err(|e| e.api()),
            Err(e) => Err(MachineError::io("can't write", "the image", e.into()).api()),
        }
    }
}
