//! `cargo xtask bench`: the figures of the budgets, measured on the real machine.

use std::{path::Path, process::ExitCode};

use anyhow::Result;

use crate::{
    image,
    prepare::{Purpose, prepare},
    product::{self, cargo},
    steps::{Steps, program},
};

/// How the names of the interface's figures begin. They are measured in a browser.
const CONSOLE: &str = "console.";

/// Builds optimised binaries and measures with them. Standard output carries JSON lines alone.
pub(crate) fn run(root: &Path, json: bool, names: &[String], steps: &mut Steps) -> Result<ExitCode> {
    let (console, machine): (Vec<&str>, Vec<&str>) =
        names.iter().map(String::as_str).partition(|name| name.starts_with(CONSOLE));
    let all = names.is_empty();
    let with_console = all || !console.is_empty();
    prepare(if with_console { Purpose::Tests } else { Purpose::Headless }, steps)?;
    product::interface(root, steps)?;
    let mut measured = true;
    if all || !machine.is_empty() {
        let images = image::build(root, &image::Options::default(), &mut image::TerminalProgress::new())?;
        let binaries = product::binaries(root, true, false, steps)?;
        let mut bench =
            cargo(root, &["run", "--quiet", "--release", "-p", "alcove-machine-tests", "--bin", "alcove-bench", "--"])?;
        if json {
            bench.arg("--json");
        }
        bench
            .args(machine)
            .env("ALCOVE_BIN_DIR", &binaries)
            .env("ALCOVE_IMAGES", &images)
            .env("ALCOVE_DIST", root.join("target/dist"))
            .env("ALCOVE_WARM", crate::check::warm_folder()?);
        measured &= bench.status()?.success();
    }
    if with_console {
        product::install(root, steps)?;
        let mut bench = program("node", &root.join("ui"), &["tests/bench.mjs"]);
        measured &= bench.args(console).status()?.success();
    }
    Ok(if measured { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
