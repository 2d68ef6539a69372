//! The tray: the machine's state as a shape, and what can be done about it.

use std::sync::Arc;

use tauri::{
    AppHandle, Manager, Theme, Wry,
    image::Image,
    menu::{Menu, MenuBuilder, MenuEvent, MenuItemBuilder},
    tray::TrayIconBuilder,
};
use tauri_plugin_dialog::{DialogExt, MessageDialogButtons, MessageDialogKind};

use crate::{
    commands, quit,
    shell::{Reach, Shell},
    view::{self, Action, Seen, Shape, View},
    windows,
    words::Word,
};

const TRAY: &str = "alcove";
const OPEN: &str = "open";
const DESKTOP: &str = "desktop";
const QUIT: &str = "quit";

/// Puts the icon into the tray.
pub(crate) fn open(app: &AppHandle) -> tauri::Result<()> {
    let view = present(app);
    TrayIconBuilder::with_id(TRAY)
        .icon(icon(app, view.shape)?)
        .tooltip("Alcove")
        .menu(&menu(app, &view)?)
        .on_menu_event(on_menu)
        .build(app)?;
    Ok(())
}

/// Keeps the tray true, for as long as the shell runs.
pub(crate) async fn follow(app: AppHandle) {
    let shell = Arc::clone(&app.state::<Arc<Shell>>());
    let (mut reach, mut machine, mut quitting) =
        (shell.reach.subscribe(), shell.machine.subscribe(), shell.quitting.subscribe());
    let mut shown = None;
    loop {
        let now = (present(&app), shell.language());
        if shown.as_ref() != Some(&now) {
            refresh(&app);
            shown = Some(now);
        }
        let changed = tokio::select! {
            changed = reach.changed() => changed,
            changed = machine.changed() => changed,
            changed = quitting.changed() => changed,
        };
        if changed.is_err() {
            return;
        }
    }
}

/// Draws the tray anew.
pub(crate) fn refresh(app: &AppHandle) {
    let Some(tray) = app.tray_by_id(TRAY) else { return };
    let view = present(app);
    let shell = app.state::<Arc<Shell>>();
    let drawn = icon(app, view.shape)
        .and_then(|icon| tray.set_icon(Some(icon)))
        .and_then(|()| tray.set_tooltip(Some(format!("Alcove: {}", shell.say(view.line)))))
        .and_then(|()| tray.set_menu(Some(menu(app, &view)?)));
    if let Err(error) = drawn {
        tracing::warn!("the tray could not be drawn: {error}");
    }
}

fn present(app: &AppHandle) -> View {
    let shell = app.state::<Arc<Shell>>();
    let seen = match &*shell.reach.borrow() {
        Reach::Looking => Seen::Looking,
        Reach::Connected { .. } => Seen::Connected,
        Reach::Away(_) => Seen::Away,
    };
    let quitting = *shell.quitting.borrow();
    let machine = shell.machine.borrow();
    view::view(seen, machine.as_ref(), quitting)
}

fn menu(app: &AppHandle, view: &View) -> tauri::Result<Menu<Wry>> {
    let shell = app.state::<Arc<Shell>>();
    let item = |id: &str, word: Word| MenuItemBuilder::with_id(id, shell.say(word));
    let mut menu = MenuBuilder::new(app)
        .item(&item("state", view.line).enabled(false).build(app)?)
        .separator()
        .item(&item(OPEN, Word::Open).build(app)?)
        .item(&item(DESKTOP, Word::OpenDesktop).enabled(view.desktop).build(app)?);
    if !view.actions.is_empty() {
        menu = menu.separator();
    }
    for action in &view.actions {
        menu = menu.item(&item(action.id(), action.word()).build(app)?);
    }
    menu.separator().item(&item(QUIT, Word::Quit).accelerator("Ctrl+Q").build(app)?).build()
}

#[expect(clippy::needless_pass_by_value, reason = "the signature that Tauri calls")]
fn on_menu(app: &AppHandle, event: MenuEvent) {
    match event.id().as_ref() {
        OPEN => windows::show_main(app),
        QUIT => quit::begin(app),
        DESKTOP => {
            let app = app.clone();
            tauri::async_runtime::spawn(async move {
                if let Err(error) = windows::open_desktop(&app).await {
                    say_error(&app, &error);
                }
            });
        }
        id => {
            if let Some(action) = Action::by_id(id) {
                let app = app.clone();
                tauri::async_runtime::spawn(async move {
                    if action != Action::Stop || confirmed(&app).await {
                        ask(app, action).await;
                    }
                });
            }
        }
    }
}

/// Whether the person means to shut the machine down: the pages ask the same.
async fn confirmed(app: &AppHandle) -> bool {
    let shell = app.state::<Arc<Shell>>();
    let dialog = app
        .dialog()
        .message(shell.say(Word::ShutDownText))
        .title(shell.say(Word::ShutDownAsk))
        .kind(MessageDialogKind::Warning)
        .buttons(MessageDialogButtons::OkCancelCustom(
            shell.say(Word::Stop).to_owned(),
            shell.say(Word::Cancel).to_owned(),
        ));
    let (decided, decision) = tokio::sync::oneshot::channel();
    dialog.show(move |confirmed| {
        // Who asked waits for as long as the application runs.
        let _ = decided.send(confirmed);
    });
    decision.await.unwrap_or(false)
}

/// Asks the supervisor for an operation; a refusal is shown, for nobody else would see it.
async fn ask(app: AppHandle, action: Action) {
    let shell = Arc::clone(&app.state::<Arc<Shell>>());
    let asked = match (action.path(), shell.client()) {
        (None, _) => commands::connect_now(&shell).await.map(|_| ()),
        (Some(path), Ok(client)) => client.begin(path, &serde_json::json!({})).await.map(|_| ()),
        (Some(_), Err(error)) => Err(error),
    };
    if let Err(error) = asked {
        say_error(&app, &error);
    }
}

pub(crate) fn say_error(app: &AppHandle, error: &alcove_types::ApiError) {
    let shell = app.state::<Arc<Shell>>();
    app.dialog()
        .message(format!("{}\n\n{}", error.message, error.hint))
        .title(shell.say(Word::ActionFailed))
        .kind(MessageDialogKind::Error)
        .show(|_| {});
}

/// The icon for this shape on this panel.
fn icon(app: &AppHandle, shape: Shape) -> tauri::Result<Image<'static>> {
    macro_rules! pair {
        ($name:literal) => {
            (
                include_bytes!(concat!("../icons/tray/", $name, "-on-light.png")).as_slice(),
                include_bytes!(concat!("../icons/tray/", $name, "-on-dark.png")).as_slice(),
            )
        };
    }
    let (on_light, on_dark) = match shape {
        Shape::Running => pair!("running"),
        Shape::Suspended => pair!("suspended"),
        Shape::Busy => pair!("busy"),
        Shape::Attention => pair!("attention"),
    };
    Image::from_bytes(if panel_is_dark(app) { on_dark } else { on_light })
}

/// Whether the panel that holds the tray is dark. GNOME's always is; elsewhere it follows the theme.
fn panel_is_dark(app: &AppHandle) -> bool {
    let desktop = std::env::var("XDG_CURRENT_DESKTOP").unwrap_or_default();
    desktop.split(':').any(|d| matches!(d, "GNOME" | "ubuntu" | "Unity"))
        || app.get_webview_window(windows::MAIN).and_then(|w| w.theme().ok()) == Some(Theme::Dark)
}
