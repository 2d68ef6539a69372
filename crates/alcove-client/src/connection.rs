//! One HTTP/1.1 connection per request, over the Unix socket or loopback. Opening one is cheap on both, and a dropped
//! request takes its connection with it, so nothing lingers after a cancel.

use std::{io, net::SocketAddr, path::PathBuf, pin::Pin, time::Duration};

use alcove_types::ApiError;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    time::timeout,
};

use crate::errors;

/// How long a connection may take. Both ways are local, so a longer wait means that nobody accepts.
const CONNECT: Duration = Duration::from_secs(5);

/// Where the supervisor listens.
#[derive(Clone)]
pub(crate) enum Place {
    /// Its Unix socket; the kernel says who we are.
    Socket(PathBuf),
    /// Loopback, with a token.
    Loopback {
        /// Address and port.
        address: SocketAddr,
        /// Proves that we may.
        token: String,
    },
}

/// A byte stream of either kind.
pub(crate) trait Bytestream: AsyncRead + AsyncWrite + Send + Unpin + std::fmt::Debug {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin + std::fmt::Debug> Bytestream for T {}

impl Place {
    /// The `Host` header that the supervisor knows itself by.
    pub(crate) fn host(&self) -> String {
        match self {
            Self::Socket(_) => "alcove.localhost".to_owned(),
            Self::Loopback { address, .. } => address.to_string(),
        }
    }

    /// The `Authorization` header, where one is needed.
    pub(crate) fn authorization(&self) -> Option<String> {
        match self {
            Self::Socket(_) => None,
            Self::Loopback { token, .. } => Some(format!("Bearer {token}")),
        }
    }

    /// Opens a connection.
    pub(crate) async fn open(&self) -> Result<Pin<Box<dyn Bytestream>>, ApiError> {
        let opening = async {
            Ok::<Pin<Box<dyn Bytestream>>, io::Error>(match self {
                Self::Socket(path) => Box::pin(UnixStream::connect(path).await?),
                Self::Loopback { address, .. } => {
                    let stream = TcpStream::connect(address).await?;
                    stream.set_nodelay(true)?;
                    Box::pin(stream)
                }
            })
        };
        timeout(CONNECT, opening).await.map_err(|_| errors::late(CONNECT.as_secs()))?.map_err(|e| {
            errors::unreachable(match e.kind() {
                io::ErrorKind::NotFound => "there is no socket".to_owned(),
                io::ErrorKind::ConnectionRefused => "nobody answers".to_owned(),
                _ => e.to_string(),
            })
        })
    }

    /// Starts a request with the headers that every request has.
    pub(crate) fn request(&self, method: Method, path: &str, agent: &str) -> http::request::Builder {
        let builder = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.host())
            .header(header::USER_AGENT, agent);
        match self.authorization() {
            Some(value) => builder.header(header::AUTHORIZATION, value),
            None => builder,
        }
    }

    /// Sends a request and waits for the head of the answer. `Err(Lost)` says that the request may have been carried
    /// out although no answer came.
    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, SendError> {
        let stream = self.open().await.map_err(SendError::NotSent)?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|e| SendError::NotSent(errors::broken(e)))?;
        // Ends by itself once the answer was read or dropped.
        tokio::spawn(connection.with_upgrades());
        sender.send_request(request).await.map_err(|e| SendError::Lost(errors::broken(e)))
    }
}

impl Place {
    /// Sends a request that was made elsewhere.
    pub(crate) async fn forward<B>(&self, mut request: Request<B>) -> Result<Response<Incoming>, ApiError>
    where
        B: http_body::Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let headers = request.headers_mut();
        headers.remove(header::AUTHORIZATION);
        headers.insert(header::HOST, value(&self.host())?);
        if let Some(authorization) = self.authorization() {
            headers.insert(header::AUTHORIZATION, value(&authorization)?);
        }
        let stream = self.open().await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(errors::broken)?;
        tokio::spawn(connection.with_upgrades());
        sender.send_request(request).await.map_err(errors::broken)
    }
}

fn value(text: &str) -> Result<HeaderValue, ApiError> {
    HeaderValue::from_str(text).map_err(|e| errors::broken(format!("the token can't be sent: {e}")))
}

/// Why there is no answer.
pub(crate) enum SendError {
    /// The request never left.
    NotSent(ApiError),
    /// The request left, the answer did not come.
    Lost(ApiError),
}

impl From<SendError> for ApiError {
    fn from(error: SendError) -> Self {
        match error {
            SendError::NotSent(e) | SendError::Lost(e) => e,
        }
    }
}
