//! A virtual display with a window manager and a session bus.

use std::{
    ffi::OsString,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, ensure};

use crate::eventually;

/// Ends its process when dropped.
#[derive(Debug)]
pub struct Guarded(pub Child);

impl Drop for Guarded {
    fn drop(&mut self) {
        // Either it is gone already or this ends it; there is nobody to tell.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A display of a test's own.
#[derive(Debug)]
pub struct Screen {
    display: String,
    bus: String,
    // Dropped in this order: who uses the display before the display.
    _manager: Guarded,
    _bus: Guarded,
    _server: Guarded,
}

/// Notifications that were asked for.
#[derive(Debug)]
pub struct Notices {
    said: tempfile::NamedTempFile,
    _listener: Guarded,
}

impl Notices {
    /// Their titles: the third text of each request, after the application and its icon.
    ///
    /// # Errors
    /// When they can't be read.
    pub fn titles(&self) -> anyhow::Result<Vec<String>> {
        let said = std::fs::read_to_string(self.said.path())?;
        let asked = said.split("member=Notify\n").skip(1);
        let title = |request: &str| {
            let text =
                request.lines().filter_map(|line| line.strip_prefix("   string \"")?.strip_suffix('"')).nth(2)?;
            Some(text.to_owned())
        };
        Ok(asked.filter_map(title).collect())
    }
}

/// A window that the window manager shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Its number.
    pub id: String,
    /// Its title.
    pub title: String,
}

impl Screen {
    /// Starts a display of this size.
    ///
    /// # Errors
    /// When a program is missing or does not come up.
    pub async fn start(width: u32, height: u32) -> anyhow::Result<Self> {
        let mut server = Command::new("Xvfb")
            .args(["-displayfd", "1", "-nolisten", "tcp", "-screen", "0", &format!("{width}x{height}x24")])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map(Guarded)
            .context("can't start Xvfb")?;
        let display = format!(":{}", first_line(&mut server).context("Xvfb named no display")?);
        let mut bus = Command::new("dbus-daemon")
            .args(["--session", "--nofork", "--print-address=1"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map(Guarded)
            .context("can't start dbus-daemon")?;
        let address = first_line(&mut bus).context("the session bus named no address")?;
        let manager = Command::new("openbox")
            .env("DISPLAY", &display)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map(Guarded)
            .context("can't start openbox")?;
        let screen = Self { display, bus: address, _manager: manager, _bus: bus, _server: server };
        eventually("the window manager answers", Duration::from_secs(20), || async { screen.windows().map(drop) })
            .await?;
        Ok(screen)
    }

    /// What programs on this display need in their environment.
    #[must_use]
    pub fn environment(&self) -> Vec<(OsString, OsString)> {
        vec![
            ("DISPLAY".into(), self.display.clone().into()),
            ("DBUS_SESSION_BUS_ADDRESS".into(), self.bus.clone().into()),
            ("GDK_BACKEND".into(), "x11".into()),
            ("NO_AT_BRIDGE".into(), "1".into()),
            ("LIBGL_ALWAYS_SOFTWARE".into(), "1".into()),
            ("XDG_SESSION_TYPE".into(), "x11".into()),
        ]
    }

    /// The windows that can be seen.
    ///
    /// # Errors
    /// When the window manager does not answer.
    pub fn windows(&self) -> anyhow::Result<Vec<Shown>> {
        let listed = self.tool("xprop", &["-root", "-notype", "_NET_CLIENT_LIST"])?;
        let (_, numbers) = listed.split_once('#').with_context(|| format!("no list of windows: {}", listed.trim()))?;
        let mut shown = Vec::new();
        for id in numbers.split(',').map(str::trim).filter(|id| !id.is_empty()) {
            // One that closes at this moment has no title any more.
            if let Ok(title) = self.tool("xdotool", &["getwindowname", &decimal(id)?]) {
                shown.push(Shown { id: decimal(id)?, title: title.trim_end().to_owned() });
            }
        }
        Ok(shown)
    }

    /// Waits for a window with this title.
    ///
    /// # Errors
    /// When none is shown in time.
    pub async fn window(&self, title: &str, deadline: Duration) -> anyhow::Result<Shown> {
        eventually(&format!("a window called {title:?}"), deadline, || async {
            let shown = self.windows()?;
            shown.iter().find(|w| w.title == title).cloned().with_context(|| format!("there are {shown:?}"))
        })
        .await
    }

    /// Waits until no window has this title.
    ///
    /// # Errors
    /// When one stays.
    pub async fn no_window(&self, title: &str, deadline: Duration) -> anyhow::Result<()> {
        eventually(&format!("no window called {title:?}"), deadline, || async {
            ensure!(self.windows()?.iter().all(|w| w.title != title), "it is still there");
            Ok(())
        })
        .await
    }

    /// Asks a window to close, as its close button does: by the window manager's key for it.
    ///
    /// # Errors
    /// When the window manager does not answer.
    pub fn close(&self, window: &Shown) -> anyhow::Result<()> {
        self.press(window, "alt+F4")
    }

    /// Presses keys in a window, such as `ctrl+q`.
    ///
    /// # Errors
    /// When the display does not answer.
    pub fn press(&self, window: &Shown, keys: &str) -> anyhow::Result<()> {
        self.tool("xdotool", &["windowactivate", "--sync", &window.id, "key", keys]).map(drop)
    }

    /// Writes over what a field of a window holds.
    ///
    /// # Errors
    /// When the display does not answer.
    pub fn type_into(&self, window: &Shown, text: &str) -> anyhow::Result<()> {
        self.press(window, "ctrl+a")?;
        self.tool("xdotool", &["type", "--delay", "20", text]).map(drop)
    }

    /// Listens for notifications on the session bus. Nobody shows them there: that they are asked for is enough.
    ///
    /// # Errors
    /// When the bus can't be listened to.
    pub async fn notices(&self) -> anyhow::Result<Notices> {
        let said = tempfile::NamedTempFile::new()?;
        let filter = "type='method_call',interface='org.freedesktop.Notifications',member='Notify'";
        let listener = Command::new("dbus-monitor")
            .args(["--address", &self.bus, filter])
            .stdout(said.reopen()?)
            .stderr(Stdio::null())
            .spawn()
            .map(Guarded)
            .context("can't start dbus-monitor")?;
        let notices = Notices { said, _listener: listener };
        // It says something as soon as it is connected.
        eventually("the bus is listened to", Duration::from_secs(20), || async {
            ensure!(!std::fs::read_to_string(notices.said.path())?.is_empty(), "nothing was said");
            Ok(())
        })
        .await?;
        Ok(notices)
    }

    /// Puts a tray at the top right of the display; `None` where its program (`trayer`) is not installed.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn tray(&self) -> anyhow::Result<Option<Guarded>> {
        let started = Command::new("trayer")
            .args(["--edge", "top", "--align", "right", "--widthtype", "request", "--height", "32"])
            .env("DISPLAY", &self.display)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        match started {
            Ok(tray) => Ok(Some(Guarded(tray))),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e).context("can't start trayer"),
        }
    }

    /// Opens the menu of the only icon in the tray, once there is one.
    ///
    /// # Errors
    /// When no icon appears.
    pub async fn open_tray_menu(&self, deadline: Duration) -> anyhow::Result<()> {
        let (x, y) = eventually("an icon in the tray", deadline, || async {
            let facts = self
                .tool("xdotool", &["search", "--onlyvisible", "--class", "trayer", "getwindowgeometry", "--shell"])?;
            let fact = |name: &str| {
                let value = facts.lines().rev().find_map(|l| l.strip_prefix(name)?.strip_prefix('='));
                value.and_then(|v| v.parse::<i32>().ok()).with_context(|| format!("no {name} in {facts}"))
            };
            let width = fact("WIDTH")?;
            ensure!(width >= 20, "the tray is empty");
            Ok((fact("X")? + width / 2, fact("Y")? + 16))
        })
        .await?;
        self.tool("xdotool", &["mousemove", &x.to_string(), &y.to_string(), "click", "1"]).map(drop)
    }

    /// Presses keys in whatever has the keyboard, such as an open menu.
    ///
    /// # Errors
    /// When the display does not answer.
    pub fn keys(&self, keys: &[&str]) -> anyhow::Result<()> {
        let all: Vec<&str> = ["key", "--delay", "150"].into_iter().chain(keys.iter().copied()).collect();
        self.tool("xdotool", &all).map(drop)
    }

    /// Takes a picture of one window, without the frame that the window manager draws.
    ///
    /// # Errors
    /// When it can't be taken or written.
    pub fn picture_of(&self, window: &Shown, path: &Path) -> anyhow::Result<()> {
        let path = path.to_str().context("the picture's path is not text")?;
        self.tool("import", &["-window", &window.id, path]).map(drop)
    }

    /// Takes a picture of the whole display.
    ///
    /// # Errors
    /// When it can't be taken or written.
    pub fn picture(&self, path: &Path) -> anyhow::Result<()> {
        let path = path.to_str().context("the picture's path is not text")?;
        self.tool("import", &["-window", "root", path]).map(drop)
    }

    fn tool(&self, name: &str, arguments: &[&str]) -> anyhow::Result<String> {
        let output = Command::new(name)
            .args(arguments)
            .env("DISPLAY", &self.display)
            .output()
            .with_context(|| format!("can't run {name}"))?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{name} {arguments:?}: {}", said.trim());
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// The tools write numbers of windows in different ways.
fn decimal(id: &str) -> anyhow::Result<String> {
    let digits = id.strip_prefix("0x").with_context(|| format!("{id:?} is no window"))?;
    Ok(u32::from_str_radix(digits, 16)?.to_string())
}

fn first_line(child: &mut Guarded) -> Option<String> {
    let mut line = String::new();
    BufReader::new(child.0.stdout.take()?).read_line(&mut line).ok()?;
    let line = line.trim();
    (!line.is_empty()).then(|| line.to_owned())
}
