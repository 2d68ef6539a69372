//! The programs of ours that run in the guest.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use super::{
    cache::{Cache, Key},
    tools::{Progress, run},
};

const TARGET: &str = "x86_64-unknown-linux-gnu";
/// What the programs are made from, under the repository.
const SOURCES: [&str; 6] = [
    "rust-toolchain.toml",
    "crates/alcove-types/src",
    "crates/alcove-door/src",
    "crates/alcove-guest",
    "crates/platform",
    "ui/apps/desktop/dist",
];

/// The programs, and a hash of them.
#[derive(Debug)]
pub(super) struct Binaries {
    /// Hash of the programs themselves.
    pub(super) key: String,
    /// The initrd's init.
    pub(super) init: PathBuf,
    /// The daemon.
    pub(super) guest: PathBuf,
    /// The platform.
    pub(super) platform: PathBuf,
    /// The daemon's version.
    pub(super) version: String,
}

pub(super) fn build(repository: &Path, cache: &Cache, progress: &mut dyn Progress) -> Result<Binaries> {
    let mut key = Key::new("binaries").text(include_str!("binaries.rs"));
    for source in SOURCES {
        key = key.path(&repository.join(source))?;
    }
    let key = key.path(&repository.join("Cargo.lock"))?.finish();
    let folder = cache.stage("binaries", &key, |work| {
        progress.step("the guest's programs");
        compile(repository, work, progress)
    })?;
    let [init, guest, platform] = ["alcove-init", "alcove-guest", "platformd"].map(|name| folder.join(name));
    Ok(Binaries {
        key: Key::new("binaries").path(&init)?.path(&guest)?.path(&platform)?.finish(),
        init,
        guest,
        platform,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    })
}

/// Compiled for release, and linked statically: the initrd has no libraries, and a container of one file is the
/// smallest there is.
fn compile(repository: &Path, out: &Path, progress: &mut dyn Progress) -> Result<()> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let target = crate::product::target()?;
    // The same sources give the same bytes wherever they lie.
    let mut flags = format!("-C target-feature=+crt-static --remap-path-prefix={}=/alcove", repository.display());
    let home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")));
    if let Some(home) = home {
        flags.push_str(&format!(" --remap-path-prefix={}=/cargo", home.display()));
    }
    let mut command = Command::new(cargo);
    command
        .current_dir(repository)
        .args(["build", "--release", "--target", TARGET, "--package", "alcove-guest", "--package", "platformd"])
        .args(["--color", "never"])
        .arg("--target-dir")
        .arg(&target)
        .env("RUSTFLAGS", flags)
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    run(&mut command, progress)?;
    for name in ["alcove-init", "alcove-guest", "platformd"] {
        let built = target.join(TARGET).join("release").join(name);
        fs::copy(&built, out.join(name)).with_context(|| format!("{} is missing", built.display()))?;
    }
    Ok(())
}
