//! Writes a Debian package: an `ar` archive of the format's version, the control files and the data.

use std::{fs::File, path::Path};

use anyhow::{Context, ensure};
use liblzma::write::XzEncoder;
use md5::{Digest, Md5};

use super::{
    Release,
    contents::{self, Files},
};

/// What the package needs, besides the C library. The window draws with the system's web view.
const DEPENDS: &str = "libayatana-appindicator3-1, libgtk-3-0 | libgtk-3-0t64, libwebkit2gtk-4.1-0 (>= 2.40), \
                       qemu-system-x86 (>= 1:8.2), qemu-utils (>= 1:8.2)";

/// Writes the package.
pub(super) fn write(files: &Files, release: &Release, glibc: (u32, u32), path: &Path) -> anyhow::Result<()> {
    let data = data(files, release.epoch)?;
    let control = control(files, release, glibc)?;
    let out = File::create(path).with_context(|| format!("can't write {}", path.display()))?;
    let mut archive = ar::Builder::new(out);
    for (name, bytes) in [("debian-binary", b"2.0\n".as_slice()), ("control.tar.xz", &control), ("data.tar.xz", &data)]
    {
        let mut header = ar::Header::new(name.as_bytes().to_vec(), bytes.len() as u64);
        header.set_mode(0o100_644);
        header.set_mtime(release.epoch);
        archive.append(&header, bytes).with_context(|| format!("can't write {}", path.display()))?;
    }
    Ok(())
}

/// The `control` file.
pub(super) fn control_text(files: &Files, release: &Release, glibc: (u32, u32)) -> anyhow::Result<String> {
    let mut bytes = 0;
    for entry in files.values() {
        bytes += entry.read()?.len() as u64;
    }
    Ok(format!(
        "Package: alcove\n\
         Version: {version}-1\n\
         Architecture: amd64\n\
         Maintainer: The Alcove authors <alcove@localhost>\n\
         Installed-Size: {kibibytes}\n\
         Depends: libc6 (>= {major}.{minor}), {DEPENDS}\n\
         Recommends: xdg-utils\n\
         Section: admin\n\
         Priority: optional\n\
         Description: your own cloud on your own computer\n \
         Alcove runs a personal cloud in a virtual machine on your computer. Quitting\n \
         suspends it to disk, opening resumes it. This package has the window, the\n \
         command line and the supervisor that owns the machine.\n",
        version = release.version,
        kibibytes = bytes.div_ceil(1024),
        major = glibc.0,
        minor = glibc.1,
    ))
}

fn control(files: &Files, release: &Release, glibc: (u32, u32)) -> anyhow::Result<Vec<u8>> {
    let mut sums = String::new();
    for (path, entry) in files {
        let sum = hex::encode(Md5::digest(entry.read()?));
        sums.push_str(&format!("{sum}  {}\n", path.trim_start_matches('/')));
    }
    let mut tar = Tar::new(release.epoch);
    tar.file("control", control_text(files, release, glibc)?.as_bytes(), 0o644)?;
    tar.file("md5sums", sums.as_bytes(), 0o644)?;
    tar.file("postrm", include_bytes!("../../../../installers/linux/postrm"), 0o755)?;
    tar.finish()
}

fn data(files: &Files, epoch: u64) -> anyhow::Result<Vec<u8>> {
    let mut tar = Tar::new(epoch);
    for folder in contents::folders(files) {
        tar.folder(&folder)?;
    }
    for (path, entry) in files {
        tar.file(path.trim_start_matches('/'), &entry.read()?, entry.mode)?;
    }
    tar.finish()
}

/// A compressed archive in which everything belongs to root and has the same time.
struct Tar {
    builder: tar::Builder<XzEncoder<Vec<u8>>>,
    epoch: u64,
}

impl Tar {
    fn new(epoch: u64) -> Self {
        let mut builder = tar::Builder::new(XzEncoder::new(Vec::new(), 9));
        builder.mode(tar::HeaderMode::Deterministic);
        Self { builder, epoch }
    }

    fn header(&self, kind: tar::EntryType, size: u64, mode: u32) -> anyhow::Result<tar::Header> {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_mode(mode);
        header.set_mtime(self.epoch);
        header.set_uid(0);
        header.set_gid(0);
        header.set_username("root")?;
        header.set_groupname("root")?;
        Ok(header)
    }

    fn folder(&mut self, path: &str) -> anyhow::Result<()> {
        let header = self.header(tar::EntryType::Directory, 0, 0o755)?;
        self.append(header, &format!("./{}/", path.trim_matches('/')), &[])
    }

    fn file(&mut self, path: &str, bytes: &[u8], mode: u32) -> anyhow::Result<()> {
        let header = self.header(tar::EntryType::Regular, bytes.len() as u64, mode)?;
        self.append(header, &format!("./{path}"), bytes)
    }

    /// Writes an entry under its name as given: packages have names with `./` in front, which tar's own functions drop.
    fn append(&mut self, mut header: tar::Header, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let field = &mut header.as_old_mut().name;
        ensure!(name.len() < field.len(), "{name} is too long for a package");
        field[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        Ok(self.builder.append(&header, bytes)?)
    }

    fn finish(self) -> anyhow::Result<Vec<u8>> {
        Ok(self.builder.into_inner()?.finish()?)
    }
}
