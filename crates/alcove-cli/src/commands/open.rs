//! `alcove open`.

use std::{path::Path, process::Stdio, time::Duration};

use alcove_client::find_executable;
use alcove_types::{ApiError, ErrorCode, session::Surface};
use tokio::{process::Command, time::timeout};

use super::Context;
use crate::{
    args::OpenSurface,
    exit::{self, Failure},
};

/// A program that fails to open something does so within this time; one that runs on has it open.
const AT_ONCE: Duration = Duration::from_secs(2);

pub(crate) async fn run(
    context: &Context<'_>,
    surface: OpenSurface,
    print: bool,
    browser: bool,
) -> Result<(), Failure> {
    let display = ["WAYLAND_DISPLAY", "DISPLAY"].iter().any(|v| std::env::var_os(v).is_some_and(|v| !v.is_empty()));
    let client = context.connect_or_start().await?;
    let print = print || context.output.json || !display;
    let mut failed = None;
    if surface == OpenSurface::Native && !print && !browser {
        let instance = context.arguments.common.instance.as_str();
        if let Some(window) = find_executable("alcove-desktop") {
            match opened(&window, &["--instance", instance]).await {
                Ok(()) => return Ok(()),
                Err(error) => failed = Some(error),
            }
        }
    }
    let surface = match surface {
        OpenSurface::Native => Surface::Native,
        OpenSurface::Desktop => Surface::Desktop,
    };
    let ticket = client.ticket(surface).await?;
    // The link signs in whoever has it: to the browser it goes as an argument, which others on this computer could see,
    // but it can be used only once and the browser is quicker.
    if !print && let Some(opener) = find_executable("xdg-open") {
        match opened(&opener, &[&ticket.url]).await {
            Ok(()) => return Ok(()),
            Err(error) => failed = Some(error),
        }
    }
    context.output.data(&ticket, || ticket.url.clone());
    if let Some(error) = failed {
        context.output.error(&error);
        return Err(Failure::Code(exit::FAILED));
    }
    if !context.output.json {
        context.output.note("Open this link in a browser on this computer. It can be used once, within two minutes.");
    }
    Ok(())
}

/// Starts a program that outlives this one; an error when it fails at once.
async fn opened(program: &Path, arguments: &[&str]) -> Result<(), ApiError> {
    let failed = |how: String| {
        ApiError::new(
            ErrorCode::Unsupported,
            format!("{} could not open it ({how})", program.display()),
            "Open the link above in a browser on this computer. It can be used once, within two minutes.",
        )
    };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    let mut child = command.spawn().map_err(|e| failed(e.to_string()))?;
    match timeout(AT_ONCE, child.wait()).await {
        Ok(Ok(status)) if !status.success() => Err(failed(status.to_string())),
        Ok(Err(e)) => Err(failed(e.to_string())),
        Ok(Ok(_)) | Err(_) => Ok(()),
    }
}
