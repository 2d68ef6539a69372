//! Finding and starting the supervisor.

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use alcove_machine::{InstanceName, Layout, layout::Home};
use alcove_types::{ApiError, ErrorCode};
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

use crate::{Client, errors};

/// Between two looks for a supervisor that is starting.
const LOOK: Duration = Duration::from_millis(50);
/// How long a supervisor that we started may be gone before we give up: another one, started at the same moment, holds
/// its lock then and is about to answer.
const RIVAL: Duration = Duration::from_secs(2);
/// How long a supervisor that listens may take to say who it is.
const GREETING: Duration = Duration::from_secs(10);

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

impl Endpoint {
    /// Reads what the supervisor of this instance wrote down.
    ///
    /// # Errors
    /// When there is none, or it can't be read.
    pub fn read(instance: &InstanceName) -> Result<Self, ApiError> {
        let path = layout(instance)?.endpoint_json();
        let text = fs::read(&path).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => errors::unreachable("it has written down no address"),
            _ => errors::unreachable(format!("its address can't be read: {e}")),
        })?;
        serde_json::from_slice(&text).map_err(|e| {
            ApiError::new(
                ErrorCode::FileCorrupt,
                format!("{} is damaged ({e})", path.display()),
                "Run `alcove quit`, then `alcove start`: the supervisor writes it anew.",
            )
        })
    }
}

/// Every path of an instance, as the environment places it.
pub(crate) fn layout(instance: &InstanceName) -> Result<Layout, ApiError> {
    Ok(Layout::new(Home::from_env().map_err(|e| e.api())?, instance.clone()))
}

impl Client {
    /// Connects to the supervisor of this instance.
    ///
    /// # Errors
    /// [`ErrorCode::SupervisorUnreachable`] when it is not running.
    pub async fn connect(instance: &InstanceName) -> Result<Self, ApiError> {
        let client = Self::at_socket(layout(instance)?.api_sock());
        match timeout(GREETING, client.version()).await {
            Ok(Ok(_)) => Ok(client),
            Ok(Err(e)) => Err(e),
            Err(_) => Err(errors::late(GREETING.as_secs())),
        }
    }

    /// Connects to the supervisor of this instance; starts it first when it is not running. The supervisor is a process
    /// of its own, which outlives this one.
    ///
    /// # Errors
    /// When it can't be found or started, or does not answer before the deadline: with its last words.
    pub async fn connect_or_start(instance: &InstanceName, deadline: Duration) -> Result<Self, ApiError> {
        Self::connect_or_start_with(instance, deadline, &[]).await
    }

    /// The same; a supervisor that is started leaves the machine as it is, whatever the settings say of its start.
    ///
    /// # Errors
    /// As [`Client::connect_or_start`].
    pub async fn connect_or_start_at_rest(instance: &InstanceName, deadline: Duration) -> Result<Self, ApiError> {
        Self::connect_or_start_with(instance, deadline, &["--keep"]).await
    }

    async fn connect_or_start_with(
        instance: &InstanceName,
        deadline: Duration,
        arguments: &[&str],
    ) -> Result<Self, ApiError> {
        match Self::connect(instance).await {
            Err(e) if e.code == ErrorCode::SupervisorUnreachable => {}
            other => return other,
        }
        let until = Instant::now() + deadline;
        let layout = layout(instance)?;
        layout.create().map_err(|e| e.api())?;
        let words = layout.runtime().join("alcoved.stderr");
        let mut child = spawn(instance, arguments, &words)?;
        let mut gone: Option<(Instant, String)> = None;
        loop {
            match Self::connect(instance).await {
                Err(e) if e.code == ErrorCode::SupervisorUnreachable => {}
                other => return other,
            }
            if gone.is_none()
                && let Ok(Some(status)) = child.try_wait()
            {
                gone = Some((Instant::now(), status.to_string()));
            }
            match &gone {
                Some((since, status)) if since.elapsed() > RIVAL || Instant::now() >= until => {
                    return Err(failed(&format!("it ended at once, {status}"), &words));
                }
                None if Instant::now() >= until => {
                    return Err(failed(&format!("it did not answer within {} s", deadline.as_secs()), &words));
                }
                _ => sleep(LOOK).await,
            }
        }
    }
}

/// Starts the supervisor in a session of its own, so that neither a closed terminal nor Ctrl-C ends it.
fn spawn(instance: &InstanceName, arguments: &[&str], words: &Path) -> Result<Child, ApiError> {
    let executable = find_executable("alcoved").ok_or_else(|| {
        ApiError::new(
            ErrorCode::SupervisorUnreachable,
            "Alcove's supervisor is not running, and its program `alcoved` was not found",
            "It belongs beside `alcove`, in ../lib/alcove, or on PATH: install Alcove again.",
        )
    })?;
    let failed = |e: io::Error| {
        ApiError::new(
            ErrorCode::SupervisorUnreachable,
            format!("{} can't be started ({e})", executable.display()),
            "Install Alcove again.",
        )
    };
    let said = private_file(words).map_err(failed)?;
    let mut command = Command::new(&executable);
    command.args(["--instance", instance.as_str()]).args(arguments).current_dir("/");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said);
    // SAFETY: between fork and exec only setsid is called, which is a bare system call.
    unsafe {
        command.pre_exec(|| rustix::process::setsid().map(drop).map_err(io::Error::from));
    }
    command.spawn().map_err(failed)
}

fn private_file(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// The supervisor did not come up; its own words say why.
fn failed(what: &str, words: &Path) -> ApiError {
    let said = fs::read(words).unwrap_or_default();
    let said = String::from_utf8_lossy(&said);
    let lines: Vec<&str> = said.lines().filter(|l| !l.trim().is_empty()).collect();
    let last = lines[lines.len().saturating_sub(20)..].to_vec();
    let message = match last.last() {
        Some(line) => format!("Alcove's supervisor could not be started: {what} ({})", line.trim()),
        None => format!("Alcove's supervisor could not be started: {what}"),
    };
    ApiError::new(ErrorCode::SupervisorUnreachable, message, "See `alcove logs --source alcoved`.")
        .with_details(serde_json::json!({ "last_words": last }))
}

/// Finds one of our executables: beside this one, in `../lib/alcove` (where packages put what people don't call
/// themselves), then on `PATH`.
#[must_use]
pub fn find_executable(name: &str) -> Option<PathBuf> {
    find_beside(name).or_else(|| find_on_path(name))
}

/// Finds an executable beside this one or in `../lib/alcove`.
#[must_use]
pub fn find_beside(name: &str) -> Option<PathBuf> {
    let own = std::env::current_exe().ok()?.canonicalize().ok()?.parent().map(PathBuf::from)?;
    let packaged = own.parent().map(|prefix| prefix.join("lib/alcove"));
    first_of([own].into_iter().chain(packaged), name)
}

/// Finds an executable on `PATH`.
#[must_use]
pub fn find_on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    first_of(std::env::split_paths(&path).filter(|folder| folder.is_absolute()), name)
}

fn first_of(folders: impl Iterator<Item = PathBuf>, name: &str) -> Option<PathBuf> {
    folders
        .map(|folder| folder.join(format!("{name}{}", std::env::consts::EXE_SUFFIX)))
        .find(|candidate| is_executable(candidate))
}

fn is_executable(path: &Path) -> bool {
    path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
}
