//! The command line against a stand-in for the supervisor.

mod commands;
mod support;
mod terminal;
mod waiting;
