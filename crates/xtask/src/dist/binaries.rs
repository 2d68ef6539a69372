//! Builds and finds what the packages carry.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use anyhow::{Context, bail, ensure};

use super::Release;
use crate::product;

/// The executables.
#[derive(Debug, Clone)]
pub(super) struct Binaries {
    pub(super) alcove: PathBuf,
    pub(super) alcoved: PathBuf,
    pub(super) desktop: PathBuf,
    /// Mostly absent: `alcove kubectl` takes the image's own.
    pub(super) kubectl: Option<PathBuf>,
}

impl Binaries {
    fn all(&self) -> impl Iterator<Item = &PathBuf> {
        [&self.alcove, &self.alcoved, &self.desktop].into_iter().chain(self.kubectl.as_ref())
    }
}

/// Builds the release binaries; returns the folder that holds them. The pages in them are built already.
pub(super) fn build(root: &Path, release: &Release) -> anyhow::Result<PathBuf> {
    // Paths of the building computer stay out of the binaries.
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| Some(std::env::home_dir()?.join(".cargo")));
    let mut flags = vec![format!("--remap-path-prefix={}=alcove", root.display())];
    flags.extend(home.map(|home| format!("--remap-path-prefix={}=cargo", home.display())));
    let target = product::target()?.join("dist");
    for packages in [["alcoved", "alcove-cli"].as_slice(), &["alcove-desktop"]] {
        let mut cargo = product::cargo(root, &["build", "--release"])?;
        cargo
            .env("CARGO_TARGET_DIR", &target)
            .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"))
            .env("SOURCE_DATE_EPOCH", release.epoch.to_string());
        for package in packages {
            cargo.args(["--package", package]);
        }
        ran(&mut cargo, "cargo build")?;
    }
    Ok(target.join("release"))
}

/// Finds the executables in this folder.
pub(super) fn collect(folder: &Path, kubectl: Option<&Path>) -> anyhow::Result<Binaries> {
    let found = |name: &str| -> anyhow::Result<PathBuf> {
        let path = folder.join(name);
        ensure!(path.is_file(), "{} is missing", path.display());
        Ok(path)
    };
    if let Some(kubectl) = kubectl {
        ensure!(kubectl.is_file(), "{} is missing", kubectl.display());
    }
    Ok(Binaries {
        alcove: found("alcove")?,
        alcoved: found("alcoved")?,
        desktop: found("alcove-desktop")?,
        kubectl: kubectl.map(Path::to_owned),
    })
}

/// Has the command line write its manual pages and completions.
pub(super) fn write_documents(binaries: &Binaries, out: &Path) -> anyhow::Result<()> {
    let man = out.join("man");
    let completions = out.join("completions");
    for folder in [&man, &completions] {
        fs::create_dir_all(folder).with_context(|| format!("can't make {}", folder.display()))?;
    }
    output(Command::new(&binaries.alcove).arg("man").arg(&man), "alcove man")?;
    for (shell, name) in [("bash", "alcove.bash"), ("zsh", "_alcove"), ("fish", "alcove.fish")] {
        let text = output(Command::new(&binaries.alcove).args(["completions", shell]), "alcove completions")?;
        fs::write(completions.join(name), text.stdout).with_context(|| format!("can't write {name}"))?;
    }
    Ok(())
}

/// The newest version of the C library that any of the executables asks for.
pub(super) fn newest_glibc(binaries: &Binaries) -> anyhow::Result<(u32, u32)> {
    let mut newest = (2, 17);
    for path in binaries.all() {
        let bytes = fs::read(path).with_context(|| format!("can't read {}", path.display()))?;
        newest = newest.max(glibc_of(&bytes));
    }
    Ok(newest)
}

/// Versioned symbols name the version that they need as text, such as `GLIBC_2.34`.
pub(super) fn glibc_of(bytes: &[u8]) -> (u32, u32) {
    const MARK: &[u8] = b"GLIBC_2.";
    bytes
        .windows(MARK.len() + 2)
        .filter(|w| w.starts_with(MARK))
        .filter_map(|w| {
            let digits = w.get(MARK.len()..)?.iter().take_while(|b| b.is_ascii_digit());
            digits.map(|b| u32::from(b - b'0')).reduce(|number, digit| number * 10 + digit)
        })
        .max()
        .map_or((0, 0), |minor| (2, minor))
}

/// What is linked in, with versions and licences.
pub(super) fn third_party(root: &Path) -> anyhow::Result<String> {
    let tree = output(
        product::cargo(root, &[])?
            .args(["tree", "--edges", "normal", "--prefix", "none", "--format", "{p} {l}"])
            .args(["--package", "alcoved", "--package", "alcove-cli", "--package", "alcove-desktop"]),
        "cargo tree",
    )?;
    let mut lines: BTreeSet<String> = crates(&String::from_utf8_lossy(&tree.stdout));
    let lock = root.join("ui/package-lock.json");
    let text = fs::read_to_string(&lock).with_context(|| format!("can't read {}", lock.display()))?;
    lines.extend(node_packages(&text).with_context(|| format!("can't understand {}", lock.display()))?);
    lines.insert("Kubernetes kubectl and the Go modules it is made from: Apache-2.0, BSD and MIT".to_owned());
    let mut text = String::from("Parts of Alcove that others wrote, with their versions and licences.\n\n");
    for line in lines {
        text.push_str(&line);
        text.push('\n');
    }
    Ok(text)
}

/// Lines such as `serde v1.0.0 MIT OR Apache-2.0`, without our own crates and without the mark of a repetition.
pub(super) fn crates(tree: &str) -> BTreeSet<String> {
    tree.lines()
        .map(|line| line.trim_end_matches(" (*)").replace(" (proc-macro)", ""))
        .filter(|line| !line.is_empty() && !line.contains(" (/"))
        .collect()
}

/// Packages that the pages are made from; those that only build or test them are left out.
pub(super) fn node_packages(lock: &str) -> anyhow::Result<BTreeSet<String>> {
    let lock: serde_json::Value = serde_json::from_str(lock)?;
    let packages = lock["packages"].as_object().context("it lists no packages")?;
    Ok(packages
        .iter()
        .filter(|(_, facts)| facts["dev"] != true && facts["link"] != true)
        .filter_map(|(path, facts)| {
            let (_, name) = path.rsplit_once("node_modules/")?;
            Some(format!(
                "{name} v{} {}",
                facts["version"].as_str()?,
                facts["license"].as_str().unwrap_or("see its source")
            ))
        })
        .collect())
}

fn ran(command: &mut Command, name: &str) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("can't run {name}"))?;
    ensure!(status.success(), "{name} failed");
    Ok(())
}

fn output(command: &mut Command, name: &str) -> anyhow::Result<Output> {
    let output = command.output().with_context(|| format!("can't run {name}"))?;
    if !output.status.success() {
        bail!("{name} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(output)
}
