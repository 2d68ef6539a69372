//! Writing files so that a crash at any moment leaves the old or the new content, never half of it.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use serde::{Serialize, de::DeserializeOwned};

use crate::{MachineError, Result};

/// Writes a file that only its owner may read: temporary name, sync, rename, sync of the folder.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".tmp{}", std::process::id()));
    let temporary = PathBuf::from(temporary);
    let written = (|| -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    })();
    if let Err(e) = written {
        let _ = fs::remove_file(&temporary);
        return Err(MachineError::io("can't write", path, e));
    }
    sync_parent(path)
}

/// Writes a JSON document for people to read, too.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let mut text =
        serde_json::to_vec_pretty(value).map_err(|e| MachineError::io("can't write", path, io::Error::other(e)))?;
    text.push(b'\n');
    write_private(path, &text)
}

/// Makes a rename or a deletion in this file's folder durable.
pub(crate) fn sync_parent(path: &Path) -> Result<()> {
    let parent = path.parent().unwrap_or(Path::new("."));
    File::open(parent).and_then(|f| f.sync_all()).map_err(|e| MachineError::io("can't sync", parent, e))
}

/// Makes a file's content durable.
pub(crate) fn sync_file(path: &Path) -> Result<()> {
    File::open(path).and_then(|f| f.sync_all()).map_err(|e| MachineError::io("can't sync", path, e))
}

/// Reads a versioned JSON document. Tells a missing file, a damaged one and one of a newer version apart, and looks at
/// the version before at anything else, for a newer version may have changed all the rest.
pub(crate) fn read_versioned<T: DeserializeOwned>(path: &Path, known: u32) -> Result<Option<T>> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(MachineError::io("can't read", path, e)),
    };
    let corrupt = |reason: String| MachineError::FileCorrupt { path: path.into(), reason, kept: None };
    let value: serde_json::Value = serde_json::from_slice(&text).map_err(|e| corrupt(e.to_string()))?;
    match value.get("schema").and_then(serde_json::Value::as_u64) {
        Some(found) if found > u64::from(known) => {
            return Err(MachineError::TooNew { path: path.into(), found, known });
        }
        Some(_) => {}
        None => return Err(corrupt("it has no schema number".into())),
    }
    serde_json::from_value(value).map(Some).map_err(|e| corrupt(e.to_string()))
}

/// Keeps a copy of a damaged file beside it, and returns the error that names the copy.
pub(crate) fn keep_damaged(error: MachineError) -> MachineError {
    match error {
        MachineError::FileCorrupt { path, reason, .. } => {
            let mut name = path.as_os_str().to_owned();
            name.push(".damaged");
            let kept = PathBuf::from(name);
            let kept = fs::copy(&path, &kept).ok().map(|_| kept);
            MachineError::FileCorrupt { path, reason, kept }
        }
        other => other,
    }
}

/// Opens a log that only its owner may read, to write at its end.
pub(crate) fn append(path: &Path) -> Result<File> {
    let opened = OpenOptions::new().create(true).append(true).mode(0o600).open(path);
    opened.map_err(|e| MachineError::io("can't write", path, e))
}

/// Deletes a file; one that is not there is fine.
pub(crate) fn remove_if_there(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(MachineError::io("can't delete", path, e)),
        _ => Ok(()),
    }
}

/// The last `count` lines of a text file, without what would move a terminal's cursor or colour it. Empty when the file
/// can't be read: it is asked for when something has gone wrong already.
pub(crate) fn last_lines(path: &Path, count: usize) -> Vec<String> {
    use std::io::{Read, Seek, SeekFrom};
    const TAIL: u64 = 64 * 1024;
    let Ok(mut file) = File::open(path) else { return Vec::new() };
    let length = file.metadata().map(|m| m.len()).unwrap_or(0);
    let from = length.saturating_sub(TAIL);
    let mut tail = Vec::new();
    if file.seek(SeekFrom::Start(from)).is_err() || file.take(TAIL).read_to_end(&mut tail).is_err() {
        return Vec::new();
    }
    let text = String::from_utf8_lossy(&tail);
    let lines = text.lines().skip(usize::from(from > 0)).map(plain).filter(|l| !l.is_empty());
    let mut lines: Vec<String> = lines.collect();
    lines.split_off(lines.len().saturating_sub(count))
}

/// A line as it is read, cut off where nobody would read on.
fn plain(line: &str) -> String {
    const LONGEST: usize = 500;
    // Line by line: a sequence that was left open takes no more than its own line along.
    let line = anstream::adapter::strip_str(line).to_string();
    let kept: String = line.chars().filter(|c| !c.is_control() || *c == '\t').take(LONGEST).collect();
    kept.trim_end().to_owned()
}

/// SHA-256 of a file's first `limit` bytes, or of all of it.
pub(crate) fn sha256(path: &Path, limit: Option<u64>) -> Result<String> {
    use sha2::{Digest, Sha256};
    use std::io::Read;
    let file = File::open(path).map_err(|e| MachineError::io("can't read", path, e))?;
    let mut file = file.take(limit.unwrap_or(u64::MAX));
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hex::encode(hash.finalize())),
            Ok(n) => hash.update(&buffer[..n]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(MachineError::io("can't read", path, e)),
        }
    }
}

/// Makes `to` the same content as `from`: by a hard link, by sharing blocks, or by copying what is not a hole. Only for
/// files that are never changed in place.
pub(crate) fn link_or_copy(from: &Path, to: &Path) -> Result<()> {
    remove_if_there(to)?;
    if fs::hard_link(from, to).is_ok() {
        return Ok(());
    }
    copy_sparse(from, to).map_err(|e| {
        let _ = fs::remove_file(to);
        MachineError::io("can't copy to", to, e)
    })
}

fn copy_sparse(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::{fs::SeekFrom, io::Errno};
    use std::io::{Read, Seek};
    let mut source = File::open(from)?;
    let mut target = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
    #[cfg(target_os = "linux")]
    if rustix::fs::ioctl_ficlone(&target, &source).is_ok() {
        return target.sync_all();
    }
    let length = source.metadata()?.len();
    target.set_len(length)?;
    let mut at = 0;
    while at < length {
        let data = match rustix::fs::seek(&source, SeekFrom::Data(at)) {
            Ok(data) => data,
            Err(Errno::NXIO) => break,
            Err(e) => return Err(e.into()),
        };
        let hole = rustix::fs::seek(&source, SeekFrom::Hole(data))?;
        source.seek(io::SeekFrom::Start(data))?;
        target.seek(io::SeekFrom::Start(data))?;
        io::copy(&mut (&mut source).take(hole - data), &mut target)?;
        at = hole;
    }
    target.sync_all()
}
