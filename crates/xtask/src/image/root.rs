//! Putting the root together, as a tar: what is kept of Debian's tree, and over it what is ours.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{BufWriter, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use alcove_types::image::ImageKubernetes;
use anyhow::{Context, Result};
use tar::{Archive, Builder, EntryType, Header};

use super::{
    base::Base, binaries::Binaries, containers::Containers, kubernetes::Kubernetes, modules::KUBERNETES_GROUP,
    modules::Modules, recipe::Recipe,
};

/// Everything that a root is made of.
pub(super) struct Parts<'a> {
    pub(super) base: &'a Base,
    pub(super) recipe: &'a Recipe,
    pub(super) modules: &'a Modules,
    pub(super) binaries: &'a Binaries,
    pub(super) kubernetes: &'a Kubernetes,
    pub(super) containers: &'a Containers,
    pub(super) version: &'a str,
}

/// Folders on which something is mounted, with their modes.
const PLACES: &[(&str, u32)] = &[
    ("data", 0o700),
    ("dev", 0o755),
    ("etc/rancher", 0o755),
    ("home", 0o755),
    ("mnt", 0o755),
    ("opt", 0o755),
    ("proc", 0o555),
    ("root", 0o700),
    ("run", 0o755),
    ("srv", 0o755),
    ("sys", 0o555),
    ("tmp", 0o1777),
    ("var", 0o755),
];

/// What is laid over Debian's tree.
enum Item {
    Folder(u32),
    Link(String),
    File(PathBuf, u32),
    Text(Vec<u8>, u32),
}

/// Sorted by path, so that a folder stands before what is in it and the same parts give the same tar.
#[derive(Default)]
struct Overlay(BTreeMap<String, Item>);

impl Overlay {
    fn put(&mut self, path: &str, item: Item) {
        let mut parent = path;
        while let Some((folder, _)) = parent.rsplit_once('/') {
            self.0.entry(folder.to_owned()).or_insert(Item::Folder(0o755));
            parent = folder;
        }
        self.0.insert(path.to_owned(), item);
    }

    fn program(&mut self, path: &str, file: PathBuf) {
        self.put(path, Item::File(file, 0o755));
    }

    /// Everything under a folder of this machine. Files that can be run stay so; all belong to root.
    fn folder(&mut self, path: &str, from: &Path) -> Result<()> {
        for entry in fs::read_dir(from).with_context(|| format!("{} can't be read", from.display()))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = if path.is_empty() { name } else { format!("{path}/{name}") };
            let kind = entry.file_type()?;
            if kind.is_symlink() {
                self.put(&path, Item::Link(fs::read_link(entry.path())?.to_string_lossy().into_owned()));
            } else if kind.is_dir() {
                self.put(&path, Item::Folder(0o755));
                self.folder(&path, &entry.path())?;
            } else {
                let runs = entry.metadata()?.permissions().mode() & 0o100 != 0;
                self.put(&path, Item::File(entry.path(), if runs { 0o755 } else { 0o644 }));
            }
        }
        Ok(())
    }
}

pub(super) fn write(out: &Path, parts: &Parts<'_>) -> Result<()> {
    let overlay = overlay(parts)?;
    let mut builder = Builder::new(BufWriter::new(File::create(out)?));
    let kept = debian(&mut builder, parts, &overlay)?;
    for (path, item) in &overlay.0 {
        append(&mut builder, path, item, &kept).with_context(|| format!("{path} can't be added"))?;
    }
    builder.into_inner()?.flush()?;
    Ok(())
}

fn overlay(parts: &Parts<'_>) -> Result<Overlay> {
    let mut overlay = Overlay::default();
    for (path, mode) in PLACES {
        overlay.put(path, Item::Folder(*mode));
    }
    overlay.folder("", &parts.recipe.overlay)?;

    let modules = format!("usr/lib/modules/{}", parts.modules.release);
    overlay.folder(&modules, &parts.modules.folder())?;
    let list: String = parts
        .modules
        .order
        .get(KUBERNETES_GROUP)
        .into_iter()
        .flatten()
        .map(|path| format!("/{modules}/{path}\n"))
        .collect();
    overlay.put("usr/lib/alcove/modules-kubernetes", Item::Text(list.into_bytes(), 0o644));

    overlay.program("usr/lib/alcove/alcove-init", parts.binaries.init.clone());
    overlay.program("usr/lib/alcove/alcove-guest", parts.binaries.guest.clone());
    if parts.recipe.platform.is_dir() {
        overlay.folder("usr/lib/alcove/platform", &parts.recipe.platform)?;
    }
    let about = serde_json::json!({
        "version": parts.version,
        "kubernetes": ImageKubernetes {
            distribution: parts.kubernetes.distribution.to_owned(),
            version: parts.kubernetes.version.clone(),
        },
        "containers": parts.containers.references,
    });
    overlay.put("usr/lib/alcove/image.json", Item::Text(serde_json::to_vec_pretty(&about)?, 0o644));
    // For those who want to know which packages a running guest holds, and for scanners.
    let status = fs::read(parts.base.tools.join("var/lib/dpkg/status"))?;
    overlay.put("usr/share/alcove/dpkg-status", Item::Text(status, 0o644));

    if let Some(folder) = &parts.kubernetes.folder {
        overlay.program("usr/bin/k3s", folder.join("k3s"));
        for applet in ["kubectl", "ctr"] {
            overlay.put(&format!("usr/bin/{applet}"), Item::Link("k3s".into()));
        }
        if parts.kubernetes.distribution == "modules" {
            for name in ["containerd", "containerd-shim-runc-v2", "ctr"] {
                overlay.program(&format!("usr/lib/k3s/bin/{name}"), folder.join(name));
            }
            overlay.put("usr/bin/ctr", Item::Link("../lib/k3s/bin/ctr".into()));
            overlay.folder("usr/lib/k3s/cni", &folder.join("cni"))?;
        }
    }
    for archive in &parts.containers.archives {
        let name = archive.file_name().unwrap_or_default().to_string_lossy();
        overlay.put(&format!("usr/lib/alcove/images/{name}"), Item::File(archive.clone(), 0o644));
    }
    for folder in &parts.containers.folders {
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        overlay.folder(&format!("usr/lib/alcove/oci/{name}"), folder)?;
    }
    Ok(overlay)
}

/// Copies what is kept of Debian's tree. Returns the folders that are there now.
fn debian(builder: &mut Builder<impl Write>, parts: &Parts<'_>, overlay: &Overlay) -> Result<BTreeSet<String>> {
    let mut folders = BTreeSet::new();
    let mut archive = Archive::new(File::open(&parts.base.tar)?);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.to_string_lossy().trim_start_matches("./").trim_end_matches('/').to_owned();
        let kind = entry.header().entry_type();
        let device = matches!(kind, EntryType::Block | EntryType::Char | EntryType::Fifo);
        if path.is_empty() || path == "." || device || parts.recipe.prune.takes(&path) {
            continue;
        }
        let ours = overlay.0.get(&path);
        match (kind, ours) {
            (EntryType::Directory, None | Some(Item::Folder(_))) => {
                let mode = match ours {
                    Some(Item::Folder(mode)) if PLACES.iter().any(|(place, _)| *place == path) => *mode,
                    _ => entry.header().mode()? & 0o7777,
                };
                let mut header = header(EntryType::Directory, mode, 0);
                header.set_uid(entry.header().uid()?);
                header.set_gid(entry.header().gid()?);
                builder.append_data(&mut header, &path, std::io::empty())?;
                folders.insert(path);
            }
            (_, Some(_)) => {}
            (EntryType::Symlink | EntryType::Link, None) => {
                let target = entry.link_name()?.with_context(|| format!("{path} links to nothing"))?.into_owned();
                let target = target.to_string_lossy();
                if kind == EntryType::Link && parts.recipe.prune.takes(target.trim_start_matches("./")) {
                    anyhow::bail!("{path} is a hard link to {target}, which is left out");
                }
                let mut header = header(kind, 0o777, 0);
                let target = if kind == EntryType::Link { target.trim_start_matches("./") } else { &target };
                builder.append_link(&mut header, &path, target)?;
            }
            (_, None) => {
                let mut header = header(EntryType::Regular, entry.header().mode()? & 0o7777, entry.size());
                header.set_uid(entry.header().uid()?);
                header.set_gid(entry.header().gid()?);
                builder.append_data(&mut header, &path, &mut entry)?;
            }
        }
    }
    Ok(folders)
}

fn append(builder: &mut Builder<impl Write>, path: &str, item: &Item, there: &BTreeSet<String>) -> Result<()> {
    match item {
        Item::Folder(_) if there.contains(path) => {}
        Item::Folder(mode) => {
            builder.append_data(&mut header(EntryType::Directory, *mode, 0), path, std::io::empty())?;
        }
        Item::Link(target) => builder.append_link(&mut header(EntryType::Symlink, 0o777, 0), path, target)?,
        Item::File(from, mode) => {
            let file = File::open(from).with_context(|| format!("{} can't be read", from.display()))?;
            let size = file.metadata()?.len();
            builder.append_data(&mut header(EntryType::Regular, *mode, size), path, file)?;
        }
        Item::Text(text, mode) => {
            builder.append_data(&mut header(EntryType::Regular, *mode, text.len() as u64), path, text.as_slice())?;
        }
    }
    Ok(())
}

fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header
}
