//! What the pages in the main window may ask of the shell.

use std::{sync::Arc, time::Duration};

use alcove_types::{ApiError, ErrorCode};
use tauri::{AppHandle, Manager, State};
use tauri_plugin_dialog::DialogExt;
use tokio::time::timeout;

use crate::{
    autostart, quit as quitting,
    shell::{Connection, Reach, Shell},
    windows,
    words::Word,
};

/// How long the pages wait for a supervisor that is being started.
pub(crate) const PATIENCE: Duration = Duration::from_secs(45);
/// The longest title of a dialog; more is cut by desktops anyway.
const LONGEST_TITLE: usize = 500;
/// The longest name that a file may have nearly everywhere.
const LONGEST_NAME: usize = 120;

type Shared<'a> = State<'a, Arc<Shell>>;

/// How to reach the supervisor; waits while it is being started.
#[tauri::command]
pub(crate) async fn connection(shell: Shared<'_>) -> Result<Connection, ApiError> {
    let mut reach = shell.reach.subscribe();
    let known = timeout(PATIENCE, reach.wait_for(|reach| !matches!(reach, Reach::Looking))).await;
    match known {
        Ok(Ok(reach)) => answer(&reach),
        Ok(Err(_)) | Err(_) => Err(too_slow()),
    }
}

/// Starts the supervisor when it isn't running.
#[tauri::command]
pub(crate) async fn start_supervisor(shell: Shared<'_>) -> Result<Connection, ApiError> {
    connect_now(&shell).await
}

/// Opens the web desktop in its own window.
#[tauri::command]
pub(crate) async fn open_desktop(app: AppHandle) -> Result<(), ApiError> {
    windows::open_desktop(&app).await
}

/// Opens an address with the program that the person has chosen for it.
#[tauri::command]
pub(crate) async fn open_external(app: AppHandle, url: String) -> Result<(), ApiError> {
    windows::open_external(&app, &url)
}

/// Lets the person choose a folder; nothing but its path goes to the pages.
#[tauri::command]
pub(crate) async fn choose_folder(app: AppHandle, title: String) -> Result<Option<String>, ApiError> {
    let mut dialog = app.dialog().file().set_title(title.chars().take(LONGEST_TITLE).collect::<String>());
    if let Some(window) = app.get_webview_window(windows::MAIN) {
        dialog = dialog.set_parent(&window);
    }
    let (chosen, answer) = tokio::sync::oneshot::channel();
    // Who asked may be gone by the time that the dialog is closed.
    dialog.pick_folder(move |folder| drop(chosen.send(folder)));
    let folder = answer.await.ok().flatten().and_then(|folder| folder.into_path().ok());
    Ok(folder.and_then(|path| path.to_str().map(str::to_owned)))
}

/// Lets the person choose where a text is kept, and writes it there. Says whether it was kept.
#[tauri::command]
pub(crate) async fn save_text(app: AppHandle, name: String, text: String) -> Result<bool, ApiError> {
    let title = app.state::<Arc<Shell>>().say(Word::SaveAs);
    // The name is a proposal only; what would lead elsewhere is taken out of it.
    let name: String =
        name.chars().filter(|c| !c.is_control() && !matches!(c, '/' | '\\')).take(LONGEST_NAME).collect();
    let mut dialog = app.dialog().file().set_title(title).set_file_name(name);
    if let Some(window) = app.get_webview_window(windows::MAIN) {
        dialog = dialog.set_parent(&window);
    }
    let (chosen, answer) = tokio::sync::oneshot::channel();
    // Who asked may be gone by the time that the dialog is closed.
    dialog.save_file(move |file| drop(chosen.send(file)));
    let Some(path) = answer.await.ok().flatten().and_then(|file| file.into_path().ok()) else { return Ok(false) };
    tokio::fs::write(&path, text).await.map(|()| true).map_err(|e| {
        let code = if e.kind() == std::io::ErrorKind::StorageFull { ErrorCode::DiskFull } else { ErrorCode::Forbidden };
        ApiError::new(
            code,
            format!("{} could not be written ({e})", path.display()),
            "Choose another folder, or make room there, and save it again.",
        )
    })
}

/// Whether Alcove starts at login.
#[tauri::command]
pub(crate) async fn autostart_get(app: AppHandle) -> Result<bool, ApiError> {
    autostart::is_set(&app)
}

/// Makes Alcove start at login, or not.
#[tauri::command]
pub(crate) async fn autostart_set(app: AppHandle, enabled: bool) -> Result<(), ApiError> {
    autostart::set(&app, enabled)
}

/// The pages have drawn themselves and listen.
#[tauri::command]
pub(crate) async fn window_ready(app: AppHandle) -> Result<(), ApiError> {
    windows::pages_ready(&app);
    Ok(())
}

/// Quits Alcove with its machine, as the settings say.
#[tauri::command]
pub(crate) async fn quit(app: AppHandle) -> Result<(), ApiError> {
    quitting::begin(&app);
    Ok(())
}

/// Leaves the quitting that is under way.
#[tauri::command]
pub(crate) async fn stay_open(shell: Shared<'_>) -> Result<(), ApiError> {
    quitting::stay(&shell);
    Ok(())
}

/// Looks for the supervisor at once, starts it if need be, and waits for what comes of it.
pub(crate) async fn connect_now(shell: &Shell) -> Result<Connection, ApiError> {
    let mut reach = shell.reach.subscribe();
    if let Reach::Connected { connection, .. } = &*reach.borrow_and_update() {
        return Ok(connection.clone());
    }
    shell.look_now.notify_one();
    let settled = async {
        while reach.changed().await.is_ok() {
            let now = reach.borrow_and_update();
            if !matches!(*now, Reach::Looking) {
                return answer(&now);
            }
        }
        Err(too_slow())
    };
    timeout(PATIENCE, settled).await.unwrap_or_else(|_| Err(too_slow()))
}

fn answer(reach: &Reach) -> Result<Connection, ApiError> {
    match reach {
        Reach::Connected { connection, .. } => Ok(connection.clone()),
        Reach::Away(error) => Err(error.clone()),
        Reach::Looking => Err(too_slow()),
    }
}

fn too_slow() -> ApiError {
    ApiError::new(
        ErrorCode::SupervisorUnreachable,
        "Alcove's supervisor takes too long to start",
        "See `alcove logs --source alcoved` for what it waits for, then try again.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_start_waits_for_what_comes_of_it() {
        let shell = Arc::new(Shell::new(alcove_machine::InstanceName::default(), false));
        let away = |message: &str| Reach::Away(ApiError::new(ErrorCode::SupervisorUnreachable, message, ""));
        shell.reach.send_replace(away("gone"));
        let asked = tokio::spawn({
            let shell = Arc::clone(&shell);
            async move { connect_now(&shell).await }
        });
        shell.look_now.notified().await;
        shell.reach.send_replace(Reach::Looking);
        tokio::task::yield_now().await;
        shell.reach.send_replace(away("still gone"));
        let error = asked.await.unwrap().err().unwrap();
        assert_eq!(error.message, "still gone");
    }
}
