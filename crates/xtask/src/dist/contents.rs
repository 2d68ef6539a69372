//! What lies where in the packages.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};
use flate2::{Compression, GzBuilder};
use sha2::{Digest, Sha256};

use super::{Release, binaries::Binaries, time};

/// The kinds of package, whose systems differ in a few paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Package {
    Deb,
    Rpm,
}

/// Where a file's bytes come from.
#[derive(Debug, Clone)]
pub(super) enum Source {
    Bytes(Vec<u8>),
    File(PathBuf),
}

/// A file of the package.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) source: Source,
    pub(super) mode: u32,
}

impl Entry {
    /// Its bytes.
    pub(super) fn read(&self) -> anyhow::Result<Vec<u8>> {
        match &self.source {
            Source::Bytes(bytes) => Ok(bytes.clone()),
            Source::File(path) => fs::read(path).with_context(|| format!("can't read {}", path.display())),
        }
    }
}

/// The files of a package by their absolute paths, in order.
pub(super) type Files = BTreeMap<String, Entry>;

/// All that goes into the packages.
#[derive(Debug)]
pub(super) struct Inputs<'a> {
    pub(super) root: &'a Path,
    pub(super) binaries: &'a Binaries,
    /// `man/*.1` and `completions/{alcove.bash,_alcove,alcove.fish}`.
    pub(super) documents: &'a Path,
    pub(super) image: Option<&'a Path>,
    pub(super) image_source: Option<(&'a str, &'a Path)>,
    pub(super) third_party: &'a str,
    pub(super) release: &'a Release,
}

/// Lays the files out for one kind of package.
pub(super) fn collect(inputs: &Inputs<'_>, package: Package) -> anyhow::Result<Files> {
    let mut files = Files::new();
    let mut put = |path: String, source: Source, mode: u32| {
        files.insert(path, Entry { source, mode });
    };

    let binaries = inputs.binaries;
    put("/usr/bin/alcove".into(), Source::File(binaries.alcove.clone()), 0o755);
    put("/usr/bin/alcove-desktop".into(), Source::File(binaries.desktop.clone()), 0o755);
    put("/usr/lib/alcove/alcoved".into(), Source::File(binaries.alcoved.clone()), 0o755);
    if let Some(kubectl) = &binaries.kubectl {
        put("/usr/lib/alcove/kubectl".into(), Source::File(kubectl.clone()), 0o755);
    }

    let linux = inputs.root.join("installers/linux");
    let desktop = linux.join("alcove-desktop.desktop");
    put("/usr/share/applications/alcove-desktop.desktop".into(), Source::File(desktop), 0o644);
    let metainfo = read_text(&linux.join("org.alcove.Desktop.metainfo.xml"))?
        .replace("@VERSION@", &inputs.release.version)
        .replace("@DATE@", &time(inputs.release.epoch)?.strftime("%Y-%m-%d").to_string());
    put("/usr/share/metainfo/org.alcove.Desktop.metainfo.xml".into(), Source::Bytes(metainfo.into()), 0o644);

    let icons = inputs.root.join("installers/icons");
    let hicolor = "/usr/share/icons/hicolor";
    for size in [16, 24, 32, 48, 64, 128, 256, 512] {
        let drawn = icons.join(format!("alcove-{size}.png"));
        put(format!("{hicolor}/{size}x{size}/apps/alcove.png"), Source::File(drawn), 0o644);
    }
    put(format!("{hicolor}/scalable/apps/alcove.svg"), Source::File(icons.join("alcove.svg")), 0o644);

    for page in listed(&inputs.documents.join("man"))? {
        let name = page.file_name().and_then(|n| n.to_str()).context("a manual page has no name")?.to_owned();
        let text = fs::read(&page).with_context(|| format!("can't read {}", page.display()))?;
        put(format!("/usr/share/man/man1/{name}.gz"), Source::Bytes(gzip(&text)?), 0o644);
    }
    let completions = inputs.documents.join("completions");
    let zsh = match package {
        Package::Deb => "/usr/share/zsh/vendor-completions/_alcove",
        Package::Rpm => "/usr/share/zsh/site-functions/_alcove",
    };
    for (name, path) in [
        ("alcove.bash", "/usr/share/bash-completion/completions/alcove"),
        ("_alcove", zsh),
        ("alcove.fish", "/usr/share/fish/vendor_completions.d/alcove.fish"),
    ] {
        put(path.into(), Source::File(completions.join(name)), 0o644);
    }

    let doc = "/usr/share/doc/alcove";
    put(format!("{doc}/copyright"), Source::File(linux.join("copyright")), 0o644);
    put(format!("{doc}/third-party.txt.gz"), Source::Bytes(gzip(inputs.third_party.as_bytes())?), 0o644);
    let licence = inputs.root.join("LICENSE");
    if package == Package::Rpm && licence.is_file() {
        put("/usr/share/licenses/alcove/LICENSE".into(), Source::File(licence), 0o644);
    }
    if package == Package::Deb {
        let version = &inputs.release.version;
        let news = format!(
            "alcove ({version}-1) stable; urgency=medium\n\n  * Version {version}.\n\n -- The Alcove authors <alcove@localhost>  {}\n",
            time(inputs.release.epoch)?.strftime("%a, %d %b %Y %H:%M:%S %z")
        );
        put(format!("{doc}/changelog.Debian.gz"), Source::Bytes(gzip(news.as_bytes())?), 0o644);
    }

    if let Some(folder) = inputs.image {
        for (name, path) in image(folder)? {
            let mode = if path.ends_with("kubectl") { 0o755 } else { 0o644 };
            put(name, Source::File(path), mode);
        }
    }
    if let Some((from, manifest)) = inputs.image_source {
        put("/usr/share/alcove/image-source.json".into(), Source::Bytes(image_source(from, manifest)?), 0o644);
    }
    Ok(files)
}

/// The folders that hold the files and that no other package makes for certain, parents first.
pub(super) fn folders(files: &Files) -> BTreeSet<String> {
    let mut folders = BTreeSet::new();
    for path in files.keys() {
        let mut rest = path.as_str();
        while let Some((parent, _)) = rest.rsplit_once('/').filter(|(parent, _)| !parent.is_empty()) {
            folders.insert(parent.to_owned());
            rest = parent;
        }
    }
    folders
}

/// An image's files by their places in the package; the manifest's list is what counts.
fn image(folder: &Path) -> anyhow::Result<Vec<(String, PathBuf)>> {
    let manifest = folder.join("manifest.json");
    let facts: serde_json::Value = serde_json::from_str(&read_text(&manifest)?)
        .with_context(|| format!("{} is not a manifest", manifest.display()))?;
    let version = facts["version"].as_str().context("the manifest has no version")?;
    ensure!(
        !version.is_empty() && version.bytes().all(|b| b.is_ascii_alphanumeric()),
        "{version:?} can't be an image's version"
    );
    let mut files = vec![manifest];
    for file in facts["files"].as_array().context("the manifest lists no files")? {
        let name = file["name"].as_str().context("a file of the manifest has no name")?;
        ensure!(!name.contains('/') && !name.starts_with('.'), "{name:?} can't be a file of an image");
        let path = folder.join(name);
        let bytes = fs::metadata(&path).with_context(|| format!("can't find {}", path.display()))?.len();
        ensure!(Some(bytes) == file["bytes"].as_u64(), "{} is not the size that the manifest says", path.display());
        files.push(path);
    }
    let place = format!("/usr/share/alcove/images/{version}");
    Ok(files
        .into_iter()
        .filter_map(|path| {
            let name = path.file_name()?.to_str()?.to_owned();
            Some((format!("{place}/{name}"), path))
        })
        .collect())
}

/// Where to bring the image from, with what it must turn out to be.
fn image_source(from: &str, manifest: &Path) -> anyhow::Result<Vec<u8>> {
    let text = read_text(manifest)?;
    let facts: serde_json::Value =
        serde_json::from_str(&text).with_context(|| format!("{} is not a manifest", manifest.display()))?;
    let mut bytes = serde_json::to_vec_pretty(&serde_json::json!({
        "schema": 1,
        "from": from,
        "manifest_sha256": hex::encode(Sha256::digest(text.as_bytes())),
        "manifest": facts,
    }))?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn read_text(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("can't read {}", path.display()))
}

fn listed(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("can't read {}", folder.display()))? {
        paths.push(entry?.path());
    }
    paths.sort();
    Ok(paths)
}

/// Compresses without a time or a name.
fn gzip(bytes: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut encoder = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}
