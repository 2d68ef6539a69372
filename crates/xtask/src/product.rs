//! Builds what a person runs: the user interface and the binaries, with caches in the user's cache folder.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use crate::steps::{Steps, program};

/// The repository's root.
pub(crate) fn repository() -> Result<PathBuf> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = manifest.ancestors().nth(2).context("the crate does not lie in crates/xtask")?;
    ensure!(root.join("ARCHITECTURE.md").is_file(), "{} is not the repository", root.display());
    Ok(root.to_owned())
}

/// The user's cache folder.
pub(crate) fn cache() -> Result<PathBuf> {
    let base = match (env::var_os("XDG_CACHE_HOME"), env::var_os("HOME")) {
        (Some(xdg), _) if Path::new(&xdg).is_absolute() => PathBuf::from(xdg),
        (_, Some(home)) => PathBuf::from(home).join(".cache"),
        _ => anyhow::bail!("neither XDG_CACHE_HOME nor HOME is set: there is nowhere to keep what is built"),
    };
    let folder = base.join("alcove");
    fs::create_dir_all(&folder).with_context(|| format!("{} can't be made", folder.display()))?;
    Ok(folder)
}

/// Whether a program is on the PATH.
pub(crate) fn on_path(name: &str) -> bool {
    env::var_os("PATH").is_some_and(|path| env::split_paths(&path).any(|folder| folder.join(name).is_file()))
}

/// Cargo, with its artefacts in the user's cache unless the person chose another place.
pub(crate) fn cargo(root: &Path, arguments: &[&str]) -> Result<Command> {
    let mut command = program(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()), root, arguments);
    command.env("CARGO_TARGET_DIR", target()?);
    // What cargo set for us must not change how others are built.
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST") || name == "RUST_RECURSION_COUNT" {
            command.env_remove(name);
        }
    }
    Ok(command)
}

/// Where cargo's artefacts lie.
pub(crate) fn target() -> Result<PathBuf> {
    if let Some(chosen) = env::var_os("CARGO_TARGET_DIR") {
        return Ok(PathBuf::from(chosen));
    }
    let folder = cache()?.join("cargo");
    claim(&folder, &repository()?)?;
    Ok(folder)
}

/// Makes the artefacts this clone's own. Cargo tells crates of a workspace apart by their path inside it and by the age
/// of their files, so what another clone has built would pass for ours: our crates are then built anew, and all that
/// they stand on stays.
fn claim(folder: &Path, root: &Path) -> Result<()> {
    let mark = folder.join("clone");
    let ours = root.as_os_str().as_encoded_bytes();
    if fs::read(&mark).is_ok_and(|theirs| theirs == ours) {
        return Ok(());
    }
    // Profiles lie in the folder itself, or in that of what they are compiled for.
    let inside = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    for profile in inside(folder).flat_map(|at| inside(&at).chain([at.clone()]).collect::<Vec<_>>()) {
        for made in inside(&profile.join(".fingerprint")) {
            let name = made.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if OUR_CRATES.iter().any(|ours| name.starts_with(ours)) {
                fs::remove_dir_all(made)?;
            }
        }
    }
    fs::create_dir_all(folder)?;
    fs::write(&mark, ours).with_context(|| format!("{} can't be written", mark.display()))
}

/// How the names of our crates begin.
const OUR_CRATES: [&str; 3] = ["alcove", "platformd-", "xtask-"];

/// Builds the user interface, or finds it in the cache. Its pages are embedded into the binaries.
pub(crate) fn interface(root: &Path, steps: &mut Steps) -> Result<()> {
    let ui = root.join("ui");
    let key = hash(&ui, &["node_modules", "dist", "test-results"])?;
    let kept = cache()?.join("ui").join(&key);
    let apps = ["native", "desktop"];
    if !apps.iter().all(|app| kept.join(app).join("index.html").is_file()) {
        install(root, steps)?;
        steps.run("building the user interface", &mut program("npm", &ui, &["run", "build"]))?;
        for app in apps {
            let built = ui.join("apps").join(app).join("dist");
            let staging = kept.with_extension(format!("{app}-{}", std::process::id()));
            copy(&built, &staging)?;
            fs::create_dir_all(&kept)?;
            // Another build of the same content may have been faster.
            if fs::rename(&staging, kept.join(app)).is_err() {
                fs::remove_dir_all(&staging)?;
            }
        }
    }
    crate::room::touch(&kept);
    for app in apps {
        let dist = ui.join("apps").join(app).join("dist");
        let mark = root.join("target").join(format!("ui-{app}.key"));
        if fs::read_to_string(&mark).is_ok_and(|k| k == key) && dist.join("index.html").is_file() {
            continue;
        }
        if dist.exists() {
            fs::remove_dir_all(&dist)?;
        }
        copy(&kept.join(app), &dist)?;
        fs::create_dir_all(root.join("target"))?;
        fs::write(mark, &key)?;
    }
    Ok(())
}

/// Installs the interface's packages.
pub(crate) fn install(root: &Path, steps: &mut Steps) -> Result<()> {
    let ui = root.join("ui");
    let lock = fs::read(ui.join("package-lock.json")).context("ui/package-lock.json can't be read")?;
    let key = hex::encode(Sha256::digest(&lock));
    let mark = ui.join("node_modules").join(".alcove-lock");
    if fs::read_to_string(&mark).is_ok_and(|k| k == key) {
        return Ok(());
    }
    steps.run("installing the interface's packages", &mut program("npm", &ui, &["ci", "--no-audit", "--no-fund"]))?;
    fs::write(mark, key)?;
    Ok(())
}

/// Builds the binaries and puts them, with kubectl, into one folder.
pub(crate) fn binaries(root: &Path, release: bool, window: bool, steps: &mut Steps) -> Result<PathBuf> {
    let profile = if release { "release" } else { "debug" };
    let mut arguments = vec!["build", "-p", "alcoved", "-p", "alcove-cli"];
    if window {
        arguments.extend(["-p", "alcove-desktop", "--features", "alcove-desktop/custom-protocol"]);
    }
    if release {
        arguments.push("--release");
    }
    steps.run("building the binaries", &mut cargo(root, &arguments)?)?;
    let folder = target()?.join(profile);
    let kubectl = crate::image::kubectl(root)?;
    let beside = folder.join("kubectl");
    let same = fs::canonicalize(&beside).is_ok_and(|there| fs::canonicalize(&kubectl).is_ok_and(|k| k == there));
    if !same {
        // Nothing there is fine too.
        let _ = fs::remove_file(&beside);
        std::os::unix::fs::symlink(&kubectl, &beside).context("kubectl can't be put beside the binaries")?;
    }
    Ok(folder)
}

/// A hash of a folder's content and names, without the folders named in `without`.
pub(crate) fn hash(folder: &Path, without: &[&str]) -> Result<String> {
    let mut files = Vec::new();
    list(folder, without, &mut files)?;
    files.sort();
    let mut hash = Sha256::new();
    for file in files {
        let content = fs::read(&file).with_context(|| format!("{} can't be read", file.display()))?;
        hash.update(file.strip_prefix(folder)?.as_os_str().as_encoded_bytes());
        hash.update([0]);
        hash.update((content.len() as u64).to_le_bytes());
        hash.update(&content);
    }
    Ok(hex::encode(&hash.finalize()[..8]))
}

fn list(folder: &Path, without: &[&str], files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("{} can't be read", folder.display()))? {
        let entry = entry?;
        if without.iter().any(|w| entry.file_name() == *w) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            list(&entry.path(), without, files)?;
        } else {
            files.push(entry.path());
        }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("{} can't be read", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_clone_has_built_is_built_anew_and_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let made = |name: &str| folder.path().join("debug/.fingerprint").join(name);
        let guests = folder.path().join("x86_64-unknown-linux-gnu/release/.fingerprint/alcove-guest-0123");
        let make = || {
            for name in ["alcove-api-0123", "platformd-0123", "serde-0123"] {
                fs::create_dir_all(made(name)).unwrap();
            }
            fs::create_dir_all(&guests).unwrap();
        };
        make();
        claim(folder.path(), Path::new("/here")).unwrap();
        assert!(!made("alcove-api-0123").exists() && !made("platformd-0123").exists() && made("serde-0123").exists());
        assert!(!guests.exists());
        make();
        claim(folder.path(), Path::new("/here")).unwrap();
        assert!(made("alcove-api-0123").exists(), "its own work was thrown away");
        claim(folder.path(), Path::new("/there")).unwrap();
        assert!(!made("alcove-api-0123").exists());
    }
}
