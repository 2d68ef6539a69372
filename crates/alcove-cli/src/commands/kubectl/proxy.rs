//! TLS on a port of loopback, for one kubectl.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use alcove_client::Client;
use alcove_types::{ApiError, ErrorCode};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, combinators::BoxBody};
use hyper::{Request, Response, StatusCode, Uri, body::Incoming, header, service::service_fn, upgrade};
use hyper_util::rt::TokioIo;
use rustls::{ServerConfig, crypto::ring, pki_types::PrivateKeyDer};
use serde_json::json;
use subtle::ConstantTimeEq as _;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::exit::internal;

/// Where the supervisor serves the cluster's API.
const PREFIX: &str = "/kubernetes";

type Body = BoxBody<Bytes, hyper::Error>;

/// A port that passes on requests which bear the token.
#[derive(Debug)]
pub(super) struct Proxy {
    pub(super) address: SocketAddr,
    /// PEM; who shows it is us.
    pub(super) certificate: String,
    pub(super) token: String,
}

impl Proxy {
    /// Starts to listen. Ends with the process.
    pub(super) async fn start(client: Client) -> Result<Self, ApiError> {
        let failed = |e: &dyn std::fmt::Display| internal(format!("no way to the cluster can be opened ({e})"));
        let key = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).map_err(|e| failed(&e))?;
        let secret = PrivateKeyDer::try_from(key.signing_key.serialize_der()).map_err(|e| failed(&e))?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .and_then(|c| c.with_no_client_auth().with_single_cert(vec![key.cert.der().clone()], secret))
            .map_err(|e| failed(&e))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(|e| failed(&e))?;
        let address = listener.local_addr().map_err(|e| failed(&e))?;
        let token = uuid::Uuid::new_v4().simple().to_string();
        let proxy = Self { address, certificate: key.cert.pem(), token: token.clone() };
        tokio::spawn(serve(listener, TlsAcceptor::from(Arc::new(config)), client, format!("Bearer {token}").into()));
        Ok(proxy)
    }
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, client: Client, bearer: Arc<str>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(connection(stream, acceptor.clone(), client.clone(), Arc::clone(&bearer)));
    }
}

async fn connection(stream: TcpStream, acceptor: TlsAcceptor, client: Client, bearer: Arc<str>) {
    let _ = stream.set_nodelay(true);
    // Who breaks off the handshake has nothing to be told.
    let Ok(stream) = acceptor.accept(stream).await else { return };
    let service = service_fn(|request| {
        let (client, bearer) = (client.clone(), Arc::clone(&bearer));
        async move { Ok::<_, std::convert::Infallible>(pass(request, &client, &bearer).await) }
    });
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
}

async fn pass(mut request: Request<Incoming>, client: &Client, bearer: &str) -> Response<Body> {
    let given = request.headers().get(header::AUTHORIZATION).map_or(&b""[..], |given| given.as_bytes());
    let allowed = bool::from(given.ct_eq(bearer.as_bytes()));
    if !allowed {
        return refuse(StatusCode::UNAUTHORIZED, "Unauthorized", "this way to the cluster is another command's");
    }
    let path = request.uri().path_and_query().map_or("/", |p| p.as_str());
    let Ok(uri) = format!("{PREFIX}{path}").parse::<Uri>() else {
        return refuse(StatusCode::BAD_REQUEST, "BadRequest", "the address of the request is not understood");
    };
    *request.uri_mut() = uri;
    let asker = upgrade::on(&mut request);
    match client.forward(request).await {
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
            if refused { translate(response).await } else { response.map(|body| body.boxed()) }
        }
        Err(e) => refuse(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", &e.message),
    }
}

/// An error of the supervisor, in the shape that kubectl shows; errors of the cluster pass as they are.
async fn translate(response: Response<Incoming>) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    let Ok(body) = http_body_util::Limited::new(body, 1 << 20).collect().await else {
        return refuse(StatusCode::BAD_GATEWAY, "ServiceUnavailable", "the answer broke off");
    };
    let body = body.to_bytes();
    match serde_json::from_slice::<ApiError>(&body) {
        Ok(error) => {
            let reason = if error.code == ErrorCode::Forbidden { "Forbidden" } else { "ServiceUnavailable" };
            refuse(parts.status, reason, &format!("{}. {}", error.message, error.hint))
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
