//! The operations of Alcove; knows no HTTP and no Tauri.
