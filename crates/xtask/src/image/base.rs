//! Debian's tree, from which the image is cut.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use super::{
    cache::{Cache, Key},
    recipe::Recipe,
    tools::{Progress, run},
};

const DEFAULT_MIRROR: &str = "http://deb.debian.org/debian";
const DEFAULT_SECURITY: &str = "http://deb.debian.org/debian-security";
/// Changed whenever the way in which the tree is made and unpacked changes.
const STAGE: &str = "1";
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";

/// Debian's tree as a tar, and those parts of it that the build itself uses, unpacked.
#[derive(Debug)]
pub(super) struct Base {
    /// Hash of what it was made from and of what came out.
    pub(super) key: String,
    /// The tree.
    pub(super) tar: PathBuf,
    /// The unpacked part.
    pub(super) tools: PathBuf,
    /// Name and version of each package.
    pub(super) packages: Vec<(String, String)>,
}

pub(super) fn build(cache: &Cache, recipe: &Recipe, refresh: bool, progress: &mut dyn Progress) -> Result<Base> {
    let (mirror, security) = mirrors(&apt_sources());
    let recipe_key = Key::new("base").path(&recipe.bootstrap)?.text(&recipe.packages.join(" ")).text(STAGE).finish();
    if refresh {
        cache.forget("base", &recipe_key)?;
    }
    let folder = cache.stage("base", &recipe_key, |work| {
        progress.step("Debian's packages (a minute or two)");
        let tar = work.join("base.tar");
        run(
            Command::new("sh").arg(&recipe.bootstrap).arg(&tar).args([&mirror, &security]).args(&recipe.packages),
            progress,
        )?;
        unpack_tools(&tar, &work.join("tools"))
    })?;
    let tools = folder.join("tools");
    let packages = packages(&tools)?;
    let mut key = Key::new("base").text(&recipe_key);
    for (name, version) in &packages {
        key = key.text(name).text(version);
    }
    Ok(Base { key: key.finish(), tar: folder.join("base.tar"), tools, packages })
}

impl Base {
    /// A program of Debian's tree, run with the libraries of that tree: the host's own may be too old, or absent.
    pub(super) fn program(&self, path: &str, name: &str) -> Command {
        let libraries = self.tools.join(LIBRARIES);
        let mut command = Command::new(libraries.join("ld-linux-x86-64.so.2"));
        command.arg("--library-path").arg(&libraries).args(["--argv0", name]).arg(self.tools.join(path));
        command
    }
}

/// Unpacks what the build itself needs: the kernel, its modules, two programs and the libraries.
fn unpack_tools(tar: &Path, tools: &Path) -> Result<()> {
    fs::create_dir_all(tools)?;
    let mut archive = tar::Archive::new(File::open(tar)?);
    archive.set_preserve_ownerships(false);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.to_string_lossy().trim_start_matches("./").to_owned();
        let name = path.rsplit('/').next().unwrap_or_default();
        let library = path.strip_prefix(LIBRARIES).is_some_and(|rest| rest.matches('/').count() == 1)
            && name.contains(".so")
            || path == format!("{LIBRARIES}/");
        let wanted = library
            || path.starts_with("usr/lib/modules/")
            || path.starts_with("boot/")
            || matches!(path.as_str(), "usr/bin/kmod" | "usr/bin/mkfs.erofs" | "var/lib/dpkg/status");
        if wanted && !entry.header().entry_type().is_block_special() {
            entry.unpack_in(tools).with_context(|| format!("{path} can't be unpacked"))?;
        }
    }
    Ok(())
}

/// The packages that dpkg knows of, and the kernel's, which was unpacked beside it.
fn packages(tools: &Path) -> Result<Vec<(String, String)>> {
    let status =
        fs::read_to_string(tools.join("var/lib/dpkg/status")).context("Debian's tree has no list of packages")?;
    let mut packages = parse_status(&status);
    let kernel = fs::read_to_string(tools.join("boot/kernel-package")).context("Debian's tree has no kernel")?;
    packages.extend(kernel.lines().filter_map(|line| line.split_once(' ')).map(|(n, v)| (n.to_owned(), v.to_owned())));
    packages.sort();
    ensure!(packages.len() > 20, "Debian's tree lists only {} packages", packages.len());
    Ok(packages)
}

fn parse_status(status: &str) -> Vec<(String, String)> {
    status
        .split("\n\n")
        .filter_map(|paragraph| {
            let field = |name: &str| paragraph.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
            field("Status: ").filter(|status| status.ends_with(" installed"))?;
            Some((field("Package: ")?, field("Version: ")?))
        })
        .collect()
}

/// Everything that apt's own sources say.
fn apt_sources() -> String {
    let mut text = fs::read_to_string("/etc/apt/sources.list").unwrap_or_default();
    let mut files: Vec<PathBuf> =
        fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    files.sort();
    for file in files {
        text.push('\n');
        text.push_str(&fs::read_to_string(file).unwrap_or_default());
    }
    text
}

/// The mirrors that this host itself uses, when it is a Debian; else Debian's own.
fn mirrors(sources: &str) -> (String, String) {
    let addresses: Vec<&str> = sources
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .flat_map(str::split_ascii_whitespace)
        .map(|word| word.trim_end_matches('/'))
        .filter(|word| word.starts_with("http://") || word.starts_with("https://"))
        .collect();
    let find = |end: &str, default: &str| {
        addresses.iter().find(|address| address.ends_with(end)).map_or(default, |address| *address).to_owned()
    };
    (find("/debian", DEFAULT_MIRROR), find("/debian-security", DEFAULT_SECURITY))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_mirror_is_used() {
        let deb822 = "Types: deb\n# http://old.example/debian\nURIs: http://mirror.example/debian/\nSuites: bookworm\n\nURIs: https://mirror.example/debian-security\n";
        assert_eq!(
            mirrors(deb822),
            ("http://mirror.example/debian".into(), "https://mirror.example/debian-security".into())
        );
        let one_line = "deb [signed-by=/k] http://mirror.example/debian trixie main\n";
        assert_eq!(mirrors(one_line), ("http://mirror.example/debian".into(), DEFAULT_SECURITY.into()));
        assert_eq!(mirrors("deb http://archive.example/ubuntu noble main").0, DEFAULT_MIRROR);
    }

    #[test]
    fn only_installed_packages_are_listed() {
        let status = "Package: a\nStatus: install ok installed\nVersion: 1-2\n\nPackage: b\nStatus: deinstall ok config-files\nVersion: 3\n";
        assert_eq!(parse_status(status), [("a".to_owned(), "1-2".to_owned())]);
    }
}
