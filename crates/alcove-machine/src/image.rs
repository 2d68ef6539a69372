//! Guest images on the host: finding, checking, putting in place and deleting.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use alcove_types::image::{ImageManifest, MANIFEST_SCHEMA};

use crate::{Layout, MachineError, Result, files};

/// The files that an image must have, beside its manifest.
pub const FILES: [&str; 3] = ["vmlinuz", "initrd", "root.erofs"];
/// The manifest's name.
pub const MANIFEST: &str = "manifest.json";
/// A file that an image may have: kubectl of its own Kubernetes' version, for the host.
pub const KUBECTL: &str = "kubectl";
/// The largest manifest that is read.
pub const LARGEST_MANIFEST: u64 = 4 << 20;
/// The most files that an image may have.
const MOST_FILES: usize = 16;
/// In front of the name of what is about to be deleted.
const ASIDE: &str = ".replaced-";

/// A guest image.
#[derive(Debug, Clone, PartialEq)]
pub struct Image {
    /// What it holds.
    pub manifest: ImageManifest,
    /// Where it lies.
    pub folder: PathBuf,
}

/// How thoroughly an image is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// All files are there with their sizes.
    Quick,
    /// Every byte, by SHA-256.
    Full,
}

/// The images that are there.
#[derive(Debug, Clone, Default)]
pub struct Images {
    /// Those that can be read, newest first.
    pub found: Vec<Image>,
    /// Those that can't be used, with the reason.
    pub damaged: Vec<(PathBuf, String)>,
}

/// Whether a text can be an image's version: it becomes part of paths.
pub fn is_version(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '+'))
        && !text.starts_with('.')
}

impl Image {
    /// Reads an image's manifest and checks its files quickly.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self> {
        let image = Self::read(folder.into())?;
        image.verify(Check::Quick)?;
        Ok(image)
    }

    fn read(folder: PathBuf) -> Result<Self> {
        let path = folder.join(MANIFEST);
        let text = match fs::metadata(&path) {
            Ok(meta) if meta.len() > LARGEST_MANIFEST => {
                return Err(invalid(format!("{} is too large for a manifest", path.display())));
            }
            Ok(_) => fs::read(&path).map_err(|e| MachineError::io("can't read", &path, e))?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(invalid(format!("there is no guest image in {}", folder.display())));
            }
            Err(e) => return Err(MachineError::io("can't read", &path, e)),
        };
        let manifest = read_manifest(&text, &path)?;
        Ok(Self { manifest, folder })
    }

    /// The image's version.
    pub fn version(&self) -> &str {
        &self.manifest.version
    }

    /// The kernel.
    pub fn kernel(&self) -> PathBuf {
        self.folder.join("vmlinuz")
    }

    /// The initial RAM disk.
    pub fn initrd(&self) -> PathBuf {
        self.folder.join("initrd")
    }

    /// The root file system.
    pub fn root(&self) -> PathBuf {
        self.folder.join("root.erofs")
    }

    /// kubectl of the image's own Kubernetes, where it has one.
    pub fn kubectl(&self) -> Option<PathBuf> {
        self.manifest.files.iter().any(|f| f.name == KUBECTL).then(|| self.folder.join(KUBECTL))
    }

    /// Bytes of the image's files.
    pub fn bytes(&self) -> u64 {
        bytes(&self.manifest)
    }

    /// SHA-256 of the kernel, as the manifest has it.
    pub fn kernel_sha256(&self) -> &str {
        self.manifest.files.iter().find(|f| f.name == "vmlinuz").map_or("", |f| &f.sha256)
    }

    /// Checks that the files are what the manifest says.
    pub fn verify(&self, check: Check) -> Result<()> {
        for_this_computer(&self.manifest)?;
        for file in &self.manifest.files {
            let path = self.folder.join(&file.name);
            let damaged = |why: String| invalid(format!("the guest image's file {} {why}", path.display()));
            let length = match fs::metadata(&path) {
                Ok(meta) => meta.len(),
                Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(damaged("is missing".into())),
                Err(e) => return Err(MachineError::io("can't read", &path, e)),
            };
            if length != file.bytes {
                return Err(damaged(format!("has {length} bytes instead of {}", file.bytes)));
            }
            if check == Check::Full && files::sha256(&path, None)? != file.sha256.to_ascii_lowercase() {
                return Err(damaged("is damaged (its hash differs)".into()));
            }
        }
        Ok(())
    }
}

fn invalid(message: String) -> MachineError {
    MachineError::ImageInvalid {
        message,
        hint: "Bring the image again with `alcove image fetch`, or build it with `cargo xtask image`.".into(),
    }
}

/// Bytes of the files that a manifest names.
pub fn bytes(manifest: &ImageManifest) -> u64 {
    manifest.files.iter().fold(0, |sum, file| sum.saturating_add(file.bytes))
}

/// Reads a manifest, which may come from anywhere: its version and the names of its files end up in paths, so they are
/// held against what those may be. `place` is what errors call it.
///
/// # Errors
/// `ImageInvalid` when it is not a manifest, `TooNew` when a newer version wrote it.
pub fn read_manifest(text: &[u8], place: &Path) -> Result<ImageManifest> {
    let damaged = |why: String| invalid(format!("{} is not the manifest of a guest image: {why}", place.display()));
    let value: serde_json::Value = serde_json::from_slice(text).map_err(|e| damaged(e.to_string()))?;
    match value.get("schema").and_then(serde_json::Value::as_u64) {
        Some(found) if found > u64::from(MANIFEST_SCHEMA) => {
            return Err(MachineError::TooNew { path: place.into(), found, known: MANIFEST_SCHEMA });
        }
        Some(_) => {}
        None => return Err(damaged("it has no schema number".into())),
    }
    let manifest: ImageManifest = serde_json::from_value(value).map_err(|e| damaged(e.to_string()))?;
    if !is_version(&manifest.version) {
        return Err(damaged("it has no usable version".into()));
    }
    if manifest.files.len() > MOST_FILES {
        return Err(damaged(format!("it names more than {MOST_FILES} files")));
    }
    for (nth, file) in manifest.files.iter().enumerate() {
        // The endings belong to what is being brought.
        let ours = file.name == MANIFEST || file.name.ends_with(".part") || file.name.ends_with(".tag");
        let plain = is_version(&file.name) && !ours;
        if !plain || manifest.files[..nth].iter().any(|f| f.name == file.name) {
            return Err(damaged(format!("it names a file {:?}", file.name)));
        }
        if file.sha256.len() != 64 || !file.sha256.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(damaged(format!("it has no SHA-256 of {}", file.name)));
        }
    }
    match FILES.iter().find(|name| !manifest.files.iter().any(|f| f.name == **name)) {
        Some(name) => Err(damaged(format!("it lacks {name}"))),
        None => Ok(manifest),
    }
}

/// Refuses an image for another processor.
///
/// # Errors
/// `ImageInvalid`, with which one it is for.
pub fn for_this_computer(manifest: &ImageManifest) -> Result<()> {
    if manifest.architecture == std::env::consts::ARCH {
        return Ok(());
    }
    Err(MachineError::ImageInvalid {
        message: format!(
            "the guest image {} is for {}, this computer is {}",
            manifest.version,
            manifest.architecture,
            std::env::consts::ARCH
        ),
        hint: "Get the image for this computer's processor.".into(),
    })
}

impl Images {
    /// Finds images in the data folder, in `ALCOVE_IMAGES`, and in further folders: each may hold images by version, or
    /// be one itself.
    pub fn find(layout: &Layout, extra: &[PathBuf]) -> Self {
        let mut folders = vec![layout.home().images()];
        folders.extend(std::env::var_os("ALCOVE_IMAGES").filter(|v| !v.is_empty()).map(PathBuf::from));
        folders.extend_from_slice(extra);
        Self::find_in(&folders)
    }

    /// Finds images in these folders.
    pub fn find_in(folders: &[PathBuf]) -> Self {
        let mut images = Self::default();
        for folder in folders {
            if folder.join(MANIFEST).exists() {
                images.add(folder.clone());
                continue;
            }
            let Ok(entries) = fs::read_dir(folder) else { continue };
            for entry in entries.flatten() {
                // A name with a dot in front is an installation that was interrupted.
                let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
                if !hidden && entry.path().join(MANIFEST).exists() {
                    images.add(entry.path());
                }
            }
        }
        images.found.sort_by(|a, b| b.manifest.created.cmp(&a.manifest.created));
        images
    }

    fn add(&mut self, folder: PathBuf) {
        match Image::open(&folder) {
            Ok(image) if self.found.iter().any(|i| i.version() == image.version()) => {}
            Ok(image) => self.found.push(image),
            Err(e) => self.damaged.push((folder, e.to_string())),
        }
    }

    /// The newest.
    pub fn newest(&self) -> Option<&Image> {
        self.found.first()
    }

    /// The image of this version; `ImageInvalid` when there is none or only a damaged one.
    pub fn version(&self, version: &str) -> Result<&Image> {
        if let Some(image) = self.found.iter().find(|i| i.version() == version) {
            return Ok(image);
        }
        let why = self.damaged.iter().find(|(folder, _)| folder.ends_with(version)).map(|(_, why)| why.as_str());
        Err(invalid(match why {
            Some(why) => why.to_owned(),
            None => format!("the guest image {version} is not on this computer"),
        }))
    }
}

/// Puts an image whose every byte was checked already into the data folder under its version: `staged` is a folder
/// inside [`crate::Home::images`]. An image of that version that is there is replaced; one that a machine runs from
/// stays readable to it.
///
/// # Errors
/// When the folder does not hold what its manifest names, or can't be moved.
pub fn publish(layout: &Layout, staged: &Path) -> Result<Image> {
    let images = layout.home().images();
    let image = Image::open(staged)?;
    for file in image.manifest.files.iter().map(|f| f.name.as_str()).chain([MANIFEST]) {
        files::sync_file(&staged.join(file))?;
    }
    files::sync_file(staged)?;
    let target = images.join(image.version());
    if target.exists() {
        set_aside(&images, &target)?;
    }
    fs::rename(staged, &target).map_err(|e| MachineError::io("can't make", &target, e))?;
    files::sync_parent(&target)?;
    Image::open(target)
}

/// Deletes an image's folder: at once out of sight, then for good. What a killed deletion leaves has a dot in front of
/// its name and is swept up by [`sweep`].
///
/// # Errors
/// When it can't be moved or deleted.
pub fn delete(images: &Path, folder: &Path) -> Result<()> {
    set_aside(images, folder)?;
    files::sync_parent(folder)
}

fn set_aside(images: &Path, folder: &Path) -> Result<()> {
    let aside = tempfile::Builder::new()
        .prefix(ASIDE)
        .tempdir_in(images)
        .map_err(|e| MachineError::io("can't write in", images, e))?;
    fs::rename(folder, aside.path().join("image")).map_err(|e| MachineError::io("can't replace", folder, e))?;
    // The folder's end deletes what is in it.
    aside.close().map_err(|e| MachineError::io("can't delete", folder, e))
}

/// Deletes what earlier deletions could not finish.
pub fn sweep(images: &Path) {
    for entry in fs::read_dir(images).into_iter().flatten().flatten() {
        if entry.file_name().as_encoded_bytes().starts_with(ASIDE.as_bytes()) {
            // It is tried again the next time.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
