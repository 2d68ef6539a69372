//! Starting at login. The setting says whether; the system's entry follows it, whoever changed the setting.

use alcove_types::{ApiError, ErrorCode};
use tauri::AppHandle;
use tauri_plugin_autostart::ManagerExt;

/// Whether the system starts Alcove at login.
pub(crate) fn is_set(app: &AppHandle) -> Result<bool, ApiError> {
    app.autolaunch().is_enabled().map_err(|e| failed(&e))
}

/// Puts Alcove among what the system starts, or takes it away from there.
pub(crate) fn set(app: &AppHandle, enabled: bool) -> Result<(), ApiError> {
    let entry = app.autolaunch();
    if enabled { entry.enable() } else { entry.disable() }.map_err(|e| failed(&e))
}

/// Makes it as the setting says. The command line and other windows change the setting, and can't reach the entry.
pub(crate) fn follow(app: &AppHandle, wanted: bool) {
    let done = is_set(app).and_then(|now| if now == wanted { Ok(()) } else { set(app, wanted) });
    if let Err(error) = done {
        tracing::warn!("{error}");
    }
}

fn failed(error: &tauri_plugin_autostart::Error) -> ApiError {
    ApiError::new(
        ErrorCode::Unsupported,
        format!("Starting at login could not be changed ({error})"),
        "Look whether the folder ~/.config/autostart can be written to.",
    )
}
