//! Alcove's command line.
fn main() {}
