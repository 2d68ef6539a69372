//! Keeps the caches from growing without bound.

use std::{
    env, fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use anyhow::Result;

use crate::{product, steps::Steps};

/// How large cargo's folder may get, in bytes, before what it keeps to compile our own crates faster is thrown away: that
/// grows with every change, and is the quickest to make again.
const CARGO: u64 = 16 << 30;
/// Images and interfaces that nobody has asked for this long go.
const UNUSED: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// Makes room in the user's cache folder. What is in use stays.
pub(crate) fn tidy(steps: &Steps) -> Result<()> {
    let cache = product::cache()?;
    let machines = machines();
    for results in ["images", "ui"] {
        clear_unused(&cache.join(results), SystemTime::now(), &machines);
    }
    // A folder that the person chose is the person's.
    let cargo = cache.join("cargo");
    if product::target()? == cargo && size(&cargo) > CARGO {
        steps.say(&format!("{} has grown beyond {} GB: making room", cargo.display(), CARGO >> 30));
        for profile in ["debug", "release"] {
            let _ = fs::remove_dir_all(cargo.join(profile).join("incremental"));
        }
    }
    Ok(())
}

/// Says that a cached result is used.
pub(crate) fn touch(folder: &Path) {
    let _ = fs::File::open(folder).and_then(|file| file.set_modified(SystemTime::now()));
}

/// The descriptions of this person's machines: an image that one of them names is in use.
fn machines() -> String {
    let data = match (env::var_os("ALCOVE_HOME"), env::var_os("XDG_DATA_HOME"), env::var_os("HOME")) {
        (Some(home), ..) => PathBuf::from(home).join("data"),
        (_, Some(data), _) => PathBuf::from(data).join("alcove"),
        (.., Some(home)) => PathBuf::from(home).join(".local/share/alcove"),
        _ => return String::new(),
    };
    entries(&data.join("machines"))
        .filter_map(|machine| fs::read_to_string(machine.join("machine.json")).ok())
        .collect()
}

fn clear_unused(results: &Path, now: SystemTime, machines: &str) {
    for folder in entries(results) {
        if folder.file_name().is_some_and(|name| machines.contains(&*name.to_string_lossy())) {
            continue;
        }
        let used = folder.metadata().and_then(|metadata| metadata.modified());
        if used.is_ok_and(|used| now.duration_since(used).is_ok_and(|ago| ago > UNUSED)) {
            let _ = fs::remove_dir_all(folder);
        }
    }
}

/// The bytes of all files in a folder.
fn size(folder: &Path) -> u64 {
    entries(folder)
        .filter_map(|path| {
            let metadata = fs::symlink_metadata(&path).ok()?;
            Some(if metadata.is_dir() { size(&path) } else { metadata.len() })
        })
        .sum()
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_asked_for_in_a_long_time_goes() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["old", "new", "named"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let long_ago = SystemTime::now() - UNUSED - Duration::from_secs(1);
        for name in ["old", "named"] {
            fs::File::open(folder.path().join(name)).unwrap().set_modified(long_ago).unwrap();
        }
        clear_unused(folder.path(), SystemTime::now(), r#"{"image":"named"}"#);
        assert!(!folder.path().join("old").exists() && folder.path().join("new").exists());
        assert!(folder.path().join("named").exists(), "a machine's image has gone");

        fs::File::open(folder.path().join("new")).unwrap().set_modified(long_ago).unwrap();
        touch(&folder.path().join("new"));
        clear_unused(folder.path(), SystemTime::now(), "");
        assert!(folder.path().join("new").exists(), "what was used has gone");
    }

    #[test]
    fn a_folder_is_as_large_as_all_its_files() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("a/b")).unwrap();
        fs::write(folder.path().join("a/one"), [0; 10]).unwrap();
        fs::write(folder.path().join("a/b/two"), [0; 7]).unwrap();
        assert_eq!(size(folder.path()), 17);
        assert_eq!(size(&folder.path().join("missing")), 0);
    }
}
