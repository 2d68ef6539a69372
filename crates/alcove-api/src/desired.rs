//! What the owner wants, kept across the supervisor's life. This alone is stored: everything else is observed.

use std::{fs, io, path::Path};

use alcove_types::machine::Desired;
use serde::{Deserialize, Serialize};

use crate::durable;

/// What is wanted, and whether the supervisor that wrote it ended in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Wanted {
    /// What the owner wants.
    pub desired: Desired,
    /// Counts changes.
    pub generation: u64,
    /// True while a supervisor is at work. Found true at its start, it says that the last one died: what was wanted
    /// then still is. Found false, the owner had quit, and the start policy decides.
    pub at_work: bool,
}

impl Default for Wanted {
    fn default() -> Self {
        Self { desired: Desired::Stopped, generation: 0, at_work: false }
    }
}

impl Wanted {
    /// Reads it; what can't be read is as if nothing had been asked for yet.
    pub(crate) fn load(path: &Path) -> Self {
        match fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                tracing::warn!(%error, "what was wanted can't be read; the start policy decides");
                Self::default()
            }),
            Err(_) => Self::default(),
        }
    }

    /// Deletes it: the machine is gone.
    ///
    /// # Errors
    /// What the file system says.
    pub(crate) fn forget(path: &Path) -> io::Result<()> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Writes it.
    ///
    /// # Errors
    /// What the file system says.
    pub(crate) fn save(&self, path: &Path) -> io::Result<()> {
        durable::write(path, &serde_json::to_vec(self).map_err(io::Error::other)?)
    }
}
