//! HTTP through the machine's door: a pool of connections for each service, and the guest's own calls.

use std::{
    error::Error as StdError,
    future::Future,
    pin::Pin,
    sync::atomic::{AtomicU64, Ordering},
    task::{Context, Poll},
    time::Duration,
};

use alcove_door::{DoorClient, DoorError, Service};
use alcove_types::{
    ApiError, ErrorCode,
    guest::{ClockOffset, ClockSetting, DiskBytes, GuestEvent, GuestStatus},
};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{
        Client,
        connect::{Connected, Connection},
    },
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use tokio::net::TcpStream;

use crate::clock;

/// What a request through the door carries.
pub type Body = UnsyncBoxBody<Bytes, Box<dyn StdError + Send + Sync>>;

/// How long a service behind the door may take to take a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// An answer of the guest's own API larger than this is not one of ours.
const LARGEST_ANSWER: usize = 4 * 1024 * 1024;
/// Nor is a line of its events that is longer than this: hundreds of them are kept for who comes back.
const LARGEST_EVENT: usize = 256 * 1024;

/// The host's way to everything behind one machine's door. Made anew at each start of QEMU.
#[derive(Clone, Debug)]
pub struct Link {
    door: DoorClient,
    client: Client<Connector, Body>,
    start: u64,
}

/// Counts the links, to tell the starts of a machine apart.
static STARTS: AtomicU64 = AtomicU64::new(0);

impl Link {
    /// A link through `door`. Connects when it is first used.
    pub fn new(door: DoorClient) -> Self {
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(30))
            .pool_max_idle_per_host(16)
            .build(Connector(door.clone()));
        Self { door, client, start: STARTS.fetch_add(1, Ordering::Relaxed) }
    }

    /// Which start of the machine this leads to; no two have the same.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// The door itself, for what is not HTTP.
    pub fn door(&self) -> &DoorClient {
        &self.door
    }

    /// Sends a request to a service. The request's URI needs only path and query; its `Host` header is kept.
    ///
    /// # Errors
    /// When the door or the service behind it does not answer.
    pub async fn send(&self, service: Service, mut request: Request<Body>) -> Result<Response<Incoming>, ApiError> {
        let path = request.uri().path_and_query().map_or("/", |p| p.as_str());
        *request.uri_mut() =
            Uri::builder().scheme("http").authority(service.server_name()).path_and_query(path).build().map_err(
                |e| {
                    ApiError::new(
                        ErrorCode::BadRequest,
                        format!("That address can't be asked for: {e}."),
                        "Check the address.",
                    )
                },
            )?;
        *request.version_mut() = http::Version::HTTP_11;
        self.client.request(request).await.map_err(|error| unreachable(service, &error))
    }

    async fn call(&self, method: Method, path: &str, body: Vec<u8>, deadline: Duration) -> Result<Bytes, ApiError> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::CONTENT_TYPE, "application/json")
            .body(full(body))
            .map_err(|e| ApiError::new(ErrorCode::Internal, e.to_string(), "Report this."))?;
        let answer = async {
            let response = self.send(Service::Guest, request).await?;
            let status = response.status();
            let bytes = http_body_util::Limited::new(response.into_body(), LARGEST_ANSWER)
                .collect()
                .await
                .map_err(|e| unreachable(Service::Guest, &*e))?
                .to_bytes();
            if status.is_success() { Ok(bytes) } else { Err(refused(status, &bytes)) }
        };
        tokio::time::timeout(deadline, answer).await.unwrap_or_else(|_| {
            Err(ApiError::new(
                ErrorCode::GuestUnreachable,
                format!("The machine did not answer {path} within {} s.", deadline.as_secs_f32()),
                "Look at the serial log, or open a rescue shell.",
            ))
        })
    }

    async fn ask<T: serde::de::DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
        deadline: Duration,
    ) -> Result<T, ApiError> {
        let bytes = self.call(method, path, body, deadline).await?;
        serde_json::from_slice(&bytes).map_err(|error| {
            ApiError::new(
                ErrorCode::GuestUnreachable,
                format!("The machine's answer to {path} can't be read: {error}."),
                "The guest image may be of another version: restart the machine.",
            )
        })
    }

    /// The guest's account of itself.
    ///
    /// # Errors
    /// When the guest does not answer.
    pub async fn status(&self) -> Result<GuestStatus, ApiError> {
        self.ask(Method::GET, "/v1/status", Vec::new(), Duration::from_secs(10)).await
    }

    /// Tells the guest that it was resumed; sets its clock.
    ///
    /// # Errors
    /// When the guest does not answer.
    pub async fn resumed(&self, deadline: Duration) -> Result<(), ApiError> {
        self.call(Method::POST, "/v1/resumed", clock_setting(), deadline).await.map(drop)
    }

    /// Sets the guest's clock.
    ///
    /// # Errors
    /// When the guest does not answer.
    pub async fn set_clock(&self) -> Result<ClockOffset, ApiError> {
        self.ask(Method::POST, "/v1/time", clock_setting(), Duration::from_secs(10)).await
    }

    /// Makes the guest small and its disk consistent before a suspend.
    ///
    /// # Errors
    /// When the guest does not answer in time; a suspend is possible all the same.
    pub async fn prepare_suspend(&self, deadline: Duration) -> Result<(), ApiError> {
        self.call(Method::POST, "/v1/suspend-prepare", Vec::new(), deadline).await.map(drop)
    }

    /// Asks the guest to shut down in order; it answers before it does.
    ///
    /// # Errors
    /// When the guest does not answer.
    pub async fn shutdown(&self) -> Result<(), ApiError> {
        self.call(Method::POST, "/v1/shutdown", Vec::new(), Duration::from_secs(10)).await.map(drop)
    }

    /// Lets the guest's file system take up a disk that grew.
    ///
    /// # Errors
    /// When the guest does not answer.
    pub async fn grow_disk(&self) -> Result<DiskBytes, ApiError> {
        self.ask(Method::POST, "/v1/disk/grow", Vec::new(), Duration::from_secs(60)).await
    }

    /// True when the platform's gateway answers.
    pub async fn platform_answers(&self, deadline: Duration) -> bool {
        let Ok(request) = Request::builder().uri("/healthz").body(full(Vec::new())) else { return false };
        let answer = tokio::time::timeout(deadline, self.send(Service::Gateway, request)).await;
        matches!(answer, Ok(Ok(response)) if response.status() == StatusCode::OK)
    }

    /// The guest's event stream; ends when the connection does.
    ///
    /// # Errors
    /// When the guest does not answer.
    pub async fn events(&self) -> Result<GuestEvents, ApiError> {
        let request = Request::builder()
            .uri("/v1/events")
            .body(full(Vec::new()))
            .map_err(|e| ApiError::new(ErrorCode::Internal, e.to_string(), "Report this."))?;
        let response = tokio::time::timeout(CONNECT + Duration::from_secs(5), self.send(Service::Guest, request))
            .await
            .map_err(|_| unreachable(Service::Guest, &std::io::Error::from(std::io::ErrorKind::TimedOut)))??;
        if !response.status().is_success() {
            return Err(refused(response.status(), b""));
        }
        Ok(GuestEvents { body: response.into_body(), lines: Lines::default() })
    }
}

/// The guest's event stream.
#[derive(Debug)]
pub struct GuestEvents {
    body: Incoming,
    lines: Lines,
}

impl GuestEvents {
    /// The next event; `None` when the stream has ended. Lines that can't be read are passed over.
    pub async fn next(&mut self) -> Option<GuestEvent> {
        loop {
            while let Some(line) = self.lines.next() {
                let Some(data) = line.strip_prefix(b"data:") else { continue };
                if let Ok(event) = serde_json::from_slice(data) {
                    return Some(event);
                }
            }
            match self.body.frame().await?.ok()?.into_data() {
                Ok(data) => self.lines.push(&data),
                Err(_trailers) => {}
            }
        }
    }
}

/// Lines out of bytes as they come. One that is too long is none: its bytes are dropped as they come.
#[derive(Debug, Default)]
struct Lines {
    buffer: Vec<u8>,
    /// What comes belongs to a line that was too long.
    dropping: bool,
}

impl Lines {
    fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    fn next(&mut self) -> Option<Vec<u8>> {
        while let Some(end) = self.buffer.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = self.buffer.drain(..=end).collect();
            if !std::mem::take(&mut self.dropping) && line.len() <= LARGEST_EVENT {
                return Some(line);
            }
        }
        if self.buffer.len() > LARGEST_EVENT {
            self.dropping = true;
        }
        if self.dropping {
            self.buffer.clear();
        }
        None
    }
}

/// A body that is known whole.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

fn clock_setting() -> Vec<u8> {
    serde_json::to_vec(&ClockSetting { unix_time_ns: clock::unix_ns() }).unwrap_or_default()
}

fn refused(status: StatusCode, body: &[u8]) -> ApiError {
    serde_json::from_slice(body).unwrap_or_else(|_| {
        ApiError::new(
            ErrorCode::GuestUnreachable,
            format!("The machine answered with {status}."),
            "Look at the guest's log: `alcove logs --source alcove-guest`.",
        )
    })
}

fn unreachable(service: Service, error: &(dyn StdError + 'static)) -> ApiError {
    let code = match service {
        Service::Kubernetes => ErrorCode::KubernetesUnreachable,
        Service::Guest | Service::Gateway => ErrorCode::GuestUnreachable,
    };
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    ApiError::new(
        code,
        format!("The machine's {service} does not answer: {cause}."),
        "It may still be starting: `alcove status` says what it waits for.",
    )
}

/// Opens connections for the pool: the URI's host names the service.
#[derive(Clone, Debug)]
struct Connector(DoorClient);

impl tower_service::Service<Uri> for Connector {
    type Response = DoorStream;
    type Error = DoorError;
    type Future = Pin<Box<dyn Future<Output = Result<DoorStream, DoorError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), DoorError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let door = self.0.clone();
        Box::pin(async move {
            let host = uri.host().unwrap_or_default();
            let service = Service::from_server_name(host).ok_or_else(|| DoorError::UnknownService(host.to_owned()))?;
            Ok(DoorStream(TokioIo::new(door.connect(service, CONNECT).await?)))
        })
    }
}

/// A connection through the door as the pool wants it.
struct DoorStream(TokioIo<tokio_rustls::client::TlsStream<TcpStream>>);

impl Connection for DoorStream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl hyper::rt::Read for DoorStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl hyper::rt::Write for DoorStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_too_long_is_dropped_and_costs_only_itself() {
        let mut lines = Lines::default();
        lines.push(b"data:1\ndata:");
        assert_eq!(lines.next().as_deref(), Some(&b"data:1\n"[..]));
        assert_eq!(lines.next(), None);
        // In one piece, and in many.
        for piece in [2 * LARGEST_EVENT, LARGEST_EVENT / 3] {
            for _ in 0..(8 * LARGEST_EVENT / piece) {
                lines.push(&vec![b'x'; piece]);
                assert_eq!(lines.next(), None);
                assert!(lines.buffer.len() <= LARGEST_EVENT, "{} bytes are kept", lines.buffer.len());
            }
            lines.push(b"\ndata:2\n");
            assert_eq!(lines.next().as_deref(), Some(&b"data:2\n"[..]));
            assert_eq!(lines.next(), None);
        }
    }
}
