//! The real window on a real machine: it shows the machine, quitting suspends it, opening brings it back. Needs
//! `ALCOVE_HOME` (with an image), `ALCOVE_INSTANCE` and `ALCOVE_BIN_DIR`, as `cargo xtask test` sets them.

use std::{process::Command, time::Duration};

use alcove_desktop_tests::{driver::Application, place::Place, screen::Screen};
use anyhow::{Context, ensure};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(60);
/// A resumed machine answers in seconds; one that has to boot under emulation takes minutes.
const UP: Duration = Duration::from_secs(600);

/// Runs the command line in this place and reads its answer.
fn alcove(place: &Place, arguments: &[&str]) -> anyhow::Result<Value> {
    let output = Command::new(place.program("alcove"))
        .args(arguments)
        .arg("--json")
        .envs(place.environment())
        .output()
        .context("can't run alcove")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "alcove {arguments:?}: {said}");
    Ok(serde_json::from_slice(&output.stdout).unwrap_or(Value::Null))
}

#[tokio::test]
async fn the_machine_is_shown_suspended_by_quitting_and_there_again() -> anyhow::Result<()> {
    if std::env::var_os("ALCOVE_HOME").is_none() {
        eprintln!("ALCOVE_HOME names no machine: the window was not tried on one");
        return Ok(());
    }
    let place = Place::with_machine()?;
    let screen = Screen::start(1400, 1000).await?;
    alcove(&place, &["start", "--wait", "--timeout", "600"])?;

    let app = Application::start(&place, &screen, &[]).await?;
    screen.window("Alcove", SOON).await?;
    app.shows("Running", UP).await?;

    app.invoke("quit", json!({})).await?;
    app.ended(SOON).await?;
    let saved = place.layout()?.state();
    let kept = std::fs::read_dir(&saved).map(|entries| entries.count()).unwrap_or(0);
    ensure!(kept > 0, "{} holds no saved machine", saved.display());

    let app = Application::start(&place, &screen, &[]).await?;
    screen.window("Alcove", SOON).await?;
    app.shows("Running", UP).await?;
    let status = alcove(&place, &["status"])?;
    ensure!(status["phase"] == "running", "{status}");
    app.invoke("quit", json!({})).await?;
    app.ended(SOON).await
}
