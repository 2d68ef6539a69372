//! The initrd: one program and a few modules, as an uncompressed cpio archive. It is small, and unpacking costs an
//! emulated machine more than reading.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::Path,
};

use anyhow::{Context, Result};

use super::modules::{INITRD_GROUPS, Modules};

pub(super) fn write(path: &Path, init: &Path, modules: &Modules) -> Result<()> {
    let mut archive = Cpio::new(BufWriter::new(File::create(path)?));
    for folder in ["dev", "lib", "lib/modules", "proc", "run", "sys", "sysroot"] {
        archive.folder(folder)?;
    }
    // The kernel opens it before anything is mounted.
    archive.device("dev/console", 5, 1)?;
    archive.file("init", 0o755, &fs::read(init).context("alcove-init can't be read")?)?;
    let mut written = std::collections::BTreeSet::new();
    for group in INITRD_GROUPS {
        let mut list = String::new();
        for path in modules.order.get(group).into_iter().flatten() {
            let name = path.rsplit('/').next().unwrap_or(path);
            list.push_str(name);
            list.push('\n');
            if written.insert(name.to_owned()) {
                let module = fs::read(modules.folder().join(path)).with_context(|| format!("{path} can't be read"))?;
                archive.file(&format!("lib/modules/{name}"), 0o644, &module)?;
            }
        }
        archive.file(&format!("lib/modules/{group}"), 0o644, list.as_bytes())?;
    }
    archive.finish()?;
    Ok(())
}

/// An archive in the format "newc" of the kernel's `Documentation/driver-api/early-userspace`.
struct Cpio<W> {
    out: W,
    written: u64,
    inode: u32,
}

impl<W: Write> Cpio<W> {
    fn new(out: W) -> Self {
        Self { out, written: 0, inode: 0 }
    }

    fn folder(&mut self, name: &str) -> io::Result<()> {
        self.entry(name, 0o040_755, (0, 0), &[])
    }

    fn file(&mut self, name: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        self.entry(name, 0o100_000 | mode, (0, 0), content)
    }

    fn device(&mut self, name: &str, major: u32, minor: u32) -> io::Result<()> {
        self.entry(name, 0o020_600, (major, minor), &[])
    }

    fn entry(&mut self, name: &str, mode: u32, device: (u32, u32), content: &[u8]) -> io::Result<()> {
        self.inode += 1;
        let length = u32::try_from(content.len()).map_err(io::Error::other)?;
        let name_length = u32::try_from(name.len() + 1).map_err(io::Error::other)?;
        let mut header = String::from("070701");
        // inode, mode, user, group, links, time, length, device of the file system, device, length of the name, check
        for field in [self.inode, mode, 0, 0, 1, 0, length, 0, 0, device.0, device.1, name_length, 0] {
            header.push_str(&format!("{field:08x}"));
        }
        self.put(header.as_bytes())?;
        self.put(name.as_bytes())?;
        self.put(&[0])?;
        self.align()?;
        self.put(content)?;
        self.align()
    }

    fn finish(mut self) -> io::Result<()> {
        self.inode = 0;
        self.entry("TRAILER!!!", 0, (0, 0), &[])?;
        self.out.flush()
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.written += bytes.len() as u64;
        self.out.write_all(bytes)
    }

    fn align(&mut self) -> io::Result<()> {
        let missing = (4 - self.written % 4) % 4;
        self.put(&[0; 3][..missing as usize])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpio_reads_what_is_written() {
        let mut bytes = Vec::new();
        let mut archive = Cpio::new(&mut bytes);
        archive.folder("lib").unwrap();
        archive.file("lib/one", 0o644, b"content").unwrap();
        archive.device("console", 5, 1).unwrap();
        archive.finish().unwrap();
        assert_eq!(bytes.len() % 4, 0);
        assert!(bytes.starts_with(b"07070100000001000041ed"));
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.contains("lib/one") && text.contains("content") && text.contains("TRAILER!!!"));
        // The header is 110 bytes; name and content each end on a multiple of four.
        assert_eq!(&bytes[116..122], b"070701");
    }
}
