//! The client against a supervisor that is played byte by byte: breaks in the middle are the point here.

use std::{net::SocketAddr, time::Duration};

use alcove_client::{Client, Outcome};
use alcove_types::{ErrorCode, event::Event, task::TaskState};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, UnixListener, UnixStream},
    time::timeout,
};

const SOON: Duration = Duration::from_secs(10);

/// Reads one request: head and body.
async fn request<S: AsyncRead + Unpin>(stream: &mut S) -> String {
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let n = timeout(SOON, stream.read(&mut buffer)).await.expect("a request").expect("readable");
        assert!(n > 0, "the request is whole");
        text.extend_from_slice(&buffer[..n]);
        let so_far = String::from_utf8_lossy(&text).into_owned();
        if let Some((head, body)) = so_far.split_once("\r\n\r\n")
            && body.len() >= header(head, "content-length").map_or(0, |v| v.parse().expect("a length"))
        {
            return so_far;
        }
    }
}

fn header<'a>(request: &'a str, name: &str) -> Option<&'a str> {
    request.lines().take_while(|l| !l.is_empty()).find_map(|line| {
        let (key, value) = line.split_once(": ")?;
        key.eq_ignore_ascii_case(name).then_some(value)
    })
}

async fn respond<S: AsyncWrite + Unpin>(stream: &mut S, status: &str, body: &str) {
    let text = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(text.as_bytes()).await.expect("writable");
}

fn task(state: &str) -> Value {
    json!({"id": "t", "kind": "machine.stop", "state": state, "message": "", "progress": null, "cancellable": false,
        "created": "2026-01-01T00:00:00Z", "ended": null, "error": null})
}

struct Place {
    _folder: tempfile::TempDir,
    listener: UnixListener,
    client: Client,
}

fn place() -> Place {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("api.sock");
    let listener = UnixListener::bind(&path).expect("a socket");
    Place { _folder: folder, listener, client: Client::at_socket(path).named("test/1") }
}

async fn accept(place: &Place) -> UnixStream {
    timeout(SOON, place.listener.accept()).await.expect("a connection").expect("a connection").0
}

#[tokio::test]
async fn a_mutation_that_was_lost_is_sent_again_under_the_same_key() {
    let place = place();
    let server = async {
        let mut first = accept(&place).await;
        let lost = request(&mut first).await;
        drop(first);
        let mut second = accept(&place).await;
        let again = request(&mut second).await;
        respond(&mut second, "202 Accepted", &task("running").to_string()).await;
        (lost, again)
    };
    let body = json!({"x": 1});
    let (outcome, (lost, again)) = tokio::join!(place.client.begin("/api/v1/machine/stop", &body), server);
    assert!(matches!(outcome, Ok(Outcome::Task(task)) if task.state == TaskState::Running));
    assert_eq!(lost, again);
    assert!(header(&lost, "idempotency-key").is_some_and(|key| key.len() == 36));
    assert_eq!(header(&lost, "user-agent"), Some("test/1"));
    assert_eq!(header(&lost, "host"), Some("alcove.localhost"));
    assert_eq!(header(&lost, "authorization"), None);
    assert!(lost.starts_with("POST /api/v1/machine/stop HTTP/1.1\r\n") && lost.ends_with("{\"x\":1}"));
}

#[tokio::test]
async fn a_mutation_that_is_lost_twice_is_an_error() {
    let place = place();
    let server = async {
        for _ in 0..2 {
            let mut stream = accept(&place).await;
            request(&mut stream).await;
        }
    };
    let body = json!({});
    let (answer, ()) = tokio::join!(place.client.begin("/api/v1/machine/stop", &body), server);
    assert_eq!(answer.expect_err("no answer").code, ErrorCode::SupervisorUnreachable);
}

#[tokio::test]
async fn answers_without_content_are_done() {
    let place = place();
    let server = async {
        let mut stream = accept(&place).await;
        let asked = request(&mut stream).await;
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.expect("writable");
        asked
    };
    let (answer, asked) = tokio::join!(place.client.begin_delete("/api/v1/machine/snapshots/a"), server);
    assert_eq!(answer.expect("done"), Outcome::Done(Value::Null));
    assert!(asked.starts_with("DELETE ") && header(&asked, "idempotency-key").is_some());
}

#[tokio::test]
async fn an_answer_of_another_version_is_an_error_that_says_so() {
    let place = place();
    let server = async {
        let mut stream = accept(&place).await;
        request(&mut stream).await;
        respond(&mut stream, "200 OK", "{\"phase\":\"dreaming\"}").await;
    };
    let (answer, ()) = tokio::join!(place.client.status(), server);
    let error = answer.expect_err("not understood");
    assert_eq!(error.code, ErrorCode::Internal);
    assert!(error.message.starts_with("the supervisor's answer to /api/v1/status is not understood"));
}

const STREAM: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";

fn event(id: u32, state: &str) -> String {
    format!("id: {id}\nevent: task\ndata: {}\n\n", task(state))
}

fn state(event: Event) -> TaskState {
    match event {
        Event::Task(task) => task.state,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn events_go_on_where_they_broke_off() {
    let place = place();
    let server = async {
        let mut first = accept(&place).await;
        let asked = request(&mut first).await;
        assert_eq!(header(&asked, "last-event-id"), None);
        assert_eq!(header(&asked, "accept"), Some("text/event-stream"));
        // The second event breaks off in its middle: it must come again, whole.
        let half = event(8, "succeeded");
        let text = format!("{STREAM}{}: ping\n\nevent: weather\ndata: {{}}\n\n{}", event(7, "running"), &half[..20]);
        first.write_all(text.as_bytes()).await.expect("writable");
        drop(first);
        let mut second = accept(&place).await;
        let asked = request(&mut second).await;
        second.write_all(format!("{STREAM}{half}").as_bytes()).await.expect("writable");
        (asked, second)
    };
    let client = async {
        let mut events = place.client.events().await.expect("a stream");
        [state(events.next().await.expect("an event")), state(events.next().await.expect("an event"))]
    };
    let (seen, (asked, _open)) = timeout(SOON, async { tokio::join!(client, server) }).await.expect("in time");
    assert_eq!(seen, [TaskState::Running, TaskState::Succeeded]);
    assert_eq!(header(&asked, "last-event-id"), Some("7"));
}

#[tokio::test]
async fn a_refused_stream_is_an_error_at_once() {
    let place = place();
    let server = async {
        let mut stream = accept(&place).await;
        request(&mut stream).await;
        respond(&mut stream, "403 Forbidden", r#"{"code":"forbidden","message":"not yours","hint":"Ask."}"#).await;
    };
    let (answer, ()) = tokio::join!(place.client.events(), server);
    assert_eq!(answer.expect_err("refused").message, "not yours");
}

#[tokio::test]
async fn a_dropped_text_stream_closes_its_connection() {
    let place = place();
    let server = async {
        let mut stream = accept(&place).await;
        request(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nfirst line\n").await.expect("writable");
        stream
    };
    let (text, mut stream) = tokio::join!(place.client.text("/api/v1/machine/logs?follow=1"), server);
    let mut text = text.expect("a stream");
    assert_eq!(text.chunk().await.expect("readable").as_deref(), Some(&b"first line\n"[..]));
    drop(text);
    let closed = timeout(SOON, stream.read(&mut [0; 16])).await.expect("closed in time");
    assert_eq!(closed.expect("the end"), 0);
}

#[tokio::test]
async fn loopback_needs_its_token() {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let client = Client::at_address(address, "s3cret");
    let server = async {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let asked = request(&mut stream).await;
        respond(&mut stream, "200 OK", "7").await;
        asked
    };
    let (answer, asked) = tokio::join!(client.get::<u32>("/api/v1/x"), server);
    assert_eq!(answer.expect("an answer"), 7);
    assert_eq!(header(&asked, "authorization"), Some("Bearer s3cret"));
    assert_eq!(header(&asked, "host"), Some(address.to_string().as_str()));
    assert!(!format!("{client:?}").contains("s3cret"));
}
