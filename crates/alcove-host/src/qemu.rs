//! Which QEMU there is.

use std::{
    env, fmt, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

/// The oldest QEMU that can save a machine to a file.
pub const OLDEST_QEMU: QemuVersion = QemuVersion(8, 2, 0);

/// A version of QEMU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct QemuVersion(pub u32, pub u32, pub u32);

impl fmt::Display for QemuVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

impl FromStr for QemuVersion {
    type Err = String;

    /// Reads `10.0.2`, or the first line of what `--version` prints.
    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.lines().next().unwrap_or_default();
        let text = text.split_once("version ").map_or(text, |(_, rest)| rest);
        let mut parts = text.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
        match (parts.next(), parts.next(), parts.next()) {
            (Some(Ok(major)), Some(Ok(minor)), patch) => {
                Ok(Self(major, minor, patch.and_then(Result::ok).unwrap_or(0)))
            }
            _ => Err(format!("{text:?} is no version of QEMU")),
        }
    }
}

impl TryFrom<String> for QemuVersion {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<QemuVersion> for String {
    fn from(version: QemuVersion) -> Self {
        version.to_string()
    }
}

/// Finds QEMU: where `ALCOVE_QEMU` says, beside our executable, on `PATH`.
pub(crate) fn find() -> Option<PathBuf> {
    if let Some(path) = env::var_os("ALCOVE_QEMU").filter(|p| !p.is_empty()) {
        return Some(PathBuf::from(path));
    }
    on_path(&format!("qemu-system-{}", env::consts::ARCH))
}

/// Finds a program beside our executable or on `PATH`.
pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    let own = env::current_exe().ok().and_then(|exe| exe.parent().map(PathBuf::from));
    let path = env::var_os("PATH").unwrap_or_default();
    own.into_iter()
        .chain(env::split_paths(&path).filter(|folder| folder.is_absolute()))
        .map(|folder| folder.join(name))
        .find(|file| fs::metadata(file).is_ok_and(|m| m.is_file()))
}

/// Asks it for its version.
pub(crate) fn version(path: &Path) -> Option<QemuVersion> {
    let output = Command::new(path).arg("--version").stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    String::from_utf8_lossy(&output.stdout).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_however_distributions_write_them() {
        for (text, expected) in [
            ("QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2+deb13u1~bpo12+1)\nCopyright", QemuVersion(10, 0, 2)),
            ("QEMU emulator version 9.2.94 (v10.0.0-rc4)", QemuVersion(9, 2, 94)),
            ("8.2", QemuVersion(8, 2, 0)),
            ("7.2.9", QemuVersion(7, 2, 9)),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        assert!("".parse::<QemuVersion>().is_err());
        assert!("QEMU emulator version unknown".parse::<QemuVersion>().is_err());
        assert!(QemuVersion(10, 0, 0) > OLDEST_QEMU);
        assert!(QemuVersion(8, 1, 9) < OLDEST_QEMU);
    }
}
