//! Alcove's window and tray.
fn main() {}
