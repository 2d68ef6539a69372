//! Kernel modules: which go where, and in which order they are loaded.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use super::{
    base::Base,
    cache::{Cache, Key},
    tools::output,
};

/// Sections of the list whose modules the initrd carries.
pub(super) const INITRD_GROUPS: [&str; 3] = ["root", "data", "rest"];
/// The section whose modules are loaded in one go before Kubernetes starts.
pub(super) const KUBERNETES_GROUP: &str = "kubernetes";
const AVAILABLE: &str = "available";

/// The list in `modules.txt`.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    groups: BTreeMap<String, Vec<String>>,
}

impl Wanted {
    pub(super) fn parse(text: &str) -> Result<Self> {
        let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut group = None;
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                if !INITRD_GROUPS.contains(&name) && name != KUBERNETES_GROUP && name != AVAILABLE {
                    bail!("the list of kernel modules has an unknown section [{name}]");
                }
                group = Some(name.to_owned());
            } else {
                let group = group.clone().context("the list of kernel modules begins without a section")?;
                groups.entry(group).or_default().push(line.to_owned());
            }
        }
        Ok(Self { groups })
    }

    fn group(&self, name: &str) -> &[String] {
        self.groups.get(name).map_or(&[], Vec::as_slice)
    }
}

/// The modules of an image.
#[derive(Debug)]
pub(super) struct Modules {
    /// A folder that holds `usr/lib/modules/RELEASE` with the kept modules, unpacked, and depmod's tables.
    pub(super) tree: PathBuf,
    /// The kernel's release.
    pub(super) release: String,
    /// For each group, its modules in the order of loading, as paths under `RELEASE/`.
    pub(super) order: BTreeMap<String, Vec<String>>,
}

impl Modules {
    /// The folder of the modules on this machine.
    pub(super) fn folder(&self) -> PathBuf {
        self.tree.join("usr/lib/modules").join(&self.release)
    }
}

pub(super) fn prepare(cache: &Cache, base: &Base, wanted: &Wanted, release: &str) -> Result<Modules> {
    let key = Key::new("modules")
        .text(&base.key)
        .text(release)
        .text(&format!("{:?}", wanted.groups))
        .text(include_str!("modules.rs"))
        .finish();
    let tree = cache.stage("modules", &key, |work| {
        let from = base.tools.join("usr/lib/modules").join(release);
        let to = work.join("usr/lib/modules").join(release);
        std::os::unix::fs::symlink("usr/lib", work.join("lib"))?;
        copy_folder(&from, &to)?;
        output(base.program("usr/bin/kmod", "depmod").arg("-b").arg(work).arg(release))?;
        let depends = Depends::parse(&fs::read_to_string(to.join("modules.dep"))?);
        let kept = depends.closure(wanted)?;
        for path in depends.paths.keys() {
            if !kept.contains(path) {
                fs::remove_file(to.join(path))?;
            }
        }
        unpack(&to, &kept)?;
        output(base.program("usr/bin/kmod", "depmod").arg("-b").arg(work).arg(release))?;
        Ok(())
    })?;
    let tables = fs::read_to_string(tree.join("usr/lib/modules").join(release).join("modules.dep"))?;
    let depends = Depends::parse(&tables);
    let mut order = BTreeMap::new();
    for group in INITRD_GROUPS.into_iter().chain([KUBERNETES_GROUP]) {
        order.insert(group.to_owned(), depends.in_order(wanted.group(group))?);
    }
    Ok(Modules { tree, release: release.to_owned(), order })
}

/// What depmod found out.
#[derive(Debug)]
struct Depends {
    /// Each module's path with the paths that it depends on, all of them.
    paths: BTreeMap<String, Vec<String>>,
    names: BTreeMap<String, String>,
}

impl Depends {
    fn parse(table: &str) -> Self {
        let paths: BTreeMap<String, Vec<String>> = table
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(path, needs)| (path.to_owned(), needs.split_ascii_whitespace().map(str::to_owned).collect()))
            .collect();
        let names = paths.keys().map(|path| (name_of(path), path.clone())).collect();
        Self { paths, names }
    }

    fn find(&self, name: &str) -> Result<&String> {
        self.names.get(&name.replace('-', "_")).with_context(|| format!("the kernel has no module {name}"))
    }

    fn needs(&self, path: &str) -> &[String] {
        self.paths.get(path).map_or(&[], Vec::as_slice)
    }

    /// Every path that is wanted in any group, with what it needs.
    fn closure(&self, wanted: &Wanted) -> Result<BTreeSet<String>> {
        let mut kept = BTreeSet::new();
        for entry in wanted.groups.values().flatten() {
            let found: Vec<&String> = if entry.ends_with('/') {
                self.paths.keys().filter(|path| path.starts_with(entry.as_str())).collect()
            } else {
                vec![self.find(entry)?]
            };
            for path in found {
                kept.extend(self.needs(path).iter().cloned());
                kept.insert(path.clone());
            }
        }
        Ok(kept)
    }

    /// These modules and what they need, each after what it needs.
    fn in_order(&self, names: &[String]) -> Result<Vec<String>> {
        let mut order: Vec<String> = Vec::new();
        for name in names {
            self.place(self.find(name)?, &mut order);
        }
        Ok(order)
    }

    fn place(&self, path: &str, order: &mut Vec<String>) {
        if order.iter().any(|placed| placed == path) {
            return;
        }
        for need in self.needs(path) {
            self.place(need, order);
        }
        order.push(path.to_owned());
    }
}

/// `kernel/fs/btrfs/btrfs.ko.xz` is called `btrfs`.
fn name_of(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split(".ko").next().unwrap_or(file).replace('-', "_")
}

/// Unpacks the modules: the image's file system packs everything anew, and the initrd must not lose time on it.
fn unpack(folder: &Path, kept: &BTreeSet<String>) -> Result<()> {
    for (end, program) in [(".xz", "xz"), (".zst", "zstd"), (".gz", "gzip")] {
        let packed: Vec<&String> = kept.iter().filter(|path| path.ends_with(end)).collect();
        if packed.is_empty() {
            continue;
        }
        let mut command = Command::new(program);
        command.current_dir(folder).args(["-d", "-q"]);
        if program == "zstd" {
            command.arg("--rm");
        }
        output(command.args(packed)).context("kernel modules can't be unpacked")?;
    }
    Ok(())
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy_folder(&entry.path(), &to.join(entry.file_name()))?;
        } else if kind.is_file() {
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "kernel/lib/crc.ko.xz:\nkernel/lib/xor-x.ko.xz: kernel/lib/crc.ko.xz\n\
        kernel/fs/btrfs/btrfs.ko.xz: kernel/lib/crc.ko.xz kernel/lib/xor-x.ko.xz\n\
        kernel/net/a/one.ko.xz:\nkernel/net/a/two.ko.xz: kernel/net/a/one.ko.xz\nkernel/sound/no.ko.xz:\n";

    #[test]
    fn modules_come_after_what_they_need() {
        let depends = Depends::parse(TABLE);
        let order = depends.in_order(&["btrfs".into(), "xor_x".into()]).unwrap();
        assert_eq!(order, ["kernel/lib/crc.ko.xz", "kernel/lib/xor-x.ko.xz", "kernel/fs/btrfs/btrfs.ko.xz"]);
        assert!(depends.in_order(&["zfs".into()]).is_err());
    }

    #[test]
    fn what_is_kept_is_what_is_wanted_and_needed() {
        let wanted = Wanted::parse("# c\n[data]\nbtrfs\n[available]\nkernel/net/a/\n").unwrap();
        let kept = Depends::parse(TABLE).closure(&wanted).unwrap();
        assert_eq!(kept.len(), 5);
        assert!(!kept.contains("kernel/sound/no.ko.xz"));
    }

    #[test]
    fn a_list_that_makes_no_sense_is_refused() {
        assert!(Wanted::parse("btrfs\n").is_err());
        assert!(Wanted::parse("[later]\nbtrfs\n").is_err());
    }

    #[test]
    fn names_are_taken_from_paths() {
        assert_eq!(name_of("kernel/drivers/char/hw_random/virtio-rng.ko.xz"), "virtio_rng");
        assert_eq!(name_of("a.ko"), "a");
    }
}
