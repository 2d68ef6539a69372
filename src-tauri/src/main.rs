//! Alcove's window and tray: a face of the supervisor. It opens windows, draws the tray, asks and notifies; what the
//! machine does is decided elsewhere.
#![cfg_attr(not(debug_assertions), windows_subsystem = "windows")]

mod args;
mod autostart;
mod commands;
mod link;
mod notices;
mod quit;
mod shell;
mod supervisor;
mod tray;
mod view;
mod windows;
mod words;

use std::{process::ExitCode, sync::Arc};

use clap::Parser;
use tauri::{Manager, RunEvent, WindowEvent};
use tauri_plugin_deep_link::DeepLinkExt;
use tauri_plugin_window_state::StateFlags;
use tracing_subscriber::EnvFilter;

use crate::{args::Args, shell::Shell};

fn main() -> ExitCode {
    let args = Args::parse();
    let filter = EnvFilter::try_from_env("ALCOVE_LOG").unwrap_or_else(|_| EnvFilter::new("warn,alcove_desktop=info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false).init();
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("the window could not be opened: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> anyhow::Result<()> {
    let mut context = tauri::generate_context!();
    // The identifier names the folders, the single-instance lock and the tray, so that two instances of Alcove live
    // side by side.
    let identifier = args.identifier(&context.config().identifier);
    context.config_mut().identifier = identifier;

    let shell = Arc::new(Shell::new(args.instance.clone(), args.hidden));
    if let Some(path) = args.link.as_deref().and_then(link::path) {
        shell.navigate_later(path);
    }

    let app = tauri::Builder::default()
        // First, so that a second start ends before it did anything.
        .plugin(tauri_plugin_single_instance::init(|app, argv, _folder| second_start(app, &argv)))
        .plugin(tauri_plugin_deep_link::init())
        .plugin(
            tauri_plugin_window_state::Builder::new()
                .with_state_flags(StateFlags::SIZE | StateFlags::POSITION | StateFlags::MAXIMIZED)
                .build(),
        )
        .plugin(tauri_plugin_autostart::Builder::new().app_name(args.autostart_name()).args(args.autostart()).build())
        .plugin(tauri_plugin_notification::init())
        .plugin(tauri_plugin_dialog::init())
        .plugin(tauri_plugin_opener::Builder::new().open_js_links_on_click(false).build())
        .manage(Arc::clone(&shell))
        .invoke_handler(tauri::generate_handler![
            commands::connection,
            commands::start_supervisor,
            commands::open_desktop,
            commands::open_external,
            commands::choose_folder,
            commands::save_text,
            commands::autostart_get,
            commands::autostart_set,
            commands::window_ready,
            commands::quit,
            commands::stay_open,
        ])
        .on_window_event(|window, event| match event {
            // Closing is putting away: the machine goes on, the tray stays.
            WindowEvent::CloseRequested { api, .. } if window.label() == windows::MAIN => {
                api.prevent_close();
                windows::hide_main(window.app_handle());
            }
            WindowEvent::ThemeChanged(_) => tray::refresh(window.app_handle()),
            _ => {}
        })
        .setup(move |app| {
            let handle = app.handle().clone();
            windows::open_main(&handle)?;
            if let Err(error) = tray::open(&handle) {
                // Without a tray a hidden window could not be found again other than by a second start.
                tracing::warn!("there is no tray here: {error}");
            }
            // Where the system hands links over as events instead of arguments.
            let linked = handle.clone();
            app.deep_link().on_open_url(move |event| {
                if let Some(path) = event.urls().iter().find_map(|url| link::path(url.as_str())) {
                    windows::navigate(&linked, path);
                }
            });
            tauri::async_runtime::spawn(supervisor::follow(handle.clone()));
            tauri::async_runtime::spawn(tray::follow(handle.clone()));
            tauri::async_runtime::spawn(notices::follow(handle));
            Ok(())
        })
        .build(context)?;

    app.run(|app, event| {
        if let RunEvent::ExitRequested { api, code: None, .. } = event {
            // The last window is gone, or the system's own menu said quit: both go through the graceful way.
            api.prevent_exit();
            if app.get_webview_window(windows::MAIN).is_none() {
                quit::begin(app);
            }
        }
    });
    Ok(())
}

/// Someone started Alcove again: show what runs already, at the page that the link names.
fn second_start(app: &tauri::AppHandle, argv: &[String]) {
    match Args::try_parse_from(argv) {
        Ok(again) => {
            if let Some(path) = again.link.as_deref().and_then(link::path) {
                windows::navigate(app, path);
            } else if !again.hidden {
                windows::show_main(app);
            }
        }
        Err(_) => windows::show_main(app),
    }
}
