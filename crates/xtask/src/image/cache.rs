//! The cache: folders named by a hash of what they were made from.

use std::{
    env,
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

/// How many results of each stage are kept beside the newest.
const KEPT: usize = 2;

/// The folder of cached stages.
#[derive(Debug)]
pub(super) struct Cache {
    root: PathBuf,
}

impl Cache {
    /// The user's cache folder (`$XDG_CACHE_HOME/alcove`, or `~/.cache/alcove`).
    pub(super) fn open() -> Result<Self> {
        let base = match (env::var_os("XDG_CACHE_HOME"), env::var_os("HOME")) {
            (Some(xdg), _) if Path::new(&xdg).is_absolute() => PathBuf::from(xdg),
            (_, Some(home)) => PathBuf::from(home).join(".cache"),
            _ => anyhow::bail!("neither XDG_CACHE_HOME nor HOME is set: there is nowhere to keep what is built"),
        };
        Self::at(base.join("alcove"))
    }

    fn at(root: PathBuf) -> Result<Self> {
        fs::create_dir_all(&root).with_context(|| format!("{} can't be made", root.display()))?;
        Ok(Self { root })
    }

    /// A folder of the cache, which may not be there yet.
    pub(super) fn folder(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// The result of a stage: found under its key, or made by `make` in a fresh folder and kept only when it is whole.
    pub(super) fn stage(&self, stage: &str, key: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
        let parent = self.root.join(stage);
        let folder = parent.join(key);
        if folder.is_dir() {
            // So that what is used is not what is cleared away.
            crate::room::touch(&folder);
            return Ok(folder);
        }
        fs::create_dir_all(&parent)?;
        let work = tempfile::Builder::new().prefix(".making-").tempdir_in(&parent)?;
        make(work.path())?;
        publish(work, &folder)?;
        clear_old(&parent, &folder);
        Ok(folder)
    }

    /// Forgets a stage's result.
    pub(super) fn forget(&self, stage: &str, key: &str) -> Result<()> {
        match fs::remove_dir_all(self.root.join(stage).join(key)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }
}

/// Gives a finished folder its name. Another build may have been quicker: then its result, which is the same, stays.
pub(super) fn publish(work: TempDir, folder: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(work.path(), fs::Permissions::from_mode(0o755))?;
    let made = work.keep();
    if folder.is_dir() {
        // Whoever asks for a folder to be published has found the one there not to be usable.
        let aside = made.with_extension("old");
        fs::rename(folder, &aside)?;
        fs::rename(&made, folder)?;
        return Ok(fs::remove_dir_all(aside)?);
    }
    fs::rename(&made, folder).with_context(|| format!("{} can't be put in its place", folder.display()))
}

/// Keeps the newest results of a stage and removes the others.
fn clear_old(parent: &Path, newest: &Path) {
    let mut others: Vec<(SystemTime, PathBuf)> = fs::read_dir(parent)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.path() != newest && !entry.file_name().to_string_lossy().starts_with('.'))
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    others.sort();
    others.reverse();
    for (_, path) in others.into_iter().skip(KEPT) {
        let _ = fs::remove_dir_all(path);
    }
}

/// The hash of what something is made from.
pub(super) struct Key(Sha256);

impl Key {
    pub(super) fn new(what: &str) -> Self {
        Self(Sha256::new()).text(what)
    }

    /// Counts in a text.
    pub(super) fn text(mut self, text: &str) -> Self {
        self.bytes(text.as_bytes());
        self
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    /// Counts in a file, or every file of a folder, with their names and whether they can be run. What is not there
    /// counts as absent. Go builds nothing from its tests, so they don't count.
    pub(super) fn path(mut self, path: &Path) -> Result<Self> {
        self.add(path, OsStr::new("")).with_context(|| format!("{} can't be read", path.display()))?;
        Ok(self)
    }

    fn add(&mut self, path: &Path, name: &OsStr) -> io::Result<()> {
        use std::os::unix::{ffi::OsStrExt, fs::PermissionsExt};
        self.bytes(name.as_bytes());
        let metadata = match fs::symlink_metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.bytes(b"absent");
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        if metadata.is_symlink() {
            self.bytes(fs::read_link(path)?.as_os_str().as_bytes());
        } else if metadata.is_dir() {
            let mut entries = fs::read_dir(path)?.collect::<io::Result<Vec<_>>>()?;
            entries.sort_by_key(fs::DirEntry::file_name);
            for entry in entries {
                let name = entry.file_name();
                let apart = matches!(name.as_bytes(), b"node_modules" | b"target" | b".git");
                if !apart && !name.as_bytes().ends_with(b"_test.go") {
                    self.add(&entry.path(), &name)?;
                }
            }
        } else {
            self.bytes(&[u8::from(metadata.permissions().mode() & 0o111 != 0)]);
            let mut file = fs::File::open(path)?;
            let mut hash = Sha256::new();
            io::copy(&mut file, &mut hash)?;
            self.bytes(&hash.finalize());
        }
        Ok(())
    }

    /// Twelve hexadecimal digits.
    pub(super) fn finish(self) -> String {
        hex::encode(&self.0.finalize()[..6])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_follows_names_contents_and_modes() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let key = || Key::new("test").path(folder.path()).unwrap().finish();
        let mut seen = vec![key()];
        let file = folder.path().join("a");
        fs::write(&file, "1").unwrap();
        seen.push(key());
        fs::write(&file, "2").unwrap();
        seen.push(key());
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        seen.push(key());
        fs::rename(&file, folder.path().join("b")).unwrap();
        seen.push(key());
        std::os::unix::fs::symlink("b", folder.path().join("c")).unwrap();
        seen.push(key());
        let different: std::collections::BTreeSet<_> = seen.iter().collect();
        assert_eq!(different.len(), seen.len());
        let before = key();
        fs::write(folder.path().join("b_test.go"), "").unwrap();
        assert_eq!(key(), before);
        assert_eq!(key().len(), 12);
        assert!(Key::new("x").path(Path::new("/no/such/thing")).is_ok());
    }

    #[test]
    fn a_stage_is_made_once_and_only_whole() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path().join("alcove")).unwrap();
        let failed = cache.stage("base", "k", |work| {
            fs::write(work.join("half"), "")?;
            anyhow::bail!("broken")
        });
        assert!(failed.is_err());
        let made = cache.stage("base", "k", |work| Ok(fs::write(work.join("file"), "made")?)).unwrap();
        assert!(!made.join("half").exists());
        let found = cache.stage("base", "k", |_| anyhow::bail!("must not be made again")).unwrap();
        assert_eq!(fs::read_to_string(found.join("file")).unwrap(), "made");
        cache.forget("base", "k").unwrap();
        assert!(!made.exists());
    }

    #[test]
    fn old_results_are_cleared_away() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path().to_owned()).unwrap();
        for key in ["a", "b", "c", "d", "e"] {
            cache.stage("s", key, |_| Ok(())).unwrap();
        }
        assert_eq!(fs::read_dir(folder.path().join("s")).unwrap().count(), KEPT + 1);
        assert!(folder.path().join("s/e").is_dir());
    }
}
