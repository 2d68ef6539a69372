//! What lies over the pages while the machine is put away: what goes on, how far it is, and a way to stay.

use serde::Serialize;
use tauri::{AppHandle, Manager};

use crate::windows;

/// What the cover says.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Cover {
    /// What goes on.
    pub(super) title: &'static str,
    /// What it means.
    pub(super) note: &'static str,
    /// What it does now, and for how long it has.
    pub(super) doing: String,
    /// 0 to 1 where it can be told.
    pub(super) share: Option<f64>,
    /// The button that leaves it.
    pub(super) stay: &'static str,
}

/// Covers the pages, or uncovers them.
pub(super) fn show(app: &AppHandle, cover: Option<&Cover>) {
    let Some(window) = app.get_webview_window(windows::MAIN) else { return };
    // JSON is JavaScript, so that no word can end the call.
    let script = format!("({})({})", include_str!("cover.js").trim_end(), serde_json::json!(cover));
    if let Err(error) = window.eval(script) {
        tracing::warn!("the progress could not be shown: {error}");
    }
}
