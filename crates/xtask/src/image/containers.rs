//! Container images that are in the guest at boot, as folders that no registry and no copy is needed for.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use super::{
    binaries::Binaries,
    cache::{Cache, Key},
    kubernetes::{Images, Kubernetes, PACKER},
    tools::Progress,
};

/// The platform's recipe. The reference gets a hash of the program, so that a new program is a new image.
const PLATFORM: &str = "alcove.local/platformd";

/// The images of one guest image.
#[derive(Debug)]
pub(super) struct Containers {
    /// Hash of all of them.
    pub(super) key: String,
    /// Folders `NAME/{image.json,rootfs}`.
    pub(super) folders: Vec<PathBuf>,
    /// The same images as archives, for a Kubernetes that imports them.
    pub(super) archives: Vec<PathBuf>,
    /// Their references.
    pub(super) references: Vec<String>,
}

pub(super) fn build(
    cache: &Cache,
    kubernetes: &Kubernetes,
    binaries: &Binaries,
    progress: &mut dyn Progress,
) -> Result<Containers> {
    let mut made = Vec::new();
    if let Some(ours) = &kubernetes.ours {
        made.push(ours.clone());
        made.push(platform(cache, &ours.join(PACKER), binaries, progress)?);
    }
    let mut key = Key::new("containers");
    let (mut folders, mut archives, mut references) = (Vec::new(), Vec::new(), Vec::new());
    for made in made {
        for folder in list(&made.join("oci"))? {
            key = key.path(&folder)?;
            references.push(reference(&folder)?);
            folders.push(folder);
        }
        if kubernetes.distribution == "k3s" {
            archives.extend(list(&made.join("archives"))?);
        }
    }
    Ok(Containers { key: key.finish(), folders, archives, references })
}

/// The platform: one program, and nothing else in its image.
fn platform(cache: &Cache, packer: &Path, binaries: &Binaries, progress: &mut dyn Progress) -> Result<PathBuf> {
    let program = Key::new("platformd").path(&binaries.platform)?.finish();
    let key = Key::new("platform").text(&program).text(include_str!("containers.rs")).path(packer)?.finish();
    cache.stage("platform", &key, |work| {
        let recipe = serde_json::json!({
            "ref": format!("{PLATFORM}:{}-{}", binaries.version, &program[..8]),
            "config": {
                "Entrypoint": ["/platformd"],
                "User": "65534:65534",
                "WorkingDir": "/",
                "Env": ["PATH=/"],
                "ExposedPorts": {"8080/tcp": {}},
            },
            "files": {"/platformd": "platformd"},
            "folders": ["/tmp"],
        });
        let recipes = work.join("recipes");
        fs::create_dir_all(recipes.join("platformd"))?;
        fs::write(recipes.join("platformd/image.json"), serde_json::to_vec_pretty(&recipe)?)?;
        let files = binaries.platform.parent().unwrap_or(Path::new("/"));
        Images { recipes: &recipes, files, out: work }.pack(packer, progress)
    })
}

fn list(folder: &Path) -> Result<Vec<PathBuf>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)?.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    Ok(paths)
}

fn reference(folder: &Path) -> Result<String> {
    let path = folder.join("image.json");
    let text = fs::read(&path).with_context(|| format!("{} can't be read", path.display()))?;
    let image: serde_json::Value =
        serde_json::from_slice(&text).with_context(|| format!("{} is damaged", path.display()))?;
    let reference = image.get("ref").and_then(serde_json::Value::as_str);
    Ok(reference.with_context(|| format!("{} names no reference", path.display()))?.to_owned())
}
