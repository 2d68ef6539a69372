//! The way to the cluster's API server: with the administrator's certificate that Kubernetes wrote, over loopback.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result, bail};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, StatusCode, client::conn::http1};
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};

const KUBECONFIG: &str = "/etc/rancher/k3s/k3s.yaml";
const SERVER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 6443);
const DEADLINE: Duration = Duration::from_secs(5);
/// More than a node's or a version's JSON ever is.
const ANSWER_BYTES: usize = 1024 * 1024;

/// The cluster of this machine.
pub(super) struct Cluster {
    node: String,
    /// The configuration, and the time of the file that it was read from: certificates are renewed.
    config: Mutex<Option<(SystemTime, Arc<ClientConfig>)>>,
    /// A connection that is kept for the daemon's own small questions.
    kept: tokio::sync::Mutex<Option<http1::SendRequest<Empty<Bytes>>>>,
}

/// What is seen of the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NodeReport {
    /// It is Ready.
    pub(super) ready: bool,
    /// What its kubelet says about it.
    pub(super) message: String,
    /// The kubelet's version.
    pub(super) version: Option<String>,
}

impl Cluster {
    pub(super) fn new(node: String) -> Self {
        Self { node, config: Mutex::default(), kept: tokio::sync::Mutex::default() }
    }

    /// Opens a connection to the API server, as the cluster's administrator.
    pub(super) async fn connect(&self) -> Result<TlsStream<TcpStream>> {
        let config = self.config()?;
        let connection = async {
            let tcp = TcpStream::connect(SERVER).await.context("it does not listen")?;
            tcp.set_nodelay(true)?;
            let name = ServerName::IpAddress(SERVER.ip().into());
            TlsConnector::from(config).connect(name, tcp).await.context("it refuses the handshake")
        };
        timeout(DEADLINE, connection).await.context("it does not answer")?
    }

    fn config(&self) -> Result<Arc<ClientConfig>> {
        let written =
            fs::metadata(KUBECONFIG).and_then(|file| file.modified()).context("its certificates are not there")?;
        let mut config = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((read, config)) = &*config
            && *read == written
        {
            return Ok(Arc::clone(config));
        }
        let text = fs::read_to_string(KUBECONFIG).context("its certificates can't be read")?;
        let fresh = Arc::new(tls_config(&text)?);
        *config = Some((written, Arc::clone(&fresh)));
        Ok(fresh)
    }

    /// Asks for a path and returns the answer's status and body.
    async fn get(&self, path: &str) -> Result<(StatusCode, Bytes)> {
        let mut kept = self.kept.lock().await;
        for fresh in [false, true] {
            if fresh || kept.as_ref().is_none_or(http1::SendRequest::is_closed) {
                let stream = self.connect().await?;
                let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
                tokio::spawn(connection);
                *kept = Some(sender);
            }
            let Some(sender) = kept.as_mut() else { continue };
            let request = Request::get(path)
                .header("host", "kubernetes")
                .header("accept", "application/json")
                .body(Empty::new())?;
            let exchange = async {
                let answer = sender.send_request(request).await?;
                let status = answer.status();
                let body = Limited::new(answer.into_body(), ANSWER_BYTES).collect().await;
                anyhow::Ok((status, body.map_err(|error| anyhow::anyhow!(error))?.to_bytes()))
            };
            match timeout(DEADLINE, exchange).await {
                Ok(Ok(answer)) => return Ok(answer),
                // A connection that was kept may have been closed by a server that was started anew.
                Ok(Err(_)) if !fresh => *kept = None,
                Ok(Err(error)) => {
                    *kept = None;
                    return Err(error);
                }
                Err(_) => {
                    *kept = None;
                    bail!("no answer in {} s", DEADLINE.as_secs());
                }
            }
        }
        bail!("no connection")
    }

    /// Whether the API server says that it is ready; else what it says instead.
    pub(super) async fn ready(&self) -> Result<()> {
        match self.get("/readyz").await? {
            (StatusCode::OK, _) => Ok(()),
            (status, body) => {
                let said = String::from_utf8_lossy(&body);
                let failed: Vec<&str> = said.lines().filter(|line| line.starts_with("[-]")).take(3).collect();
                bail!("{status} {}", failed.join(", "))
            }
        }
    }

    /// How the machine's own node is.
    pub(super) async fn node(&self) -> Result<NodeReport> {
        match self.get(&format!("/api/v1/nodes/{}", self.node)).await? {
            (StatusCode::OK, body) => parse_node(&body),
            (StatusCode::NOT_FOUND, _) => {
                Ok(NodeReport { ready: false, message: "the node has not joined yet".to_owned(), version: None })
            }
            (status, _) => bail!("{status}"),
        }
    }
}

fn parse_node(body: &[u8]) -> Result<NodeReport> {
    let node: serde_json::Value = serde_json::from_slice(body).context("the node's answer is damaged")?;
    let condition = node["status"]["conditions"]
        .as_array()
        .and_then(|conditions| conditions.iter().find(|condition| condition["type"] == "Ready"));
    Ok(NodeReport {
        ready: condition.is_some_and(|condition| condition["status"] == "True"),
        message: condition
            .and_then(|condition| condition["message"].as_str())
            .unwrap_or("the node has not said anything yet")
            .to_owned(),
        version: node["status"]["nodeInfo"]["kubeletVersion"].as_str().map(str::to_owned),
    })
}

fn tls_config(kubeconfig: &str) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for cert in CertificateDer::pem_slice_iter(&field(kubeconfig, "certificate-authority-data")?) {
        roots.add(cert.map_err(|_| anyhow::anyhow!("the cluster's authority is damaged"))?)?;
    }
    let certs = CertificateDer::pem_slice_iter(&field(kubeconfig, "client-certificate-data")?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| anyhow::anyhow!("the administrator's certificate is damaged"))?;
    let key = PrivateKeyDer::from_pem_slice(&field(kubeconfig, "client-key-data")?)
        .map_err(|_| anyhow::anyhow!("the administrator's key is damaged"))?;
    Ok(ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_client_auth_cert(certs, key)?)
}

/// The first field of that name. Kubernetes writes this file itself, with one cluster and one user in it, and the values
/// are base64 on one line: that much of YAML is enough.
fn field(kubeconfig: &str, name: &str) -> Result<Vec<u8>> {
    let value = kubeconfig
        .lines()
        .find_map(|line| line.trim_start().trim_start_matches("- ").strip_prefix(name)?.strip_prefix(':'))
        .with_context(|| format!("{KUBECONFIG} has no {name}"))?;
    STANDARD.decode(value.trim().trim_matches('"')).ok().with_context(|| format!("{name} in {KUBECONFIG} is damaged"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_a_kubeconfig_are_found() {
        let text = "clusters:\n- cluster:\n    certificate-authority-data: aGVsbG8=\n    server: https://127.0.0.1:6443\nusers:\n- user:\n    client-key-data: \"a2V5\"\n";
        assert_eq!(field(text, "certificate-authority-data").unwrap(), b"hello");
        assert_eq!(field(text, "client-key-data").unwrap(), b"key");
        assert!(field(text, "client-certificate-data").is_err());
        assert!(field("client-key-data: ###", "client-key-data").is_err());
    }

    #[test]
    fn a_nodes_answer_is_read() {
        let body = br#"{"status":{"conditions":[{"type":"MemoryPressure","status":"False"},
            {"type":"Ready","status":"True","message":"kubelet is posting ready status"}],
            "nodeInfo":{"kubeletVersion":"v1.36.3"}}}"#;
        let report = parse_node(body).unwrap();
        assert!(report.ready);
        assert_eq!(report.version.as_deref(), Some("v1.36.3"));
        assert!(!parse_node(b"{}").unwrap().ready);
        assert!(parse_node(b"not json").is_err());
    }
}
