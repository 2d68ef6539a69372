//! `cargo xtask bench`: the figures of the budgets, measured on the real machine.

use std::{path::Path, process::ExitCode};

use anyhow::Result;

use crate::{
    image,
    prepare::{Purpose, prepare},
    product::{self, cargo},
    steps::Steps,
};

/// Builds optimised binaries and measures with them. Standard output carries JSON lines alone.
pub(crate) fn run(root: &Path, json: bool, names: &[String], steps: &mut Steps) -> Result<ExitCode> {
    prepare(Purpose::Headless, steps)?;
    product::interface(root, steps)?;
    let images = image::build(root, &image::Options::default(), &mut image::TerminalProgress::new())?;
    let binaries = product::binaries(root, true, false, steps)?;
    let mut bench =
        cargo(root, &["run", "--quiet", "--release", "-p", "alcove-machine-tests", "--bin", "alcove-bench", "--"])?;
    if json {
        bench.arg("--json");
    }
    bench
        .args(names)
        .env("ALCOVE_BIN_DIR", &binaries)
        .env("ALCOVE_IMAGES", &images)
        .env("ALCOVE_DIST", root.join("target/dist"))
        .env("ALCOVE_WARM", crate::check::warm_folder()?);
    let status = bench.status()?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
