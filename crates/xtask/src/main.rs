//! Builds, runs, tests and packages Alcove.

mod image;

fn main() {}
