//! The client: typed requests.

use std::{fmt, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use alcove_types::{
    ApiError,
    boot::BootReport,
    host::DoctorReport,
    machine::Machine,
    session::{Surface, Ticket, TicketRequest, VersionInfo},
    settings::SettingsView,
    status::Status,
    task::Task,
};
use bytes::Bytes;
use http::{Method, Response, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::timeout;

use crate::{
    connection::{Place, SendError},
    encode_component, errors,
    events::EventStream,
    terminal::Terminal,
    text::TextStream,
};

/// How long an answer may take that is not a stream.
const ANSWER: Duration = Duration::from_secs(60);
/// The largest answer that is read into memory.
const ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// Speaks to one supervisor. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    pub(crate) place: Arc<Place>,
    pub(crate) agent: Arc<str>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("host", &self.place.host()).finish_non_exhaustive()
    }
}

/// What a mutation answered.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It is under way as this task.
    Task(Box<Task>),
    /// It is done; this is the answer (`null` when there is none).
    Done(serde_json::Value),
}

impl Client {
    /// A client of the supervisor behind the Unix socket at `path`. Connects at the first request.
    pub fn at_socket(path: impl AsRef<Path>) -> Self {
        Self::at(Place::Socket(path.as_ref().to_owned()))
    }

    /// A client of the supervisor on loopback, with its token. Connects at the first request.
    pub fn at_address(address: SocketAddr, token: impl Into<String>) -> Self {
        Self::at(Place::Loopback { address, token: token.into() })
    }

    fn at(place: Place) -> Self {
        let agent = concat!("alcove-client/", env!("CARGO_PKG_VERSION"));
        Self { place: Arc::new(place), agent: agent.into() }
    }

    /// The same client under another name: the operation log says through what something was done, and takes it from
    /// `User-Agent` (`alcove-cli/0.1.0`, `alcove-desktop/0.1.0`).
    #[must_use]
    pub fn named(mut self, agent: &str) -> Self {
        self.agent = agent.into();
        self
    }

    /// Reads a resource.
    ///
    /// # Errors
    /// The supervisor's error, or ours when it can't be reached or understood.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ApiError> {
        let body = self.answer(Method::GET, path, Bytes::new(), None).await?;
        serde_json::from_slice(&body).map_err(|e| errors::not_understood(path, e))
    }

    /// Posts `body` and reads the answer.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn post<B: Serialize + ?Sized, T: DeserializeOwned>(&self, path: &str, body: &B) -> Result<T, ApiError> {
        self.mutate(Method::POST, path, Some(body)).await
    }

    /// Sends a merge patch and reads the answer.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn patch<B: Serialize + ?Sized, T: DeserializeOwned>(&self, path: &str, body: &B) -> Result<T, ApiError> {
        self.mutate(Method::PATCH, path, Some(body)).await
    }

    /// Deletes a resource and reads the answer; ask for `serde_json::Value` when there may be none.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, ApiError> {
        self.mutate::<(), T>(Method::DELETE, path, None).await
    }

    /// Posts `body` to something that may take long: a task, or the answer when it is done at once.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn begin<B: Serialize + ?Sized>(&self, path: &str, body: &B) -> Result<Outcome, ApiError> {
        Ok(outcome(self.post(path, body).await?))
    }

    /// Deletes something that may take long.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn begin_delete(&self, path: &str) -> Result<Outcome, ApiError> {
        Ok(outcome(self.delete(path).await?))
    }

    async fn mutate<B, T>(&self, method: Method, path: &str, body: Option<&B>) -> Result<T, ApiError>
    where
        B: Serialize + ?Sized,
        T: DeserializeOwned,
    {
        let body = match body {
            Some(body) => Bytes::from(serde_json::to_vec(body).map_err(|e| errors::not_understood(path, e))?),
            None => Bytes::new(),
        };
        let key = uuid::Uuid::new_v4().to_string();
        let answer = self.answer(method, path, body, Some(&key)).await?;
        let answer: &[u8] = if answer.is_empty() { b"null" } else { &answer };
        serde_json::from_slice(answer).map_err(|e| errors::not_understood(path, e))
    }

    async fn answer(&self, method: Method, path: &str, body: Bytes, key: Option<&str>) -> Result<Bytes, ApiError> {
        let reading = async {
            let response = self.send(method, path, body, key).await?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_BYTES).collect().await;
            let body = body.map_err(errors::broken)?.to_bytes();
            if status.is_success() { Ok(body) } else { Err(errors::from_answer(status, &body)) }
        };
        timeout(ANSWER, reading).await.map_err(|_| errors::late(ANSWER.as_secs()))?
    }

    /// Sends a request; one that was lost on the way is sent once more under the same key, which the supervisor answers
    /// with what it did the first time.
    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        key: Option<&str>,
    ) -> Result<Response<Incoming>, ApiError> {
        let build = || {
            let mut builder = self.place.request(method.clone(), path, &self.agent);
            if !body.is_empty() {
                builder = builder.header(header::CONTENT_TYPE, "application/json");
            }
            if let Some(key) = key {
                builder = builder.header("idempotency-key", key);
            }
            builder.body(Full::new(body.clone())).map_err(|e| errors::not_understood(path, e))
        };
        match self.place.send(build()?).await {
            Err(SendError::Lost(_)) => Ok(self.place.send(build()?).await?),
            other => Ok(other?),
        }
    }

    /// Passes somebody else's request on, as a proxy does: nothing is added but who we are, nothing is waited for, and
    /// the connection can be upgraded.
    ///
    /// # Errors
    /// When the supervisor can't be reached.
    pub async fn forward<B>(&self, request: http::Request<B>) -> Result<Response<Incoming>, ApiError>
    where
        B: http_body::Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        self.place.forward(request).await
    }

    /// Opens a stream of text, such as a log; it ends when the supervisor ends it, or when it is dropped.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn text(&self, path: &str) -> Result<TextStream, ApiError> {
        let response = timeout(ANSWER, self.send(Method::GET, path, Bytes::new(), None))
            .await
            .map_err(|_| errors::late(ANSWER.as_secs()))??;
        let status = response.status();
        if status.is_success() {
            return Ok(TextStream::new(response.into_body()));
        }
        let body = Limited::new(response.into_body(), ANSWER_BYTES).collect().await.map_err(errors::broken)?;
        Err(errors::from_answer(status, &body.to_bytes()))
    }

    /// Opens the event stream. It resumes by itself after a break, from the last event that arrived.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn events(&self) -> Result<EventStream, ApiError> {
        EventStream::open(self.clone()).await
    }

    /// Opens a terminal at a WebSocket such as `/api/v1/machine/shell?cols=80&rows=24`.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn terminal(&self, path: &str) -> Result<Terminal, ApiError> {
        Terminal::open(self, path).await
    }

    /// `GET /api/v1/version`.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn version(&self) -> Result<VersionInfo, ApiError> {
        self.get("/api/v1/version").await
    }

    /// `GET /api/v1/status`.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn status(&self) -> Result<Status, ApiError> {
        self.get("/api/v1/status").await
    }

    /// `GET /api/v1/machine`.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn machine(&self) -> Result<Machine, ApiError> {
        self.get("/api/v1/machine").await
    }

    /// `GET /api/v1/machine/boot`.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn boot(&self) -> Result<BootReport, ApiError> {
        self.get("/api/v1/machine/boot").await
    }

    /// `GET /api/v1/tasks/{id}`.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn task(&self, id: &str) -> Result<Task, ApiError> {
        self.get(&format!("/api/v1/tasks/{}", encode_component(id))).await
    }

    /// `GET /api/v1/settings`.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn settings(&self) -> Result<SettingsView, ApiError> {
        self.get("/api/v1/settings").await
    }

    /// `GET /api/v1/doctor`.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn doctor(&self) -> Result<DoctorReport, ApiError> {
        self.get("/api/v1/doctor").await
    }

    /// `POST /api/v1/tickets`: a link that signs a browser in, once.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn ticket(&self, surface: Surface) -> Result<Ticket, ApiError> {
        self.post("/api/v1/tickets", &TicketRequest { surface }).await
    }
}

fn outcome(answer: serde_json::Value) -> Outcome {
    match serde_json::from_value::<Task>(answer.clone()) {
        Ok(task) => Outcome::Task(Box::new(task)),
        Err(_) => Outcome::Done(answer),
    }
}
