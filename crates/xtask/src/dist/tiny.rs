//! An image for tries of the packages: whole by its manifest, and nothing that would boot.

use std::{fs, path::Path};

use anyhow::Context;
use serde_json::json;
use sha2::{Digest, Sha256};

/// Writes one into this folder.
pub(crate) fn tiny_image(folder: &Path) -> anyhow::Result<()> {
    let write = |name: &str, content: &str| {
        fs::write(folder.join(name), content).with_context(|| format!("{name} can't be written"))
    };
    fs::create_dir_all(folder).with_context(|| format!("can't make {}", folder.display()))?;
    let mut files = Vec::new();
    for name in ["vmlinuz", "initrd", "root.erofs", "kubectl"] {
        write(name, name)?;
        files.push(json!({ "name": name, "bytes": name.len(), "sha256": hex::encode(Sha256::digest(name)) }));
    }
    let manifest = json!({
        "schema": 1, "version": "abc123", "created": "2026-01-01T00:00:00Z", "architecture": "x86_64",
        "kernel_version": "6.12", "cmdline": "", "kubernetes": { "distribution": "none", "version": "" },
        "guest_version": "0", "files": files, "packages": [], "containers": [],
    });
    write("manifest.json", &manifest.to_string())
}
