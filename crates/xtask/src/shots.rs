//! `cargo xtask shots`: takes the pictures in README from the real window on a real machine, under a virtual display.

use std::path::Path;

use anyhow::Result;

use crate::{
    image,
    prepare::{Purpose, prepare},
    product::{self, cargo},
    steps::Steps,
};

/// Builds what is needed and writes `docs/screenshots/*.png`.
///
/// # Errors
/// When something can't be built, or a picture can't be taken.
pub(crate) fn run(root: &Path, steps: &mut Steps) -> Result<()> {
    prepare(Purpose::Tests, steps)?;
    product::interface(root, steps)?;
    let images = image::build(root, &image::Options::default(), &mut image::TerminalProgress::new())?;
    let binaries = product::binaries(root, false, true, steps)?;
    let out = root.join("docs/screenshots");
    let mut shots = cargo(root, &["run", "--package", "alcove-desktop-tests", "--bin", "alcove-shots", "--"])?;
    shots.arg(&out).env("ALCOVE_BIN_DIR", binaries).env("ALCOVE_IMAGES", images);
    shots.env("ALCOVE_WARM", crate::check::warm_folder()?);
    steps.run("taking the pictures", &mut shots)
}
