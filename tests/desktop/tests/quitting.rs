//! Quitting in the real window, with a stand-in for the supervisor: whatever goes wrong, no machine is left on unasked.

use std::time::Duration;

use alcove_desktop_tests::{
    driver::Application,
    eventually,
    place::{Place, running},
    screen::Screen,
};
use anyhow::{Context, ensure};
use serde_json::{Value, json};

/// What a person would wait for at most; the programs are not optimised and the display is drawn in software.
const SOON: Duration = Duration::from_secs(30);
/// What the question is called that is asked where nobody can tell what the machine does.
const STILL_ON: &str = "The machine may still be on";
const QUIT: &str = r#"POST /api/v1/quit {"suspend":true}"#;

async fn stage() -> anyhow::Result<(Place, Screen)> {
    Ok((Place::with_stand_in()?, Screen::start(1400, 1000).await?))
}

/// Waits until the cover says this, or is gone where nothing is named.
async fn covered(app: &Application, text: &str) -> anyhow::Result<()> {
    eventually(&format!("the cover says {text:?}"), SOON, || async {
        let shown = app.page.execute("return document.getElementById('alcove-quitting')?.innerText ?? ''", &[]).await?;
        let shown = shown.as_str().unwrap_or_default();
        ensure!(if text.is_empty() { shown.is_empty() } else { shown.contains(text) }, "it says {shown:?}");
        Ok(())
    })
    .await
}

/// Presses the button that leaves the quitting.
async fn stay(app: &Application) -> anyhow::Result<()> {
    app.page.execute("document.querySelector('#alcove-quitting button').click()", &[]).await.map(drop)
}

fn kill_supervisor(place: &Place) -> anyhow::Result<()> {
    let supervisor = *running(&place.program("alcoved")).first().context("no supervisor runs")?;
    let pid = rustix::process::Pid::from_raw(supervisor).context("no process")?;
    Ok(rustix::process::kill_process(pid, rustix::process::Signal::KILL)?)
}

#[tokio::test]
async fn a_supervisor_that_is_just_starting_is_waited_for() -> anyhow::Result<()> {
    let (place, screen) = stage().await?;
    let app = Application::start_with(&place, &screen, &[], &[("STAND_IN_WAIT", "1")]).await?;
    let window = screen.window("Alcove", SOON).await?;

    screen.press(&window, "ctrl+q")?;
    covered(&app, "Connecting…").await?;
    stay(&app).await?;
    covered(&app, "").await?;

    screen.press(&window, "ctrl+q")?;
    covered(&app, "Connecting…").await?;
    std::fs::write(place.alcove_home().join("go"), "")?;
    app.ended(SOON).await?;
    ensure!(place.asked() == [QUIT], "its machine is put away: {:?}", place.asked());
    ensure!(running(&place.program("alcoved")).is_empty(), "the supervisor has ended as well");
    Ok(())
}

#[tokio::test]
async fn a_supervisor_that_crashed_is_started_to_put_the_machine_away() -> anyhow::Result<()> {
    let (place, screen) = stage().await?;
    let app = Application::start(&place, &screen, &[]).await?;
    screen.window("Alcove", SOON).await?;
    app.invoke("connection", json!({})).await?;
    let machine = place.machine_on()?;
    // Three are started again by themselves.
    let mut token = Value::Null;
    for _ in 0..4 {
        token = eventually("another supervisor answers", SOON, || async {
            let now = app.invoke("connection", json!({})).await?;
            ensure!(now["token"] != token, "still the old one");
            Ok(now["token"].clone())
        })
        .await?;
        kill_supervisor(&place)?;
    }
    eventually("the window has given up on it", SOON, || async {
        ensure!(app.invoke("connection", json!({})).await.is_err(), "it answers");
        Ok(())
    })
    .await?;

    app.quit().await?;
    let question = screen.window(STILL_ON, SOON).await?;
    screen.press(&question, "Escape")?;
    screen.no_window(STILL_ON, SOON).await?;
    ensure!(running(&place.program("alcove-desktop")).len() == 1, "who decides nothing stays");

    app.quit().await?;
    let question = screen.window(STILL_ON, SOON).await?;
    screen.press(&question, "Return")?;
    app.ended(SOON).await?;
    ensure!(place.asked() == [QUIT], "{:?}", place.asked());
    drop(machine);
    Ok(())
}

#[tokio::test]
async fn a_supervisor_that_is_killed_at_it_has_put_nothing_away() -> anyhow::Result<()> {
    let (place, screen) = stage().await?;
    let app = Application::start_with(&place, &screen, &[], &[("STAND_IN_QUIT", "die")]).await?;
    screen.window("Alcove", SOON).await?;
    app.invoke("connection", json!({})).await?;
    let machine = place.machine_on()?;
    app.quit().await?;
    let question = screen.window(STILL_ON, SOON).await?;
    covered(&app, "Suspending").await?;
    screen.press(&question, "Escape")?;
    covered(&app, "").await?;
    drop(machine);

    // What is off by now needs no question.
    eventually("it is there again", SOON, || async { app.invoke("connection", json!({})).await.map(drop) }).await?;
    app.quit().await?;
    app.ended(SOON).await
}

#[tokio::test]
async fn what_takes_long_shows_how_far_it_is_and_can_be_left() -> anyhow::Result<()> {
    let (place, screen) = stage().await?;
    let app = Application::start_with(&place, &screen, &[], &[("STAND_IN_QUIT", "slow")]).await?;
    let window = screen.window("Alcove", SOON).await?;
    app.invoke("connection", json!({})).await?;
    screen.press(&window, "ctrl+q")?;
    covered(&app, "Writing memory").await?;
    let share = app.page.execute("return document.querySelector('#alcove-quitting progress').value", &[]).await?;
    ensure!(share == 0.25, "{share}");
    covered(&app, "when the machine is saved").await?;

    stay(&app).await?;
    covered(&app, "").await?;
    ensure!(place.asked() == [QUIT, "POST /api/v1/machine/start {}"], "it is called back: {:?}", place.asked());
    ensure!(running(&place.program("alcove-desktop")).len() == 1);
    Ok(())
}

#[tokio::test]
async fn the_words_are_those_of_the_settings() -> anyhow::Result<()> {
    let (place, screen) = stage().await?;
    // One that has failed and is still on takes as long as others.
    let environment = [("STAND_IN_QUIT", "slow"), ("STAND_IN_PHASE", "failed")];
    let app = Application::start_with(&place, &screen, &[], &environment).await?;
    let window = screen.window("Alcove", SOON).await?;
    app.invoke("connection", json!({})).await?;
    let supervisor = place.supervisor()?;
    let _: Value = supervisor.patch("/api/v1/settings", &json!({ "suspend_on_quit": false })).await?;
    screen.press(&window, "ctrl+q")?;
    covered(&app, "Shutting down…").await?;
    covered(&app, "when the machine is shut down").await
}
