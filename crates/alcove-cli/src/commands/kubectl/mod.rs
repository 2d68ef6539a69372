//! `alcove kubectl`.
//!
//! kubectl sends no credentials over plain HTTP, drops the path of its server's address for raw requests, and knows no
//! Unix sockets. So it speaks TLS to this process, on a port of loopback, with a key and a token that live as long as
//! this one command; this process passes its requests on to the supervisor's socket.

mod proxy;

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::{fs::OpenOptionsExt as _, process::ExitStatusExt as _},
    path::{Path, PathBuf},
    process::ExitStatus,
};

use alcove_client::{Client, find_beside, find_on_path};
use alcove_machine::{image::Image, kubectl::kubectl};
use alcove_types::{
    ApiError, ErrorCode,
    image::{ImageList, ImageRole},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tokio::{
    process::{Child, Command},
    signal::unix::{SignalKind, signal},
};

use self::proxy::Proxy;
use super::Context;
use crate::exit::{Failure, internal};

/// Where kubectl keeps what it learned of a cluster's API, unless `--cache-dir` says it; since kubectl 1.27. Among those
/// of other clusters, in the home folder, it would stay when the machine is reset.
const CACHE: &str = "KUBECACHEDIR";

pub(crate) async fn run(context: &Context<'_>, arguments: &[String]) -> Result<(), Failure> {
    let client = context.connect_or_adopt().await?;
    let kubectl = find(context, &client).await?;
    let layout = context.layout()?;
    let proxy = Proxy::start(client, format!("{}.alcove.localhost", layout.instance())).await?;
    let name = format!("kubectl-{}.kubeconfig", std::process::id());
    let kubeconfig = Kubeconfig::write(layout.runtime().join(name), &proxy)?;

    // Ctrl-C reaches kubectl by itself, being in the same group; we only have to outlive it.
    let deaf = |e| internal(format!("signals can't be listened for ({e})"));
    let mut interrupted = signal(SignalKind::interrupt()).map_err(deaf)?;
    let mut quit = signal(SignalKind::quit()).map_err(deaf)?;
    let mut terminated = signal(SignalKind::terminate()).map_err(deaf)?;
    let mut hung_up = signal(SignalKind::hangup()).map_err(deaf)?;
    // The token stands in the file alone: arguments can be seen by everybody on this computer.
    let mut child = Command::new(&kubectl)
        .args(arguments)
        .env("KUBECONFIG", &kubeconfig.path)
        .env(CACHE, std::env::var_os(CACHE).unwrap_or_else(|| layout.kubectl_cache().into()))
        .spawn()
        .map_err(|e| internal(format!("{} can't be started ({e})", kubectl.display())))?;
    let status = loop {
        tokio::select! {
            status = child.wait() => break status,
            _ = interrupted.recv() => {}
            _ = quit.recv() => {}
            _ = terminated.recv() => pass_on(&child, Signal::TERM),
            _ = hung_up.recv() => pass_on(&child, Signal::HUP),
        }
    };
    drop(kubeconfig);
    match code(status.map_err(|e| internal(format!("kubectl can't be waited for ({e})")))?) {
        0 => Ok(()),
        code => {
            if let Some(why) = proxy.untold() {
                context.output.error(&why);
            }
            Err(Failure::Code(code))
        }
    }
}

/// The kubectl to run: the one that `ALCOVE_KUBECTL` names, the one beside us, the one of the machine's own image, or
/// any on `PATH`.
async fn find(context: &Context<'_>, client: &Client) -> Result<PathBuf, ApiError> {
    if let Some(named) = std::env::var_os("ALCOVE_KUBECTL").filter(|v| !v.is_empty()) {
        return Ok(named.into());
    }
    if let Some(beside) = find_beside("kubectl") {
        return Ok(beside);
    }
    // A supervisor of an earlier version knows of no images; then the image has no kubectl either.
    let images = client.get::<ImageList>("/api/v1/images").await.unwrap_or_default();
    let used = images.images.into_iter().find(|i| matches!(i.role, ImageRole::Active | ImageRole::Trial));
    if let Some(entry) = used {
        let home = context.layout()?.home().clone();
        let image = Image { manifest: entry.manifest, folder: entry.folder.into() };
        let checked = tokio::task::spawn_blocking(move || kubectl(&home, &image)).await;
        if let Some(own) = checked.map_err(|e| internal(format!("kubectl can't be checked ({e})")))?? {
            return Ok(own);
        }
    }
    find_on_path("kubectl").ok_or_else(|| {
        ApiError::new(
            ErrorCode::Unsupported,
            "kubectl was not found",
            "The machine's guest image holds none: bring one that does with `alcove image fetch`, or install kubectl.",
        )
    })
}

fn pass_on(child: &Child, signal: Signal) {
    if let Some(pid) = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

/// The exit code as a shell reports it.
fn code(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1)
}

/// The file that tells kubectl where and how; gone with this command.
#[derive(Debug)]
struct Kubeconfig {
    path: PathBuf,
}

impl Kubeconfig {
    fn write(path: PathBuf, proxy: &Proxy) -> Result<Self, ApiError> {
        write(&path, &content(proxy)).map_err(|e| internal(format!("{} can't be written ({e})", path.display())))?;
        Ok(Self { path })
    }
}

impl Drop for Kubeconfig {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// A kubeconfig is YAML, and every JSON document is YAML.
fn content(proxy: &Proxy) -> Vec<u8> {
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "alcove", "cluster": {
            "server": format!("https://{}", proxy.name),
            "proxy-url": format!("http://{}", proxy.address),
            "certificate-authority-data": STANDARD.encode(&proxy.certificate),
        } }],
        "users": [{ "name": "owner", "user": { "token": proxy.token } }],
        "contexts": [{ "name": "alcove", "context": { "cluster": "alcove", "user": "owner" } }],
        "current-context": "alcove",
    });
    config.to_string().into_bytes()
}

/// Writes a new file for its owner alone. One that a killed command left under the same number is replaced.
fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    if let Err(e) = fs::remove_file(path)
        && e.kind() != io::ErrorKind::NotFound
    {
        return Err(e);
    }
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(content)
}
