//! The client against a stand-in for the API server, over streams in memory.

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use alcove_cluster::{ClusterClient, Dial, LogOptions};
use alcove_types::{ApiError, ErrorCode};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream},
    sync::mpsc,
    time::timeout,
};

const SOON: Duration = Duration::from_secs(10);

/// Answers by path and query.
#[derive(Clone, Default)]
struct Server {
    answers: Arc<HashMap<&'static str, (u16, Value)>>,
    connections: Arc<AtomicUsize>,
    /// Close each connection after so many requests without a word.
    short_lived: bool,
}

impl Server {
    fn new<const N: usize>(answers: [(&'static str, u16, Value); N]) -> Self {
        let answers = answers.into_iter().map(|(path, status, value)| (path, (status, value))).collect();
        Self { answers: Arc::new(answers), ..Self::default() }
    }
}

impl Dial for Server {
    type Stream = DuplexStream;

    async fn dial(&self) -> Result<DuplexStream, ApiError> {
        self.connections.fetch_add(1, Ordering::SeqCst);
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let server = self.clone();
        tokio::spawn(async move {
            let service = service_fn(|request: Request<Incoming>| {
                let asked = request.uri().to_string();
                let answer = server.answers.get(asked.as_str()).cloned();
                async move {
                    let missing = || (404, json!({"kind": "Status", "message": format!("no {asked}"), "code": 404}));
                    let (status, value) = answer.unwrap_or_else(missing);
                    let mut response = Response::new(Full::new(Bytes::from(value.to_string())).boxed());
                    *response.status_mut() = hyper::StatusCode::from_u16(status).unwrap();
                    Ok::<_, Infallible>(response)
                }
            });
            let keep = !server.short_lived;
            let _ = hyper::server::conn::http1::Builder::new()
                .keep_alive(keep)
                .serve_connection(TokioIo::new(theirs), service)
                .await;
        });
        Ok(ours)
    }
}

fn named(name: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": "default"}, "status": {"phase": "Succeeded"}})
}

#[tokio::test]
async fn lists_are_read_page_by_page() {
    let server = Server::new([
        ("/api/v1/pods?limit=500", 200, json!({"metadata": {"continue": "a+b="}, "items": [named("b")]})),
        ("/api/v1/pods?limit=500&continue=a%2Bb%3D", 200, json!({"metadata": {"continue": ""}, "items": [named("a")]})),
    ]);
    let pods = ClusterClient::new(server.clone()).pods(None).await.unwrap();
    assert_eq!(pods.items.iter().map(|p| p.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    // Metrics did not answer: only their columns are empty.
    assert_eq!(pods.items[0].cpu_used_m, None);
}

#[tokio::test]
async fn a_list_that_leads_in_a_circle_ends() {
    let server = Server::new([
        ("/api/v1/events?limit=500", 200, json!({"metadata": {"continue": "x"}, "items": []})),
        ("/api/v1/events?limit=500&continue=x", 200, json!({"metadata": {"continue": "x"}, "items": null})),
    ]);
    let events = timeout(SOON, ClusterClient::new(server).events(10)).await.unwrap().unwrap();
    assert!(events.items.is_empty());
}

/// Gives a further page for each one that is asked for.
struct Endless(Arc<AtomicUsize>);

impl Dial for Endless {
    type Stream = DuplexStream;

    async fn dial(&self) -> Result<DuplexStream, ApiError> {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let asked = self.0.clone();
        tokio::spawn(async move {
            let service = service_fn(|_: Request<Incoming>| {
                let page = asked.fetch_add(1, Ordering::SeqCst);
                let list = json!({"metadata": {"continue": page.to_string()}, "items": []}).to_string();
                std::future::ready(Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(list)))))
            });
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(theirs), service).await;
        });
        Ok(ours)
    }
}

#[tokio::test]
async fn a_list_without_an_end_is_given_up() {
    let asked = Arc::new(AtomicUsize::new(0));
    let error = timeout(SOON, ClusterClient::new(Endless(asked.clone())).events(10)).await.unwrap().unwrap_err();
    assert_eq!(error.code, ErrorCode::Unsupported);
    assert!(error.message.contains("/api/v1/events") && error.hint.contains("kubectl"), "{error:?}");
    assert!(asked.load(Ordering::SeqCst) < 1000);
}

#[tokio::test]
async fn refused_is_not_none() {
    let door = json!({"code": "kubernetes_unreachable", "message": "Kubernetes is starting", "hint": "Wait."});
    for (status, body, code, words) in [
        (
            403,
            json!({"kind": "Status", "message": "pods is forbidden"}),
            ErrorCode::Forbidden,
            "the cluster refuses to show this (pods is forbidden)",
        ),
        (
            401,
            json!({"message": "Unauthorized"}),
            ErrorCode::Unauthenticated,
            "the cluster does not know us (Unauthorized)",
        ),
        (
            429,
            json!({"message": "Too many requests."}),
            ErrorCode::KubernetesUnreachable,
            "the cluster is not ready (Too many requests)",
        ),
        (503, door, ErrorCode::KubernetesUnreachable, "Kubernetes is starting"),
        (
            503,
            json!("?"),
            ErrorCode::KubernetesUnreachable,
            "the cluster is not ready (it answered 503 Service Unavailable)",
        ),
        (
            200,
            json!({"items": 7}),
            ErrorCode::Internal,
            "the cluster's answer to /api/v1/events?limit=500 is not understood",
        ),
    ] {
        let server = Server::new([("/api/v1/events?limit=500", status, body)]);
        let error = ClusterClient::new(server).events(10).await.unwrap_err();
        assert_eq!(error.code, code);
        assert!(error.message.starts_with(words) && !error.hint.is_empty(), "{error:?}");
    }
}

#[tokio::test]
async fn connections_are_kept_and_replaced_when_they_are_gone() {
    let answer = ("/api/v1/events?limit=500", 200, json!({"items": []}));
    let server = Server::new([answer.clone()]);
    let client = ClusterClient::new(server.clone());
    for _ in 0..5 {
        client.events(10).await.unwrap();
    }
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
    let server = Server { short_lived: true, ..Server::new([answer]) };
    let client = ClusterClient::new(server.clone());
    for _ in 0..5 {
        client.events(10).await.unwrap();
    }
    assert!(server.connections.load(Ordering::SeqCst) >= 1);
}

#[tokio::test]
async fn the_overview_asks_for_everything_at_once() {
    let list = || json!({"items": []});
    let server = Server::new([
        ("/api/v1/nodes?limit=500", 200, list()),
        ("/api/v1/pods?limit=500", 200, json!({"items": [named("a")]})),
        ("/api/v1/events?fieldSelector=type%3DWarning&limit=500", 200, list()),
        ("/version", 200, json!({"gitVersion": "v1.36.3", "major": "1"})),
    ]);
    let overview = ClusterClient::new(server).overview().await.unwrap();
    assert_eq!((overview.pods.total, overview.pods.well, overview.version.as_str()), (1, 1, "v1.36.3"));
}

/// Gives out the other ends of its connections, so that a test can be the server byte by byte.
struct ByHand(mpsc::UnboundedSender<DuplexStream>);

impl Dial for ByHand {
    type Stream = DuplexStream;

    async fn dial(&self) -> Result<DuplexStream, ApiError> {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        self.0.send(theirs).map_err(|_| ApiError::new(ErrorCode::Internal, "gone", ""))?;
        Ok(ours)
    }
}

#[tokio::test]
async fn a_log_streams_and_ends_when_it_is_dropped() {
    let (send, mut connections) = mpsc::unbounded_channel();
    let client = ClusterClient::new(ByHand(send));
    let server = async {
        let mut stream = connections.recv().await.unwrap();
        let mut request = vec![0; 4096];
        let n = stream.read(&mut request).await.unwrap();
        let request = String::from_utf8_lossy(&request[..n]).into_owned();
        stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\none\n\r\n").await.unwrap();
        (stream, request)
    };
    let options = LogOptions { follow: true, tail: Some(5), ..LogOptions::default() };
    let (log, (mut stream, request)) = tokio::join!(client.logs("default", "web-1", &options), server);
    let mut log = log.unwrap();
    assert!(request.starts_with("GET /api/v1/namespaces/default/pods/web-1/log?tailLines=5&follow=true HTTP/1.1\r\n"));
    assert_eq!(log.chunk().await.unwrap().as_deref(), Some(&b"one\n"[..]));
    stream.write_all(b"4\r\ntwo\n\r\n").await.unwrap();
    assert_eq!(log.chunk().await.unwrap().as_deref(), Some(&b"two\n"[..]));
    drop(log);
    let mut rest = Vec::new();
    timeout(SOON, stream.read_to_end(&mut rest)).await.expect("the connection is closed").unwrap();
}

#[tokio::test]
async fn a_server_that_hangs_up() {
    let (send, mut connections) = mpsc::unbounded_channel();
    let client = ClusterClient::new(ByHand(send));
    let hang_up = async { drop(connections.recv().await) };
    let options = LogOptions::default();
    let (error, ()) = tokio::join!(client.logs("default", "web-1", &options), hang_up);
    assert_eq!(error.unwrap_err().code, ErrorCode::KubernetesUnreachable);
}
