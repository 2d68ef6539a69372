//! Read models of the cluster.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use alcove_cluster::{ClusterClient, DoorDial, LogOptions};
use alcove_types::cluster::{ClusterOverview, EventList, NodeList, PodList};
use axum::{
    Extension, Json,
    body::Body,
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use futures_util::stream;
use http::header;
use serde::Deserialize;

use super::work::Asked;
use crate::{answer::Answer, state::App};

type Client = Arc<ClusterClient<DoorDial>>;

/// Keeps the connections to the cluster of the present start of the machine.
#[derive(Clone, Default)]
pub(crate) struct Reader(Arc<Mutex<Option<(SocketAddr, Client)>>>);

impl Reader {
    fn client(&self, app: &App) -> Answer<Client> {
        let link = app.supervisor.link()?;
        let address = link.door().address();
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((there, client)) = &*known
            && *there == address
        {
            return Ok(client.clone());
        }
        let client = Arc::new(ClusterClient::new(DoorDial::new(link.door().clone(), Duration::from_secs(5))));
        *known = Some((address, client.clone()));
        Ok(client)
    }
}

pub(super) async fn overview(
    State(app): State<App>,
    Extension(reader): Extension<Reader>,
) -> Answer<Json<ClusterOverview>> {
    Ok(Json(reader.client(&app)?.overview().await?))
}

pub(super) async fn nodes(State(app): State<App>, Extension(reader): Extension<Reader>) -> Answer<Json<NodeList>> {
    Ok(Json(reader.client(&app)?.nodes().await?))
}

#[derive(Deserialize)]
pub(super) struct Where {
    namespace: Option<String>,
}

pub(super) async fn pods(
    State(app): State<App>,
    Extension(reader): Extension<Reader>,
    Asked(asked): Asked<Where>,
) -> Answer<Json<PodList>> {
    Ok(Json(reader.client(&app)?.pods(asked.namespace.as_deref()).await?))
}

#[derive(Deserialize)]
pub(super) struct HowMany {
    limit: Option<usize>,
}

pub(super) async fn events(
    State(app): State<App>,
    Extension(reader): Extension<Reader>,
    Asked(asked): Asked<HowMany>,
) -> Answer<Json<EventList>> {
    Ok(Json(reader.client(&app)?.events(asked.limit.unwrap_or(500).min(5000)).await?))
}

#[derive(Deserialize)]
pub(super) struct Log {
    container: Option<String>,
    tail: Option<u32>,
    #[serde(default, deserialize_with = "super::logs::flag")]
    follow: bool,
    #[serde(default, deserialize_with = "super::logs::flag")]
    previous: bool,
    #[serde(default, deserialize_with = "super::logs::flag")]
    timestamps: bool,
}

pub(super) async fn logs(
    State(app): State<App>,
    Extension(reader): Extension<Reader>,
    Path((namespace, name)): Path<(String, String)>,
    Asked(asked): Asked<Log>,
) -> Answer<Response> {
    let options = LogOptions {
        container: asked.container,
        tail: asked.tail,
        follow: asked.follow,
        previous: asked.previous,
        timestamps: asked.timestamps,
    };
    let log = reader.client(&app)?.logs(&namespace, &name, &options).await?;
    let chunks = stream::try_unfold(log, |mut log| async move {
        Ok::<_, alcove_types::ApiError>(log.chunk().await?.map(|c| (c, log)))
    });
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], Body::from_stream(chunks)).into_response())
}
