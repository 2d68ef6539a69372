//! The supervisor's event stream.

use std::time::Duration;

use alcove_types::{ApiError, event::Event};
use bytes::Bytes;
use http::{Method, header};
use http_body_util::{BodyExt, Full, Limited};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use crate::{Client, SseMessage, SseParser, TextStream, errors};

/// How long a broken stream is tried again: long enough for a supervisor that is started anew after a crash.
const AWAY: Duration = Duration::from_secs(10);
/// Pause between two tries.
const AGAIN: Duration = Duration::from_millis(200);
/// The supervisor says something at least this often, be it a comment; after that the stream counts as broken.
const SILENCE: Duration = Duration::from_secs(60);
const HEAD: Duration = Duration::from_secs(30);

/// Changes as they happen.
#[derive(Debug)]
pub struct EventStream {
    client: Client,
    text: TextStream,
    parser: SseParser,
    ready: std::collections::VecDeque<SseMessage>,
    last_id: Option<String>,
}

impl EventStream {
    pub(crate) async fn open(client: Client) -> Result<Self, ApiError> {
        let text = connect(&client, None).await?;
        Ok(Self { client, text, parser: SseParser::default(), ready: [].into(), last_id: None })
    }

    /// The next change. After a break the stream goes on behind the last change that arrived; when the supervisor can't
    /// tell what was missed it says [`Event::Resync`]. Kinds of a newer supervisor that this version doesn't know are
    /// left out.
    ///
    /// # Errors
    /// When the supervisor is away for longer than ten seconds, or refuses.
    pub async fn next(&mut self) -> Result<Event, ApiError> {
        loop {
            while let Some(message) = self.ready.pop_front() {
                if message.id.is_some() {
                    self.last_id.clone_from(&message.id);
                }
                if let Some(event) = decode(&message) {
                    return Ok(event);
                }
            }
            match timeout(SILENCE, self.text.chunk()).await {
                Ok(Ok(Some(bytes))) => self.ready.extend(self.parser.push(&bytes)),
                Ok(Ok(None) | Err(_)) | Err(_) => self.reconnect().await?,
            }
        }
    }

    async fn reconnect(&mut self) -> Result<(), ApiError> {
        let until = Instant::now() + AWAY;
        loop {
            match connect(&self.client, self.last_id.as_deref()).await {
                Ok(text) => {
                    self.text = text;
                    self.parser = SseParser::default();
                    return Ok(());
                }
                Err(e) if e.code != alcove_types::ErrorCode::SupervisorUnreachable || Instant::now() >= until => {
                    return Err(e);
                }
                Err(_) => sleep(AGAIN).await,
            }
        }
    }
}

async fn connect(client: &Client, last_id: Option<&str>) -> Result<TextStream, ApiError> {
    let path = "/api/v1/events";
    let mut builder =
        client.place.request(Method::GET, path, &client.agent).header(header::ACCEPT, "text/event-stream");
    if let Some(id) = last_id {
        builder = builder.header("last-event-id", id);
    }
    let request = builder.body(Full::new(Bytes::new())).map_err(|e| errors::not_understood(path, e))?;
    let response = timeout(HEAD, client.place.send(request)).await.map_err(|_| errors::late(HEAD.as_secs()))??;
    let status = response.status();
    if status.is_success() {
        return Ok(TextStream::new(response.into_body()));
    }
    let body = Limited::new(response.into_body(), 1 << 20).collect().await.map_err(errors::broken)?;
    Err(errors::from_answer(status, &body.to_bytes()))
}

/// `data` holds the whole [`Event`] or only what the event's name announces; both are understood.
fn decode(message: &SseMessage) -> Option<Event> {
    let data: Value = serde_json::from_str(&message.data).unwrap_or(Value::Null);
    if data.get("event").is_some_and(Value::is_string)
        && let Ok(event) = serde_json::from_value(data.clone())
    {
        return Some(event);
    }
    serde_json::from_value(json!({ "event": message.event, "data": data })).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sse(event: &str, data: &str) -> SseMessage {
        SseMessage { id: None, event: event.into(), data: data.into() }
    }

    const TASK: &str = r#"{"id":"t","kind":"machine.start","state":"running","message":"","progress":null,
        "cancellable":false,"created":"2026-01-01T00:00:00Z","ended":null,"error":null}"#;

    #[test]
    fn both_spellings_of_an_event_are_understood() {
        assert!(matches!(decode(&sse("task", TASK)), Some(Event::Task(task)) if task.id == "t"));
        let whole = format!(r#"{{"event":"task","data":{TASK}}}"#);
        assert!(matches!(decode(&sse("task", &whole)), Some(Event::Task(task)) if task.id == "t"));
        assert_eq!(decode(&sse("resync", r#"{"event":"resync"}"#)), Some(Event::Resync));
        assert_eq!(decode(&sse("resync", "")), Some(Event::Resync));
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        assert_eq!(decode(&sse("weather", "{}")), None);
        assert_eq!(decode(&sse("task", "garbage")), None);
    }
}
