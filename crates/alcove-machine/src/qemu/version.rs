//! Finding QEMU on this host and asking what it is.

use std::{
    env, fs, io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::Stdio,
    sync::Mutex,
    time::Duration,
};

use tokio::{process::Command, time::timeout};

use crate::{MachineError, Result};

/// The oldest version that has all that we need (`file:` migration came with it).
pub const OLDEST: (u32, u32) = (8, 2);
const OLDEST_TEXT: &str = "8.2";
/// How long QEMU may take to say its version.
const PATIENCE: Duration = Duration::from_secs(20);

#[cfg(target_arch = "aarch64")]
const QEMU: &str = "qemu-system-aarch64";
#[cfg(not(target_arch = "aarch64"))]
const QEMU: &str = "qemu-system-x86_64";
const QEMU_IMG: &str = "qemu-img";

/// A QEMU that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// The emulator.
    pub qemu: PathBuf,
    /// The disk tool that came with it.
    pub qemu_img: PathBuf,
    /// Its version, such as `10.0.2`.
    pub version: String,
    /// The versioned machine types that it has, newest first.
    pub machine_types: Vec<String>,
}

type Key = (PathBuf, i64, i64, u64);
/// Asking takes a tenth of a second, which a resume can't spare; a file that was replaced is asked anew.
static KNOWN: Mutex<Vec<(Key, Installed)>> = Mutex::new(Vec::new());

/// Finds QEMU: the given path, `ALCOVE_QEMU`, beside our own executable, `PATH`. Asks it for its version.
pub async fn find(given: Option<&Path>) -> Result<Installed> {
    let qemu = locate(given)?;
    let meta = fs::metadata(&qemu).map_err(|e| MachineError::io("can't read", &qemu, e))?;
    let key = (qemu.clone(), meta.mtime(), meta.mtime_nsec(), meta.size());
    let known = |key: &Key| {
        let known = KNOWN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        known.iter().find(|(k, _)| k == key).map(|(_, i)| i.clone())
    };
    if let Some(installed) = known(&key) {
        return Ok(installed);
    }
    let said = ask(&qemu, &["--version"]).await?;
    let version = parse_version(&said).ok_or_else(|| {
        MachineError::hypervisor(format!("{} does not say which version of QEMU it is", qemu.display()))
    })?;
    if !new_enough(&version) {
        return Err(MachineError::HypervisorTooOld { path: qemu, version, needed: OLDEST_TEXT, hint: hint() });
    }
    let machine_types = parse_machine_types(&ask(&qemu, &["-machine", "help"]).await?);
    let qemu_img = locate_img(&qemu)?;
    let installed = Installed { qemu, qemu_img, version, machine_types };
    KNOWN.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((key, installed.clone()));
    Ok(installed)
}

impl Installed {
    /// The machine type for a machine: the one that it was made with, when this QEMU still has it. The reason says why
    /// another had to be taken; a suspended state is then lost, for the guest sees other hardware.
    pub fn machine_type(&self, made_with: Option<&str>) -> Result<(String, Option<String>)> {
        if let Some(wanted) = made_with
            && self.machine_types.iter().any(|t| t == wanted)
        {
            return Ok((wanted.into(), None));
        }
        let newest = self.machine_types.first().ok_or_else(|| MachineError::Unsupported {
            message: format!("QEMU {} has no q35 machine", self.version),
            hint: "Install the full QEMU package of your distribution.".into(),
        })?;
        let why = made_with.map(|wanted| format!("QEMU {} no longer has {wanted}", self.version));
        Ok((newest.clone(), why))
    }
}

fn locate(given: Option<&Path>) -> Result<PathBuf> {
    let named =
        given.map(Path::to_path_buf).or_else(|| env::var_os("ALCOVE_QEMU").filter(|v| !v.is_empty()).map(Into::into));
    if let Some(path) = named {
        return if executable(&path) { Ok(path) } else { Err(missing(format!("{} can't be run", path.display()))) };
    }
    search(QEMU).ok_or_else(|| missing(format!("there is no {QEMU} on this computer")))
}

fn locate_img(qemu: &Path) -> Result<PathBuf> {
    let beside = qemu.with_file_name(QEMU_IMG);
    if executable(&beside) {
        return Ok(beside);
    }
    search(QEMU_IMG).ok_or_else(|| missing(format!("there is no {QEMU_IMG} on this computer")))
}

fn search(name: &str) -> Option<PathBuf> {
    let beside = env::current_exe().ok().and_then(|exe| exe.parent().map(|p| p.join(name)));
    let path = env::var_os("PATH").unwrap_or_default();
    beside.into_iter().chain(env::split_paths(&path).map(|p| p.join(name))).find(|p| executable(p))
}

fn executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

fn missing(looked: String) -> MachineError {
    MachineError::HypervisorMissing { looked, hint: hint() }
}

async fn ask(qemu: &Path, arguments: &[&str]) -> Result<String> {
    let asking = Command::new(qemu).args(arguments).stdin(Stdio::null()).kill_on_drop(true).output();
    let output = match timeout(PATIENCE, asking).await {
        Ok(Ok(output)) => output,
        Ok(Err(e)) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => {
            return Err(missing(format!("{} can't be run ({e})", qemu.display())));
        }
        Ok(Err(e)) => return Err(MachineError::io("can't run", qemu, e)),
        Err(_) => {
            return Err(MachineError::Timeout { what: format!("an answer of {}", qemu.display()), after: PATIENCE });
        }
    };
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let words: Vec<String> = String::from_utf8_lossy(&output.stderr).lines().map(str::to_owned).collect();
    Err(MachineError::HypervisorFailed {
        message: format!("{} does not run ({})", qemu.display(), output.status),
        last_words: words,
    })
}

/// `10.0.2` from `QEMU emulator version 10.0.2 (Debian …)`.
fn parse_version(said: &str) -> Option<String> {
    let rest = said.split("version ").nth(1)?;
    let version: String = rest.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
    version.split('.').next()?.parse::<u32>().ok()?;
    Some(version.trim_end_matches('.').into())
}

fn new_enough(version: &str) -> bool {
    let mut parts = version.split('.').map(|p| p.parse::<u32>().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) >= OLDEST
}

/// The versioned q35 types of `-machine help`, newest first; those that QEMU will drop soon last.
fn parse_machine_types(said: &str) -> Vec<String> {
    let mut found: Vec<(bool, (u32, u32), String)> = said
        .lines()
        .filter_map(|line| {
            let name = line.split_whitespace().next()?;
            let (major, minor) = name.strip_prefix("pc-q35-")?.split_once('.')?;
            Some((!line.contains("(deprecated)"), (major.parse().ok()?, minor.parse().ok()?), name.to_owned()))
        })
        .collect();
    found.sort();
    found.into_iter().rev().map(|(_, _, name)| name).collect()
}

/// How to get QEMU on this host.
pub fn hint() -> String {
    let os = fs::read_to_string("/etc/os-release").unwrap_or_default();
    hint_for(&os).into()
}

fn hint_for(os_release: &str) -> &'static str {
    let value = |key: &str| {
        os_release.lines().find_map(|l| l.strip_prefix(key)).map(|v| v.trim_matches('"')).unwrap_or_default().to_owned()
    };
    let (id, like, version) = (value("ID="), value("ID_LIKE="), value("VERSION_ID="));
    let family = |name: &str| id == name || like.split(' ').any(|l| l == name);
    match () {
        () if id == "debian" && version == "12" => {
            "Add bookworm-backports to your sources (deb http://deb.debian.org/debian bookworm-backports main), then: \
             sudo apt update && sudo apt install -t bookworm-backports qemu-system-x86 qemu-utils"
        }
        () if id == "ubuntu" && version.as_str() < "24.04" => {
            "Ubuntu has QEMU 8.2 since 24.04: update to that, or set ALCOVE_QEMU to a newer QEMU."
        }
        () if family("debian") => "Install it: sudo apt install qemu-system-x86 qemu-utils",
        () if family("fedora") || family("rhel") => "Install it: sudo dnf install qemu-system-x86-core qemu-img",
        () if family("suse") || like.contains("suse") => "Install it: sudo zypper install qemu-x86 qemu-img",
        () if family("arch") => "Install it: sudo pacman -S qemu-base",
        () => "Install QEMU 8.2 or newer (the emulator for x86_64, and qemu-img), or set ALCOVE_QEMU to its path.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_and_compared() {
        let debian = "QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2+deb13u1~bpo12+1)\nCopyright";
        assert_eq!(parse_version(debian).as_deref(), Some("10.0.2"));
        assert_eq!(parse_version("QEMU emulator version 9.2.0-rc1").as_deref(), Some("9.2.0"));
        assert_eq!(parse_version("something else"), None);
        assert!(new_enough("8.2.2") && new_enough("10.0.0") && !new_enough("8.1.9") && !new_enough("7.2.0"));
    }

    #[test]
    fn the_newest_machine_type_is_first() {
        let said = "Supported machines are:\npc-q35-9.2  Standard\npc-q35-10.0 Standard\nq35 Standard (alias of pc-q35-10.0)\n\
                    pc-q35-4.0.1 Standard\npc-q35-2.9 Standard (deprecated)\n";
        assert_eq!(parse_machine_types(said), ["pc-q35-10.0", "pc-q35-9.2", "pc-q35-2.9"]);
        let installed = Installed {
            qemu: "q".into(),
            qemu_img: "i".into(),
            version: "10.0.2".into(),
            machine_types: parse_machine_types(said),
        };
        assert_eq!(installed.machine_type(Some("pc-q35-9.2")).unwrap().0, "pc-q35-9.2");
        let (other, why) = installed.machine_type(Some("pc-q35-8.2")).unwrap();
        assert_eq!(other, "pc-q35-10.0");
        assert!(why.unwrap().contains("pc-q35-8.2"));
    }

    #[test]
    fn every_distribution_gets_its_own_hint() {
        assert!(hint_for("ID=debian\nVERSION_ID=\"12\"\n").contains("backports"));
        assert!(!hint_for("ID=debian\nVERSION_ID=\"13\"\n").contains("backports"));
        assert!(hint_for("ID=ubuntu\nID_LIKE=debian\nVERSION_ID=\"22.04\"\n").contains("24.04"));
        assert!(hint_for("ID=ubuntu\nID_LIKE=debian\nVERSION_ID=\"24.04\"\n").contains("apt install"));
        assert!(hint_for("ID=fedora\nVERSION_ID=42\n").contains("dnf"));
        assert!(hint_for("ID=something\n").contains("ALCOVE_QEMU"));
    }
}
