//! The operations of Alcove: everything that a face can ask for, with one meaning for all faces.
//!
//! Knows no HTTP routes, no command line and no Tauri. [`Supervisor`] is the entry; the reconciler behind it
//! (`actor`) alone changes the machine.

mod actor;
pub mod boot;
pub mod clock;
mod config;
mod desired;
pub mod durable;
pub mod events;
mod images;
pub mod link;
pub mod operations;
mod reconcile;
pub mod settings;
mod shared;
mod supervisor;
pub mod tasks;
mod watch;

pub use config::Config;
pub use supervisor::Supervisor;
