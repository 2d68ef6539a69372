//! `cargo xtask`: builds, runs, tests, measures and packages Alcove.

mod bench;
mod check;
mod dist;
#[cfg(test)]
mod drawing;
mod image;
mod prepare;
mod product;
mod room;
mod shots;
mod start;
mod steps;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::{prepare::Purpose, steps::Steps};

/// Builds, runs, tests, measures and packages Alcove.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build everything and start Alcove: in its window, or headless with a link.
    Run {
        /// No window: print a link that opens the pages in a browser.
        #[arg(long)]
        headless: bool,
        /// The instance to run.
        #[arg(long, default_value = "default")]
        instance: String,
        /// Optimised binaries.
        #[arg(long)]
        release: bool,
    },
    /// Build and test everything; without options, what CI runs.
    Test {
        /// Only what needs no machine and no window.
        #[arg(long, conflicts_with = "full")]
        quick: bool,
        /// Also what people get: packages of optimised binaries, and the figures of the budgets.
        #[arg(long)]
        full: bool,
    },
    /// Build the guest image.
    Image {
        /// Which Kubernetes goes into it: k3s, modules or auto.
        #[arg(long, default_value = "auto")]
        kubernetes: image::Choice,
        /// The official K3s release, as a file.
        #[arg(long, value_name = "FILE")]
        k3s: Option<PathBuf>,
        /// Where the image goes.
        #[arg(long, value_name = "FOLDER")]
        out: Option<PathBuf>,
        /// Ask Debian for newer packages.
        #[arg(long)]
        refresh: bool,
    },
    /// Measure; one JSON object a line on standard output.
    Bench {
        /// Only JSON lines, no table.
        #[arg(long)]
        json: bool,
        /// Which figures; all when none is named.
        names: Vec<String>,
    },
    /// Make the packages for people: a .deb and an .rpm.
    Dist(dist::DistArgs),
    /// Check this computer.
    Doctor,
    /// Build the user interface into ui/apps/*/dist.
    Ui,
    /// Take the pictures in README from the real window.
    Shots,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments.task) {
        Ok(code) => code,
        Err(error) => {
            complain(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<ExitCode> {
    let root = product::repository()?;
    let mut steps = Steps::new();
    match task {
        Task::Run { headless, instance, release } => start::run(&root, headless, &instance, release, &mut steps),
        Task::Test { quick, full } => check::run(&root, quick, full, &mut steps),
        Task::Image { kubernetes, k3s, out, refresh } => {
            prepare::prepare(Purpose::Headless, &mut steps)?;
            product::interface(&root, &mut steps)?;
            let options = image::Options { kubernetes, k3s, out, refresh };
            let folder = image::build(&root, &options, &mut image::TerminalProgress::new())?;
            say(&folder.display().to_string());
            Ok(ExitCode::SUCCESS)
        }
        Task::Bench { json, names } => bench::run(&root, json, &names, &mut steps),
        Task::Dist(arguments) => {
            prepare::prepare(Purpose::Window, &mut steps)?;
            product::interface(&root, &mut steps)?;
            dist::run(&arguments)?;
            Ok(ExitCode::SUCCESS)
        }
        Task::Doctor => {
            let mut doctor = product::cargo(&root, &["run", "--quiet", "-p", "alcove-cli", "--", "doctor"])?;
            let status = doctor.status()?;
            Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Task::Shots => {
            shots::run(&root, &mut steps)?;
            Ok(ExitCode::SUCCESS)
        }
        Task::Ui => {
            product::interface(&root, &mut steps)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

#[expect(clippy::print_stdout, reason = "the result that the person asked for")]
pub(crate) fn say(text: &str) {
    println!("{text}");
}

#[expect(clippy::print_stderr, reason = "told to the person")]
pub(crate) fn complain(text: &str) {
    eprintln!("{text}");
}
