//! The supervisor's two listeners over a machine without a hypervisor, as browsers and programs see them.

mod browser;
mod carried;
mod refusals;
mod through;

#[path = "../../../alcove-api/tests/common/mod.rs"]
mod common;

use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use alcove_api::Supervisor;
use alcove_types::session::Surface;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{access::Sessions, replay::Replays, routes, serve, state::App};

const SOON: Duration = Duration::from_secs(20);

/// A supervisor that serves, over a machine that is up.
struct House {
    /// Its folders live as long as this.
    _world: common::World,
    supervisor: Supervisor,
    app: App,
    port: u16,
    serving: JoinHandle<()>,
}

impl Drop for House {
    fn drop(&mut self) {
        self.app.ending.cancel();
        self.serving.abort();
    }
}

/// What came back: the head, and what of the body came before it was read.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let named = |line: &&str| line.split(':').next().is_some_and(|n| n.eq_ignore_ascii_case(name));
        self.head.lines().skip(1).find(named).and_then(|line| line.split_once(':')).map(|(_, value)| value.trim())
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or(Value::Null)
    }
}

impl House {
    async fn open() -> Self {
        let world = common::World::new(common::DEADLINE);
        let supervisor = world.running().await;
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = tcp.local_addr().unwrap().port();
        let unix = serve::socket(&world.layout.api_sock()).unwrap();
        let ending = CancellationToken::new();
        let app = App {
            supervisor: supervisor.clone(),
            sessions: Arc::new(Sessions::open(&world.layout.sessions_json())),
            replays: Arc::new(Replays::open(&world.layout.requests())),
            identity: Arc::default(),
            port,
            ending: ending.clone(),
        };
        let limits = serve::Limits::of_process();
        let serving = tokio::spawn(serve::both(tcp, unix, routes::all(app.clone()), limits, ending));
        Self { _world: world, supervisor, app, port, serving }
    }

    /// A host of ours, with the port.
    fn at(&self, name: &str) -> String {
        format!("{name}:{}", self.port)
    }

    fn bearer(&self) -> String {
        format!("Authorization: Bearer {}", self.app.sessions.token())
    }

    /// Signs a browser in by a link and gives the header with its cookie.
    async fn signed_in(&self, surface: Surface) -> String {
        let link = self.app.sessions.ticket(surface, &self.app.origin(surface)).unwrap().url;
        let (host, path) = link.strip_prefix("http://").unwrap().split_once('/').unwrap();
        let entered = self.get(host, &format!("/{path}"), &[]).await;
        assert_eq!(entered.status, 303, "{}", entered.head);
        let cookie = entered.header("set-cookie").unwrap().split(';').next().unwrap();
        format!("Cookie: {cookie}")
    }

    /// Sends a request's head on a connection of its own and gives the connection.
    async fn send(&self, method: &str, host: &str, path: &str, headers: &[&str]) -> TcpStream {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await.unwrap();
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n");
        for header in headers {
            head.push_str(header);
            head.push_str("\r\n");
        }
        head.push_str("\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        stream
    }

    async fn ask(&self, method: &str, host: &str, path: &str, headers: &[&str]) -> Answer {
        let mut stream = self.send(method, host, path, &[headers, &["Connection: close"]].concat()).await;
        let mut text = Vec::new();
        timeout(SOON, stream.read_to_end(&mut text)).await.expect("no answer").unwrap();
        answer(&String::from_utf8(text).unwrap())
    }

    async fn get(&self, host: &str, path: &str, headers: &[&str]) -> Answer {
        self.ask("GET", host, path, headers).await
    }

    /// Asks for a conversation.
    async fn talk(&self, host: &str, path: &str, headers: &[&str]) -> (Answer, TcpStream) {
        let upgrade = [
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        ];
        let mut stream = self.send("GET", host, path, &[&upgrade, headers].concat()).await;
        (answer(&until(&mut stream, "\r\n\r\n").await), stream)
    }
}

/// Reads until something has come.
async fn until(stream: &mut TcpStream, what: &str) -> String {
    let mut text = String::new();
    let reading = async {
        while !text.contains(what) {
            let mut piece = [0; 4096];
            let count = stream.read(&mut piece).await.unwrap();
            assert!(count > 0, "it ended before {what:?}: {text}");
            text.push_str(&String::from_utf8_lossy(&piece[..count]));
        }
    };
    let came = timeout(SOON, reading).await;
    assert!(came.is_ok(), "{what:?} does not come: {text}");
    text
}

fn answer(text: &str) -> Answer {
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or_default();
    // One chunk at the most: our bodies are short.
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    let body = if chunked { body.split("\r\n").nth(1).unwrap_or_default() } else { body };
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}
