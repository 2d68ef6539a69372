//! Reading `vm-images/guest`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use super::{cache::Key, modules::Wanted, prune::Prune};

/// The image's recipe.
#[derive(Debug)]
pub(super) struct Recipe {
    /// Hash of all of it.
    pub(super) key: String,
    /// Debian packages.
    pub(super) packages: Vec<String>,
    /// What of them stays out.
    pub(super) prune: Prune,
    /// Kernel modules.
    pub(super) modules: Wanted,
    /// The kernel's command line.
    pub(super) command_line: String,
    /// The script that makes Debian's tree.
    pub(super) bootstrap: PathBuf,
    /// Files laid over Debian's.
    pub(super) overlay: PathBuf,
    /// Manifests of the platform.
    pub(super) platform: PathBuf,
}

impl Recipe {
    pub(super) fn read(repository: &Path) -> Result<Self> {
        let folder = repository.join("vm-images/guest");
        let platform = repository.join("vm-images/platform");
        let text = |name: &str| {
            let path = folder.join(name);
            fs::read_to_string(&path).with_context(|| format!("{} can't be read", path.display()))
        };
        let mut packages = words(&text("packages.txt")?);
        // Written by those who build Kubernetes; absent in an image without it.
        let kubernetes = repository.join("vm-images/kubernetes/debian-packages.txt");
        packages.extend(words(&fs::read_to_string(kubernetes).unwrap_or_default()));
        packages.sort();
        packages.dedup();
        Ok(Self {
            // The code that puts the image together belongs to its recipe.
            key: Key::new("recipe")
                .path(&folder)?
                .path(&platform)?
                .path(&repository.join("crates/xtask/src/image"))?
                .path(&repository.join("crates/xtask/src/image.rs"))?
                .finish(),
            packages,
            prune: Prune::parse(&text("prune.txt")?),
            modules: Wanted::parse(&text("modules.txt")?)?,
            command_line: text("cmdline")?.split_ascii_whitespace().collect::<Vec<_>>().join(" "),
            bootstrap: folder.join("bootstrap.sh"),
            overlay: folder.join("rootfs"),
            platform,
        })
    }
}

/// The words of a list with one entry a line and comments.
fn words(text: &str) -> Vec<String> {
    text.lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim())
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repositorys_own_recipe_can_be_read() {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let recipe = Recipe::read(&repository).unwrap();
        assert!(recipe.packages.iter().any(|name| name == "systemd"));
        assert!(recipe.command_line.contains("console=ttyS0"));
        assert!(!recipe.command_line.contains('\n'));
        assert!(recipe.prune.takes("usr/share/doc/systemd"));
        assert!(!recipe.prune.takes("usr/lib/systemd/systemd"));
    }
}
