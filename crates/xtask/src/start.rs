//! `cargo xtask run`: from a clone to a running personal cloud.

use std::{env, os::unix::process::CommandExt, path::Path, process::ExitCode};

use anyhow::{Context, Result, bail};

use crate::{
    image,
    prepare::{Purpose, prepare},
    product, room,
    steps::{Steps, program},
};

/// Builds everything and starts it.
pub(crate) fn run(root: &Path, headless: bool, instance: &str, release: bool, steps: &mut Steps) -> Result<ExitCode> {
    let display = env::var_os("DISPLAY").is_some() || env::var_os("WAYLAND_DISPLAY").is_some();
    let window = display && !headless;
    if !window && !headless {
        steps.say("there is no display: running headless");
    }
    prepare(if window { Purpose::Window } else { Purpose::Headless }, steps)?;
    room::tidy(steps)?;
    product::interface(root, steps)?;
    let images = steps.act("the guest image", || {
        image::build(root, &image::Options::default(), &mut image::TerminalProgress::new())
    })?;
    let binaries = product::binaries(root, release, window, steps)?;
    // The image is used where it was built: it is read only, and a copy would take its time.
    if window {
        steps.say("opening the window");
        let error = program(binaries.join("alcove-desktop"), root, &["--instance", instance])
            .env("ALCOVE_IMAGES", &images)
            .exec();
        return Err(error).context("the window could not be opened");
    }
    let alcove = |arguments: &[&str]| {
        let mut command = program(binaries.join("alcove"), root, &["--instance", instance]);
        command.args(arguments).env("ALCOVE_IMAGES", &images);
        command
    };
    steps.say("starting the machine");
    if !alcove(&["start", "--no-wait"]).status()?.success() {
        bail!("the machine could not be started; `alcove doctor` checks this computer");
    }
    crate::complain("\nWatch it come up in a browser on this computer:");
    if !link(alcove(&["open", "native", "--print", "--quiet"]))? {
        bail!("no link could be made");
    }
    crate::complain("");
    let up = alcove(&["start", "--wait", "--timeout", "1200"]).status()?;
    if up.success() {
        let alcove_is = format!("{} --instance {instance}", binaries.join("alcove").display());
        crate::complain("\nIt is up. Open it in a browser on this computer:");
        // The link from before the boot has expired by now.
        if !link(alcove(&["open", "native", "--print", "--quiet"]))? {
            bail!("no link could be made; `{alcove_is} open --print` makes one");
        }
        crate::complain(&format!(
            "\nFor another link: `{alcove_is} open --print`.\nIt stays up when this ends; `{alcove_is} quit` suspends it."
        ));
        return Ok(ExitCode::SUCCESS);
    }
    Ok(ExitCode::FAILURE)
}

/// Prints a link that signs in, and for how long it does. Says whether there is one.
fn link(mut alcove: std::process::Command) -> Result<bool> {
    let made = alcove.status()?.success();
    if made {
        crate::complain("The link signs you in once, within two minutes; after that you stay signed in.");
    }
    Ok(made)
}
