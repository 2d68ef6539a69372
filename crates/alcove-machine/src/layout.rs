//! Where everything lies on the host. This is a documented contract, file by file; other programs may rely on it.
//!
//! ```text
//! data     ~/.local/share/alcove/   images/<version>/{manifest.json,vmlinuz,initrd,root.erofs[,kubectl]}
//!                                   images/.bring-<hash>/ (an image that is being brought)
//!                                   probe.json
//!                                   machines/<instance>/{alcoved.lock,runtime,machine.json,qemu.json,
//!                                     data.qcow2,moving.json,boot.jsonl,operations.jsonl,sessions.json,credentials/,state/,snapshots/,logs/,tasks/,
//!                                     requests/,kubectl-cache/}
//! config   ~/.config/alcove/        <instance>.json
//! runtime  $XDG_RUNTIME_DIR/alcove/<instance>/, /run/user/<uid>/alcove/<instance>/ or /tmp/alcove-<uid>/<instance>/
//!                                   api.sock qmp.sock qmp-diag.sock qga.sock console.sock qemu.pid machine.lock
//!                                   machine.blob endpoint.json
//! ```
//!
//! `machines/<instance>/runtime` says where the runtime folder is; as long as a supervisor or a machine lives in it, it
//! is that one, whatever the environment says.
//!
//! With `ALCOVE_HOME=D` data and config are `D/data` and `D/config`, and the runtime folder is named by a hash of `D`
//! and the instance: the path of a Unix socket may have 104 bytes on some systems.

use std::{
    env, fmt, fs, io,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    str::FromStr,
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{MachineError, Result, runtime};

/// The longest path of a Unix socket that every system takes.
const SOCKET_PATH_LIMIT: usize = 104;

/// The name of an instance: 1 to 32 lower-case letters, digits and dashes, starting with a letter.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct InstanceName(String);

impl InstanceName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name that `ALCOVE_INSTANCE` gives, or the default one.
    pub fn from_env() -> Result<Self> {
        match env::var("ALCOVE_INSTANCE") {
            Ok(name) if !name.is_empty() => name.parse(),
            _ => Ok(Self::default()),
        }
    }
}

impl Default for InstanceName {
    fn default() -> Self {
        Self("default".into())
    }
}

impl fmt::Display for InstanceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for InstanceName {
    type Err = MachineError;

    fn from_str(name: &str) -> Result<Self> {
        let fine = (1..=32).contains(&name.len())
            && name.starts_with(|c: char| c.is_ascii_lowercase())
            && !name.ends_with('-')
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        if fine {
            return Ok(Self(name.into()));
        }
        Err(MachineError::BadRequest {
            message: format!("{name:?} can't be the name of an instance"),
            hint: "Use 1 to 32 lower-case letters, digits and dashes, starting with a letter.".into(),
        })
    }
}

impl TryFrom<String> for InstanceName {
    type Error = MachineError;

    fn try_from(name: String) -> Result<Self> {
        name.parse()
    }
}

impl From<InstanceName> for String {
    fn from(name: InstanceName) -> Self {
        name.0
    }
}

/// The folders that hold everything of one person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    data: PathBuf,
    config: PathBuf,
    runtime: RuntimeRoot,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum RuntimeRoot {
    /// Instances lie in this folder under their names.
    Named(PathBuf),
    /// Instances lie in this folder under a hash of this home and their names.
    Hashed(PathBuf, PathBuf),
}

impl Home {
    /// The folders that the environment names: `ALCOVE_HOME`, or the XDG base directories.
    pub fn from_env() -> Result<Self> {
        if let Some(home) = env_path("ALCOVE_HOME") {
            return Self::at(home);
        }
        let xdg = |name: &str, under_home: &str| -> Result<PathBuf> {
            if let Some(dir) = env_path(name).filter(|p| p.is_absolute()) {
                return Ok(dir);
            }
            env_path("HOME").map(|h| h.join(under_home)).ok_or_else(|| MachineError::Unsupported {
                message: "your home folder is not known".into(),
                hint: "Set HOME, or ALCOVE_HOME to a folder of yours.".into(),
            })
        };
        Ok(Self {
            data: xdg("XDG_DATA_HOME", ".local/share")?.join("alcove"),
            config: xdg("XDG_CONFIG_HOME", ".config")?.join("alcove"),
            runtime: RuntimeRoot::Named(runtime_root()),
        })
    }

    /// Everything under one folder, as `ALCOVE_HOME` has it; only sockets lie elsewhere, for their paths must be short.
    pub fn at(folder: impl Into<PathBuf>) -> Result<Self> {
        let folder = folder.into();
        let folder = std::path::absolute(&folder).map_err(|e| MachineError::io("can't find", &folder, e))?;
        Ok(Self {
            data: folder.join("data"),
            config: folder.join("config"),
            runtime: RuntimeRoot::Hashed(runtime_root(), folder),
        })
    }

    /// The data folder.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The configuration folder.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// Where guest images lie, by version.
    pub fn images(&self) -> PathBuf {
        self.data.join("images")
    }
}

fn env_path(name: &str) -> Option<PathBuf> {
    env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from)
}

fn runtime_root() -> PathBuf {
    let user = rustix::process::getuid().as_raw();
    runtime_root_of(env_path("XDG_RUNTIME_DIR"), &PathBuf::from(format!("/run/user/{user}")))
        .unwrap_or_else(|| PathBuf::from(format!("/tmp/alcove-{user}")))
}

/// A program that cron or `su` started is not told where the session's folder is; that is there all the same.
fn runtime_root_of(named: Option<PathBuf>, session: &Path) -> Option<PathBuf> {
    let named = named.filter(|p| p.is_absolute() && p.is_dir());
    let dir = named.or_else(|| is_ours(session).then(|| session.to_owned()))?;
    Some(dir.join("alcove"))
}

/// Whether this is a folder that belongs to us, and no link to one.
pub(crate) fn is_ours(folder: &Path) -> bool {
    fs::symlink_metadata(folder).is_ok_and(|m| m.is_dir() && m.uid() == rustix::process::getuid().as_raw())
}

/// Every path of one instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    home: Home,
    instance: InstanceName,
    machine: PathBuf,
    runtime: PathBuf,
}

macro_rules! paths {
    ($($(#[$doc:meta])* $name:ident = $base:ident / $rest:expr;)*) => {
        impl Layout {$(
            $(#[$doc])*
            pub fn $name(&self) -> PathBuf {
                self.$base.join($rest)
            }
        )*}
    };
}

paths! {
    /// The machine's spec.
    machine_json = machine / "machine.json";
    /// What QEMU was chosen to be for this machine.
    qemu_json = machine / "qemu.json";
    /// Certificates and token, and the private keys where no keychain holds them; 0700.
    credentials = machine / "credentials";
    /// The data disk.
    data_disk = machine / "data.qcow2";
    /// The suspended state's folder.
    state = machine / "state";
    /// Kept copies.
    snapshots = machine / "snapshots";
    /// What is being done to the data disk's file; there only meanwhile.
    moving_json = machine / "moving.json";
    /// Logs.
    logs = machine / "logs";
    /// What the guest wrote to its serial console.
    serial_log = machine / "logs/serial.log";
    /// What it wrote before that.
    serial_log_before = machine / "logs/serial.log.1";
    /// What QEMU wrote.
    qemu_log = machine / "logs/qemu.log";
    /// What it wrote before that.
    qemu_log_before = machine / "logs/qemu.log.1";
    /// What the supervisor wrote.
    supervisor_log = machine / "logs/alcoved.log";
    /// Boot events of the present boot.
    boot_jsonl = machine / "boot.jsonl";
    /// The operation log.
    operations_jsonl = machine / "operations.jsonl";
    /// Tasks.
    tasks = machine / "tasks";
    /// Requests that were answered, by their idempotency keys.
    requests = machine / "requests";
    /// What `alcove kubectl` learned of the cluster's API.
    kubectl_cache = machine / "kubectl-cache";
    /// Browsers that are signed in, by hashes of their cookies; 0600.
    sessions_json = machine / "sessions.json";
    /// Held by the one supervisor of this machine.
    supervisor_lock = machine / "alcoved.lock";
    /// Where the runtime folder of the supervisor and the machine is, while they live.
    runtime_note = machine / "runtime";
    /// The supervisor's API socket.
    api_sock = runtime / "api.sock";
    /// QEMU's control socket for the supervisor.
    qmp_sock = runtime / "qmp.sock";
    /// QEMU's control socket for people who look into a problem.
    qmp_diag_sock = runtime / "qmp-diag.sock";
    /// The guest agent's socket.
    qga_sock = runtime / "qga.sock";
    /// The serial console's socket.
    console_sock = runtime / "console.sock";
    /// QEMU's pidfile; its lock says whether QEMU lives.
    pidfile = runtime / "qemu.pid";
    /// The blob that is handed to the guest; there only while QEMU starts. 0600.
    credentials_blob = runtime / "machine.blob";
    /// Held during an operation on the machine.
    machine_lock = runtime / "machine.lock";
    /// Where the supervisor's API answers; 0600.
    endpoint_json = runtime / "endpoint.json";
}

impl Layout {
    /// The paths of an instance. Makes nothing; see [`Layout::create`].
    pub fn new(home: Home, instance: InstanceName) -> Self {
        let machine = home.data.join("machines").join(instance.as_str());
        let runtime = match &home.runtime {
            RuntimeRoot::Named(root) => root.join(instance.as_str()),
            RuntimeRoot::Hashed(root, folder) => {
                let mut hash = Sha256::new();
                hash.update(folder.as_os_str().as_encoded_bytes());
                hash.update([0]);
                hash.update(instance.as_str());
                root.join(format!("h-{}", hex::encode(&hash.finalize()[..6])))
            }
        };
        let mut layout = Self { home, instance, machine, runtime };
        if let Some(folder) = runtime::in_use(&layout) {
            layout.runtime = folder;
        }
        layout
    }

    /// The paths that the environment names.
    pub fn from_env() -> Result<Self> {
        Ok(Self::new(Home::from_env()?, InstanceName::from_env()?))
    }

    /// The person's folders.
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// The instance's name.
    pub fn instance(&self) -> &InstanceName {
        &self.instance
    }

    /// The machine's folder.
    pub fn machine(&self) -> &Path {
        &self.machine
    }

    /// The runtime folder: sockets, pidfile, locks.
    pub fn runtime(&self) -> &Path {
        &self.runtime
    }

    /// The settings file.
    pub fn settings_json(&self) -> PathBuf {
        self.home.config.join(format!("{}.json", self.instance))
    }

    /// What was found out about this host's acceleration.
    pub fn probe_json(&self) -> PathBuf {
        self.home.data.join("probe.json")
    }

    /// Makes the folders, readable by their owner alone.
    pub fn create(&self) -> Result<()> {
        self.create_runtime()?;
        for folder in [self.home.images(), self.home.config.clone()] {
            private_folder(&folder)?;
        }
        private_folder(&self.machine)?;
        let of_machine = [Self::credentials, Self::state, Self::snapshots, Self::logs, Self::tasks, Self::requests];
        for folder in of_machine {
            private_folder(&folder(self))?;
        }
        Ok(())
    }

    /// Makes the runtime folder. Needed again after a reboot, which empties it.
    pub fn create_runtime(&self) -> Result<()> {
        if let Some(root) = self.runtime.parent() {
            private_folder(root)?;
        }
        private_folder(&self.runtime)?;
        let longest = self.qmp_diag_sock();
        if longest.as_os_str().len() >= SOCKET_PATH_LIMIT {
            return Err(MachineError::Unsupported {
                message: format!("the path {} is too long for a socket", longest.display()),
                hint: "Set XDG_RUNTIME_DIR to a folder with a shorter path, or unset it.".into(),
            });
        }
        Ok(())
    }
}

/// Makes a folder that only its owner may enter. One that is there must be ours: in `/tmp` anybody could have made it.
fn private_folder(folder: &Path) -> Result<()> {
    if let Some(parent) = folder.parent() {
        fs::create_dir_all(parent).map_err(|e| MachineError::io("can't make", parent, e))?;
    }
    match fs::DirBuilder::new().mode(0o700).create(folder) {
        Ok(()) => return Ok(()),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
        Err(e) => return Err(MachineError::io("can't make", folder, e)),
    }
    let meta = fs::symlink_metadata(folder).map_err(|e| MachineError::io("can't look at", folder, e))?;
    if !is_ours(folder) {
        return Err(MachineError::Unsupported {
            message: format!("{} is not a folder of yours", folder.display()),
            hint: "Somebody else made it. Remove it, or set XDG_RUNTIME_DIR to a folder of yours.".into(),
        });
    }
    if meta.permissions().mode() & 0o077 != 0 {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700))
            .map_err(|e| MachineError::io("can't protect", folder, e))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_in_paths_and_host_names() {
        for good in ["default", "a", "test-1", "abcdefghijklmnopqrstuvwxyz-01234"] {
            assert!(good.parse::<InstanceName>().is_ok(), "{good}");
        }
        for bad in ["", "..", "a/b", "A", "1a", "a-", "-a", "a b", "ä", "abcdefghijklmnopqrstuvwxyz-0123456"] {
            assert!(bad.parse::<InstanceName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn homes_with_the_same_instance_do_not_share_sockets() {
        let name = InstanceName::default();
        let a = Layout::new(Home::at("/tmp/a").unwrap(), name.clone());
        let b = Layout::new(Home::at("/tmp/b").unwrap(), name);
        assert_ne!(a.runtime(), b.runtime());
        assert!(a.qmp_diag_sock().as_os_str().len() < SOCKET_PATH_LIMIT);
        assert_eq!(a.machine(), Path::new("/tmp/a/data/machines/default"));
    }

    #[test]
    fn the_sessions_folder_is_found_without_its_variable() {
        let dir = tempfile::tempdir().unwrap();
        let (session, other) = (dir.path().join("session"), dir.path().join("other"));
        fs::create_dir(&session).unwrap();
        fs::create_dir(&other).unwrap();
        assert_eq!(runtime_root_of(None, &session), Some(session.join("alcove")));
        assert_eq!(runtime_root_of(Some("relative".into()), &session), Some(session.join("alcove")));
        assert_eq!(runtime_root_of(Some(other.clone()), &session), Some(other.join("alcove")));
        assert_eq!(runtime_root_of(None, &dir.path().join("none")), None);
    }

    /// Started once from a session and once without one: two runtime folders, and one machine.
    #[test]
    fn a_machine_has_one_supervisor_whatever_the_environment_says() {
        let dir = tempfile::tempdir().unwrap();
        let at = |runtime: &str| {
            let runtime = RuntimeRoot::Named(dir.path().join(runtime));
            let home = Home { data: dir.path().join("data"), config: dir.path().join("config"), runtime };
            Layout::new(home, InstanceName::default())
        };
        let (first, second) = (at("session"), at("tmp"));
        assert_ne!(first.runtime(), second.runtime());
        first.create().unwrap();
        second.create().unwrap();
        let claim = first.claim().unwrap();
        let error = second.claim().unwrap_err();
        assert!(error.to_string().contains(&*first.runtime().to_string_lossy()), "{error}");
        assert_eq!(error.api().code, alcove_types::ErrorCode::Conflict);
        // Whoever looks from now on finds the one that is there.
        assert_eq!(at("tmp").runtime(), first.runtime());
        drop(claim);
        assert_eq!(at("tmp").runtime(), second.runtime(), "nothing lives there any more");
        let claim = second.claim().unwrap();
        assert_eq!(at("session").runtime(), second.runtime());
        drop(claim);
    }

    #[test]
    fn folders_are_private() {
        let dir = tempfile::tempdir().unwrap();
        let open = dir.path().join("data/machines/default/logs");
        fs::create_dir_all(&open).unwrap();
        let layout = Layout::new(Home::at(dir.path()).unwrap(), InstanceName::default());
        layout.create().unwrap();
        for folder in [layout.logs(), layout.credentials(), layout.runtime().to_path_buf()] {
            assert_eq!(fs::metadata(folder).unwrap().permissions().mode() & 0o777, 0o700);
        }
        fs::remove_dir_all(layout.runtime()).unwrap();
    }
}
