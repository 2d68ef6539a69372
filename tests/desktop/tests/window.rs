//! The real window with a stand-in for the supervisor: what the shell promises whatever the machine does.

use std::{process::Command, time::Duration};

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

async fn stage() -> anyhow::Result<(Place, Screen)> {
    Ok((Place::with_stand_in()?, Screen::start(1400, 1000).await?))
}

/// Starts the program a second time, as a click on its icon does.
fn start_again(place: &Place, screen: &Screen, arguments: &[&str]) -> anyhow::Result<()> {
    let status = Command::new(place.program("alcove-desktop"))
        .args(arguments)
        .envs(place.environment())
        .envs(screen.environment())
        .status()
        .context("can't start the program again")?;
    ensure!(status.success(), "the second start ended with {status}");
    Ok(())
}

/// What WebKit makes of it; other browsers give the list its height where WebKit gave none.
#[tokio::test]
async fn the_search_shows_what_it_finds() -> anyhow::Result<()> {
    let (place, screen) = stage().await?;
    let app = Application::start(&place, &screen, &[]).await?;
    let window = screen.window("Alcove", SOON).await?;
    app.shows("Running", SOON).await?;
    screen.press(&window, "ctrl+k")?;
    eventually("several rows are seen", SOON, || async {
        let height = "return document.querySelector('dialog [role=listbox]')?.clientHeight ?? 0";
        let height = app.page.execute(height, &[]).await?.as_f64().unwrap_or_default();
        ensure!(height > 100.0, "{height} px");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn the_window_opens_hides_and_comes_back() -> anyhow::Result<()> {
    let (place, screen) = stage().await?;
    let app = Application::start(&place, &screen, &[]).await?;
    let window = screen.window("Alcove", SOON).await?;

    let connection = app.invoke("connection", json!({})).await?;
    let base = connection["base"].as_str().unwrap_or_default();
    ensure!(base.starts_with("http://127.0.0.1:"), "{connection}");
    ensure!(connection["instance"] == "default", "{connection}");
    let answer = app
        .page
        .execute_async(
            "const [{ base, token }, done] = arguments; \
             fetch(`${base}/api/v1/machine`, { headers: { authorization: `Bearer ${token}` } }) \
               .then((r) => r.json()).then(done, (e) => done(String(e)));",
            &[connection],
        )
        .await?;
    ensure!(answer["phase"] == "running", "the pages may speak to the supervisor: {answer}");

    app.shows("Running", SOON).await?;

    screen.close(&window)?;
    screen.no_window("Alcove", SOON).await?;
    ensure!(running(&place.program("alcove-desktop")).len() == 1, "closing puts the window away and ends nothing");
    ensure!(place.asked().is_empty(), "closing asks nothing of the machine: {:?}", place.asked());

    start_again(&place, &screen, &[])?;
    screen.window("Alcove", SOON).await?;
    ensure!(running(&place.program("alcove-desktop")).len() == 1, "there is one of it");
    Ok(())
}

#[tokio::test]
async fn a_link_opens_its_page_in_the_window_that_is_there() -> anyhow::Result<()> {
    let (place, screen) = stage().await?;
    let app = Application::start(&place, &screen, &["--hidden"]).await?;
    eventually("the pages listen", SOON, || async {
        ensure!(app.page.execute("return document.readyState", &[]).await? == "complete");
        Ok(())
    })
    .await?;
    ensure!(screen.windows()?.is_empty(), "started in the tray, it shows nothing");

    start_again(&place, &screen, &["alcove://open/activity"])?;
    screen.window("Alcove", SOON).await?;
    eventually("the page is the one that the link names", SOON, || async {
        let address = app.page.address().await?;
        ensure!(address.contains("/activity"), "it is {address}");
        Ok(())
    })
    .await?;

    start_again(&place, &screen, &["alcove://reset/default"])?;
    ensure!(app.page.address().await?.contains("/activity"), "what is no page leads nowhere");
    ensure!(place.asked().is_empty(), "a link does nothing: {:?}", place.asked());
    Ok(())
}

#[tokio::test]
async fn quitting_puts_the_machine_away_and_ends_everything() -> anyhow::Result<()> {
    let (place, screen) = stage().await?;
    let app = Application::start(&place, &screen, &[]).await?;
    let window = screen.window("Alcove", SOON).await?;
    app.invoke("connection", json!({})).await?;

    screen.press(&window, "ctrl+q")?;
    app.ended(SOON).await?;
    let asked = place.asked();
    ensure!(asked == [r#"POST /api/v1/quit {"suspend":true}"#], "{asked:?}");
    eventually("the supervisor has ended as well", SOON, || async {
        ensure!(running(&place.program("alcoved")).is_empty());
        Ok(())
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn a_machine_that_cant_be_put_away_is_not_left_without_asking() -> anyhow::Result<()> {
    let (place, screen) = stage().await?;
    let app = Application::start_with(&place, &screen, &[], &[("STAND_IN_QUIT", "refuse")]).await?;
    screen.window("Alcove", SOON).await?;
    app.invoke("connection", json!({})).await?;

    app.quit().await?;
    let question = screen.window("The machine could not be put away", SOON).await?;
    let covered = "return document.getElementById('alcove-quitting')?.innerText ?? ''";
    let shown = app.page.execute(covered, &[]).await?;
    ensure!(shown.as_str().is_some_and(|s| s.contains("Suspending")), "the window says what goes on: {shown}");

    screen.press(&question, "Escape")?;
    screen.no_window("The machine could not be put away", SOON).await?;
    eventually("the pages can be used again", SOON, || async {
        ensure!(app.page.execute(covered, &[]).await? == "");
        Ok(())
    })
    .await?;
    ensure!(app.invoke("connection", json!({})).await?["token"].is_string(), "everything goes on");
    ensure!(running(&place.program("alcoved")).len() == 1, "the supervisor goes on");
    Ok(())
}

#[tokio::test]
async fn a_killed_supervisor_is_started_again_and_the_pages_are_told() -> anyhow::Result<()> {
    let (place, screen) = stage().await?;
    let app = Application::start(&place, &screen, &[]).await?;
    screen.window("Alcove", SOON).await?;
    let before = app.invoke("connection", json!({})).await?;

    let supervisor = *running(&place.program("alcoved")).first().context("no supervisor runs")?;
    let pid = rustix::process::Pid::from_raw(supervisor).context("no process")?;
    rustix::process::kill_process(pid, rustix::process::Signal::KILL)?;
    let after = eventually("another supervisor answers", SOON, || async {
        let now = app.invoke("connection", json!({})).await?;
        ensure!(now["token"] != before["token"], "still the old one");
        Ok(now)
    })
    .await?;
    ensure!(after["base"] != Value::Null);
    ensure!(running(&place.program("alcoved")).len() == 1, "there is one supervisor");
    Ok(())
}

#[tokio::test]
async fn the_web_desktop_has_a_window_and_no_power() -> anyhow::Result<()> {
    let (place, screen) = stage().await?;
    let app = Application::start(&place, &screen, &[]).await?;
    screen.window("Alcove", SOON).await?;
    app.invoke("connection", json!({})).await?;
    let main = app.page.windows().await?;
    app.invoke("open_desktop", json!({})).await?;
    screen.window("Stand-in desktop", SOON).await?;
    let desktop = eventually("the driver sees the second window", SOON, || async {
        app.page.windows().await?.into_iter().find(|w| !main.contains(w)).context("one window")
    })
    .await?;
    app.page.switch(&desktop).await?;
    app.shows("The web desktop", SOON).await?;

    for command in ["connection", "quit", "autostart_set", "plugin:event|listen"] {
        let refused = app.invoke(command, json!({ "enabled": true })).await;
        ensure!(refused.is_err(), "{command} may not be called from the web desktop: {refused:?}");
    }
    ensure!(running(&place.program("alcove-desktop")).len() == 1);

    app.page.execute("location.href = 'http://example.invalid/x'", &[]).await?;
    eventually("the address goes to the person's browser", SOON, || async {
        ensure!(place.opened() == ["http://example.invalid/x"], "{:?}", place.opened());
        Ok(())
    })
    .await?;
    ensure!(app.page.address().await?.starts_with("http://desktop.localhost:"), "the window stays where it belongs");

    app.page.execute("location.href = 'file:///etc/passwd'", &[]).await.ok();
    ensure!(app.page.address().await?.starts_with("http://desktop.localhost:"), "no window shows files");
    ensure!(place.opened().len() == 1, "no program gets files: {:?}", place.opened());
    Ok(())
}

#[tokio::test]
async fn the_web_desktop_is_opened_once_and_signed_in_again() -> anyhow::Result<()> {
    let (place, screen) = stage().await?;
    let app = Application::start(&place, &screen, &[]).await?;
    screen.window("Alcove", SOON).await?;
    app.invoke("connection", json!({})).await?;
    let main = app.page.windows().await?;
    // As from the tray and from a page at the same moment.
    let twice = "const done = arguments[0], open = () => window.__TAURI_INTERNALS__.invoke('open_desktop'); \
                 Promise.all(Array.from({ length: 8 }, open)).then(() => done(null), (bad) => done(bad));";
    let refused = app.page.execute_async(twice, &[]).await?;
    ensure!(refused.is_null(), "{refused}");
    screen.window("Stand-in desktop", SOON).await?;
    let desktop = eventually("the driver sees the second window", SOON, || async {
        app.page.windows().await?.into_iter().find(|w| !main.contains(w)).context("one window")
    })
    .await?;
    ensure!(app.page.windows().await?.len() == 2, "there is one of it");

    app.page.switch(&desktop).await?;
    app.shows("The web desktop", SOON).await?;
    let _: Value = place.supervisor()?.post("/api/v1/forget", &json!({})).await?;
    app.page.execute("location.reload()", &[]).await?;
    app.shows("You are not signed in", SOON).await?;
    app.page.switch(&main[0]).await?;
    app.invoke("open_desktop", json!({})).await?;
    app.page.switch(&desktop).await?;
    app.shows("The web desktop", SOON).await?;

    // One that is signed in keeps what is open in it.
    app.page.execute("window.open_in_it = true", &[]).await?;
    app.page.switch(&main[0]).await?;
    app.invoke("open_desktop", json!({})).await?;
    app.page.switch(&desktop).await?;
    eventually("the page has looked whether it is signed in", SOON, || async {
        let looked = "return performance.getEntriesByType('resource').some((r) => r.initiatorType === 'fetch')";
        ensure!(app.page.execute(looked, &[]).await? == true);
        Ok(())
    })
    .await?;
    ensure!(app.page.execute("return window.open_in_it", &[]).await? == true);
    Ok(())
}

#[tokio::test]
async fn a_text_is_saved_where_the_person_wants_it() -> anyhow::Result<()> {
    let (place, screen) = stage().await?;
    let app = Application::start(&place, &screen, &[]).await?;
    screen.window("Alcove", SOON).await?;
    let save = "window.saved = undefined; window.__TAURI_INTERNALS__ \
                .invoke('save_text', { name: 'a/log.txt', text: arguments[0] }) \
                .then((kept) => (window.saved = kept), (bad) => (window.saved = bad.message));";
    let saved = async |wanted: Value| {
        eventually("the dialog is answered", SOON, || async {
            let saved = app.page.execute("return window.saved ?? null", &[]).await?;
            ensure!(saved == wanted, "{saved}");
            Ok(())
        })
        .await
    };
    app.page.execute(save, &[json!("one\ntwo\n")]).await?;
    let dialog = screen.window("Save as a file", SOON).await?;
    let file = place.home().join("kept.log");
    screen.type_into(&dialog, file.to_str().context("no text")?)?;
    screen.press(&dialog, "Return")?;
    saved(json!(true)).await?;
    ensure!(std::fs::read_to_string(&file)? == "one\ntwo\n");

    app.page.execute(save, &[json!("three")]).await?;
    let dialog = screen.window("Save as a file", SOON).await?;
    screen.press(&dialog, "Escape")?;
    saved(json!(false)).await
}

#[tokio::test]
async fn starting_at_login_follows_the_setting() -> anyhow::Result<()> {
    let (place, screen) = stage().await?;
    let app = Application::start(&place, &screen, &["--hidden"]).await?;
    app.invoke("connection", json!({})).await?;
    let entry = place.home().join(".config/autostart/alcove.desktop");
    for wanted in [true, false] {
        // As `alcove settings set start_at_login true` does.
        let _: Value = place.supervisor()?.patch("/api/v1/settings", &json!({ "start_at_login": wanted })).await?;
        eventually("the entry is as the setting says", SOON, || async {
            ensure!(entry.exists() == wanted);
            Ok(())
        })
        .await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_event_is_told_once() -> anyhow::Result<()> {
    let (place, screen) = stage().await?;
    let app = Application::start(&place, &screen, &["--hidden"]).await?;
    app.shows("Running", SOON).await?;
    let notices = screen.notices().await?;
    let supervisor = place.supervisor()?;
    let _: Value = supervisor.post("/api/v1/machine/fail", &json!({})).await?;
    eventually("the person is told", SOON, || async {
        ensure!(!notices.titles()?.is_empty());
        Ok(())
    })
    .await?;
    // Once the page knows it, whoever tells it has done so or never will.
    app.shows("Stuck", SOON).await?;
    ensure!(notices.titles()? == ["The machine is stuck"], "{:?}", notices.titles()?);
    Ok(())
}

#[tokio::test]
async fn starting_at_login_is_off_until_asked_for() -> anyhow::Result<()> {
    let (place, screen) = stage().await?;
    let app = Application::start(&place, &screen, &[]).await?;
    screen.window("Alcove", SOON).await?;
    let entry = place.home().join(".config/autostart/alcove.desktop");
    ensure!(app.invoke("autostart_get", json!({})).await? == false);
    ensure!(!entry.exists());

    app.invoke("autostart_set", json!({ "enabled": true })).await?;
    let text = std::fs::read_to_string(&entry)?;
    ensure!(text.lines().any(|l| l.starts_with("Exec=") && l.ends_with("--hidden")), "{text}");
    ensure!(app.invoke("autostart_get", json!({})).await? == true);

    app.invoke("autostart_set", json!({ "enabled": false })).await?;
    ensure!(!entry.exists());
    Ok(())
}

#[tokio::test]
async fn only_web_and_mail_addresses_leave_the_window() -> anyhow::Result<()> {
    let (place, screen) = stage().await?;
    let app = Application::start(&place, &screen, &[]).await?;
    screen.window("Alcove", SOON).await?;
    app.invoke("open_external", json!({ "url": "https://example.invalid/help" })).await?;
    eventually("the address goes to the person's browser", SOON, || async {
        ensure!(place.opened() == ["https://example.invalid/help"], "{:?}", place.opened());
        Ok(())
    })
    .await?;
    for url in ["file:///etc/passwd", "javascript:alert(1)", "alcove://open/x", "not an address"] {
        let refused = app.invoke("open_external", json!({ "url": url })).await;
        ensure!(refused.is_err_and(|e| e.to_string().contains("bad_request")), "{url}");
    }
    Ok(())
}

#[tokio::test]
async fn the_tray_shows_the_state_and_acts_on_the_machine() -> anyhow::Result<()> {
    let (place, screen) = stage().await?;
    let Some(_tray) = screen.tray()? else {
        eprintln!("trayer is not installed: the tray was not tried");
        return Ok(());
    };
    let app = Application::start(&place, &screen, &["--hidden"]).await?;
    app.invoke("connection", json!({})).await?;

    // Open, web desktop, suspend: the line that says the state is passed over.
    screen.open_tray_menu(SOON).await?;
    screen.keys(&["Down", "Down", "Down", "Return"])?;
    eventually("the machine is asked to suspend", SOON, || async {
        ensure!(place.asked() == ["POST /api/v1/machine/suspend {}"], "{:?}", place.asked());
        Ok(())
    })
    .await?;

    // What is suspended can be resumed, at the same place; the web desktop can't be opened and is passed over too.
    eventually("the machine is asked to resume", SOON, || async {
        screen.open_tray_menu(SOON).await?;
        screen.keys(&["Down", "Down", "Return"])?;
        eventually("it is asked", Duration::from_secs(3), || async {
            ensure!(place.asked().last().is_some_and(|a| a == "POST /api/v1/machine/resume {}"), "{:?}", place.asked());
            Ok(())
        })
        .await
    })
    .await?;

    // Shutting down asks first, as the pages do.
    let shut_down = "Shut the machine down?";
    eventually("shutting down is asked about", SOON, || async {
        screen.open_tray_menu(SOON).await?;
        screen.keys(&["Down", "Down", "Down", "Down", "Return"])?;
        screen.window(shut_down, Duration::from_secs(3)).await.map(drop)
    })
    .await?;
    screen.press(&screen.window(shut_down, SOON).await?, "Escape")?;
    screen.no_window(shut_down, SOON).await?;
    ensure!(place.asked().iter().all(|a| !a.contains("stop")), "{:?}", place.asked());
    screen.open_tray_menu(SOON).await?;
    screen.keys(&["Down", "Down", "Down", "Down", "Return"])?;
    screen.press(&screen.window(shut_down, SOON).await?, "Return")?;
    eventually("the machine is asked to shut down", SOON, || async {
        ensure!(place.asked().last().is_some_and(|a| a == "POST /api/v1/machine/stop {}"), "{:?}", place.asked());
        Ok(())
    })
    .await
}
