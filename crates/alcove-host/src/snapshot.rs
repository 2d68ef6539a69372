//! What is seen of a host.

use std::{
    env, fs, io,
    net::TcpListener,
    path::{Path, PathBuf},
    thread,
    time::{SystemTime, UNIX_EPOCH},
};

use alcove_machine::qemu::version;
use alcove_types::host::HostFacts;
use serde::{Deserialize, Serialize};
use sysinfo::{CpuRefreshKind, MemoryRefreshKind, RefreshKind, System};

/// A look at a host. Can be written down and read back, so that a person's report becomes a test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostSnapshot {
    /// The host's name.
    pub hostname: String,
    /// Operating system and version, for people.
    pub os: String,
    /// `ID` of os-release, such as `debian`.
    pub os_id: String,
    /// `VERSION_ID` of os-release, such as `12`.
    pub os_version: String,
    /// Kernel version.
    pub kernel: String,
    /// Such as `x86_64`.
    pub architecture: String,
    /// Processor model.
    pub cpu: String,
    /// Logical processors that we may use.
    pub cpus: u32,
    /// Whether the processor says that it can virtualise.
    pub cpu_virtualises: bool,
    /// The kernel's hardware virtualisation.
    pub kvm: Kvm,
    /// Memory, bytes.
    pub memory_bytes: u64,
    /// Memory that programs can have now, bytes.
    pub memory_available_bytes: u64,
    /// Where machines are kept.
    pub data_folder: PathBuf,
    /// Free space there, bytes; absent when it can't be told.
    pub disk_free_bytes: Option<u64>,
    /// Why files can't be written there, when they can't.
    pub folder_problem: Option<String>,
    /// QEMU with its disk tool.
    pub qemu: Qemu,
    /// Why no port on loopback can be listened on, when none can.
    pub loopback_problem: Option<String>,
    /// The clock, seconds since 1970.
    pub unix_time: u64,
    /// Whether something keeps the clock right; absent when it can't be told.
    pub clock_synchronised: Option<bool>,
}

/// The kernel's hardware virtualisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kvm {
    /// There is none.
    Missing,
    /// It is there, and this person may not use it.
    Refused,
    /// It can be opened. Whether a machine runs in it shows only when one is started.
    Opens,
}

/// QEMU with its disk tool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Qemu {
    /// One that can be used.
    Found {
        /// The executable.
        path: PathBuf,
        /// Its version.
        version: String,
    },
    /// None that can be used.
    Unusable {
        /// Why.
        message: String,
        /// What to do.
        hint: String,
    },
}

impl HostSnapshot {
    /// Looks at this host.
    #[must_use]
    pub fn take(data_folder: &Path) -> Self {
        let system = System::new_with_specifics(
            RefreshKind::nothing()
                .with_memory(MemoryRefreshKind::nothing().with_ram())
                .with_cpu(CpuRefreshKind::nothing()),
        );
        let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
        let release = os_release(&text);
        // Inside a container the container's limit counts.
        let limit = system.cgroup_limits().filter(|l| l.total_memory < system.total_memory());
        let (memory_bytes, memory_available_bytes) = match limit {
            Some(limit) => (limit.total_memory, limit.free_memory.min(system.available_memory())),
            None => (system.total_memory(), system.available_memory()),
        };
        Self {
            hostname: System::host_name().unwrap_or_default(),
            os: release("PRETTY_NAME").or_else(System::long_os_version).unwrap_or_default(),
            os_id: release("ID").unwrap_or_default(),
            os_version: release("VERSION_ID").unwrap_or_default(),
            kernel: System::kernel_version().unwrap_or_default(),
            architecture: env::consts::ARCH.to_owned(),
            cpu: system.cpus().first().map(|c| c.brand().trim().to_owned()).unwrap_or_default(),
            cpus: std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX)),
            cpu_virtualises: virtualises(&fs::read_to_string("/proc/cpuinfo").unwrap_or_default()),
            kvm: kvm(),
            memory_bytes,
            memory_available_bytes,
            data_folder: data_folder.to_owned(),
            disk_free_bytes: disk_free(data_folder),
            folder_problem: folder_problem(data_folder),
            qemu: qemu(),
            loopback_problem: TcpListener::bind(("127.0.0.1", 0)).err().map(|e| e.to_string()),
            unix_time: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()),
            clock_synchronised: Path::new("/run/systemd/timesync")
                .is_dir()
                .then(|| Path::new("/run/systemd/timesync/synchronized").exists()),
        }
    }

    /// The facts that are shown. Where secrets are kept depends on the machine: see [`crate::with_secrets`].
    #[must_use]
    pub fn facts(&self) -> HostFacts {
        HostFacts {
            hostname: self.hostname.clone(),
            os: self.os.clone(),
            kernel: self.kernel.clone(),
            architecture: self.architecture.clone(),
            cpu: self.cpu.clone(),
            cpus: self.cpus,
            memory_bytes: self.memory_bytes,
            memory_available_bytes: self.memory_available_bytes,
            disk_free_bytes: self.disk_free_bytes.unwrap_or(0),
            data_folder: self.data_folder.display().to_string(),
            qemu: match &self.qemu {
                Qemu::Found { version, .. } => Some(version.clone()),
                Qemu::Unusable { .. } => None,
            },
            secrets: "file".to_owned(),
            secrets_why: "no_keychain".to_owned(),
        }
    }
}

/// Reads the values of os-release by their names.
fn os_release(text: &str) -> impl Fn(&str) -> Option<String> + '_ {
    |name| {
        text.lines().find_map(|line| {
            let value = line.strip_prefix(name)?.strip_prefix('=')?;
            Some(value.trim_matches(['"', '\'']).to_owned())
        })
    }
}

fn virtualises(cpuinfo: &str) -> bool {
    cpuinfo
        .lines()
        .filter_map(|line| line.strip_prefix("flags")?.split_once(':'))
        .any(|(_, flags)| flags.split_whitespace().any(|flag| flag == "vmx" || flag == "svm"))
}

/// Finds QEMU as the machine does. On a thread of its own: whoever asks may be inside an event loop, where another one
/// can't be waited for.
fn qemu() -> Qemu {
    let unusable = |message: String, hint: String| Qemu::Unusable { message, hint };
    let asked = thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok::<_, io::Error>(runtime.block_on(version::find(None)))
    });
    match asked.join() {
        Ok(Ok(Ok(found))) => Qemu::Found { path: found.qemu, version: found.version },
        Ok(Ok(Err(error))) => {
            let error = error.api();
            unusable(error.message, error.hint)
        }
        Ok(Err(error)) => unusable(format!("QEMU could not be asked for its version ({error})"), version::hint()),
        Err(_) => unusable("QEMU could not be asked for its version".to_owned(), version::hint()),
    }
}

fn kvm() -> Kvm {
    match fs::OpenOptions::new().read(true).write(true).open("/dev/kvm") {
        Ok(_) => Kvm::Opens,
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => Kvm::Refused,
        Err(_) => Kvm::Missing,
    }
}

/// The folder itself, or the nearest one above it that is there.
fn nearest(folder: &Path) -> Option<&Path> {
    folder.ancestors().find(|f| f.is_dir())
}

fn disk_free(folder: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(nearest(folder)?).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

fn folder_problem(folder: &Path) -> Option<String> {
    if folder.exists() && !folder.is_dir() {
        return Some("it is not a folder".to_owned());
    }
    let access = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
    rustix::fs::access(nearest(folder)?, access).err().map(|e| io::Error::from(e).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_can_be_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        let seen = HostSnapshot::take(&dir.path().join("not/there/yet"));
        assert!(seen.cpus >= 1 && seen.memory_bytes > 0 && seen.disk_free_bytes.is_some_and(|b| b > 0));
        assert!(seen.memory_available_bytes <= seen.memory_bytes);
        assert_eq!(seen.folder_problem, None);
        let text = serde_json::to_string(&seen).unwrap();
        assert_eq!(serde_json::from_str::<HostSnapshot>(&text).unwrap(), seen);
    }

    #[test]
    fn a_file_in_the_way_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("data");
        fs::write(&file, "").unwrap();
        assert_eq!(HostSnapshot::take(&file).folder_problem.as_deref(), Some("it is not a folder"));
    }

    #[test]
    fn files_of_the_system_are_read() {
        let release = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\nVERSION_ID='12'\n";
        let release = os_release(release);
        assert_eq!(release("ID").as_deref(), Some("debian"));
        assert_eq!(release("VERSION_ID").as_deref(), Some("12"));
        assert_eq!(release("NOTHING"), None);
        assert!(virtualises("processor : 0\nflags\t\t: fpu svm lm\n"));
        assert!(!virtualises("flags : fpu lm\nvmx flags : vnmi\n"));
    }
}
