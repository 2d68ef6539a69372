//! Finding and starting the supervisor.

use std::path::PathBuf;

/// How the supervisor is reached on loopback, as it wrote it down (`endpoint.json`).
#[derive(Clone, serde::Deserialize)]
pub struct Endpoint {
    /// Its process.
    pub pid: u32,
    /// Its port on 127.0.0.1.
    pub port: u16,
    /// The token that proves that we may.
    pub token: String,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint").field("pid", &self.pid).field("port", &self.port).finish_non_exhaustive()
    }
}

/// Finds one of our executables: beside this one, in `../lib/alcove` (where packages put what people don't call
/// themselves), then on `PATH`.
#[must_use]
pub fn find_executable(name: &str) -> Option<PathBuf> {
    let beside = std::env::current_exe().ok().and_then(|exe| exe.canonicalize().ok());
    let own = beside.as_deref().and_then(std::path::Path::parent).map(PathBuf::from);
    let packaged = own.as_deref().and_then(std::path::Path::parent).map(|prefix| prefix.join("lib/alcove"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    own.into_iter()
        .chain(packaged)
        .chain(std::env::split_paths(&path).filter(|folder| folder.is_absolute()))
        .map(|folder| folder.join(format!("{name}{}", std::env::consts::EXE_SUFFIX)))
        .find(|candidate| is_executable(candidate))
}

#[cfg(unix)]
fn is_executable(path: &std::path::Path) -> bool {
    path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
}

#[cfg(not(unix))]
fn is_executable(path: &std::path::Path) -> bool {
    path.is_file()
}
