//! Builds the guest image: kernel, initrd and read-only root, with a manifest of what is inside.
//!
//! The work is cut into stages, each kept in the user's cache folder under a hash of what it was made from, so that a
//! changed line in the guest's daemon costs seconds and not a new Debian tree. Nothing here needs root: the root's file
//! system is written from a tar that is put together in memory.

mod base;
mod binaries;
mod cache;
mod containers;
mod erofs;
mod initrd;
mod kernel;
mod kubernetes;
mod manifest;
mod modules;
mod prune;
mod recipe;
mod root;
mod tools;

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context, Result};

pub(crate) use kubernetes::Choice;
pub(crate) use tools::{Progress, TerminalProgress};

/// What to build.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options {
    /// Which Kubernetes goes into the image.
    pub kubernetes: Choice,
    /// The official K3s release, given as a file.
    pub k3s: Option<PathBuf>,
    /// Where the image's folder is made; the cache's own folder when absent.
    pub out: Option<PathBuf>,
    /// Asks Debian for newer packages even though a tree of the same recipe is there.
    pub refresh: bool,
}

/// The kubectl that goes with the host's binaries.
///
/// # Errors
/// When Kubernetes can't be built.
pub(crate) fn kubectl(repository: &Path) -> Result<PathBuf> {
    kubernetes::kubectl(&cache::Cache::open()?, repository, &mut TerminalProgress::new())
}

/// Builds the image of the repository at `repository`, or finds it in the cache. Returns the image's folder, which
/// holds `manifest.json` and the files that it names.
///
/// # Errors
/// With what was being done when a stage fails, and the last lines of the program that failed.
pub(crate) fn build(repository: &Path, options: &Options, progress: &mut dyn Progress) -> Result<PathBuf> {
    let started = Instant::now();
    let cache = cache::Cache::open()?;
    let recipe = recipe::Recipe::read(repository)?;

    let base = base::build(&cache, &recipe, options.refresh, progress).context("Debian's tree can't be made")?;
    let kubernetes = kubernetes::build(&cache, repository, options, progress).context("Kubernetes can't be built")?;
    let binaries = binaries::build(repository, &cache, progress).context("the guest's programs can't be built")?;
    let containers = containers::build(&cache, &kubernetes, &binaries, progress)
        .context("the container images can't be put together")?;

    let version = cache::Key::new("image")
        .text(&base.key)
        .text(&kubernetes.key)
        .text(&binaries.key)
        .text(&containers.key)
        .text(&recipe.key)
        // What lies beside the root: images from before had no kubectl for the host.
        .text(manifest::KUBECTL)
        .finish();
    let images = options.out.clone().unwrap_or_else(|| cache.folder("images"));
    let folder = images.join(&version);
    if manifest::is_whole(&folder, &version) {
        crate::room::touch(&folder);
        progress.step(&format!("the image {version} is there already"));
        return Ok(folder);
    }
    std::fs::create_dir_all(&images).with_context(|| format!("{} can't be made", images.display()))?;
    let work = tempfile::Builder::new()
        .prefix(".image-")
        .tempdir_in(&images)
        .with_context(|| format!("{} can't be written to", images.display()))?;

    progress.step("kernel and its modules");
    let kernel = kernel::unpack(&base, work.path())?;
    let modules = modules::prepare(&cache, &base, &recipe.modules, &kernel.release)?;
    progress.step("initrd");
    initrd::write(&work.path().join("initrd"), &binaries.init, &modules)?;
    progress.step("root: putting it together");
    let parts = root::Parts {
        base: &base,
        recipe: &recipe,
        modules: &modules,
        binaries: &binaries,
        kubernetes: &kubernetes,
        containers: &containers,
        version: &version,
    };
    let tar = work.path().join("root.tar");
    root::write(&tar, &parts)?;
    progress.step("root: making its file system");
    erofs::make(&base, &tar, &work.path().join("root.erofs"))?;
    std::fs::remove_file(&tar)?;

    if let Some(ours) = &kubernetes.ours {
        let to = work.path().join(manifest::KUBECTL);
        std::fs::copy(ours.join("kubectl"), &to).context("the Kubernetes build made no kubectl")?;
        std::fs::set_permissions(&to, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    }

    progress.step("manifest");
    manifest::write(work.path(), &version, &kernel.release, &parts)?;
    cache::publish(work, &folder)?;
    progress.step(&format!("the image {version} is ready ({:.0} s)", started.elapsed().as_secs_f64()));
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kubernetes_that_does_not_exist_is_refused() {
        assert_eq!("modules".parse::<Choice>().unwrap(), Choice::Modules);
        assert_eq!("k3s".parse::<Choice>().unwrap(), Choice::K3s);
        assert!("docker".parse::<Choice>().is_err());
    }
}
