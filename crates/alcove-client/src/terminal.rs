//! Terminals: a WebSocket whose binary messages are bytes and whose text messages are JSON about the terminal.

use std::{pin::Pin, time::Duration};

use alcove_types::ApiError;
use bytes::Bytes;
use futures_util::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use http::{StatusCode, header};
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Error, Message, client::IntoClientRequest},
};

use crate::{Client, connection::Bytestream, errors};

const HANDSHAKE: Duration = Duration::from_secs(30);

type Stream = WebSocketStream<Pin<Box<dyn Bytestream>>>;

/// What the other side of a terminal says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TerminalMessage {
    /// Bytes to show.
    Output(Bytes),
    /// The program ended with this code.
    Exit(i32),
    /// The stream ended without a word about the program.
    Closed,
}

/// An open terminal: its two ends, to be used from one task or from two.
#[derive(Debug)]
pub struct Terminal {
    /// What comes from the other side.
    pub output: TerminalOutput,
    /// What goes to the other side.
    pub input: TerminalInput,
}

/// The reading end of a terminal.
#[derive(Debug)]
pub struct TerminalOutput {
    stream: SplitStream<Stream>,
}

/// The writing end of a terminal.
#[derive(Debug)]
pub struct TerminalInput {
    sink: SplitSink<Stream, Message>,
}

impl Terminal {
    pub(crate) async fn open(client: &Client, path: &str) -> Result<Self, ApiError> {
        let place = &client.place;
        let mut request = format!("ws://{}{path}", place.host())
            .into_client_request()
            .map_err(|e| errors::not_understood(path, e))?;
        let bad = |e| errors::not_understood(path, e);
        if let Some(value) = place.authorization() {
            request.headers_mut().insert(header::AUTHORIZATION, value.parse().map_err(bad)?);
        }
        request.headers_mut().insert(header::USER_AGENT, client.agent.parse().map_err(bad)?);
        let opening = async {
            let stream = place.open().await?;
            client_async(request, stream).await.map_err(|e| match e {
                Error::Http(answer) => {
                    let status = StatusCode::from_u16(answer.status().as_u16()).unwrap_or_default();
                    errors::from_answer(status, answer.body().as_deref().unwrap_or_default())
                }
                other => errors::broken(other),
            })
        };
        let (stream, _) = timeout(HANDSHAKE, opening).await.map_err(|_| errors::late(HANDSHAKE.as_secs()))??;
        let (sink, stream) = stream.split();
        Ok(Self { output: TerminalOutput { stream }, input: TerminalInput { sink } })
    }
}

impl TerminalOutput {
    /// The next message.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn next(&mut self) -> Result<TerminalMessage, ApiError> {
        loop {
            match self.stream.next().await {
                None | Some(Ok(Message::Close(_)) | Err(Error::ConnectionClosed)) => {
                    return Ok(TerminalMessage::Closed);
                }
                Some(Err(e)) => return Err(errors::hung_up(e)),
                Some(Ok(Message::Binary(bytes))) => return Ok(TerminalMessage::Output(bytes)),
                Some(Ok(Message::Text(text))) => {
                    let value: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
                    if let Some(code) = value.get("exit").and_then(Value::as_i64) {
                        return Ok(TerminalMessage::Exit(i32::try_from(code).unwrap_or(1)));
                    }
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
            }
        }
    }
}

impl TerminalInput {
    /// Sends bytes that were typed.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), ApiError> {
        self.sink.send(Message::Binary(bytes)).await.map_err(errors::hung_up)
    }

    /// Says how large the window is now.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn resize(&mut self, cols: u16, rows: u16) -> Result<(), ApiError> {
        let text = json!({ "resize": { "cols": cols, "rows": rows } }).to_string();
        self.sink.send(Message::Text(text.into())).await.map_err(errors::hung_up)
    }

    /// Ends the session politely.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn close(&mut self) -> Result<(), ApiError> {
        self.sink.close().await.map_err(errors::hung_up)
    }
}
