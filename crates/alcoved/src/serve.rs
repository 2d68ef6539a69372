//! The two listeners: the owner's Unix socket, and loopback for browsers and web views.

use std::{fs, io, net::Ipv4Addr, os::unix::fs::PermissionsExt, path::Path, sync::Arc, time::Duration};

use alcove_machine::layout::Layout;
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    sync::Semaphore,
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

/// What may come over loopback, where anybody on this computer can knock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Connections at once. Further ones wait in the system's queue.
    connections: usize,
    /// Within this a request's head must be there; a connection that is kept for a next one ends after it.
    head: Duration,
}

/// Descriptors that we ask the system for; the usual soft limit is for programs that still use `select`.
const DESCRIPTORS: u64 = 8192;
/// What stays for the owner's socket, files and the machine when loopback has all that it may have. A connection may need
/// a second descriptor, for its way into the machine.
const MOST_CONNECTIONS: u64 = 512;

impl Limits {
    /// Raises the soft limit of descriptors, as far as the hard one lets us, and says what fits into it.
    pub(crate) fn of_process() -> Self {
        let now = getrlimit(Resource::Nofile);
        let wanted = now.maximum.map_or(DESCRIPTORS, |most| most.min(DESCRIPTORS));
        let mut may_have = now.current.unwrap_or(DESCRIPTORS);
        if may_have < wanted {
            match setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), ..now }) {
                Ok(()) => may_have = wanted,
                Err(error) => tracing::debug!(%error, "the limit of descriptors stays as it is"),
            }
        }
        let connections = usize::try_from((may_have / 4).clamp(16, MOST_CONNECTIONS)).unwrap_or(16);
        Self { connections, head: Duration::from_secs(30) }
    }
}

/// Serves both until `ending`, then lets what is under way finish. Neither waits for the other: whatever happens on
/// loopback, the owner's socket answers.
pub(crate) async fn both(
    tcp: TcpListener,
    unix: UnixListener,
    routes: Router,
    limits: Limits,
    ending: CancellationToken,
) {
    let tracker = TaskTracker::new();
    let over_socket = routes.clone().layer(Extension(Channel::Socket));
    tokio::select! {
        () = ending.cancelled() => {}
        () = over_loopback(tcp, routes, limits, &tracker, &ending) => {}
        () = over_unix(unix, over_socket, &tracker, &ending) => {}
    }
    tracker.close();
    if tokio::time::timeout(Duration::from_secs(5), tracker.wait()).await.is_err() {
        tracing::debug!("some connections were still open at the end");
    }
}

async fn over_loopback(
    tcp: TcpListener,
    routes: Router,
    limits: Limits,
    tracker: &TaskTracker,
    ending: &CancellationToken,
) {
    let places = Arc::new(Semaphore::new(limits.connections));
    // Ends only with a semaphore that is closed, which nobody does.
    while let Ok(place) = places.clone().acquire_owned().await {
        match tcp.accept().await {
            Ok((stream, _)) => {
                // Small answers must not wait for each other's acknowledgements.
                let _ = stream.set_nodelay(true);
                let serving = connection(stream, routes.clone(), Some(limits.head), ending.clone());
                tracker.spawn(async move {
                    serving.await;
                    drop(place);
                });
            }
            Err(error) => refused(&error).await,
        }
    }
}

async fn over_unix(unix: UnixListener, routes: Router, tracker: &TaskTracker, ending: &CancellationToken) {
    let own = rustix::process::getuid().as_raw();
    loop {
        match unix.accept().await {
            Ok((stream, _)) => {
                // The folder keeps others out; the kernel's word is asked all the same.
                if stream.peer_cred().is_ok_and(|peer| peer.uid() == own || peer.uid() == 0) {
                    tracker.spawn(connection(stream, routes.clone(), None, ending.clone()));
                }
            }
            Err(error) => refused(&error).await,
        }
    }
}

async fn connection<S>(stream: S, routes: Router, head: Option<Duration>, ending: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = TowerToHyperService::new(routes);
    // Not the one that finds the version out by itself: it waits for a first word without a deadline.
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
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
    tokio::time::sleep(Duration::from_millis(100)).await;
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpStream, UnixStream},
        sync::watch,
    };

    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    async fn asked(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> String {
        let request = "GET /ok HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        let mut answer = String::new();
        let talk = async {
            stream.write_all(request.as_bytes()).await.unwrap();
            stream.read_to_string(&mut answer).await.unwrap();
        };
        tokio::time::timeout(SOON, talk).await.expect("no answer");
        answer
    }

    #[tokio::test]
    async fn connections_that_say_nothing_lock_nobody_out() {
        let folder = tempfile::tempdir().unwrap();
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = tcp.local_addr().unwrap().port();
        let path = folder.path().join("api.sock");
        let unix = socket(&path).unwrap();
        let ending = CancellationToken::new();
        let limits = Limits { connections: 8, head: Duration::from_millis(500) };
        let routes = Router::new().route("/ok", get(|| async { "fine" }));
        let serving = tokio::spawn(both(tcp, unix, routes, limits, ending.clone()));

        let mut silent = Vec::new();
        for n in 0..40 {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
            // Some begin a head that they never end.
            if n % 2 == 0 {
                stream.write_all(b"GET /ok HT").await.unwrap();
            }
            silent.push(stream);
        }
        let answer = asked(UnixStream::connect(&path).await.unwrap()).await;
        assert!(answer.ends_with("fine"), "the owner's socket: {answer}");
        // It stands at the end of the queue, which moves on.
        let answer = asked(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap()).await;
        assert!(answer.ends_with("fine"), "loopback: {answer}");
        // And those that said nothing are gone.
        for mut stream in silent {
            let mut rest = Vec::new();
            let closed = tokio::time::timeout(SOON, stream.read_to_end(&mut rest)).await;
            assert!(closed.is_ok(), "a silent connection is kept");
        }
        ending.cancel();
        serving.await.unwrap();
    }

    #[tokio::test]
    async fn loopback_has_a_bound_and_who_stands_in_line_comes_in_later() {
        const MOST: usize = 4;
        let folder = tempfile::tempdir().unwrap();
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = tcp.local_addr().unwrap().port();
        let path = folder.path().join("api.sock");
        let unix = socket(&path).unwrap();
        let ending = CancellationToken::new();
        let limits = Limits { connections: MOST, head: SOON };
        let (inside, arrived) = watch::channel(0);
        let inside = Arc::new(inside);
        let go = CancellationToken::new();
        let ok = {
            let (inside, go) = (inside.clone(), go.clone());
            get(move |at_socket: Option<Extension<Channel>>| async move {
                if at_socket.is_none() {
                    inside.send_modify(|count| *count += 1);
                    go.cancelled().await;
                }
                "fine"
            })
        };
        let serving = tokio::spawn(both(tcp, unix, Router::new().route("/ok", ok), limits, ending.clone()));
        let many: Vec<_> = (0..3 * MOST)
            .map(|_| {
                tokio::spawn(async move { asked(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap()).await })
            })
            .collect();
        let mut full = arrived.clone();
        tokio::time::timeout(SOON, full.wait_for(|count| *count >= MOST)).await.expect("nobody comes in").unwrap();
        for _ in 0..10 {
            let answer = asked(UnixStream::connect(&path).await.unwrap()).await;
            assert!(answer.ends_with("fine"), "the owner's socket: {answer}");
        }
        assert_eq!(*arrived.borrow(), MOST);
        go.cancel();
        for one in many {
            assert!(one.await.unwrap().ends_with("fine"));
        }
        ending.cancel();
        serving.await.unwrap();
    }

    #[test]
    fn loopback_leaves_descriptors_for_the_owner() {
        let limits = Limits::of_process();
        let may_have = getrlimit(Resource::Nofile).current.unwrap();
        assert!(limits.connections as u64 * 2 < may_have, "{limits:?} of {may_have}");
    }
}
