//! The real window on a real machine: it shows the machine, quitting suspends it, opening brings it back. Runs under
//! `cargo xtask test`, which says where the image and the warm machine are.

use std::time::Duration;

use alcove_desktop_tests::{driver::Application, place::Place, screen::Screen};
use alcove_machine_tests::World;
use alcove_types::machine::Phase;
use anyhow::ensure;

const SOON: Duration = Duration::from_secs(60);

#[tokio::test]
async fn the_machine_is_shown_suspended_by_quitting_and_there_again() -> anyhow::Result<()> {
    if std::env::var_os("ALCOVE_WARM").is_none() {
        eprintln!("ALCOVE_WARM names no warm machine: the window was not tried on one (`cargo xtask test` does)");
        return Ok(());
    }
    let world = tokio::task::spawn_blocking(|| World::warm("window")).await??;
    let place = Place::with_machine(world.home(), world.layout().instance())?;
    let screen = Screen::start(1400, 1000).await?;

    // Opening finds no supervisor, starts one, and that brings the machine back.
    let app = Application::start(&place, &screen, &[]).await?;
    screen.window("Alcove", SOON).await?;
    world.phase(Phase::Running, SOON)?;
    app.shows("Running", SOON).await?;

    app.quit().await?;
    app.ended(SOON).await?;
    ensure!(world.qemu().is_none(), "quitting leaves no machine behind");
    ensure!(std::fs::read_dir(world.layout().state())?.count() > 0, "the machine was saved");

    let app = Application::start(&place, &screen, &[]).await?;
    screen.window("Alcove", SOON).await?;
    world.phase(Phase::Running, SOON)?;
    app.shows("Running", SOON).await?;
    let boot = world.machine()?.boot;
    ensure!(boot.is_some_and(|b| b.kind == alcove_types::boot::BootKind::Resume), "it was resumed, not booted");

    app.quit().await?;
    app.ended(SOON).await
}
