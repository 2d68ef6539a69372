//! Kernel modules, in an order that was worked out when the image was built.

use std::{fs::File, io, path::Path};

use rustix::{io::Errno, system::finit_module};

use crate::failure::{self, Context, Failure};

const FOLDER: &str = "/lib/modules";

/// Loads the initrd's modules of one group.
pub(crate) fn load_group(group: &str) -> Result<(), Failure> {
    let list = std::fs::read_to_string(Path::new(FOLDER).join(group))
        .step("initrd", &format!("the list of kernel modules {group:?} can't be read"))?;
    for name in names(&list) {
        load(&Path::new(FOLDER).join(name)).step("initrd", &format!("the kernel module {name} can't be loaded"))?;
    }
    Ok(())
}

/// Loads the modules of a list of paths. One that can't be loaded is named, and the others are tried. Returns whether
/// all were loaded.
pub(crate) fn load_list(list: &Path) -> bool {
    let text = match std::fs::read_to_string(list) {
        Ok(text) => text,
        Err(error) => {
            failure::say(&format!("{} can't be read: {error}", list.display()));
            return false;
        }
    };
    let mut all = true;
    for name in names(&text) {
        if let Err(error) = load(Path::new(name)) {
            failure::say(&format!("the kernel module {name} can't be loaded: {error}"));
            all = false;
        }
    }
    all
}

fn names(list: &str) -> impl Iterator<Item = &str> {
    list.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

fn load(path: &Path) -> io::Result<()> {
    let file = File::open(path)?;
    match finit_module(&file, c"", 0) {
        // Loaded before, by a device that asked for it or by the other list.
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        // The hardware that the module is for is not there.
        Err(Errno::NODEV) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn lists_may_have_comments() {
        let list = "# for the root\nvirtio_blk.ko\n\n erofs.ko \n";
        assert_eq!(names(list).collect::<Vec<_>>(), ["virtio_blk.ko", "erofs.ko"]);
    }
}
