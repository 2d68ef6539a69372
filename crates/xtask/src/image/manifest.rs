//! The image's manifest.

use std::{
    fs::{self, File},
    io,
    path::Path,
};

use alcove_types::image::{ImageFile, ImageKubernetes, ImageManifest, ImagePackage, MANIFEST_SCHEMA};
use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use super::root::Parts;

const NAME: &str = "manifest.json";
const FILES: [&str; 3] = ["vmlinuz", "initrd", "root.erofs"];
/// kubectl for the host, in images that have Kubernetes.
pub(super) const KUBECTL: &str = "kubectl";

/// Writes `manifest.json` beside the files that it names.
pub(super) fn write(folder: &Path, version: &str, release: &str, parts: &Parts<'_>) -> Result<()> {
    let mut files = Vec::new();
    let kubectl = folder.join(KUBECTL).exists().then_some(KUBECTL);
    for name in FILES.into_iter().chain(kubectl) {
        let path = folder.join(name);
        let mut file = File::open(&path).with_context(|| format!("{} can't be read", path.display()))?;
        let mut hash = Sha256::new();
        let bytes = io::copy(&mut file, &mut hash)?;
        file.sync_all()?;
        files.push(ImageFile { name: name.to_owned(), bytes, sha256: hex::encode(hash.finalize()) });
    }
    let packages = parts
        .base
        .packages
        .iter()
        .map(|(name, version)| ImagePackage { name: name.clone(), version: version.clone() })
        .collect();
    let manifest = ImageManifest {
        schema: MANIFEST_SCHEMA,
        version: version.to_owned(),
        created: jiff::Timestamp::now().round(jiff::Unit::Second)?.to_string(),
        architecture: "x86_64".to_owned(),
        kernel_version: release.to_owned(),
        cmdline: parts.recipe.command_line.clone(),
        kubernetes: ImageKubernetes {
            distribution: parts.kubernetes.distribution.to_owned(),
            version: parts.kubernetes.version.clone(),
        },
        guest_version: parts.binaries.version.clone(),
        files,
        packages,
        containers: parts.containers.references.clone(),
    };
    let file = File::create(folder.join(NAME))?;
    serde_json::to_writer_pretty(&file, &manifest)?;
    file.sync_all()?;
    Ok(())
}

/// Whether the folder holds the whole image of that version: its manifest, and every file in its full length.
pub(super) fn is_whole(folder: &Path, version: &str) -> bool {
    let Ok(text) = fs::read(folder.join(NAME)) else { return false };
    let Ok(manifest) = serde_json::from_slice::<ImageManifest>(&text) else { return false };
    manifest.schema == MANIFEST_SCHEMA
        && manifest.version == version
        && FILES.iter().all(|name| manifest.files.iter().any(|file| file.name == *name))
        && manifest
            .files
            .iter()
            .all(|file| fs::metadata(folder.join(&file.name)).is_ok_and(|found| found.len() == file.bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_whole_or_not() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!is_whole(folder.path(), "1"));
        let file = |name: &str| ImageFile { name: name.into(), bytes: 3, sha256: String::new() };
        let manifest = ImageManifest {
            schema: MANIFEST_SCHEMA,
            version: "1".into(),
            created: String::new(),
            architecture: "x86_64".into(),
            kernel_version: String::new(),
            cmdline: String::new(),
            kubernetes: ImageKubernetes { distribution: "none".into(), version: String::new() },
            guest_version: String::new(),
            files: FILES.map(file).to_vec(),
            packages: Vec::new(),
            containers: Vec::new(),
        };
        fs::write(folder.path().join(NAME), serde_json::to_vec(&manifest).unwrap()).unwrap();
        assert!(!is_whole(folder.path(), "1"));
        for name in FILES {
            fs::write(folder.path().join(name), "abc").unwrap();
        }
        assert!(is_whole(folder.path(), "1"));
        assert!(!is_whole(folder.path(), "2"));
        fs::write(folder.path().join("initrd"), "ab").unwrap();
        assert!(!is_whole(folder.path(), "1"));
    }
}
