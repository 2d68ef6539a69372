//! Container images that are in the guest at boot, as folders that no registry and no copy is needed for.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use super::{
    binaries::Binaries,
    cache::{Cache, Key},
    kubernetes::Kubernetes,
    tools::Progress,
};

/// The images of one guest image.
#[derive(Debug)]
pub(super) struct Containers {
    /// Hash of all of them.
    pub(super) key: String,
    /// Folders `NAME/{image.json,rootfs}`.
    pub(super) folders: Vec<PathBuf>,
    /// Their references.
    pub(super) references: Vec<String>,
}

pub(super) fn build(
    _cache: &Cache,
    kubernetes: &Kubernetes,
    _binaries: &Binaries,
    _progress: &mut dyn Progress,
) -> Result<Containers> {
    let mut folders = Vec::new();
    if let Some(folder) = &kubernetes.folder {
        folders.extend(list(&folder.join("oci"))?);
    }
    let mut key = Key::new("containers");
    let mut references = Vec::new();
    for folder in &folders {
        key = key.path(folder)?;
        references.push(reference(folder)?);
    }
    Ok(Containers { key: key.finish(), folders, references })
}

fn list(folder: &Path) -> Result<Vec<PathBuf>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut folders: Vec<PathBuf> =
        fs::read_dir(folder)?.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    folders.sort();
    Ok(folders)
}

fn reference(folder: &Path) -> Result<String> {
    let path = folder.join("image.json");
    let text = fs::read(&path).with_context(|| format!("{} can't be read", path.display()))?;
    let image: serde_json::Value =
        serde_json::from_slice(&text).with_context(|| format!("{} is damaged", path.display()))?;
    let reference = image.get("ref").and_then(serde_json::Value::as_str);
    Ok(reference.with_context(|| format!("{} names no reference", path.display()))?.to_owned())
}
