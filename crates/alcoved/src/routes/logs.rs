//! Logs, the serial console and the guest's shell.

use std::{io::SeekFrom, path::PathBuf, time::Duration};

use alcove_door::Service;
use alcove_types::{ApiError, ErrorCode};
use axum::{
    body::Body,
    extract::{
        Request, State,
        ws::{Message, WebSocket, WebSocketUpgrade},
    },
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt, stream};
use http::{HeaderValue, header};
use serde::{Deserialize, Deserializer};
use tokio::{
    fs,
    io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt},
};

use super::work::Asked;
use crate::{
    answer::{Answer, Refusal},
    forward::forward,
    state::App,
};

/// Flags in queries are `1` or `true`.
pub(super) fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    let text = String::deserialize(deserializer)?;
    match text.as_str() {
        "1" | "true" | "" => Ok(true),
        "0" | "false" => Ok(false),
        other => Err(serde::de::Error::custom(format!("{other:?} is neither 1 nor 0"))),
    }
}

#[derive(Deserialize)]
pub(super) struct Wanted {
    source: Option<String>,
    lines: Option<usize>,
    #[serde(default, deserialize_with = "flag")]
    follow: bool,
}

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
/// How much of a file's end is looked through for its last lines.
const TAIL_BYTES: u64 = 1024 * 1024;
/// How often a followed file is looked at.
const LOOK: Duration = Duration::from_millis(300);

pub(super) async fn console(State(app): State<App>, Asked(wanted): Asked<Wanted>) -> Answer<Response> {
    file(app.supervisor.layout().serial_log(), wanted.lines.unwrap_or(200), wanted.follow, &app).await
}

pub(super) async fn logs(State(app): State<App>, Asked(wanted): Asked<Wanted>) -> Answer<Response> {
    let layout = app.supervisor.layout();
    let lines = wanted.lines.unwrap_or(200).min(10_000);
    match wanted.source.as_deref().unwrap_or("all") {
        "serial" => file(layout.serial_log(), lines, wanted.follow, &app).await,
        "qemu" => file(layout.qemu_log(), lines, wanted.follow, &app).await,
        "alcoved" => file(layout.supervisor_log(), lines, wanted.follow, &app).await,
        unit @ ("k3s" | "alcove-guest" | "kernel" | "all") => {
            let path = format!("/v1/logs?unit={unit}&lines={lines}&follow={}", u8::from(wanted.follow));
            let request = Request::builder().uri(path).body(Body::empty()).map_err(|e| internal(&e))?;
            let mut log = forward(&app.supervisor.link()?, Service::Guest, request).await?;
            // Whatever the guest calls it; but its refusals stay what they are.
            if log.status().is_success() {
                log.headers_mut().insert(header::CONTENT_TYPE, TEXT);
            }
            Ok(log)
        }
        other => Err(Refusal(ApiError::new(
            ErrorCode::NotFound,
            format!("There is no log {other:?}."),
            "There are serial, qemu, alcoved, k3s, alcove-guest, kernel and all.",
        ))),
    }
}

/// The last lines of a file, and what is added to it from then on.
async fn file(path: PathBuf, lines: usize, follow: bool, app: &App) -> Answer<Response> {
    let (text, end) = tail(&path, lines).await.unwrap_or_default();
    let first = stream::iter([Ok::<_, std::io::Error>(Bytes::from(text))]);
    let kind = [(header::CONTENT_TYPE, TEXT)];
    if !follow {
        return Ok((kind, Body::from_stream(first)).into_response());
    }
    let ending = app.ending.clone();
    let more = stream::unfold((path, end), |(path, mut at)| async move {
        loop {
            tokio::time::sleep(LOOK).await;
            let length = fs::metadata(&path).await.map_or(0, |m| m.len());
            // A file that became shorter was begun anew.
            if length < at {
                at = 0;
            }
            if length > at
                && let Ok(bytes) = read_from(&path, at, length - at).await
            {
                let next = at + bytes.len() as u64;
                return Some((Ok(Bytes::from(bytes)), (path, next)));
            }
        }
    })
    .take_until(ending.cancelled_owned());
    Ok((kind, Body::from_stream(first.chain(more))).into_response())
}

async fn tail(path: &std::path::Path, lines: usize) -> std::io::Result<(Vec<u8>, u64)> {
    let length = fs::metadata(path).await?.len();
    let from = length.saturating_sub(TAIL_BYTES);
    let bytes = read_from(path, from, length - from).await?;
    let body = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let start = body.iter().enumerate().rev().filter(|(_, b)| **b == b'\n').nth(lines.saturating_sub(1));
    let start = start.map_or(0, |(at, _)| at + 1);
    Ok((bytes[start..].to_vec(), length))
}

async fn read_from(path: &std::path::Path, at: u64, length: u64) -> std::io::Result<Vec<u8>> {
    let mut file = fs::File::open(path).await?;
    file.seek(SeekFrom::Start(at)).await?;
    let mut bytes = Vec::new();
    file.take(length.min(TAIL_BYTES)).read_to_end(&mut bytes).await?;
    Ok(bytes)
}

/// A shell in the guest: the guest's own WebSocket, carried through.
pub(super) async fn shell(State(app): State<App>, mut request: Request) -> Answer<Response> {
    let query = request.uri().query().map(|q| format!("?{q}")).unwrap_or_default();
    *request.uri_mut() = format!("/v1/shell{query}").parse().map_err(|e| internal(&e))?;
    let asked_alcove = request.headers().contains_key(header::SEC_WEBSOCKET_PROTOCOL);
    for name in [header::AUTHORIZATION, header::COOKIE, header::ORIGIN, header::SEC_WEBSOCKET_PROTOCOL] {
        request.headers_mut().remove(name);
    }
    request.headers_mut().insert(header::HOST, HeaderValue::from_static("guest.door.alcove"));
    let mut response = forward(&app.supervisor.link()?, Service::Guest, request).await?;
    if asked_alcove {
        // The page offered a subprotocol along with its token; it must be told that one was taken.
        response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("alcove.v1"));
    }
    Ok(response)
}

/// The serial console: what the machine writes from now on, and what the person types.
pub(super) async fn attach(State(app): State<App>, upgrade: WebSocketUpgrade) -> Answer<Response> {
    let console = app.supervisor.provider().console().await.map_err(|e| e.api())?;
    Ok(upgrade.protocols(["alcove.v1"]).on_upgrade(move |socket| carry(socket, console)))
}

async fn carry(socket: WebSocket, console: tokio::net::UnixStream) {
    let (mut to_person, mut from_person) = socket.split();
    let (mut from_machine, mut to_machine) = console.into_split();
    let reading = async {
        let mut buffer = vec![0; 8192];
        while let Ok(n @ 1..) = from_machine.read(&mut buffer).await {
            if to_person.send(Message::Binary(Bytes::copy_from_slice(&buffer[..n]))).await.is_err() {
                break;
            }
        }
    };
    let writing = async {
        while let Some(Ok(message)) = from_person.next().await {
            let done = match message {
                Message::Binary(bytes) => to_machine.write_all(&bytes).await.is_err(),
                Message::Close(_) => true,
                // A console has no size; what is told about it is passed over.
                Message::Text(_) | Message::Ping(_) | Message::Pong(_) => false,
            };
            if done {
                break;
            }
        }
    };
    tokio::select! {
        () = reading => {}
        () = writing => {}
    }
}

fn internal(error: &dyn std::fmt::Display) -> Refusal {
    Refusal(ApiError::new(ErrorCode::Internal, format!("That can't be asked of the machine: {error}."), "Report this."))
}
