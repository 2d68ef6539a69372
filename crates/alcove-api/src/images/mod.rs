//! The guest images of this computer: which there are, bringing one, removing one.

mod bring;
mod part;
mod source;
mod way;
mod web;

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use alcove_machine::{
    Layout, MachineError, MachineSpec,
    image::{self, Image, Images},
};
use alcove_types::{
    ApiError, ErrorCode,
    image::{DamagedImage, ImageEntry, ImageFetch, ImageList, ImageRole, ImageSource, SOURCE_SCHEMA},
    task::{Task, TaskState, Transfer},
};

use self::{
    bring::{Bring, Expected, Speed, Step, blocking},
    source::Source,
};
use crate::{Supervisor, operations::Caller, shared::Shared};

/// The kind of the task that brings an image.
pub(crate) const FETCH: &str = "image.fetch";

/// How long servers are waited for, and how often they are asked again.
#[derive(Debug, Clone)]
struct Patience {
    /// Until a connection stands.
    connect: Duration,
    /// Without a byte.
    stall: Duration,
    /// Before a further try; doubled each time that nothing came.
    pause: Duration,
    /// Tries in a row that bring nothing.
    tries: u32,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(15),
            stall: Duration::from_secs(30),
            pause: Duration::from_secs(1),
            tries: 6,
        }
    }
}

/// Between two words on how far it has come.
const TELL: Duration = Duration::from_millis(400);

impl Supervisor {
    /// The images of this computer, and where the package says that its image is brought from.
    ///
    /// # Errors
    /// When this machine's own files can't be read.
    pub async fn images(&self) -> Result<ImageList, ApiError> {
        let shared = self.shared.clone();
        blocking(move || list(&shared)).await
    }

    /// Brings an image into the data folder. What an earlier attempt brought is not brought again.
    ///
    /// # Errors
    /// When the source can't be one, or an image is being brought already.
    pub fn fetch_image(&self, request: ImageFetch, caller: &Caller) -> Result<Task, ApiError> {
        let shared = self.shared.clone();
        let packaged = packaged(&shared.config.image_source)?;
        let (from, expected) = wanted(request, packaged)?;
        let patience = Patience::default();
        let source = Source::parse(&from, &patience)?;
        if expected.is_none() {
            source.must_be_the_one_named()?;
        }
        let lock = bring::lock(&shared.layout)?;
        let (task, cancel) = shared.tasks.begin(FETCH, &source.name(), caller, true);
        let id = task.id.clone();
        tokio::spawn(async move {
            let bring = Bring {
                layout: &shared.layout,
                folders: &shared.config.image_folders,
                source,
                expected,
                patience,
                free: |folder| fs4::available_space(folder),
                cancel,
            };
            let mut telling = Telling { shared: &shared, task: &id, speed: Speed::default(), last: None };
            let done = bring.run(&mut |step, here, total| telling.tell(step, here, total)).await;
            drop(lock);
            if let Ok(version) = &done {
                shared.config.forgive_image(&shared.layout, version);
                tracing::info!(version, "an image was brought");
            }
            shared.tasks.end(&id, done.map(drop));
        });
        Ok(task)
    }

    /// Deletes an image from the data folder, or what is here of an unfinished one.
    ///
    /// # Errors
    /// When there is none, a machine needs it, or it belongs to a package.
    pub async fn remove_image(&self, version: String, caller: &Caller) -> Result<(), ApiError> {
        let shared = self.shared.clone();
        let caller = caller.clone();
        blocking(move || {
            let done = remove(&shared, &version);
            let (word, message) = match &done {
                Ok(()) => ("succeeded", ""),
                Err(error) => ("failed", error.message.as_str()),
            };
            shared.operations.record(&caller, "image.remove", &version, word, message, None);
            done
        })
        .await
    }
}

/// Tells the task how far it has come, not more often than anybody can read.
struct Telling<'a> {
    shared: &'a Arc<Shared>,
    task: &'a str,
    speed: Speed,
    last: Option<(Instant, Step)>,
}

impl Telling<'_> {
    fn tell(&mut self, step: &Step, bytes: u64, total_bytes: u64) {
        let now = Instant::now();
        if self.last.as_ref().is_some_and(|(at, last)| last == step && now.duration_since(*at) < TELL) {
            return;
        }
        self.last = Some((now, step.clone()));
        let message = match step {
            Step::Manifest => "step:image_manifest".to_owned(),
            Step::Look => "step:image_look".to_owned(),
            Step::File(name) => format!("file:{name}"),
            Step::Place => "step:image_place".to_owned(),
        };
        if total_bytes == 0 {
            self.shared.tasks.progress(self.task, &message, None);
            return;
        }
        let bytes_per_second = if matches!(step, Step::File(_)) { self.speed.at(now, bytes) } else { None };
        let left = total_bytes.saturating_sub(bytes);
        let seconds_left = bytes_per_second.filter(|speed| *speed > 0).map(|speed| left.div_ceil(speed));
        let transfer = Transfer { bytes, total_bytes, bytes_per_second, seconds_left };
        self.shared.tasks.transfer(self.task, &message, transfer);
    }
}

/// What the package says; `None` when it says nothing.
fn packaged(path: &Path) -> Result<Option<ImageSource>, ApiError> {
    let Ok(text) = fs::read(path) else { return Ok(None) };
    let damaged = |why: String| {
        ApiError::new(
            ErrorCode::FileCorrupt,
            format!("{} can't be understood: {why}.", path.display()),
            "Install Alcove's package again, or name the image's folder or address yourself.",
        )
    };
    let source: ImageSource = serde_json::from_slice(&text).map_err(|e| damaged(e.to_string()))?;
    if source.schema > SOURCE_SCHEMA {
        return Err(damaged("a newer Alcove wrote it".into()));
    }
    Ok(Some(source))
}

/// Where to bring from, and what it must turn out to be.
fn wanted(request: ImageFetch, packaged: Option<ImageSource>) -> Result<(String, Option<Expected>), ApiError> {
    let named = match request.sha256.as_deref().map(str::trim).filter(|s| !s.is_empty()) {
        Some(hash) if hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit()) => {
            Some(hash.to_ascii_lowercase())
        }
        Some(hash) => {
            return Err(ApiError::new(
                ErrorCode::BadRequest,
                format!("{hash:?} is not a SHA-256."),
                "It has 64 digits and letters from a to f: `sha256sum manifest.json` prints it.",
            ));
        }
        None => None,
    };
    let source = request.source.filter(|s| !s.trim().is_empty());
    let own = packaged.filter(|p| source.as_ref().is_none_or(|s| s.trim() == p.from));
    let expected = match (&own, named) {
        (Some(package), _) => Some(Expected { sha256: package.manifest_sha256.clone(), packaged: true }),
        (None, Some(sha256)) => Some(Expected { sha256, packaged: false }),
        (None, None) => None,
    };
    match source.or_else(|| own.map(|p| p.from)) {
        Some(from) => Ok((from, expected)),
        None => Err(ApiError::new(
            ErrorCode::BadRequest,
            "It is not known where to bring the image from: the package names no source.",
            "Name a folder or an address that holds the image's `manifest.json`.",
        )),
    }
}

fn list(shared: &Shared) -> Result<ImageList, ApiError> {
    let images = Images::find(&shared.layout, &shared.config.image_folders);
    let own = shared.layout.home().images();
    let spec = MachineSpec::load(&shared.layout).map_err(|e| e.api())?;
    let refused = shared.config.refused_images(&shared.layout);
    let newest = images.newest().map(|i| i.version().to_owned());
    let needed = needed(&shared.layout).images;
    let entry = |image: Image| ImageEntry {
        folder: image.folder.display().to_string(),
        bytes: image.bytes(),
        role: role(image.version(), newest.as_deref(), spec.as_ref(), &refused),
        own: image.folder.starts_with(&own),
        used_by: needed.iter().filter(|(_, v)| v == image.version()).map(|(name, _)| name.clone()).collect(),
        manifest: image.manifest,
    };
    let running = |t: &Task| t.kind == FETCH && matches!(t.state, TaskState::Queued | TaskState::Running);
    Ok(ImageList {
        images: images.found.into_iter().map(entry).collect(),
        damaged: images
            .damaged
            .into_iter()
            .map(|(folder, reason)| DamagedImage { folder: folder.display().to_string(), reason })
            .collect(),
        unfinished: bring::unfinished(&own),
        // One that can't be read is told when it is asked for.
        source: packaged(&shared.config.image_source).ok().flatten(),
        task: shared.tasks.list().into_iter().find(running).map(|t| t.id),
    })
}

fn role(version: &str, newest: Option<&str>, spec: Option<&MachineSpec>, refused: &BTreeSet<String>) -> ImageRole {
    let slots = spec.map(|s| &s.slots);
    let current = slots.and_then(|s| s.current());
    if current == Some(version) {
        let trial = slots.is_some_and(|s| s.trial.is_some());
        return if trial { ImageRole::Trial } else { ImageRole::Active };
    }
    if slots.is_some_and(|s| s.trial.is_some() && s.version(s.active) == Some(version)) {
        return ImageRole::Fallback;
    }
    if refused.contains(version) {
        return ImageRole::Refused;
    }
    let waits = slots.is_none_or(|s| s.trial.is_none());
    if newest == Some(version) && waits { ImageRole::Next } else { ImageRole::Unused }
}

/// Which images the machines of this person need.
#[derive(Debug, Default)]
struct Needed {
    /// Instance and version.
    images: BTreeSet<(String, String)>,
    /// Instances of which it can't be told, and why.
    unknown: Vec<(String, MachineError)>,
}

fn needed(layout: &Layout) -> Needed {
    let mut needed = Needed::default();
    let machines: Vec<PathBuf> =
        fs::read_dir(layout.home().data().join("machines")).into_iter().flatten().flatten().map(|e| e.path()).collect();
    for folder in machines {
        let Some(name) = folder.file_name().and_then(|n| n.to_str()) else { continue };
        let Ok(instance) = name.parse() else { continue };
        let layout = Layout::new(layout.home().clone(), instance);
        let spec = match MachineSpec::load(&layout) {
            Ok(Some(spec)) => spec,
            Ok(None) => continue,
            Err(error) => {
                needed.unknown.push((name.to_owned(), error));
                continue;
            }
        };
        let slots = &spec.slots;
        let fallback = slots.trial.and_then(|_| slots.version(slots.active));
        for version in slots.current().into_iter().chain(fallback) {
            needed.images.insert((name.to_owned(), version.to_owned()));
        }
        // A suspended copy can only be resumed with the image that it was made with.
        match alcove_machine::qemu::snapshots(&layout) {
            Ok(snapshots) => {
                let with_memory = snapshots.into_iter().filter(|s| s.with_memory);
                needed.images.extend(with_memory.map(|s| (name.to_owned(), s.image)));
            }
            Err(error) => needed.unknown.push((name.to_owned(), error)),
        }
    }
    needed
}

fn remove(shared: &Shared, version: &str) -> Result<(), ApiError> {
    let not_found = || {
        ApiError::new(
            ErrorCode::NotFound,
            format!("There is no image {version:?} on this computer."),
            "`alcove image list` shows which there are.",
        )
    };
    if !image::is_version(version) {
        return Err(not_found());
    }
    let own = shared.layout.home().images();
    let _lock = bring::lock(&shared.layout)?;
    let unfinished = bring::forget(&own, version)?;
    let needed = needed(&shared.layout);
    let users: Vec<String> = needed.images.into_iter().filter(|(_, v)| v == version).map(|(name, _)| name).collect();
    let folder = own.join(version);
    if !folder.is_dir() {
        let elsewhere = Images::find(&shared.layout, &shared.config.image_folders);
        return match elsewhere.version(version) {
            _ if unfinished => Ok(()),
            Ok(image) => Err(ApiError::new(
                ErrorCode::Conflict,
                format!("The image lies in {}, which is not yours to change here.", image.folder.display()),
                "It came with a package, and goes with it.",
            )),
            Err(_) => Err(not_found()),
        };
    }
    if !users.is_empty() {
        return Err(ApiError::new(
            ErrorCode::Conflict,
            format!("The image {version} is needed by {}.", users.join(", ")),
            "It can go when no machine uses it, may return to it, or has a suspended snapshot of it.",
        ));
    }
    if let Some((instance, error)) = needed.unknown.first() {
        return Err(ApiError::new(
            ErrorCode::Conflict,
            format!("It can't be told whether the machine `{instance}` needs the image {version}: {error}."),
            "Mend that file first, or destroy that machine with `alcove reset`; then ask again.",
        ));
    }
    image::delete(&own, &folder).map_err(|e| e.api())
}
