//! `cargo xtask test`: the ladder of tests, from pure functions to the real window.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::Result;

use crate::{
    dist::{self, DistArgs},
    image,
    prepare::{Purpose, is_root, prepare},
    product::{self, cargo},
    room,
    steps::{Steps, program},
};

/// Runs the tests. Every step runs even when one before it failed, so that one run tells all.
pub(crate) fn run(root: &Path, quick: bool, full: bool, steps: &mut Steps) -> Result<ExitCode> {
    prepare(Purpose::Tests, steps)?;
    room::tidy(steps)?;
    product::interface(root, steps)?;
    let mut failed: Vec<String> = Vec::new();
    let mut note = |result: Result<()>| {
        if let Err(error) = result {
            crate::complain(&format!("error: {error:#}"));
            failed.push(format!("{error:#}"));
        }
    };

    note(steps.run("formatting", &mut cargo(root, &["fmt", "--all", "--check"])?));
    let ui = root.join("ui");
    product::install(root, steps)?;
    note(steps.run("user interface: tests", &mut program("npm", &ui, &["test"])));
    let lints = ["clippy", "--workspace", "--all-targets", "--keep-going", "--", "--deny", "warnings"];
    note(steps.run("lints", &mut cargo(root, &lints)?));
    let everything = ["--workspace", "--exclude", "alcove-machine-tests", "--exclude", "alcove-desktop-tests"];
    note(steps.run("unit tests", &mut cargo(root, &[&["test", "--no-fail-fast"][..], &everything].concat())?));
    note(generated_types(root));
    note(steps.run(
        "Kubernetes: unit tests",
        leave_nothing_out(&mut program(
            "go",
            &root.join("vm-images/kubernetes"),
            // The same flags as the build: its compiled packages serve again. Go does not see that a test reads the rules
            // of the guest's root, and would give yesterday's answer.
            &["test", "-trimpath", "-buildvcs=false", "-vet=off", "-count=1", "./internal/..."],
        )),
    ));
    if !quick {
        match image::build(root, &image::Options::default(), &mut image::TerminalProgress::new()) {
            Ok(images) => {
                note(kubernetes(root, steps));
                let binaries = product::binaries(root, false, true, steps)?;
                note(kubectl(root, &binaries, steps));
                note(contract(root, &images, steps));
                note(machine(root, &images, &binaries, steps));
                note(window(root, &images, &binaries, steps));
                note(steps.act("the packages, installed in a clean Debian", || packages(&binaries)));
                if full {
                    note(as_people_get_it(root, steps));
                }
            }
            Err(error) => note(Err(error)),
        }
    }
    steps.summary();
    let (passed, broken) = steps.totals();
    for error in &failed {
        crate::complain(&format!("failed: {error}"));
    }
    let broken = broken.max(failed.len() as u64);
    crate::say(&format!("{passed} passed, {broken} failed"));
    Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The TypeScript twins of the wire types are written by the unit tests; what is committed must be the same.
fn generated_types(root: &Path) -> Result<()> {
    let clean = program("git", root, &["diff", "--exit-code", "--stat", "--", "ui/packages/api/src/gen"]).output()?;
    anyhow::ensure!(
        clean.status.success(),
        "the TypeScript of the wire types is not up to date: commit what `cargo test -p alcove-types` wrote"
    );
    Ok(())
}

/// A test that is left out counts as passed. Those that need root, or tools of this computer, fail instead of that where
/// they could have run.
fn leave_nothing_out(command: &mut Command) -> &mut Command {
    if is_root() {
        command.env("ALCOVE_TEST_NEEDS_ROOT_TOOLS", "1");
    }
    command
}

/// What the image's Kubernetes is made of: a real control plane, and as root real pods and a second node.
fn kubernetes(root: &Path, steps: &mut Steps) -> Result<()> {
    let flags = ["test", "-trimpath", "-buildvcs=false", "-vet=off"];
    let source = root.join("vm-images/kubernetes");
    let mut metrics = program("go", &source.join("metrics-server"), &[&flags[..], &["."]].concat());
    steps.run("Kubernetes: metrics-server", &mut metrics)?;
    let mut parts = program("go", &source, &[&flags[..], &["-count=1", "./tests"]].concat());
    parts.env("K3S_BINARY", image::kubectl(root)?.with_file_name("k3s"));
    steps.run("Kubernetes: control plane, pods and a second node", leave_nothing_out(&mut parts))
}

/// The command line's tests with the kubectl that was built: without one they have nothing to try.
fn kubectl(root: &Path, binaries: &Path, steps: &mut Steps) -> Result<()> {
    let mut tests = cargo(root, &["test", "-p", "alcove-cli", "--test", "cli", "kubectl"])?;
    steps.run("kubectl through the command line", tests.env("ALCOVE_TEST_KUBECTL", binaries.join("kubectl")))
}

/// The machine contract against the real QEMU; ignored where no image is named.
fn contract(root: &Path, images: &Path, steps: &mut Steps) -> Result<()> {
    let arguments = ["test", "-p", "alcove-machine", "--test", "qemu_real", "--", "--ignored", "--test-threads=1"];
    steps.run("the machine contract on QEMU", cargo(root, &arguments)?.env("ALCOVE_TEST_IMAGE", images))
}

/// Rung 4: the real machine under emulation.
fn machine(root: &Path, images: &Path, binaries: &Path, steps: &mut Steps) -> Result<()> {
    let warm = warm_folder()?;
    // For the tests that must know at which step something happens.
    steps
        .run("the stand-in for QEMU", &mut cargo(root, &["build", "-p", "alcove-machine", "--bin", "qemu-standin"])?)?;
    // One at a time: two emulated machines on two processors only make each other late.
    let mut tests = cargo(
        root,
        &["test", "--no-fail-fast", "-p", "alcove-machine-tests", "--", "--test-threads=1", "--nocapture"],
    )?;
    tests.env("ALCOVE_BIN_DIR", binaries).env("ALCOVE_IMAGES", images).env("ALCOVE_WARM", warm);
    steps.run("the real machine", leave_nothing_out(&mut tests))
}

/// Rung 5: the real window.
fn window(root: &Path, images: &Path, binaries: &Path, steps: &mut Steps) -> Result<()> {
    let mut tests = cargo(
        root,
        &["test", "--no-fail-fast", "-p", "alcove-desktop-tests", "--", "--test-threads=1", "--nocapture"],
    )?;
    tests.env("ALCOVE_BIN_DIR", binaries).env("ALCOVE_IMAGES", images).env("ALCOVE_WARM", warm_folder()?);
    steps.run("the real window", &mut tests)
}

/// The packages: made, installed in a clean Debian, started there, purged, and read by rpm itself. Unoptimised binaries
/// do for that; they are only stripped.
fn packages(binaries: &Path) -> Result<()> {
    let work = tempfile::tempdir()?;
    let stripped = work.path().join("bin");
    fs::create_dir_all(&stripped)?;
    for name in ["alcove", "alcoved", "alcove-desktop"] {
        let status = Command::new("strip").arg("-o").arg(stripped.join(name)).arg(binaries.join(name)).status()?;
        anyhow::ensure!(status.success(), "{name} can't be stripped");
    }
    let out = work.path().join("out");
    // What is tried is that an image that comes with a package is found: a tiny one does for that.
    let image = work.path().join("image");
    dist::tiny_image(&image)?;
    let to_be_tried = DistArgs {
        out: out.clone(),
        binaries: Some(stripped),
        with_image: Some(image),
        try_out: true,
        ..DistArgs::default()
    };
    dist::run(&to_be_tried)?;
    for entry in fs::read_dir(&out)?.flatten().filter(|e| e.path().extension().is_some_and(|x| x == "rpm")) {
        let listed = program("rpm", &out, &["-qlp", &entry.path().to_string_lossy()]).output()?;
        let text = String::from_utf8_lossy(&listed.stdout).into_owned();
        anyhow::ensure!(text.contains("/usr/bin/alcove-desktop"), "rpm does not list the window: {text}");
    }
    Ok(())
}

/// What takes longest and cannot be right or wrong by the quarter of an hour: the packages of optimised binaries, installed
/// in a clean Debian, and the figures of the budgets. A figure over its budget says so and fails nothing.
fn as_people_get_it(root: &Path, steps: &mut Steps) -> Result<()> {
    steps.act("the packages as people get them", || dist::run(&DistArgs { try_out: true, ..DistArgs::default() }))?;
    let measured = crate::bench::run(root, false, &[], steps)?;
    anyhow::ensure!(measured == ExitCode::SUCCESS, "the figures could not all be measured");
    Ok(())
}

/// Warm machines, by image.
pub(crate) fn warm_folder() -> Result<PathBuf> {
    let folder = product::cache()?.join("warm");
    fs::create_dir_all(&folder)?;
    Ok(folder)
}
