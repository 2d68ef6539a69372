//! Alcove's supervisor.
fn main() {}
