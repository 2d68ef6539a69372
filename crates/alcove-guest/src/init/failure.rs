//! What stops a boot, and saying so where a person can see it.

use std::{
    fmt,
    fs::OpenOptions,
    io::{self, Write},
};

/// Why a boot can't go on.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    /// The step of the boot that failed.
    pub(crate) step: &'static str,
    reason: String,
}

impl Failure {
    pub(crate) fn new(step: &'static str, reason: impl Into<String>) -> Self {
        Self { step, reason: reason.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

/// Says which step an error belongs to and what was being tried.
pub(crate) trait Context<T> {
    fn step(self, step: &'static str, tried: &str) -> Result<T, Failure>;
}

impl<T> Context<T> for io::Result<T> {
    fn step(self, step: &'static str, tried: &str) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(step, format!("{tried}: {error}")))
    }
}

impl<T> Context<T> for rustix::io::Result<T> {
    fn step(self, step: &'static str, tried: &str) -> Result<T, Failure> {
        self.map_err(io::Error::from).step(step, tried)
    }
}

/// Writes a line to the serial console, in a form that the host can tell from the kernel's own lines.
pub(crate) fn say(line: &str) {
    let line = format!("alcove: {line}\r\n");
    let console = OpenOptions::new().write(true).open("/dev/console");
    let _ = match console {
        Ok(mut console) => console.write_all(line.as_bytes()),
        Err(_) => io::stderr().write_all(line.as_bytes()),
    };
}
