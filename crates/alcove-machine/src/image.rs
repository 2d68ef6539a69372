//! Guest images on the host: finding, checking, installing.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use alcove_types::image::{ImageManifest, MANIFEST_SCHEMA};

use crate::{Layout, MachineError, Result, files};

/// The files that an image must have, beside its manifest.
pub const FILES: [&str; 3] = ["vmlinuz", "initrd", "root.erofs"];
const MANIFEST: &str = "manifest.json";

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
        let manifest: ImageManifest = match files::read_versioned(&path, MANIFEST_SCHEMA) {
            Ok(Some(manifest)) => manifest,
            Ok(None) => return Err(invalid(format!("there is no guest image in {}", folder.display()))),
            Err(MachineError::FileCorrupt { reason, .. }) => {
                return Err(invalid(format!(
                    "the manifest of the guest image in {} is damaged: {reason}",
                    folder.display()
                )));
            }
            Err(other) => return Err(other),
        };
        let image = Self { manifest, folder };
        if !is_version(&image.manifest.version) {
            return Err(invalid(format!("the guest image in {} has no usable version", image.folder.display())));
        }
        for name in FILES {
            if !image.manifest.files.iter().any(|f| f.name == name) {
                return Err(invalid(format!("the guest image {} lacks {name}", image.manifest.version)));
            }
        }
        Ok(image)
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

    /// SHA-256 of the kernel, as the manifest has it.
    pub fn kernel_sha256(&self) -> &str {
        self.manifest.files.iter().find(|f| f.name == "vmlinuz").map_or("", |f| &f.sha256)
    }

    /// Checks that the files are what the manifest says.
    pub fn verify(&self, check: Check) -> Result<()> {
        if self.manifest.architecture != std::env::consts::ARCH {
            return Err(MachineError::ImageInvalid {
                message: format!(
                    "the guest image {} is for {}, this computer is {}",
                    self.manifest.version,
                    self.manifest.architecture,
                    std::env::consts::ARCH
                ),
                hint: "Get the image for this computer's processor.".into(),
            });
        }
        for file in &self.manifest.files {
            if !is_version(&file.name) {
                return Err(invalid(format!("the guest image {} names a file {:?}", self.manifest.version, file.name)));
            }
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
        hint: "Build the image again with `cargo xtask image`, or install it again from its file.".into(),
    }
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

/// Installs an image from a folder or a `.tar` file into the data folder, after checking every byte. `progress` is told
/// bytes done and bytes in all.
pub fn install(layout: &Layout, from: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<Image> {
    let images = layout.home().images();
    fs::create_dir_all(&images).map_err(|e| MachineError::io("can't make", &images, e))?;
    let staging = tempfile::Builder::new()
        .prefix(".install-")
        .tempdir_in(&images)
        .map_err(|e| MachineError::io("can't write in", &images, e))?;
    let is_folder = fs::metadata(from).map_err(|e| MachineError::io("can't read", from, e))?.is_dir();
    if is_folder {
        copy_folder(from, staging.path(), progress)?;
    } else {
        unpack(from, staging.path(), progress)?;
    }
    let image = Image::read(staging.path().to_path_buf())?;
    image.verify(Check::Full)?;
    for file in image.manifest.files.iter().map(|f| f.name.as_str()).chain([MANIFEST]) {
        files::sync_file(&staging.path().join(file))?;
    }
    let target = images.join(image.version());
    if target.exists() {
        if let Ok(there) = Image::open(&target)
            && there.verify(Check::Full).is_ok()
        {
            return Ok(there);
        }
        let old = tempfile::Builder::new()
            .prefix(".replaced-")
            .tempdir_in(&images)
            .map_err(|e| MachineError::io("can't write in", &images, e))?;
        fs::rename(&target, old.path().join("image")).map_err(|e| MachineError::io("can't replace", &target, e))?;
    }
    let staged = staging.keep();
    fs::rename(&staged, &target).map_err(|e| {
        let _ = fs::remove_dir_all(&staged);
        MachineError::io("can't make", &target, e)
    })?;
    files::sync_parent(&target)?;
    Image::open(target)
}

fn copy_folder(from: &Path, to: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<()> {
    let image = Image::open(from)?;
    let total = image.manifest.files.iter().map(|f| f.bytes).sum();
    let mut done = 0;
    for name in image.manifest.files.iter().map(|f| f.name.as_str()).chain([MANIFEST]) {
        let target = to.join(name);
        done += fs::copy(from.join(name), &target).map_err(|e| MachineError::io("can't write", &target, e))?;
        progress(done.min(total), total);
    }
    Ok(())
}

/// Unpacks the files of an image from a tar file. The tar is not trusted: only plain files with plain names are taken,
/// from the top or from one folder.
fn unpack(from: &Path, to: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<()> {
    let bad = |why: String| invalid(format!("{} is not a guest image: {why}", from.display()));
    let file = File::open(from).map_err(|e| MachineError::io("can't read", from, e))?;
    let total = file.metadata().map(|m| m.len()).unwrap_or(0);
    let mut archive = tar::Archive::new(io::BufReader::with_capacity(1 << 20, file));
    let mut done = 0;
    for entry in archive.entries().map_err(|e| bad(e.to_string()))? {
        let mut entry = entry.map_err(|e| bad(e.to_string()))?;
        if entry.header().entry_type() != tar::EntryType::Regular {
            continue;
        }
        let name = entry.path().ok().and_then(|p| p.file_name().map(|n| n.to_string_lossy().into_owned()));
        let Some(name) = name.filter(|n| is_version(n)) else {
            return Err(bad("it holds a file with an unusual name".into()));
        };
        let target = to.join(&name);
        let mut out = File::create_new(&target).map_err(|e| MachineError::io("can't write", &target, e))?;
        done += io::copy(&mut entry, &mut out).map_err(|e| match e.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                MachineError::DiskFull { path: target.clone() }
            }
            _ => bad(e.to_string()),
        })?;
        progress(done.min(total), total);
    }
    Ok(())
}
