//! Connections to the API server.

use std::{
    future::Future,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use alcove_door::{DoorClient, Service};
use alcove_types::ApiError;
use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{body::Incoming, client::conn::http1::SendRequest};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::client::TlsStream;

use crate::errors;

/// Yields byte streams on which the API server speaks plain HTTP/1.1.
pub trait Dial: Send + Sync + 'static {
    /// The byte stream.
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// Opens one.
    fn dial(&self) -> impl Future<Output = Result<Self::Stream, ApiError>> + Send;
}

/// Comes in through the machine's door.
#[derive(Debug, Clone)]
pub struct DoorDial {
    door: DoorClient,
    deadline: Duration,
}

impl DoorDial {
    /// Through `door`, each connection within `deadline`.
    #[must_use]
    pub const fn new(door: DoorClient, deadline: Duration) -> Self {
        Self { door, deadline }
    }
}

impl Dial for DoorDial {
    type Stream = TlsStream<TcpStream>;

    async fn dial(&self) -> Result<Self::Stream, ApiError> {
        self.door.connect(Service::Kubernetes, self.deadline).await.map_err(errors::unreachable)
    }
}

/// How many connections are kept for the next request. A page of the console asks for four things at once.
const IDLE: usize = 4;
/// The largest page of a list that is read into memory.
const PAGE_BYTES: usize = 64 * 1024 * 1024;

type Sender = SendRequest<Full<Bytes>>;

/// Sends requests, keeping connections for the next ones: a handshake with certificates on both sides costs more than
/// most answers.
#[derive(Debug)]
pub(crate) struct Connections<D> {
    dial: D,
    idle: Mutex<Vec<Sender>>,
}

impl<D: Dial> Connections<D> {
    pub(crate) const fn new(dial: D) -> Self {
        Self { dial, idle: Mutex::new(Vec::new()) }
    }

    /// Reads a whole answer within `deadline`.
    pub(crate) async fn read(&self, path: &str, deadline: Duration) -> Result<Bytes, ApiError> {
        let reading = async {
            // A kept connection may have been closed meanwhile; reading twice does no harm, so a fresh one is tried.
            let kept = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            if let Some(mut sender) = kept
                && sender.ready().await.is_ok()
                && let Ok(response) = sender.send_request(get(path)?).await
            {
                return self.finish(sender, response).await;
            }
            let mut sender = self.connect().await?;
            let response = sender.send_request(get(path)?).await.map_err(errors::unreachable)?;
            self.finish(sender, response).await
        };
        timeout(deadline, reading).await.map_err(|_| errors::late(deadline.as_secs()))?
    }

    /// Starts a stream on a connection of its own, which ends with it.
    pub(crate) async fn stream(&self, path: &str, deadline: Duration) -> Result<Response<Incoming>, ApiError> {
        let opening = async {
            let mut sender = self.connect().await?;
            let response = sender.send_request(get(path)?).await.map_err(errors::unreachable)?;
            let status = response.status();
            if status.is_success() {
                return Ok(response);
            }
            let body = Limited::new(response.into_body(), PAGE_BYTES).collect().await;
            Err(errors::from_answer(status, &body.map_err(errors::unreachable)?.to_bytes()))
        };
        timeout(deadline, opening).await.map_err(|_| errors::late(deadline.as_secs()))?
    }

    async fn connect(&self) -> Result<Sender, ApiError> {
        let stream = self.dial.dial().await?;
        let (sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(errors::unreachable)?;
        // Ends when the sender and the body that it gave are dropped.
        tokio::spawn(connection);
        Ok(sender)
    }

    async fn finish(&self, sender: Sender, response: Response<Incoming>) -> Result<Bytes, ApiError> {
        let status = response.status();
        let body = Limited::new(response.into_body(), PAGE_BYTES).collect().await;
        let body = body.map_err(errors::unreachable)?.to_bytes();
        if !sender.is_closed() {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            if idle.len() < IDLE {
                idle.push(sender);
            }
        }
        if status.is_success() { Ok(body) } else { Err(errors::from_answer(status, &body)) }
    }
}

fn get(path: &str) -> Result<Request<Full<Bytes>>, ApiError> {
    Request::builder()
        .method(Method::GET)
        .uri(path)
        .header(header::HOST, "kubernetes.default.svc")
        .header(header::ACCEPT, "application/json")
        .header(header::USER_AGENT, concat!("alcove/", env!("CARGO_PKG_VERSION")))
        .body(Full::new(Bytes::new()))
        .map_err(|e| errors::not_understood(path, e))
}
