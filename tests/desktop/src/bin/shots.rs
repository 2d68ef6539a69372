//! Takes the pictures in README from the real window on a real machine: `alcove-shots FOLDER`. Runs under
//! `cargo xtask shots`, which says where the image and the warm machine are.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use alcove_desktop_tests::{
    driver::Application,
    eventually,
    place::Place,
    screen::{Screen, Shown},
};
use alcove_machine_tests::World;
use alcove_types::{boot::StepState, machine::Phase};
use anyhow::{Context, ensure};
use serde_json::json;

const SOON: Duration = Duration::from_secs(90);
/// A boot from nothing, emulated, until half of it is done.
const HALF_WAY: Duration = Duration::from_secs(300);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let out = PathBuf::from(std::env::args_os().nth(1).context("usage: alcove-shots FOLDER")?);
    std::fs::create_dir_all(&out).with_context(|| format!("can't make {}", out.display()))?;
    running(&out).await?;
    booting(&out).await
}

/// The pages of a machine that is up, in both themes, and the web desktop.
async fn running(out: &Path) -> anyhow::Result<()> {
    let world = tokio::task::spawn_blocking(|| World::warm("shots")).await??;
    let place = Place::with_machine(world.home(), world.layout().instance())?;
    let screen = Screen::start(1360, 900).await?;
    let app = Application::start(&place, &screen, &[]).await?;
    let window = screen.window("Alcove", SOON).await?;
    world.phase(Phase::Running, SOON)?;
    app.shows("Running", SOON).await?;
    // A busy computer is late with some answers; the picture is of a quiet one.
    world.until("all is well", HALF_WAY, |world| {
        Ok(world.status()?.conditions.iter().all(alcove_types::Condition::holds))
    })?;
    still(&app, &screen, &window, &out.join("machine.png")).await?;

    open(&place, &screen, "alcove://open/cluster/pods")?;
    app.shows("gateway", HALF_WAY).await?;
    still(&app, &screen, &window, &out.join("cluster.png")).await?;

    world.ok(&["settings", "set", "theme", "dark"])?;
    eventually("the pages are dark", SOON, || async {
        let scheme = app.page.execute("return getComputedStyle(document.documentElement).colorScheme", &[]).await?;
        ensure!(scheme == "dark", "they are {scheme}");
        Ok(())
    })
    .await?;
    still(&app, &screen, &window, &out.join("cluster-dark.png")).await?;
    open(&place, &screen, "alcove://open/")?;
    app.shows("Running", SOON).await?;
    still(&app, &screen, &window, &out.join("machine-dark.png")).await?;
    world.ok(&["settings", "set", "theme", "system"])?;

    if let Some(_tray) = screen.tray()? {
        screen.open_tray_menu(SOON).await?;
        screen.picture(&out.join("tray.png"))?;
        screen.keys(&["Escape"])?;
    }

    let main = app.page.windows().await?;
    app.invoke("open_desktop", json!({})).await?;
    let desktop = eventually("the web desktop has its window", SOON, || async {
        app.page.windows().await?.into_iter().find(|w| !main.contains(w)).context("one window")
    })
    .await?;
    app.page.switch(&desktop).await?;
    eventually("the web desktop is drawn", SOON, || async {
        let text = app.page.execute("return document.body.innerText.trim()", &[]).await?;
        ensure!(text.as_str().is_some_and(|t| t.len() > 20), "it says {text}");
        Ok(())
    })
    .await?;
    let shown = screen.windows()?;
    let window = shown.iter().find(|w| w.id != window.id).context("the web desktop has no window")?;
    still(&app, &screen, window, &out.join("desktop.png")).await?;
    Ok(())
}

/// The boot from nothing, half way.
async fn booting(out: &Path) -> anyhow::Result<()> {
    let mut world = World::empty("shots")?;
    world.supervise()?;
    world.ok(&["setup", "--memory", "3GiB", "--cpus", "2", "--disk", "20GiB"])?;
    world.ok(&["start", "--no-wait"])?;
    let place = Place::with_machine(world.home(), world.layout().instance())?;
    let screen = Screen::start(1360, 900).await?;
    let app = Application::start(&place, &screen, &[]).await?;
    let window = screen.window("Alcove", SOON).await?;
    world.until("half of the boot is done", HALF_WAY, |world| {
        let steps = world.machine()?.boot.map(|b| b.steps).unwrap_or_default();
        Ok(steps.iter().filter(|s| s.state == StepState::Done).count() >= 7)
    })?;
    still(&app, &screen, &window, &out.join("boot.png")).await
}

/// Opens a page as a link on the person's desktop does.
fn open(place: &Place, screen: &Screen, link: &str) -> anyhow::Result<()> {
    let status = Command::new(place.program("alcove-desktop"))
        .arg(link)
        .envs(place.environment())
        .envs(screen.environment())
        .status()?;
    ensure!(status.success(), "{link} could not be opened");
    Ok(())
}

/// Takes a picture once two in a row are the same, so that nothing is caught in the middle of a movement; numbers that
/// change all the time get the picture after a few tries.
async fn still(app: &Application, screen: &Screen, window: &Shown, path: &Path) -> anyhow::Result<()> {
    let mut before = Vec::new();
    for _ in 0..10 {
        let now = app.page.picture().await?;
        if now == before {
            break;
        }
        before = now;
    }
    screen.picture_of(window, path)
}
