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

/// The program that puts container images together, in the folder of what was built.
pub(super) const PACKER: &str = "ocidir";

/// Which Kubernetes goes into an image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Choice {
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
    /// The folder with what our own build makes: containers, and the program that puts more of them together.
    pub(super) ours: Option<PathBuf>,
}

pub(super) fn build(
    cache: &Cache,
    repository: &Path,
    options: &Options,
    progress: &mut dyn Progress,
) -> Result<Kubernetes> {
    match (options.kubernetes, &options.k3s) {
        (Choice::None, _) => Ok(Kubernetes {
            key: "none".into(),
            distribution: "none",
            version: String::new(),
            folder: None,
            ours: None,
        }),
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
        let source = repository.join("vm-images/kubernetes");
        run(Command::new(source.join("build.sh")).arg(work), progress)?;
        progress.step("container images");
        let mut build = Command::new("go");
        build.current_dir(&source).env("CGO_ENABLED", "0");
        build.args(["build", "-trimpath", "-buildvcs=false", "-o"]).arg(work.join(PACKER)).arg("./cmd/ocidir");
        run(&mut build, progress)?;
        let images = Images { recipes: &repository.join("vm-images/oci"), files: work, out: work };
        images.pack(&work.join(PACKER), progress)
    })?;
    let version = version(&folder.join("k3s"))?;
    Ok(Kubernetes { key, distribution: "modules", version, ours: Some(folder.clone()), folder: Some(folder) })
}

/// The kubectl for the host, from the same build.
pub(super) fn kubectl(cache: &Cache, repository: &Path, progress: &mut dyn Progress) -> Result<PathBuf> {
    let built = modules(cache, repository, progress)?;
    built.folder.map(|folder| folder.join("kubectl")).context("the Kubernetes build made no kubectl")
}

/// Container images to be put together.
pub(super) struct Images<'a> {
    /// A folder with a folder for each image, which holds its `image.json`.
    pub(super) recipes: &'a Path,
    /// The folder with the files that go into them.
    pub(super) files: &'a Path,
    /// Where `oci/`, the unpacked images, and `archives/` are made.
    pub(super) out: &'a Path,
}

impl Images<'_> {
    /// Runs the program that puts them together.
    pub(super) fn pack(&self, packer: &Path, progress: &mut dyn Progress) -> Result<()> {
        let mut command = Command::new(packer);
        command.arg("-recipes").arg(self.recipes).arg("-from").arg(self.files);
        command.arg("-out").arg(self.out.join("oci")).arg("-archives").arg(self.out.join("archives"));
        run(&mut command, progress)
    }
}

/// The official release is one program that unpacks itself; our own containers still come from our own build.
fn official(cache: &Cache, repository: &Path, file: &Path, progress: &mut dyn Progress) -> Result<Kubernetes> {
    use std::os::unix::fs::PermissionsExt;
    let ours = modules(cache, repository, progress)?;
    let key = Key::new("k3s").text(&ours.key).path(file)?.finish();
    let folder = cache.stage("k3s", &key, |work| {
        let to = work.join("k3s");
        fs::copy(file, &to).with_context(|| format!("{} can't be read", file.display()))?;
        Ok(fs::set_permissions(&to, fs::Permissions::from_mode(0o755))?)
    })?;
    let version = version(&folder.join("k3s"))?;
    Ok(Kubernetes { key, distribution: "k3s", version, folder: Some(folder), ours: ours.folder })
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
