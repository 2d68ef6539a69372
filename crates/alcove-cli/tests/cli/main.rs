//! The command line against a stand-in for the supervisor.
#![allow(clippy::unwrap_used)] // a test may fail that way

mod commands;
mod images;
mod support;
mod terminal;
mod waiting;
