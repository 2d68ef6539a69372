//! The two windows: the native pages, and the web desktop.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use alcove_types::{ApiError, ErrorCode, session::Surface};
use serde::Serialize;
use tauri::{AppHandle, Emitter, Manager, WebviewUrl, WebviewWindow, WebviewWindowBuilder, webview::NewWindowResponse};
use tauri_plugin_opener::OpenerExt;
use url::{Origin, Url};

use crate::shell::Shell;

/// Label of the window with the native pages.
pub(crate) const MAIN: &str = "main";
/// Label of the web desktop's window.
pub(crate) const DESKTOP: &str = "desktop";

/// Pages that say nothing for this long are shown as they are, so that a fault in them can be seen.
const FIRST_PICTURE: Duration = Duration::from_secs(5);

/// The origin that the web desktop's window may show; it moves when the supervisor's port does.
#[derive(Default)]
struct DesktopOrigin {
    shown: Mutex<Option<Origin>>,
    /// Held while the window is opened, so that who asks at the same moment finds it.
    opening: tokio::sync::Mutex<()>,
}

impl DesktopOrigin {
    fn set(&self, origin: Origin) {
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = Some(origin);
    }

    fn holds(&self, url: &Url) -> bool {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).as_ref() == Some(&url.origin())
    }
}

#[derive(Clone, Serialize)]
struct Navigate {
    path: String,
}

/// Makes the main window; it stays hidden until its pages have drawn themselves.
pub(crate) fn open_main(app: &AppHandle) -> tauri::Result<()> {
    app.manage(Arc::new(DesktopOrigin::default()));
    let (leaving, opening) = (app.clone(), app.clone());
    let window = WebviewWindowBuilder::new(app, MAIN, WebviewUrl::App("index.html".into()))
        .title("Alcove")
        .inner_size(1120.0, 760.0)
        .min_inner_size(720.0, 520.0)
        .visible(false)
        .on_navigation(move |url| is_bundled(url) || send_outside(&leaving, url))
        .on_new_window(move |url, _features| {
            send_outside(&opening, &url);
            NewWindowResponse::Deny
        })
        .build()?;
    on_keys(&window)?;
    let app = app.clone();
    tauri::async_runtime::spawn(async move {
        tokio::time::sleep(FIRST_PICTURE).await;
        let shell = app.state::<Arc<Shell>>();
        if !shell.is_ready() && !shell.stays_hidden() {
            tracing::warn!("the pages have not said that they are ready");
            show_main(&app);
        }
    });
    Ok(())
}

/// The pages listen now: show the window if it was asked for, at the page that waits.
pub(crate) fn pages_ready(app: &AppHandle) {
    let shell = app.state::<Arc<Shell>>();
    if let Some(path) = shell.pages_ready() {
        emit_navigate(app, path);
    }
    if !shell.stays_hidden() {
        show_main(app);
    }
}

/// Shows a page in the main window, now or as soon as the pages listen.
pub(crate) fn navigate(app: &AppHandle, path: String) {
    let shell = app.state::<Arc<Shell>>();
    if shell.is_ready() {
        emit_navigate(app, path);
    } else {
        shell.navigate_later(path);
    }
    show_main(app);
}

fn emit_navigate(app: &AppHandle, path: String) {
    if let Err(error) = app.emit_to(MAIN, "navigate", Navigate { path }) {
        tracing::warn!("the page could not be opened: {error}");
    }
}

/// Brings the main window to the front.
pub(crate) fn show_main(app: &AppHandle) {
    app.state::<Arc<Shell>>().unhide();
    bring(app, MAIN);
}

/// Puts the main window away; the tray stays.
pub(crate) fn hide_main(app: &AppHandle) {
    if let Some(window) = app.get_webview_window(MAIN)
        && let Err(error) = window.hide()
    {
        tracing::warn!("the window could not be hidden: {error}");
    }
}

/// Whether a person has the main window before them.
pub(crate) fn main_is_seen(app: &AppHandle) -> bool {
    app.get_webview_window(MAIN)
        .is_some_and(|window| window.is_visible().unwrap_or(false) && window.is_focused().unwrap_or(false))
}

/// Opens the web desktop, signed in, or brings its window to the front.
pub(crate) async fn open_desktop(app: &AppHandle) -> Result<(), ApiError> {
    let client = app.state::<Arc<Shell>>().client()?;
    let ticket = client.ticket(Surface::Desktop).await?;
    let url = Url::parse(&ticket.url).ok().filter(is_ours).ok_or_else(|| {
        ApiError::new(
            ErrorCode::Internal,
            "The supervisor gave an address for the web desktop that is not on this computer",
            "Restart Alcove; if it happens again, report it with `alcove doctor --json`.",
        )
    })?;
    let origin = Arc::clone(&app.state::<Arc<DesktopOrigin>>());
    let _opening = origin.opening.lock().await;
    if let Some(window) = app.get_webview_window(DESKTOP) {
        let stays = window.url().is_ok_and(|shown| shown.origin() == url.origin());
        if stays {
            window.eval(sign_in_again(&url)).map_err(|e| no_window(&e))?;
        } else {
            origin.set(url.origin());
            window.navigate(url).map_err(|e| no_window(&e))?;
        }
        bring(app, DESKTOP);
        return Ok(());
    }
    origin.set(url.origin());
    let (leaving, opening, own) = (app.clone(), app.clone(), Arc::clone(&origin));
    WebviewWindowBuilder::new(app, DESKTOP, WebviewUrl::External(url))
        .title("Alcove")
        .inner_size(1280.0, 800.0)
        .min_inner_size(480.0, 360.0)
        .on_navigation(move |url| own.holds(url) || url.as_str() == "about:blank" || send_outside(&leaving, url))
        .on_new_window(move |url, _features| {
            send_outside(&opening, &url);
            NewWindowResponse::Deny
        })
        .on_document_title_changed(|window, title| {
            // A page that has none yet must not leave the window without a name.
            let title = if title.is_empty() { "Alcove".to_owned() } else { title };
            if let Err(error) = window.set_title(&title) {
                tracing::warn!("the window could not be named: {error}");
            }
        })
        .build()
        .map_err(|e| no_window(&e))?;
    Ok(())
}

/// Has the page follow the link when it is not signed in any more, or when there is no page. One that is signed in stays as
/// it is: what is open in it would be lost.
fn sign_in_again(url: &Url) -> String {
    // JSON is JavaScript, so that no address can end the call.
    format!(
        "((link) => fetch('/', {{ method: 'HEAD', cache: 'no-store' }})\
         .then((answer) => {{ if (answer.status === 401) location.replace(link); }}, () => location.replace(link)))({})",
        serde_json::json!(url.as_str())
    )
}

/// Signs an open web desktop in again where the supervisor answers now.
pub(crate) fn follow_desktop(app: &AppHandle) {
    let shell = app.state::<Arc<Shell>>();
    let crate::shell::Reach::Connected { connection, .. } = &*shell.reach.borrow() else { return };
    let port = Url::parse(&connection.base).ok().and_then(|url| url.port());
    let moved =
        app.get_webview_window(DESKTOP).and_then(|window| window.url().ok()).is_some_and(|shown| shown.port() != port);
    if moved {
        let app = app.clone();
        tauri::async_runtime::spawn(async move {
            if let Err(error) = open_desktop(&app).await {
                tracing::warn!("the web desktop could not follow: {error}");
            }
        });
    }
}

/// Opens an address with the program that the person has chosen for it.
pub(crate) fn open_external(app: &AppHandle, url: &str) -> Result<(), ApiError> {
    let url = Url::parse(url).ok().filter(may_leave).ok_or_else(|| {
        ApiError::new(
            ErrorCode::BadRequest,
            "Only web and mail addresses can be opened outside Alcove",
            "Copy the address and open it by yourself if you trust it.",
        )
    })?;
    app.opener().open_url(url.as_str(), None::<&str>).map_err(|e| {
        ApiError::new(
            ErrorCode::Unsupported,
            format!("The address could not be opened ({e})"),
            format!("Open {url} in a browser by yourself."),
        )
    })
}

/// Hands a link over to the person's browser; the answer is always that no window of ours goes there.
fn send_outside(app: &AppHandle, url: &Url) -> bool {
    if let Err(error) = open_external(app, url.as_str()) {
        tracing::warn!("{}: not opened: {error}", url.scheme());
    }
    false
}

fn bring(app: &AppHandle, label: &str) {
    let Some(window) = app.get_webview_window(label) else { return };
    let shown = window.unminimize().and_then(|()| window.show()).and_then(|()| window.set_focus());
    if let Err(error) = shown {
        tracing::warn!("the window could not be shown: {error}");
    }
}

/// Whether this is one of the pages that came with the application.
fn is_bundled(url: &Url) -> bool {
    match url.scheme() {
        "tauri" => url.host_str() == Some("localhost"),
        // Where the system knows no schemes of applications.
        "http" | "https" => url.host_str() == Some("tauri.localhost") && url.port().is_none(),
        _ => false,
    }
}

/// Whether this is an address on this computer that the supervisor serves.
fn is_ours(url: &Url) -> bool {
    let local = |host: &str| host == "127.0.0.1" || host == "localhost" || host.ends_with(".localhost");
    url.scheme() == "http" && url.port().is_some() && url.host_str().is_some_and(local) && url.username().is_empty()
}

/// Whether an address may be given to another program.
fn may_leave(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https" | "mailto")
}

fn no_window(error: &tauri::Error) -> ApiError {
    ApiError::new(
        ErrorCode::Internal,
        format!("The window could not be opened ({error})"),
        "Open the web desktop in a browser instead: `alcove open desktop`.",
    )
}

/// Ctrl+Q quits and Ctrl+W puts the window away. Linux desktops draw a menu bar into the window if one is set, so the
/// keys are taken directly.
#[cfg(target_os = "linux")]
fn on_keys(window: &WebviewWindow) -> tauri::Result<()> {
    use gtk::{gdk, glib, prelude::*};

    let app = window.app_handle().clone();
    window.gtk_window()?.connect_key_press_event(move |_, event| {
        let held = event.state() & gtk::accelerator_get_default_mod_mask();
        if held != gdk::ModifierType::CONTROL_MASK {
            return glib::Propagation::Proceed;
        }
        match event.keyval().to_lower() {
            gdk::keys::constants::q => crate::quit::begin(&app),
            gdk::keys::constants::w => hide_main(&app),
            _ => return glib::Propagation::Proceed,
        }
        glib::Propagation::Stop
    });
    Ok(())
}

/// The application menu has the keys.
#[cfg(not(target_os = "linux"))]
fn on_keys(_window: &WebviewWindow) -> tauri::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn the_main_window_shows_bundled_pages_only() {
        for good in ["tauri://localhost/index.html#/cluster", "http://tauri.localhost/", "https://tauri.localhost/x"] {
            assert!(is_bundled(&url(good)), "{good}");
        }
        for bad in [
            "tauri://evil/",
            "http://localhost/",
            "http://tauri.localhost:80810/".replace("80810", "8081").as_str(),
            "file:///etc/passwd",
            "about:blank",
            "https://example.org",
        ] {
            assert!(!is_bundled(&url(bad)), "{bad}");
        }
    }

    #[test]
    fn the_web_desktop_is_on_this_computer() {
        assert!(is_ours(&url("http://desktop.localhost:4321/.alcove/ticket/t")));
        for bad in [
            "http://desktop.localhost.example.org:4321/",
            "https://desktop.localhost:4321/",
            "http://desktop.localhost/",
            "http://a@desktop.localhost:4321/",
            "file:///desktop.localhost",
        ] {
            assert!(!is_ours(&url(bad)), "{bad}");
        }
    }

    #[test]
    fn the_desktop_window_keeps_to_its_origin() {
        let origin = DesktopOrigin::default();
        assert!(!origin.holds(&url("http://desktop.localhost:1/")));
        origin.set(url("http://desktop.localhost:1/.alcove/ticket/t").origin());
        assert!(origin.holds(&url("http://desktop.localhost:1/x")));
        for bad in ["http://desktop.localhost:2/", "http://other.localhost:1/", "https://desktop.localhost:1/"] {
            assert!(!origin.holds(&url(bad)), "{bad}");
        }
    }

    #[test]
    fn programs_get_web_and_mail_addresses_only() {
        for good in ["https://example.org", "http://127.0.0.1:1/", "mailto:a@example.org"] {
            assert!(may_leave(&url(good)), "{good}");
        }
        for bad in ["file:///etc/passwd", "javascript:alert(1)", "data:text/html,x", "smb://x/y", "alcove://open/x"] {
            assert!(!may_leave(&url(bad)), "{bad}");
        }
    }
}
