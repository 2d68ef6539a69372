//! Bringing an image: from its source into the data folder, file by file, so that a part that is here is never brought
//! again, and nothing counts as an image before its last byte was checked.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Instant,
};

use alcove_machine::{
    Layout, MachineError,
    image::{self, Check, Images, KUBECTL, MANIFEST},
    lock::FileLock,
};
use alcove_types::{
    ApiError, ErrorCode,
    image::{ImageFile, ImageManifest, UnfinishedImage},
};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::{
    Patience,
    part::Part,
    source::{Source, Stop, broken_off},
};

/// In front of the name of a folder in which an image is put together; the rest is its manifest's hash, so that only
/// parts of the very same image are put together.
const STAGED: &str = ".bring-";
/// Left free on the disk beyond what the image takes.
const SPARE: u64 = 64 << 20;

/// What the manifest must be.
#[derive(Debug, Clone)]
pub(super) struct Expected {
    /// SHA-256 of the manifest, in hexadecimal.
    pub(super) sha256: String,
    /// Whether the package says so, rather than the person.
    pub(super) packaged: bool,
}

/// What is done now.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step {
    /// The manifest is read.
    Manifest,
    /// What is here already is checked.
    Look,
    /// A file is brought.
    File(String),
    /// All is here, and is put in place.
    Place,
}

/// How far it has come: the step, bytes that are here, bytes in all.
pub(super) type Tell<'a> = dyn FnMut(&Step, u64, u64) + Send + 'a;

/// Bringing one image.
pub(super) struct Bring<'a> {
    pub(super) layout: &'a Layout,
    pub(super) folders: &'a [PathBuf],
    pub(super) source: Source,
    pub(super) expected: Option<Expected>,
    pub(super) patience: Patience,
    /// Bytes free where a folder lies.
    pub(super) free: fn(&Path) -> io::Result<u64>,
    pub(super) cancel: CancellationToken,
}

/// Takes the right to bring images into this data folder: one at a time, whichever supervisor does it.
pub(super) fn lock(layout: &Layout) -> Result<FileLock, ApiError> {
    let images = layout.home().images();
    fs::create_dir_all(&images).map_err(|e| MachineError::io("can't make", &images, e).api())?;
    FileLock::try_take(&images.join(".bring.lock")).map_err(|e| match e {
        MachineError::Busy => ApiError::new(
            ErrorCode::Conflict,
            "An image is being brought already.",
            "Wait for it, or cancel it: `alcove task list` shows it.",
        ),
        other => other.api(),
    })
}

impl Bring<'_> {
    /// Brings it; returns its version. The caller holds the [`lock`].
    pub(super) async fn run(&self, tell: &mut Tell<'_>) -> Result<String, ApiError> {
        tell(&Step::Manifest, 0, 0);
        let text = self.or_cancelled(self.manifest()).await??;
        let hash = hex::encode(Sha256::digest(&text));
        self.check_expected(&hash)?;
        let place = self.source.place(MANIFEST);
        let manifest = image::read_manifest(&text, &place).map_err(|e| wrong_manifest(&e))?;
        image::for_this_computer(&manifest).map_err(|e| e.api())?;

        tell(&Step::Look, 0, image::bytes(&manifest));
        if self.is_there(&manifest).await? {
            return Ok(manifest.version);
        }
        let images = self.layout.home().images();
        image::sweep(&images);
        let staged = images.join(format!("{STAGED}{}", &hash[..16]));
        forget_others(&images, &staged);
        fs::create_dir_all(&staged).map_err(|e| MachineError::io("can't make", &staged, e).api())?;
        write(&staged.join(MANIFEST), &text)?;
        self.check_space(&staged, &manifest)?;

        let mut told = Told { tell, here: 0, total: image::bytes(&manifest) };
        for file in &manifest.files {
            self.file(&staged, file, &mut told).await?;
        }
        (told.tell)(&Step::Place, told.total, told.total);
        let (layout, version) = (self.layout.clone(), manifest.version);
        blocking(move || {
            tidy(&staged)?;
            image::publish(&layout, &staged).map(drop).map_err(|e| e.api())
        })
        .await?;
        Ok(version)
    }

    async fn manifest(&self) -> Result<Vec<u8>, ApiError> {
        // A second try for a connection that broke; who can't be reached at all is told at once.
        match self.source.manifest().await {
            Err(Stop { again: true, .. }) => {
                tokio::time::sleep(self.patience.pause).await;
                self.source.manifest().await
            }
            other => other,
        }
        .map_err(|stop| stop.error)
    }

    fn check_expected(&self, hash: &str) -> Result<(), ApiError> {
        let Some(expected) = self.expected.as_ref().filter(|e| !e.sha256.eq_ignore_ascii_case(hash)) else {
            return Ok(());
        };
        let (says, hint) = if expected.packaged {
            ("the one that Alcove's package names", "Update Alcove, or bring the image that belongs to this version.")
        } else {
            ("the one that you named", "Check the address and the checksum: one of them is of another image.")
        };
        Err(ApiError::new(
            ErrorCode::ImageInvalid,
            format!("{} holds another image than {says}: its manifest's checksum differs.", self.source.name()),
            hint,
        )
        .with_details(serde_json::json!({ "expected": expected.sha256, "found": hash })))
    }

    /// Whether a sound image of this version is on this computer already.
    async fn is_there(&self, manifest: &ImageManifest) -> Result<bool, ApiError> {
        let (layout, folders, version) = (self.layout.clone(), self.folders.to_vec(), manifest.version.clone());
        blocking(move || {
            let images = Images::find(&layout, &folders);
            Ok(images.version(&version).is_ok_and(|image| image.verify(Check::Full).is_ok()))
        })
        .await
    }

    fn check_space(&self, staged: &Path, manifest: &ImageManifest) -> Result<(), ApiError> {
        let needed = image::bytes(manifest).saturating_sub(here(staged, manifest)).saturating_add(SPARE);
        let free = (self.free)(staged).map_err(|e| MachineError::io("can't look at", staged, e).api())?;
        if free >= needed {
            return Ok(());
        }
        Err(ApiError::new(
            ErrorCode::DiskFull,
            format!(
                "The image needs {} on the disk that holds {}, and {} are free there.",
                mega(needed),
                self.layout.home().images().display(),
                mega(free)
            ),
            "Free some space on that disk, then ask again.",
        ))
    }

    /// Brings one file. A connection that breaks is taken up where it broke, as long as it gets on.
    async fn file(&self, staged: &Path, file: &ImageFile, told: &mut Told<'_, '_>) -> Result<(), ApiError> {
        let step = Step::File(file.name.clone());
        let whole = staged.join(&file.name);
        if fs::metadata(&whole).is_ok_and(|m| m.len() == file.bytes) {
            // It got its name when its hash was right.
            told.here += file.bytes;
            told.say(&step);
            return Ok(());
        }
        told.say(&step);
        let before = told.here;
        let (path, bytes) = (staged.join(format!("{}.part", file.name)), file.bytes);
        let mut part = blocking(move || Part::open(path, bytes).map_err(|e| e.api())).await?;
        let mut tries = 0;
        loop {
            told.here = before + part.have();
            told.say(&step);
            let had = part.have();
            let (again, end) =
                if had == file.bytes { (part, Ok(())) } else { self.attempt(part, &step, file, told).await? };
            part = again;
            match end {
                Ok(()) if part.sha256() == file.sha256.to_ascii_lowercase() => break,
                // What was here before may be what is wrong: once more, from the first byte.
                Ok(()) if !part.is_of_this_run() => part.begin_anew()?,
                Ok(()) => {
                    let place = self.source.place(&file.name);
                    part.discard();
                    return Err(ApiError::new(
                        ErrorCode::ImageInvalid,
                        format!("{} is not what the manifest says: its checksum differs.", place.display()),
                        "Try again. If it stays so, the source is damaged or was tampered with: use another one.",
                    ));
                }
                Err(stop) if !stop.again => return Err(stop.error),
                Err(stop) => {
                    tries = if part.have() > had { 1 } else { tries + 1 };
                    if tries > self.patience.tries {
                        return Err(stop.error);
                    }
                    tracing::info!(file = file.name, have = part.have(), tries, "{}", stop.error.message);
                    let pause = self.patience.pause * 2_u32.saturating_pow(tries - 1);
                    self.or_cancelled(tokio::time::sleep(pause)).await?;
                }
            }
        }
        let executable = file.name == KUBECTL;
        blocking(move || part.finish(&whole, executable).map_err(|e| e.api())).await?;
        told.here = before + file.bytes;
        told.say(&step);
        Ok(())
    }

    /// Reads on until the file is whole or something stands in the way.
    async fn attempt(
        &self,
        mut part: Part,
        step: &Step,
        file: &ImageFile,
        told: &mut Told<'_, '_>,
    ) -> Result<(Part, Result<(), Stop>), ApiError> {
        let opening = self.source.open(&file.name, part.have(), part.tag());
        let mut opened = match self.or_cancelled(opening).await? {
            Ok(opened) => opened,
            Err(stop) => return Ok((part, Err(stop))),
        };
        let place = self.source.place(&file.name);
        let other = |bytes: u64| {
            Stop::for_good(ApiError::new(
                ErrorCode::ImageInvalid,
                format!("{} has {bytes} bytes, and the manifest says {}.", place.display(), file.bytes),
                "The source holds files of different images: use another one.",
            ))
        };
        if let Some(total) = opened.total.filter(|total| *total != file.bytes) {
            return Ok((part, Err(other(total))));
        }
        if opened.from != part.have() {
            if opened.from != 0 {
                return Ok((part, Err(Stop::for_good(broken_off(&place)))));
            }
            told.here -= part.have();
            part.begin_anew()?;
        }
        if part.have() == 0 {
            part.remember(opened.tag.as_deref());
        }
        let mut have = part.have();
        let mut writer = part.writer();
        let mut tick = tokio::time::interval(super::TELL);
        let end = loop {
            let piece = {
                let mut next = std::pin::pin!(opened.body.next());
                loop {
                    tokio::select! {
                        biased;
                        () = self.cancel.cancelled() => break None,
                        piece = &mut next => break Some(piece),
                        // While nothing comes, that is told, too.
                        _ = tick.tick() => told.say(step),
                    }
                }
            };
            let Some(piece) = piece else {
                // What came is kept.
                writer.close().await?;
                return Err(cancelled());
            };
            match piece {
                Err(stop) => break Err(stop),
                Ok(None) if have == file.bytes => break Ok(()),
                Ok(None) => break Err(Stop::for_now(broken_off(&place))),
                Ok(Some(piece)) => {
                    have += piece.len() as u64;
                    if have > file.bytes {
                        break Err(other(have));
                    }
                    told.here += piece.len() as u64;
                    if !writer.write(piece).await {
                        break Ok(());
                    }
                    told.say(step);
                }
            }
        };
        // An error of the disk comes out here.
        Ok((writer.close().await?, end))
    }

    async fn or_cancelled<T>(&self, work: impl Future<Output = T>) -> Result<T, ApiError> {
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(cancelled()),
            done = work => Ok(done),
        }
    }
}

/// How far it has come, and whom to tell.
struct Told<'a, 'b> {
    tell: &'a mut Tell<'b>,
    here: u64,
    total: u64,
}

impl Told<'_, '_> {
    fn say(&mut self, step: &Step) {
        (self.tell)(step, self.here, self.total);
    }
}

/// Images of which a part is here.
pub(super) fn unfinished(images: &Path) -> Vec<UnfinishedImage> {
    let mut found: Vec<UnfinishedImage> = staged_folders(images)
        .filter_map(|folder| {
            let path = folder.join(MANIFEST);
            let manifest = image::read_manifest(&fs::read(&path).ok()?, &path).ok()?;
            let bytes = here(&folder, &manifest);
            // One for which there was no space has nothing to go on from.
            (bytes > 0).then(|| UnfinishedImage {
                total_bytes: image::bytes(&manifest),
                bytes,
                version: manifest.version,
            })
        })
        .collect();
    found.sort_by(|a, b| a.version.cmp(&b.version));
    found
}

/// Deletes what is here of an unfinished image. False when there is nothing. The caller holds the [`lock`].
pub(super) fn forget(images: &Path, version: &str) -> Result<bool, ApiError> {
    let mut any = false;
    for folder in staged_folders(images) {
        let path = folder.join(MANIFEST);
        let manifest = fs::read(&path).ok().and_then(|text| image::read_manifest(&text, &path).ok());
        if manifest.is_some_and(|m| m.version == version) {
            image::delete(images, &folder).map_err(|e| e.api())?;
            any = true;
        }
    }
    Ok(any)
}

fn staged_folders(images: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(images).into_iter().flatten().flatten();
    entries.filter(|e| e.file_name().as_encoded_bytes().starts_with(STAGED.as_bytes())).map(|e| e.path())
}

/// Only the image that is asked for now keeps its parts: nobody comes back for the others, and they are large.
fn forget_others(images: &Path, staged: &Path) {
    for folder in staged_folders(images).filter(|f| f != staged) {
        // It is tried again the next time.
        let _ = image::delete(images, &folder);
    }
}

/// Bytes of an image that are in its folder, whole files and parts.
fn here(staged: &Path, manifest: &ImageManifest) -> u64 {
    let length = |name: &str| fs::metadata(staged.join(name)).map_or(0, |m| m.len());
    manifest.files.iter().fold(0, |sum, file| {
        let there = length(&file.name).max(length(&format!("{}.part", file.name)));
        sum.saturating_add(there.min(file.bytes))
    })
}

/// Removes from a whole image what only its bringing needed.
fn tidy(staged: &Path) -> Result<(), ApiError> {
    for entry in fs::read_dir(staged).into_iter().flatten().flatten() {
        if entry.path().extension().is_some_and(|x| x == "tag") {
            fs::remove_file(entry.path()).map_err(|e| MachineError::io("can't delete", entry.path(), e).api())?;
        }
    }
    Ok(())
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), ApiError> {
    crate::durable::write(path, bytes).map_err(|e| MachineError::io("can't write", path, e).api())
}

/// A manifest's error, for somebody who brings it and has not built it.
fn wrong_manifest(error: &MachineError) -> ApiError {
    let mut error = error.api();
    error.hint = match error.code {
        ErrorCode::TooNew => "Update Alcove: this image is for a newer version.",
        _ => "Check the folder or the address: it must hold `manifest.json` of a guest image.",
    }
    .into();
    error
}

fn cancelled() -> ApiError {
    ApiError::new(
        ErrorCode::Cancelled,
        "You cancelled it.",
        "What was brought is kept: ask again, and it goes on where it stopped.",
    )
}

fn mega(bytes: u64) -> String {
    format!("{} MB", bytes.div_ceil(1 << 20))
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| ApiError::new(ErrorCode::Internal, format!("It ended unexpectedly: {e}."), "Try again."))?
}

/// The speed over the last seconds.
#[derive(Debug, Default)]
pub(super) struct Speed {
    seen: std::collections::VecDeque<(Instant, u64)>,
}

impl Speed {
    const WINDOW: std::time::Duration = std::time::Duration::from_secs(5);

    /// Takes what is here now; gives bytes a second, once a second has passed.
    pub(super) fn at(&mut self, now: Instant, here: u64) -> Option<u64> {
        if self.seen.back().is_some_and(|(_, before)| *before > here) {
            // A file begins anew.
            self.seen.clear();
        }
        self.seen.push_back((now, here));
        while self.seen.len() > 2 && self.seen.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= Self::WINDOW) {
            self.seen.pop_front();
        }
        let (since, before) = *self.seen.front()?;
        let millis = u64::try_from(now.duration_since(since).as_millis()).ok()?;
        (millis >= 1000).then(|| here.saturating_sub(before).saturating_mul(1000) / millis)
    }
}
