//! kubectl that came with an image: run only once it was found to be what the image's manifest says.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::PathBuf,
};

use serde::{Deserialize, Serialize};

use crate::{
    Home, MachineError, Result, files,
    image::{Image, KUBECTL},
};

/// What was checked, so that a hundred megabytes are not read anew for each command.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Checked {
    path: PathBuf,
    bytes: u64,
    inode: u64,
    modified_ns: i128,
    changed_ns: i128,
    sha256: String,
}

/// The image's kubectl, ready to be run; `None` when the image has none. Its hash is checked the first time, and again
/// when the file has changed since.
///
/// # Errors
/// `ImageInvalid` when it is not what the manifest says.
pub fn kubectl(home: &Home, image: &Image) -> Result<Option<PathBuf>> {
    let Some(listed) = image.manifest.files.iter().find(|f| f.name == KUBECTL) else { return Ok(None) };
    let path = image.folder.join(KUBECTL);
    let damaged = |why: &str| MachineError::ImageInvalid {
        message: format!("the image's {} {why}", path.display()),
        hint: "Bring the image again with `alcove image fetch`, or name another kubectl in ALCOVE_KUBECTL.".into(),
    };
    let meta = fs::metadata(&path).map_err(|_| damaged("is missing"))?;
    if !meta.is_file() || meta.len() != listed.bytes {
        return Err(damaged("has not the size that its manifest says"));
    }
    if meta.permissions().mode() & 0o111 == 0 {
        // An image that was copied by hand may have lost it.
        let executable = fs::Permissions::from_mode(meta.permissions().mode() | 0o755);
        fs::set_permissions(&path, executable).map_err(|e| MachineError::io("can't make executable", &path, e))?;
    }
    let seen = || -> Result<Checked> {
        let meta = fs::metadata(&path).map_err(|e| MachineError::io("can't read", &path, e))?;
        let ns = |seconds: i64, ns: i64| i128::from(seconds) * 1_000_000_000 + i128::from(ns);
        Ok(Checked {
            path: path.clone(),
            bytes: meta.len(),
            inode: meta.ino(),
            modified_ns: ns(meta.mtime(), meta.mtime_nsec()),
            changed_ns: ns(meta.ctime(), meta.ctime_nsec()),
            sha256: listed.sha256.to_ascii_lowercase(),
        })
    };
    let now = seen()?;
    let record = home.images().join(".kubectl-checked.json");
    let known = fs::read(&record).ok().and_then(|text| serde_json::from_slice::<Checked>(&text).ok());
    if known.as_ref() == Some(&now) {
        return Ok(Some(path));
    }
    if files::sha256(&path, None)? != now.sha256 {
        return Err(damaged("is not what its manifest says: its checksum differs"));
    }
    // Without the record it is read again the next time.
    let _ = fs::create_dir_all(home.images()).map(|()| files::write_json(&record, &now));
    Ok(Some(path))
}
