//! The event stream.

use crate::{boot::BootReport, machine::Machine, operation::Operation, settings::SettingsView, task::Task};

wire! {
/// One change, as `GET /api/v1/events` streams it: the SSE `event` is the tag, `data` this document.
#[serde(tag = "event", content = "data", rename_all = "snake_case")]
pub enum Event {
    /// The machine changed.
    Machine(Box<Machine>),
    /// The boot went on.
    Boot(BootReport),
    /// A task changed.
    Task(Task),
    /// Settings changed.
    Settings(SettingsView),
    /// A line was added to the operation log.
    Operation(Operation),
    /// Events were missed (the stream was away too long): read everything anew.
    Resync,
}
}
