//! The few words of the WebDriver protocol that the tests need.

use std::path::Path;

use anyhow::{Context, bail};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

/// A session with an application's windows.
#[derive(Debug)]
pub struct Page {
    port: u16,
    session: String,
}

impl Page {
    /// Has the driver on this port start the program and take control of its window.
    ///
    /// # Errors
    /// What the driver says.
    pub async fn open(port: u16, program: &Path, arguments: &[&str]) -> anyhow::Result<Self> {
        let tauri = std::env::var_os("ALCOVE_TAURI_DRIVER").is_some();
        let options = match tauri {
            true => json!({ "tauri:options": { "application": program, "args": arguments } }),
            false => json!({ "webkitgtk:browserOptions": { "binary": program, "args": arguments } }),
        };
        let wanted = json!({ "capabilities": { "alwaysMatch": options } });
        let answer = call(port, Method::POST, "/session", &wanted).await?;
        let session = answer["sessionId"].as_str().context("the driver gave no session")?.to_owned();
        Ok(Self { port, session })
    }

    async fn post(&self, what: &str, body: &Value) -> anyhow::Result<Value> {
        call(self.port, Method::POST, &format!("/session/{}/{what}", self.session), body).await
    }

    async fn get(&self, what: &str) -> anyhow::Result<Value> {
        call(self.port, Method::GET, &format!("/session/{}/{what}", self.session), &Value::Null).await
    }

    /// Runs a script and takes what it returns.
    ///
    /// # Errors
    /// What the script throws.
    pub async fn execute(&self, script: &str, arguments: &[Value]) -> anyhow::Result<Value> {
        self.post("execute/sync", &json!({ "script": script, "args": arguments })).await
    }

    /// Runs a script and takes what it gives to its last argument.
    ///
    /// # Errors
    /// What the script throws, or that it gave nothing in time.
    pub async fn execute_async(&self, script: &str, arguments: &[Value]) -> anyhow::Result<Value> {
        self.post("execute/async", &json!({ "script": script, "args": arguments })).await
    }

    /// The address that is shown.
    ///
    /// # Errors
    /// When there is no window.
    pub async fn address(&self) -> anyhow::Result<String> {
        Ok(self.get("url").await?.as_str().unwrap_or_default().to_owned())
    }

    /// The windows.
    ///
    /// # Errors
    /// When the application is gone.
    pub async fn windows(&self) -> anyhow::Result<Vec<String>> {
        let windows = self.get("window/handles").await?;
        let windows = windows.as_array().context("the driver lists no windows")?;
        Ok(windows.iter().filter_map(|w| Some(w.as_str()?.to_owned())).collect())
    }

    /// Turns to another window.
    ///
    /// # Errors
    /// When there is none with this handle.
    pub async fn switch(&self, window: &str) -> anyhow::Result<()> {
        self.post("window", &json!({ "handle": window })).await.map(drop)
    }

    /// Takes a picture of what the window shows.
    ///
    /// # Errors
    /// When it can't be taken.
    pub async fn picture(&self) -> anyhow::Result<Vec<u8>> {
        let text = self.get("screenshot").await?;
        Ok(STANDARD.decode(text.as_str().context("the driver gave no picture")?)?)
    }
}

/// Says something to the driver and takes the value of its answer.
async fn call(port: u16, method: Method, path: &str, body: &Value) -> anyhow::Result<Value> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await.context("the driver is gone")?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let bytes = if body.is_null() { Bytes::new() } else { Bytes::from(serde_json::to_vec(body)?) };
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, format!("127.0.0.1:{port}"))
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(bytes))?;
    let answer = sender.send_request(request).await?;
    let status = answer.status();
    let bytes = answer.into_body().collect().await?.to_bytes();
    connection.abort();
    let mut answer: Value = serde_json::from_slice(&bytes).with_context(|| format!("{path}: not JSON"))?;
    let value = answer["value"].take();
    if !status.is_success() {
        bail!(
            "{path}: {} {}",
            value["error"].as_str().unwrap_or_default(),
            value["message"].as_str().unwrap_or_default()
        );
    }
    Ok(value)
}
