//! TLS on a port of loopback, for one kubectl.
//!
//! kubectl keeps what it learns of a cluster's API under the address of its server. A port that is another each time
//! would make it learn, and leave a folder behind, with every command. So the server has a name that lasts, and the port
//! is that of an HTTP proxy which leads to it: RFC 9110, section 9.3.6 (CONNECT).

use std::{
    convert::Infallible,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
};

use alcove_client::Client;
use alcove_types::{ApiError, ErrorCode};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, combinators::BoxBody};
use hyper::{
    Method, Request, Response, StatusCode, Uri, body::Incoming, header, http::uri::Authority, server::conn::http1,
    service::service_fn, upgrade,
};
use hyper_util::rt::TokioIo;
use rustls::{ServerConfig, crypto::ring, pki_types::PrivateKeyDer};
use serde_json::json;
use subtle::ConstantTimeEq as _;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::exit::internal;

/// Where the supervisor serves the cluster's API.
const PREFIX: &str = "/kubernetes";

type Body = BoxBody<Bytes, hyper::Error>;

/// A port that leads to a server which passes on requests that bear the token.
#[derive(Debug)]
pub(super) struct Proxy {
    /// The port's.
    pub(super) address: SocketAddr,
    /// The server's name, known behind the port alone.
    pub(super) name: String,
    /// PEM; who shows it is us.
    pub(super) certificate: String,
    pub(super) token: String,
    untold: Untold,
}

/// The supervisor's last refusal that kubectl keeps to itself.
type Untold = Arc<Mutex<Option<ApiError>>>;

impl Proxy {
    /// Starts to listen for the server of this name. Ends with the process.
    pub(super) async fn start(client: Client, name: String) -> Result<Self, ApiError> {
        let failed = |e: &dyn std::fmt::Display| internal(format!("no way to the cluster can be opened ({e})"));
        let key = rcgen::generate_simple_self_signed([name.clone()]).map_err(|e| failed(&e))?;
        let secret = PrivateKeyDer::try_from(key.signing_key.serialize_der()).map_err(|e| failed(&e))?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .and_then(|c| c.with_no_client_auth().with_single_cert(vec![key.cert.der().clone()], secret))
            .map_err(|e| failed(&e))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(|e| failed(&e))?;
        let address = listener.local_addr().map_err(|e| failed(&e))?;
        let token = uuid::Uuid::new_v4().simple().to_string();
        let untold = Untold::default();
        let server = Arc::new(Server {
            untold: Arc::clone(&untold),
            authority: format!("{name}:443"),
            acceptor: TlsAcceptor::from(Arc::new(config)),
            client,
            bearer: format!("Bearer {token}"),
        });
        let proxy = Self { address, name, certificate: key.cert.pem(), token, untold };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                let server = Arc::clone(&server);
                let lead = service_fn(move |request| {
                    let answer = lead(request, &server);
                    async { Ok::<_, Infallible>(answer) }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), lead).with_upgrades());
            }
        });
        Ok(proxy)
    }

    /// Why the cluster could not be asked, where kubectl does not say it: of what it asks first, which is what the
    /// cluster has, it tells the status alone.
    pub(super) fn untold(&self) -> Option<ApiError> {
        self.untold.lock().ok()?.take()
    }
}

/// What stands behind the port.
struct Server {
    /// Its name and port, as it is asked for.
    authority: String,
    acceptor: TlsAcceptor,
    client: Client,
    bearer: String,
    untold: Untold,
}

/// The proxy: leads to the one server there is.
fn lead(mut request: Request<Incoming>, server: &Arc<Server>) -> Response<Body> {
    let asked = request.uri().authority().map(Authority::as_str);
    if request.method() != Method::CONNECT || asked != Some(server.authority.as_str()) {
        return refuse(StatusCode::FORBIDDEN, "Forbidden", "this way leads to the machine's cluster alone");
    }
    let (asker, server) = (upgrade::on(&mut request), Arc::clone(server));
    tokio::spawn(async move {
        // Who breaks off, here or in the handshake, has nothing to be told.
        if let Ok(stream) = asker.await
            && let Ok(stream) = server.acceptor.accept(TokioIo::new(stream)).await
        {
            let service = service_fn(|request| {
                let server = Arc::clone(&server);
                async move { Ok::<_, Infallible>(pass(request, &server).await) }
            });
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades().await;
        }
    });
    Response::new(empty())
}

async fn pass(mut request: Request<Incoming>, server: &Server) -> Response<Body> {
    let given = request.headers().get(header::AUTHORIZATION).map_or(&b""[..], |given| given.as_bytes());
    let allowed = bool::from(given.ct_eq(server.bearer.as_bytes()));
    if !allowed {
        return refuse(StatusCode::UNAUTHORIZED, "Unauthorized", "this way to the cluster is another command's");
    }
    let path = request.uri().path_and_query().map_or("/", |p| p.as_str());
    let discovery = matches!(request.uri().path(), "/api" | "/apis");
    let Ok(uri) = format!("{PREFIX}{path}").parse::<Uri>() else {
        return refuse(StatusCode::BAD_REQUEST, "BadRequest", "the address of the request is not understood");
    };
    *request.uri_mut() = uri;
    let asker = upgrade::on(&mut request);
    match server.client.forward(request).await {
        Ok(mut response) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
            let cluster = upgrade::on(&mut response);
            // `exec` and `port-forward` speak a protocol of their own from here on.
            tokio::spawn(async move {
                if let (Ok(asker), Ok(cluster)) = tokio::join!(asker, cluster) {
                    let _ = tokio::io::copy_bidirectional(&mut TokioIo::new(asker), &mut TokioIo::new(cluster)).await;
                }
            });
            response.map(|_| empty())
        }
        Ok(response) => {
            let refused = response.status().is_client_error() || response.status().is_server_error();
            if refused {
                translate(response, discovery.then_some(&server.untold)).await
            } else {
                response.map(|body| body.boxed())
            }
        }
        Err(e) => refuse(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", &e.message),
    }
}

/// An error of the supervisor, in the shape that kubectl shows; errors of the cluster pass as they are.
async fn translate(response: Response<Incoming>, untold: Option<&Untold>) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    let Ok(body) = http_body_util::Limited::new(body, 1 << 20).collect().await else {
        return refuse(StatusCode::BAD_GATEWAY, "ServiceUnavailable", "the answer broke off");
    };
    let body = body.to_bytes();
    match serde_json::from_slice::<ApiError>(&body) {
        Ok(error) => {
            let reason = if error.code == ErrorCode::Forbidden { "Forbidden" } else { "ServiceUnavailable" };
            let answer = refuse(parts.status, reason, &format!("{}. {}", error.message, error.hint));
            if let Some(mut untold) = untold.and_then(|untold| untold.lock().ok()) {
                *untold = Some(error);
            }
            answer
        }
        Err(_) => {
            parts.headers.remove(header::TRANSFER_ENCODING);
            Response::from_parts(parts, full(body))
        }
    }
}

/// Kubernetes' own shape of an error.
fn refuse(status: StatusCode, reason: &str, message: &str) -> Response<Body> {
    let text = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": status.as_u16(),
    });
    let mut response = Response::new(full(Bytes::from(text.to_string())));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}

fn full(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed()
}

fn empty() -> Body {
    full(Bytes::new())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// Anybody on this computer can knock on the port.
    #[tokio::test]
    async fn the_port_leads_nowhere_else() {
        let proxy = Proxy::start(Client::at_socket("/nonexistent/api.sock"), "here".into()).await.unwrap();
        for (asked, answer) in [
            ("CONNECT here:443", "HTTP/1.1 200"),
            ("CONNECT here:80", "HTTP/1.1 403"),
            ("CONNECT 127.0.0.1:22", "HTTP/1.1 403"),
            ("GET http://elsewhere/", "HTTP/1.1 403"),
            ("GET /kubernetes/api", "HTTP/1.1 403"),
        ] {
            let mut stream = tokio::net::TcpStream::connect(proxy.address).await.unwrap();
            stream.write_all(format!("{asked} HTTP/1.1\r\nHost: here\r\n\r\n").as_bytes()).await.unwrap();
            let mut begin = [0; 12];
            stream.read_exact(&mut begin).await.unwrap();
            assert_eq!(String::from_utf8_lossy(&begin), answer, "{asked}");
        }
    }
}
