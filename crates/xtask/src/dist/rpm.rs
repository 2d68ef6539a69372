//! Writes an RPM package.

use std::path::Path;

use anyhow::Context;
use rpm::{BuildConfig, CompressionWithLevel, Dependency, FileOptions, PackageBuilder};

use super::{Release, contents::Files};

/// Libraries by their names, which are the same on every distribution, unlike the packages that hold them.
const LIBRARIES: [&str; 3] =
    ["libayatana-appindicator3.so.1()(64bit)", "libgtk-3.so.0()(64bit)", "libwebkit2gtk-4.1.so.0()(64bit)"];

/// `rpm` flushes after each file, at which xz forgets what came before: the programs share most of their code, and would
/// be packed each for itself. zstd remembers; at this level as far back as all of them are long.
const COMPRESSION: CompressionWithLevel = CompressionWithLevel::Zstd(22);

/// Writes the package.
pub(super) fn write(files: &Files, release: &Release, glibc: (u32, u32), path: &Path) -> anyhow::Result<()> {
    let time = u32::try_from(release.epoch).context("the time is too far away for an RPM package")?;
    let config = BuildConfig::default().compression(COMPRESSION).source_date(time);
    let mut builder =
        PackageBuilder::new("alcove", &release.version, "Apache-2.0", "x86_64", "Your own cloud on your own computer");
    builder
        .using_config(config)
        .release("1")
        // The computer that builds is nobody's business.
        .build_host("localhost")
        .description(
            "Alcove runs a personal cloud in a virtual machine on your computer. Quitting suspends it to disk, opening \
             resumes it. This package has the window, the command line and the supervisor that owns the machine.",
        )
        .requires(Dependency::any(format!("libc.so.6(GLIBC_{}.{})(64bit)", glibc.0, glibc.1)))
        .requires(Dependency::any("(qemu-system-x86-core or qemu-kvm-core or qemu-x86)"))
        .requires(Dependency::any("(qemu-img or qemu-tools)"))
        .requires(Dependency::rpmlib("RichDependencies", "4.12.0-1"))
        .recommends(Dependency::any("xdg-utils"));
    for library in LIBRARIES {
        builder.requires(Dependency::any(library));
    }
    // Folders that are ours alone go when the package goes.
    for folder in super::contents::folders(files).iter().filter(|folder| folder.contains("/alcove")) {
        builder.with_dir_entry(FileOptions::dir(folder.clone()).permissions(0o755))?;
    }
    for (name, entry) in files {
        let mode = u16::try_from(entry.mode).context("a file's mode is out of range")?;
        let mut options = FileOptions::new(name.clone()).permissions(mode);
        if name.starts_with("/usr/share/doc/") || name.starts_with("/usr/share/man/") {
            options = options.doc();
        } else if name.starts_with("/usr/share/licenses/") {
            options = options.license();
        }
        builder.with_file_contents(entry.read()?, options)?;
    }
    let package = builder.build().context("can't put the RPM package together")?;
    package.write_file(path).with_context(|| format!("can't write {}", path.display()))
}
