//! The two listeners: the owner's Unix socket, and loopback for browsers and web views.

use std::{fs, io, net::Ipv4Addr, os::unix::fs::PermissionsExt, path::Path};

use alcove_machine::layout::Layout;
use axum::{Extension, Router};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use serde_json::json;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::access::Channel;

/// The port that was used last is taken again when it is free, so that a bookmark keeps working.
pub(crate) async fn loopback(layout: &Layout) -> io::Result<TcpListener> {
    let remembered = layout.machine().join("port");
    let last = fs::read_to_string(&remembered).ok().and_then(|t| t.trim().parse::<u16>().ok()).filter(|p| *p >= 1024);
    if let Some(port) = last
        && let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await
    {
        return Ok(listener);
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let port = listener.local_addr()?.port();
    if let Err(error) = alcove_api::durable::write(&remembered, port.to_string().as_bytes()) {
        tracing::debug!(%error, "the port could not be remembered");
    }
    Ok(listener)
}

/// The owner's socket. The folder is the owner's alone, and so is the socket.
pub(crate) fn socket(path: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Where programs of the owner find the loopback API.
pub(crate) fn announce(path: &Path, port: u16, token: &str) -> io::Result<()> {
    let document = json!({ "pid": std::process::id(), "port": port, "token": token });
    alcove_api::durable::write(path, document.to_string().as_bytes())
}

/// Serves both until `ending`, then lets what is under way finish.
pub(crate) async fn both(tcp: TcpListener, unix: UnixListener, routes: Router, ending: CancellationToken) {
    let tracker = TaskTracker::new();
    let own = rustix::process::getuid().as_raw();
    let over_socket = routes.clone().layer(Extension(Channel::Socket));
    loop {
        tokio::select! {
            () = ending.cancelled() => break,
            accepted = tcp.accept() => match accepted {
                Ok((stream, _)) => {
                    // Small answers must not wait for each other's acknowledgements.
                    let _ = stream.set_nodelay(true);
                    tracker.spawn(connection(stream, routes.clone(), ending.clone()));
                }
                Err(error) => refused(&error).await,
            },
            accepted = unix.accept() => match accepted {
                Ok((stream, _)) => {
                    // The folder keeps others out; the kernel's word is asked all the same.
                    if stream.peer_cred().is_ok_and(|peer| peer.uid() == own || peer.uid() == 0) {
                        tracker.spawn(connection(stream, over_socket.clone(), ending.clone()));
                    }
                }
                Err(error) => refused(&error).await,
            },
        }
    }
    tracker.close();
    if tokio::time::timeout(std::time::Duration::from_secs(5), tracker.wait()).await.is_err() {
        tracing::debug!("some connections were still open at the end");
    }
}

async fn connection<S>(stream: S, routes: Router, ending: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let builder = auto::Builder::new(TokioExecutor::new()).http1_only();
    let serving = builder.serve_connection_with_upgrades(TokioIo::new(stream), TowerToHyperService::new(routes));
    tokio::pin!(serving);
    let result = tokio::select! {
        result = serving.as_mut() => result,
        () = ending.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "a connection broke");
    }
}

/// Out of descriptors, most likely: give those that are open a moment to end instead of spinning.
async fn refused(error: &io::Error) {
    tracing::warn!(%error, "a connection could not be taken");
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
}
