//! Turns the configuration and the list of commands into code and permissions.

/// Naming the commands here makes each of them need a permission: only the window that a capability names can call them,
/// and no page from elsewhere can.
const COMMANDS: [&str; 11] = [
    "connection",
    "start_supervisor",
    "open_desktop",
    "open_external",
    "choose_folder",
    "save_text",
    "autostart_get",
    "autostart_set",
    "window_ready",
    "quit",
    "stay_open",
];

/// The first of the pages that go into the program.
const PAGES: &str = "../ui/apps/native/dist/index.html";

fn main() {
    println!("cargo::rerun-if-changed={PAGES}");
    if !std::path::Path::new(PAGES).is_file() {
        println!("cargo::error=the pages are not built: run `cargo xtask ui` first");
        return;
    }
    let attributes = tauri_build::Attributes::new().app_manifest(tauri_build::AppManifest::new().commands(&COMMANDS));
    if let Err(error) = tauri_build::try_build(attributes) {
        println!("cargo::error={error:#}");
        std::process::exit(1);
    }
}
