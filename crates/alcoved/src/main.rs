//! Alcove's supervisor: owns one machine, serves the API.

mod access;
mod answer;
mod explain;
mod forward;
mod host_shutdown;
mod identity;
mod openapi;
mod pages;
mod replay;
mod routes;
mod serve;
mod state;
#[cfg(test)]
mod tests;

use std::{
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
    process::ExitCode,
    sync::{Arc, Mutex},
    time::Duration,
};

use alcove_api::{Config, Supervisor};
use alcove_machine::{
    layout::{Home, InstanceName, Layout},
    qemu::{QemuOptions, QemuProvider},
    secrets::Vault,
};
use alcove_types::{ApiError, ErrorCode};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::{EnvFilter, fmt::writer::MakeWriterExt};

/// Alcove's supervisor. Started by the window and the command line when it is absent.
#[derive(Parser)]
#[command(name = "alcoved", version)]
struct Arguments {
    /// The instance to own.
    #[arg(long, env = "ALCOVE_INSTANCE", default_value = "default")]
    instance: String,
    /// A further folder in which guest images may lie.
    #[arg(long)]
    images: Vec<PathBuf>,
    /// Where the package says that its guest image is brought from.
    #[arg(long, env = "ALCOVE_IMAGE_SOURCE", default_value = "/usr/share/alcove/image-source.json", hide = true)]
    image_source: PathBuf,
    /// Leave the machine as it is, whatever the settings say of the start.
    #[arg(long)]
    keep: bool,
    /// Seconds after which a boot is called failed.
    #[arg(long, env = "ALCOVE_BOOT_DEADLINE", default_value_t = 900, hide = true)]
    boot_deadline: u64,
}

/// Exit code when another supervisor owns the instance: nothing is wrong, but this one has nothing to do.
const ALREADY_RUNNING: u8 = 3;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let filter = EnvFilter::try_from_env("ALCOVE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false);
    // Errors before the log can be opened, and a log that can't be, are told on standard error.
    match log_file(&arguments.instance) {
        Some(file) => log.with_writer(std::io::stderr.and(Mutex::new(file))).init(),
        None => log.with_writer(std::io::stderr).init(),
    }
    // Requests are few and short; two threads keep memory small.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(run(arguments)),
        Err(error) => Err(internal(&error)),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(code = ?error.code, message = error.message, hint = error.hint, "could not start");
            if error.code == ErrorCode::Conflict { ExitCode::from(ALREADY_RUNNING) } else { ExitCode::FAILURE }
        }
    }
}

/// A log larger than this is set aside at the start; one older log is kept.
const LARGEST_LOG: u64 = 4 * 1024 * 1024;

fn log_file(instance: &str) -> Option<std::fs::File> {
    let layout = Layout::new(Home::from_env().ok()?, instance.parse().ok()?);
    layout.create().ok()?;
    let path = layout.supervisor_log();
    if std::fs::metadata(&path).is_ok_and(|m| m.len() > LARGEST_LOG) {
        // Failing that, the log only grows further.
        let _ = std::fs::rename(&path, path.with_extension("log.1"));
    }
    std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path).ok()
}

async fn run(arguments: Arguments) -> Result<(), ApiError> {
    let instance = arguments.instance.parse::<InstanceName>().map_err(|e| e.api())?;
    let layout = Layout::new(Home::from_env().map_err(|e| e.api())?, instance);
    layout.create().map_err(|e| e.api())?;
    // Held until the process ends, however it ends.
    let _only_one = layout.claim().map_err(|e| e.api())?;
    let mut image_folders = arguments.images;
    image_folders.push(PathBuf::from("/usr/share/alcove/images"));
    Vault::of_session().install();
    let config = Config {
        instance: arguments.instance,
        image_folders,
        image_source: arguments.image_source,
        boot_deadline: Duration::from_secs(arguments.boot_deadline),
        keep: arguments.keep,
    };
    let provider = Arc::new(QemuProvider::new(layout.clone(), QemuOptions::default()));
    let supervisor = Supervisor::begin(config, layout.clone(), provider)?;

    let tcp = serve::loopback(&layout).await.map_err(|e| internal(&e))?;
    let port = tcp.local_addr().map_err(|e| internal(&e))?.port();
    let unix = serve::socket(&layout.api_sock()).map_err(|e| internal(&e))?;
    let ending = CancellationToken::new();
    let app = state::App {
        supervisor: supervisor.clone(),
        sessions: Arc::new(access::Sessions::open(&layout.sessions_json())),
        replays: Arc::new(replay::Replays::open(&layout.requests())),
        identity: Arc::default(),
        port,
        ending: ending.clone(),
    };
    serve::announce(&layout.endpoint_json(), port, app.sessions.token()).map_err(|e| internal(&e))?;
    tracing::info!(port, instance = supervisor.instance(), "ready");

    let mut terminate = signal(SignalKind::terminate()).map_err(|e| internal(&e))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|e| internal(&e))?;
    let signalled = {
        let (supervisor, ending) = (supervisor.clone(), ending.clone());
        async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            // The machine stays as it is: the next supervisor takes it over.
            tracing::info!("asked to end; the machine is left as it is");
            supervisor.leave().await;
            ending.cancel();
        }
    };
    let signalled = tokio::spawn(signalled);
    let shut_down = tokio::spawn(host_shutdown::watch(supervisor, ending.clone()));
    serve::both(tcp, unix, routes::all(app), serve::Limits::of_process(), ending).await;
    signalled.abort();
    shut_down.abort();
    // Gone already when somebody cleaned up; a stale one is replaced at the next start.
    let _ = std::fs::remove_file(layout.endpoint_json());
    let _ = std::fs::remove_file(layout.api_sock());
    tracing::info!("ended");
    Ok(())
}

fn internal(error: &dyn std::fmt::Display) -> ApiError {
    ApiError::new(
        ErrorCode::Internal,
        format!("The supervisor could not start: {error}."),
        "Check the disk's free space and the folder's permissions.",
    )
}
