//! The note beside the certificates that says where the private keys lie.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{Layout, Result, files};

/// The `schema` of `place.json` that this version writes and reads.
const SCHEMA: u32 = 1;

/// Where the keys lie. Without a note they lie in files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    schema: u32,
    /// Who holds them.
    pub(super) keys: Holder,
    /// The name under which the keychain knows them.
    pub(super) item: String,
}

/// Who holds the keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Holder {
    /// The files do. The keychain may hold a copy: keys were on their way in or out when the process ended.
    FilesStill,
    /// The keychain does; files that are left over count for nothing.
    Keychain,
}

impl Place {
    /// A note for a machine whose keys have never been in a keychain. The name is random: a machine that is moved to
    /// another folder keeps its keys, and one that is made anew gets others.
    pub(super) fn new(layout: &Layout) -> Self {
        let item = format!("{}-{}", layout.instance(), hex::encode(rand::random::<[u8; 8]>()));
        Self { schema: SCHEMA, keys: Holder::FilesStill, item }
    }

    pub(super) fn path(folder: &Path) -> PathBuf {
        folder.join("place.json")
    }

    pub(super) fn read(folder: &Path) -> Result<Option<Self>> {
        files::read_versioned(&Self::path(folder), SCHEMA)
    }

    pub(super) fn write(&self, folder: &Path, keys: Holder) -> Result<()> {
        files::write_json(&Self::path(folder), &Self { keys, ..self.clone() })
    }

    pub(super) fn remove(folder: &Path) -> Result<()> {
        files::remove_if_there(&Self::path(folder))?;
        files::sync_parent(&Self::path(folder))
    }
}
