//! `alcove open`.

use std::{
    io,
    os::unix::process::CommandExt as _,
    process::{Command, Stdio},
};

use alcove_client::find_executable;
use alcove_types::session::Surface;

use super::Context;
use crate::{args::OpenSurface, exit::Failure};

pub(crate) async fn run(
    context: &Context<'_>,
    surface: OpenSurface,
    print: bool,
    browser: bool,
) -> Result<(), Failure> {
    let display = ["WAYLAND_DISPLAY", "DISPLAY"].iter().any(|v| std::env::var_os(v).is_some_and(|v| !v.is_empty()));
    let client = context.connect_or_start().await?;
    let print = print || context.output.json || !display;
    if surface == OpenSurface::Native && !print && !browser {
        let instance = context.arguments.common.instance.as_str();
        if let Some(window) = find_executable("alcove-desktop")
            && detached(Command::new(window).args(["--instance", instance])).is_ok()
        {
            return Ok(());
        }
    }
    let surface = match surface {
        OpenSurface::Native => Surface::Native,
        OpenSurface::Desktop => Surface::Desktop,
    };
    let ticket = client.ticket(surface).await?;
    // The link signs in whoever has it: to the browser it goes as an argument, which others on this computer could see,
    // but it can be used only once and the browser is quicker.
    if !print
        && let Some(opener) = find_executable("xdg-open")
        && detached(Command::new(opener).arg(&ticket.url)).is_ok()
    {
        return Ok(());
    }
    context.output.data(&ticket, || ticket.url.clone());
    if !context.output.json {
        context.output.note("Open this link in a browser on this computer. It can be used once.");
    }
    Ok(())
}

/// Starts a program that outlives this one.
fn detached(command: &mut Command) -> io::Result<()> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0).spawn().map(drop)
}
