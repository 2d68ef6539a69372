//! What a supervisor is told at its start.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use alcove_machine::layout::Layout;

use crate::durable;

/// What a supervisor is told at its start.
#[derive(Debug, Clone)]
pub struct Config {
    /// The instance's name.
    pub instance: String,
    /// Further folders in which images may lie.
    pub image_folders: Vec<PathBuf>,
    /// Where the package says that its image is brought from (`image-source.json`); it need not be there.
    pub image_source: PathBuf,
    /// A boot that takes longer is called failed.
    pub boot_deadline: Duration,
    /// The machine is left as it is at the start, whatever the settings say.
    pub keep: bool,
}

impl Config {
    /// The file that keeps what is wanted.
    pub(crate) fn wanted_json(&self, layout: &Layout) -> PathBuf {
        layout.machine().join("desired.json")
    }

    /// Images that failed their trial; they are not tried again by themselves.
    pub(crate) fn refused_images(&self, layout: &Layout) -> BTreeSet<String> {
        std::fs::read(layout.machine().join("refused-images.json"))
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default()
    }

    /// Remembers that an image failed its trial.
    pub(crate) fn refuse_image(&self, layout: &Layout, version: &str) {
        let mut refused = self.refused_images(layout);
        refused.insert(version.to_owned());
        Self::note_refused(layout, &refused);
    }

    /// An image that somebody brought anew may be tried again.
    pub(crate) fn forgive_image(&self, layout: &Layout, version: &str) {
        let mut refused = self.refused_images(layout);
        if refused.remove(version) {
            Self::note_refused(layout, &refused);
        }
    }

    fn note_refused(layout: &Layout, refused: &BTreeSet<String>) {
        let saved =
            serde_json::to_vec(refused).map(|b| durable::write(&layout.machine().join("refused-images.json"), &b));
        if !matches!(saved, Ok(Ok(()))) {
            tracing::warn!(?refused, "could not remember which images failed their trial");
        }
    }

    /// Whether there is space again for a machine that stands still because the host's disk was full.
    pub(crate) fn space_is_back(&self, layout: &Layout) -> bool {
        const ENOUGH: u64 = 256 << 20;
        fs4::available_space(layout.machine()).is_ok_and(|free| free >= ENOUGH)
    }
}
