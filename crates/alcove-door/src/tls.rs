//! TLS on both sides of the door: version 1.3, certificates on both sides, one authority.

use std::{fmt, io, net::SocketAddr, sync::Arc, time::Duration};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier},
    sign::CertifiedKey,
};
use tokio::{
    net::TcpStream,
    time::{Instant, timeout_at},
};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use crate::{DoorError, Service};

const ALPN: &[u8] = b"http/1.1";

/// What the guest needs to open its door, as PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct ServerPem {
    /// The machine's authority.
    pub ca_cert: String,
    /// The guest's certificate.
    pub server_cert: String,
    /// The guest's key.
    pub server_key: String,
}

/// What the host needs to come in, as PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientPem {
    /// The machine's authority.
    pub ca_cert: String,
    /// The host's certificate.
    pub client_cert: String,
    /// The host's key.
    pub client_key: String,
}

impl fmt::Debug for ServerPem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerPem").finish_non_exhaustive()
    }
}

impl fmt::Debug for ClientPem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientPem").finish_non_exhaustive()
    }
}

/// The guest's side: shows its certificate only to those who ask for a service that exists, and lets in only those who
/// show a certificate of the machine's authority.
///
/// # Errors
/// When a key can't be read or doesn't fit its certificate.
pub fn server_config(pem: &ServerPem) -> Result<Arc<ServerConfig>, DoorError> {
    let provider = provider();
    let roots = Arc::new(authority(&pem.ca_cert)?);
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider.clone())
        .build()
        .map_err(|e| bad("authority", e))?;
    let key = private_key("guest key", &pem.server_key)?;
    let certified = CertifiedKey::from_der(certificates("guest certificate", &pem.server_cert)?, key, &provider)?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(KnownServices(Arc::new(certified))));
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(Arc::new(config))
}

/// The host's side.
///
/// # Errors
/// When a key can't be read or doesn't fit its certificate.
pub fn client_config(pem: &ClientPem) -> Result<Arc<ClientConfig>, DoorError> {
    let key = private_key("host key", &pem.client_key)?;
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(authority(&pem.ca_cert)?)
        .with_client_auth_cert(certificates("host certificate", &pem.client_cert)?, key)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(Arc::new(config))
}

/// The host's handle on one machine's door.
#[derive(Clone)]
pub struct DoorClient {
    address: SocketAddr,
    connector: TlsConnector,
}

impl fmt::Debug for DoorClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DoorClient").field("address", &self.address).finish_non_exhaustive()
    }
}

impl DoorClient {
    /// A handle on the door that listens at `address`. Connects to nothing yet.
    #[must_use]
    pub fn new(address: SocketAddr, config: Arc<ClientConfig>) -> Self {
        Self { address, connector: TlsConnector::from(config) }
    }

    /// Where the door is.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Opens a connection to `service`, or gives up after `deadline`.
    ///
    /// A port that is forwarded into a machine which is still starting takes connections and says nothing, so the
    /// deadline covers the handshake too.
    ///
    /// # Errors
    /// [`DoorError::Connect`], [`DoorError::Handshake`] or [`DoorError::Timeout`].
    pub async fn connect(
        &self,
        service: Service,
        deadline: Duration,
    ) -> Result<client::TlsStream<TcpStream>, DoorError> {
        let until = Instant::now() + deadline;
        let late = |_| DoorError::Timeout(deadline.as_millis());
        let tcp =
            timeout_at(until, TcpStream::connect(self.address)).await.map_err(late)?.map_err(DoorError::Connect)?;
        tcp.set_nodelay(true).map_err(DoorError::Connect)?;
        let name = ServerName::try_from(service.server_name())
            .map_err(|_| DoorError::UnknownService(service.server_name().to_owned()))?;
        timeout_at(until, self.connector.connect(name, tcp)).await.map_err(late)?.map_err(DoorError::Handshake)
    }
}

/// The guest's handle on its own door.
#[derive(Clone)]
pub struct Door {
    acceptor: TlsAcceptor,
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Door").finish_non_exhaustive()
    }
}

impl Door {
    /// A door with these keys.
    #[must_use]
    pub fn new(config: Arc<ServerConfig>) -> Self {
        Self { acceptor: TlsAcceptor::from(config) }
    }

    /// Greets one who knocks: proves both sides and says which service is asked for. Gives up after `deadline`, so that
    /// silent connections don't pile up.
    ///
    /// # Errors
    /// [`DoorError::Handshake`], [`DoorError::Timeout`] or [`DoorError::UnknownService`].
    pub async fn greet(
        &self,
        tcp: TcpStream,
        deadline: Duration,
    ) -> Result<(Service, server::TlsStream<TcpStream>), DoorError> {
        tcp.set_nodelay(true).map_err(DoorError::Connect)?;
        let stream = tokio::time::timeout(deadline, self.acceptor.accept(tcp))
            .await
            .map_err(|_| DoorError::Timeout(deadline.as_millis()))?
            .map_err(DoorError::Handshake)?;
        let asked = stream.get_ref().1.server_name().unwrap_or_default();
        match Service::from_server_name(asked) {
            Some(service) => Ok((service, stream)),
            None => Err(DoorError::UnknownService(asked.to_owned())),
        }
    }
}

/// Answers only to the names of services.
#[derive(Debug)]
struct KnownServices(Arc<CertifiedKey>);

impl ResolvesServerCert for KnownServices {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        hello.server_name().and_then(Service::from_server_name).map(|_| Arc::clone(&self.0))
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn authority(pem: &str) -> Result<RootCertStore, DoorError> {
    let mut roots = RootCertStore::empty();
    for cert in certificates("authority", pem)? {
        roots.add(cert).map_err(|e| bad("authority", e))?;
    }
    Ok(roots)
}

fn certificates(what: &'static str, pem: &str) -> Result<Vec<CertificateDer<'static>>, DoorError> {
    let found: Vec<_> =
        CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().map_err(|e| bad(what, e))?;
    if found.is_empty() { Err(bad(what, io::Error::other("it holds no certificate"))) } else { Ok(found) }
}

fn private_key(what: &'static str, pem: &str) -> Result<PrivateKeyDer<'static>, DoorError> {
    PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|e| bad(what, e))
}

fn bad(what: &'static str, reason: impl fmt::Display) -> DoorError {
    DoorError::BadPem { what, reason: reason.to_string() }
}
