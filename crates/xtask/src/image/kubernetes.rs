//! Which Kubernetes an image holds, and building it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    str::FromStr,
};

use anyhow::{Context, Result, bail, ensure};

use super::{
    Options,
    cache::{Cache, Key},
    tools::{Progress, output, run},
};

/// Which Kubernetes goes into an image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Choice {
    /// The official release when it is given as a file, else the same parts from their modules.
    #[default]
    Auto,
    /// The official K3s release.
    K3s,
    /// The same parts, built from their Go modules.
    Modules,
    /// None: an image for looking at the guest itself.
    None,
}

impl FromStr for Choice {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        Ok(match text {
            "auto" => Self::Auto,
            "k3s" => Self::K3s,
            "modules" => Self::Modules,
            "none" => Self::None,
            _ => bail!("--kubernetes is one of k3s, modules, none and auto, not {text}"),
        })
    }
}

/// The Kubernetes of an image.
#[derive(Debug)]
pub(super) struct Kubernetes {
    /// Hash of what it was made from.
    pub(super) key: String,
    /// `k3s`, `modules` or `none`.
    pub(super) distribution: &'static str,
    /// Such as `v1.36.3+alcove1`.
    pub(super) version: String,
    /// The folder with its programs.
    pub(super) folder: Option<PathBuf>,
}

pub(super) fn build(
    cache: &Cache,
    repository: &Path,
    options: &Options,
    progress: &mut dyn Progress,
) -> Result<Kubernetes> {
    match (options.kubernetes, &options.k3s) {
        (Choice::None, _) => {
            Ok(Kubernetes { key: "none".into(), distribution: "none", version: String::new(), folder: None })
        }
        (Choice::Auto | Choice::K3s, Some(file)) => official(cache, repository, file, progress),
        (Choice::K3s, None) => bail!("say where the official K3s release is: --k3s FILE"),
        (Choice::Modules | Choice::Auto, _) => modules(cache, repository, progress),
    }
}

/// The folders that Kubernetes is built from.
fn sources(repository: &Path) -> Result<Key> {
    Key::new("kubernetes")
        .path(&repository.join("vm-images/kubernetes"))?
        .path(&repository.join("vm-images/oci"))?
        .path(&repository.join("crates/xtask/src/image/kubernetes.rs"))
}

fn modules(cache: &Cache, repository: &Path, progress: &mut dyn Progress) -> Result<Kubernetes> {
    let key = sources(repository)?.finish();
    let folder = cache.stage("kubernetes", &key, |work| {
        progress.step("Kubernetes from its Go modules (some ten minutes the first time)");
        run(Command::new(repository.join("vm-images/kubernetes/build.sh")).arg(work), progress)
    })?;
    let version = version(&folder.join("k3s"))?;
    Ok(Kubernetes { key, distribution: "modules", version, folder: Some(folder) })
}

/// The kubectl for the host, from the same build.
pub(super) fn kubectl(cache: &Cache, repository: &Path, progress: &mut dyn Progress) -> Result<PathBuf> {
    let built = modules(cache, repository, progress)?;
    built.folder.map(|folder| folder.join("kubectl")).context("the Kubernetes build made no kubectl")
}

/// The official release is one program that unpacks itself; our own containers still come from our own build.
fn official(cache: &Cache, repository: &Path, file: &Path, progress: &mut dyn Progress) -> Result<Kubernetes> {
    use std::os::unix::fs::PermissionsExt;
    let ours = modules(cache, repository, progress)?;
    let key = Key::new("k3s").text(&ours.key).path(file)?.finish();
    let folder = cache.stage("k3s", &key, |work| {
        let to = work.join("k3s");
        fs::copy(file, &to).with_context(|| format!("{} can't be read", file.display()))?;
        fs::set_permissions(&to, fs::Permissions::from_mode(0o755))?;
        if let Some(containers) = &ours.folder {
            std::os::unix::fs::symlink(containers, work.join("containers"))?;
        }
        Ok(())
    })?;
    let version = version(&folder.join("k3s"))?;
    Ok(Kubernetes { key, distribution: "k3s", version, folder: Some(folder) })
}

/// Asks the program itself: `k3s version v1.36.3+k3s1 (…)`.
fn version(k3s: &Path) -> Result<String> {
    let said = output(Command::new(k3s).arg("--version"))?;
    let said = String::from_utf8_lossy(&said);
    let version = said.split_ascii_whitespace().find(|word| word.starts_with('v') && word.contains('.'));
    let version = version.with_context(|| format!("{} does not tell its version", k3s.display()))?;
    ensure!(version.len() < 64, "{} tells no version", k3s.display());
    Ok(version.to_owned())
}
