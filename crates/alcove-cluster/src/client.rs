//! Asks the API server for objects and gives rows.

use std::{collections::HashSet, time::Duration};

use alcove_types::{
    ApiError, ErrorCode,
    cluster::{ClusterOverview, EventList, NodeList, PodList},
};
use jiff::Timestamp;
use serde::de::DeserializeOwned;

use crate::{
    connection::{Connections, Dial},
    errors,
    logs::{LogOptions, LogStream},
    object::{Event, List, Node, NodeMetrics, Pod, PodMetrics, Version},
};

/// Objects in one page of a list: large enough to be few requests, small enough that a page is no burden.
const PAGE: u32 = 500;
/// The most that a list may hold, as objects and as bytes of its answers. A machine has hundreds of pods; what has more
/// than this would fill the host's memory.
const OBJECTS: usize = 50_000;
const BYTES: usize = 256 * 1024 * 1024;
/// How long one request may take. The guest may be emulated and busy.
const ANSWER: Duration = Duration::from_secs(15);
/// Metrics are worth less than the list that they decorate.
const METRICS: Duration = Duration::from_secs(3);

/// Reads the cluster.
#[derive(Debug)]
pub struct ClusterClient<D> {
    connections: Connections<D>,
}

impl<D: Dial> ClusterClient<D> {
    /// Reads the cluster whose API server `dial` connects to.
    pub const fn new(dial: D) -> Self {
        Self { connections: Connections::new(dial) }
    }

    /// Counts for the head of the page.
    ///
    /// # Errors
    /// When the cluster does not answer or refuses.
    pub async fn overview(&self) -> Result<ClusterOverview, ApiError> {
        let (nodes, pods, events, version) = tokio::try_join!(
            self.list::<Node>("/api/v1/nodes"),
            self.list::<Pod>("/api/v1/pods"),
            self.list::<Event>("/api/v1/events?fieldSelector=type%3DWarning"),
            self.object::<Version>("/version", ANSWER),
        )?;
        let now = Timestamp::now();
        Ok(crate::overview(&nodes, &crate::pods(&pods, None, now), &events, &version.git_version, now))
    }

    /// All nodes with what they use.
    ///
    /// # Errors
    /// When the cluster does not answer or refuses; metrics that don't answer only leave their columns empty.
    pub async fn nodes(&self) -> Result<NodeList, ApiError> {
        let (nodes, pods, metrics) = tokio::join!(
            self.list::<Node>("/api/v1/nodes"),
            self.list::<Pod>("/api/v1/pods"),
            self.metrics::<NodeMetrics>("/apis/metrics.k8s.io/v1beta1/nodes"),
        );
        Ok(NodeList { items: crate::nodes(&nodes?, metrics.as_deref(), &pods?) })
    }

    /// All pods, or those of one namespace, with what they use.
    ///
    /// # Errors
    /// As [`ClusterClient::nodes`].
    pub async fn pods(&self, namespace: Option<&str>) -> Result<PodList, ApiError> {
        let (pods, metrics) = match namespace {
            None => ("/api/v1/pods".to_owned(), "/apis/metrics.k8s.io/v1beta1/pods".to_owned()),
            Some(namespace) => {
                let namespace = crate::logs::name(namespace)?;
                (
                    format!("/api/v1/namespaces/{namespace}/pods"),
                    format!("/apis/metrics.k8s.io/v1beta1/namespaces/{namespace}/pods"),
                )
            }
        };
        let (pods, metrics) = tokio::join!(self.list::<Pod>(&pods), self.metrics::<PodMetrics>(&metrics));
        Ok(PodList { items: crate::pods(&pods?, metrics.as_deref(), Timestamp::now()) })
    }

    /// Events, newest first, at most `limit`.
    ///
    /// # Errors
    /// When the cluster does not answer or refuses.
    pub async fn events(&self, limit: usize) -> Result<EventList, ApiError> {
        Ok(EventList { items: crate::events(&self.list::<Event>("/api/v1/events").await?, limit) })
    }

    /// The log of a container.
    ///
    /// # Errors
    /// When the pod or container is not there, or the cluster does not answer.
    pub async fn logs(&self, namespace: &str, pod: &str, options: &LogOptions) -> Result<LogStream, ApiError> {
        let path = options.path(namespace, pod)?;
        Ok(LogStream::new(self.connections.stream(&path, ANSWER).await?.into_body()))
    }

    async fn object<T: DeserializeOwned>(&self, path: &str, deadline: Duration) -> Result<T, ApiError> {
        let body = self.connections.read(path, deadline).await?;
        serde_json::from_slice(&body).map_err(|e| errors::not_understood(path, e))
    }

    /// Reads a list page by page. A list that was compacted away between two pages is read anew, once.
    async fn list<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>, ApiError> {
        match self.pages(path).await {
            Err(e) if e.code == ErrorCode::Conflict => self.pages(path).await,
            other => other,
        }
    }

    async fn pages<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>, ApiError> {
        let joint = if path.contains('?') { '&' } else { '?' };
        let mut items = Vec::new();
        let mut next = String::new();
        let mut seen = HashSet::new();
        let mut bytes = 0;
        loop {
            let place = format!("{path}{joint}limit={PAGE}{next}");
            let body = self.connections.read(&place, ANSWER).await?;
            bytes += body.len();
            let page: List<T> = serde_json::from_slice(&body).map_err(|e| errors::not_understood(&place, e))?;
            items.extend(page.items);
            // Pages count as well: without objects in them a list would never get too long.
            if items.len() > OBJECTS || bytes > BYTES || seen.len() * PAGE as usize > OBJECTS {
                return Err(errors::too_much(path));
            }
            let token = page.metadata.r#continue;
            // A token that comes again would lead in a circle.
            if token.is_empty() || !seen.insert(token.clone()) {
                return Ok(items);
            }
            next = format!("&continue={}", encode(&token));
        }
    }

    /// Metrics, when the metrics server answers.
    async fn metrics<T: DeserializeOwned>(&self, path: &str) -> Option<Vec<T>> {
        self.object::<List<T>>(path, METRICS).await.ok().map(|list| list.items)
    }
}

/// Encodes a continue token, which is base64.
fn encode(token: &str) -> String {
    use std::fmt::Write as _;
    token.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}
