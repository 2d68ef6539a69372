//! Drives the real window through WebKit's own driver, with the keys and clicks of a person.

use std::{
    net::TcpListener,
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, anyhow};
use serde_json::{Value, json};

use crate::{
    eventually,
    page::Page,
    place::{Place, end, running},
    screen::{Guarded, Screen},
};

/// How long the window may take to come up: the programs are not optimised, and the display is drawn in software.
const COME_UP: Duration = Duration::from_secs(60);

/// The application, with its window under control.
#[derive(Debug)]
pub struct Application {
    /// The driver's end of the window.
    pub page: Page,
    program: PathBuf,
    _driver: Guarded,
}

impl Drop for Application {
    fn drop(&mut self) {
        end(&self.program);
    }
}

impl Application {
    /// Starts the application and waits for its window.
    ///
    /// # Errors
    /// When the driver or the window does not come up.
    pub async fn start(place: &Place, screen: &Screen, arguments: &[&str]) -> anyhow::Result<Self> {
        Self::start_with(place, screen, arguments, &[]).await
    }

    /// The same with more environment, which the supervisor that it starts sees too.
    ///
    /// # Errors
    /// As [`Application::start`].
    pub async fn start_with(
        place: &Place,
        screen: &Screen,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        let port = free_port()?;
        let mut driver = driver(port)?;
        let driver = driver
            .envs(place.environment())
            .envs(screen.environment())
            .envs(environment.iter().copied())
            .env("TAURI_WEBVIEW_AUTOMATION", "true")
            .stdout(Stdio::null())
            .spawn()
            .map(Guarded)
            .context("can't start the driver")?;
        eventually("the driver answers", COME_UP, || async {
            tokio::net::TcpStream::connect(("127.0.0.1", port)).await.map(drop).context("not yet")
        })
        .await?;
        let program = place.program("alcove-desktop");
        let opening = Page::open(port, &program, arguments);
        let page = tokio::time::timeout(COME_UP, opening)
            .await
            .map_err(|_| anyhow!("the window did not come up within {} s", COME_UP.as_secs()))?
            .context("the window did not come up")?;
        Ok(Self { page, program, _driver: driver })
    }

    /// Calls a command of the shell from the page, as the page does.
    ///
    /// # Errors
    /// What the command refused with, as JSON.
    pub async fn invoke(&self, command: &str, arguments: Value) -> anyhow::Result<Value> {
        let script = "const [command, given, done] = arguments; \
                      if (!window.__TAURI_INTERNALS__) { done({ bad: 'there is no way to call' }); return; } \
                      window.__TAURI_INTERNALS__.invoke(command, given) \
                        .then((good) => done({ good: good ?? null }), (bad) => done({ bad: bad ?? 'refused' }));";
        let answer = self.page.execute_async(script, &[json!(command), arguments]).await?;
        match answer.get("bad") {
            Some(bad) => Err(anyhow!("{command}: {bad}")),
            None => Ok(answer.get("good").cloned().unwrap_or(Value::Null)),
        }
    }

    /// Has the page ask the application to quit, as its button does.
    ///
    /// # Errors
    /// When it refuses. What ends before it has answered has not refused: the driver then finds nobody to hear.
    pub async fn quit(&self) -> anyhow::Result<()> {
        let Err(refused) = self.invoke("quit", json!({})).await else { return Ok(()) };
        eventually("the application has ended", COME_UP, || async {
            if running(&self.program).is_empty() { Ok(()) } else { Err(anyhow!("it refuses: {refused:#}")) }
        })
        .await
    }

    /// Waits until the page shows this text.
    ///
    /// # Errors
    /// When it does not; with what it shows.
    pub async fn shows(&self, text: &str, deadline: Duration) -> anyhow::Result<()> {
        eventually(&format!("the page shows {text:?}"), deadline, || async {
            let shown = self.page.execute("return document.body.innerText", &[]).await?;
            let shown = shown.as_str().unwrap_or_default();
            if shown.contains(text) { Ok(()) } else { Err(anyhow!("it shows {shown:?}")) }
        })
        .await
    }

    /// Waits until the application has ended by itself.
    ///
    /// # Errors
    /// When it stays.
    pub async fn ended(self, deadline: Duration) -> anyhow::Result<()> {
        eventually("the application ends", deadline, || async {
            if running(&self.program).is_empty() { Ok(()) } else { Err(anyhow!("it still runs")) }
        })
        .await
    }
}

/// Tauri's driver in front of WebKit's where there is one, else WebKit's own.
fn driver(port: u16) -> anyhow::Result<Command> {
    let Some(tauri) = std::env::var_os("ALCOVE_TAURI_DRIVER") else {
        let mut command = Command::new("WebKitWebDriver");
        command.args(["--host=127.0.0.1", &format!("--port={port}")]);
        return Ok(command);
    };
    let mut command = Command::new(tauri);
    command.args(["--port", &port.to_string(), "--native-port", &free_port()?.to_string()]);
    Ok(command)
}

fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("no port is free")?;
    Ok(listener.local_addr()?.port())
}
