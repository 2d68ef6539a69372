//! Bodies on their way: they stream, a slow reader holds the writer, and what nobody waits for ends. The guest is played
//! by hand, byte by byte.

use std::{
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use alcove_api::link::Link;
use alcove_door::{Door, DoorClient, DoorKeys, Service, client_config, server_config};
use axum::{Router, extract::Request};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{SOON, until};
use crate::{forward::forward, serve};

/// A proxy as ours, and the guest's side of its door.
struct Way {
    port: u16,
    guest: TcpListener,
    door: Door,
    ending: CancellationToken,
    _folder: tempfile::TempDir,
}

impl Drop for Way {
    fn drop(&mut self) {
        self.ending.cancel();
    }
}

impl Way {
    async fn new() -> Self {
        let keys = DoorKeys::generate("test").unwrap();
        let guest = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let client = client_config(&keys.client()).unwrap();
        let link = Link::new(DoorClient::new(guest.local_addr().unwrap(), client));
        let routes = Router::new().fallback(move |request: Request| {
            let link = link.clone();
            async move { forward(&link, Service::Gateway, request).await }
        });
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = tcp.local_addr().unwrap().port();
        let folder = tempfile::tempdir().unwrap();
        let unix = serve::socket(&folder.path().join("api.sock")).unwrap();
        let ending = CancellationToken::new();
        tokio::spawn(serve::both(tcp, unix, routes, serve::Limits::of_process(), ending.clone()));
        let door = Door::new(server_config(&keys.server()).unwrap());
        Self { port, guest, door, ending, _folder: folder }
    }

    /// A client that asks, with as little room for what it does not read as the system allows.
    async fn asks(&self, request: &str) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(16 * 1024).unwrap();
        socket.set_send_buffer_size(16 * 1024).unwrap();
        let mut client = socket.connect((Ipv4Addr::LOCALHOST, self.port).into()).await.unwrap();
        client.write_all(request.as_bytes()).await.unwrap();
        client
    }

    /// A client and its guest in the midst of an answer: its first word has arrived.
    async fn half_said(&self) -> (TcpStream, impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let mut client = self.asks(GET).await;
        let mut guest = self.guest().await;
        guest.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n").await.unwrap();
        guest.flush().await.unwrap();
        until(&mut client, "one").await;
        (client, guest)
    }

    /// The guest's end of the next request, behind its head.
    async fn guest(&self) -> impl AsyncRead + AsyncWrite + Unpin + Send + 'static {
        let (tcp, _) = timeout(SOON, self.guest.accept()).await.expect("nobody asks the guest").unwrap();
        let (service, mut stream) = self.door.greet(tcp, SOON).await.unwrap();
        assert_eq!(service, Service::Gateway);
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(timeout(SOON, stream.read_u8()).await.expect("no head").unwrap());
        }
        stream
    }
}

const GET: &str = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";

#[tokio::test]
async fn what_the_guest_says_arrives_before_it_has_said_all() {
    let way = Way::new().await;
    let (mut client, mut guest) = way.half_said().await;
    guest.write_all(b"3\r\ntwo\r\n0\r\n\r\n").await.unwrap();
    guest.flush().await.unwrap();
    until(&mut client, "two").await;
}

#[tokio::test]
async fn a_request_that_is_dropped_drops_the_guests_connection() {
    let way = Way::new().await;
    let (client, mut guest) = way.half_said().await;
    drop(client);
    let mut rest = Vec::new();
    // An end or an error: either way nobody is there any more.
    let _ = timeout(SOON, guest.read_to_end(&mut rest)).await.expect("the guest goes on for nobody");
    // And before there is any answer.
    let client = way.asks(GET).await;
    let mut guest = way.guest().await;
    drop(client);
    let _ = timeout(SOON, guest.read_to_end(&mut rest)).await.expect("the guest works for nobody");
}

const PIECE: usize = 64 * 1024;
/// More than all the systems' buffers on the way can hold.
const BODY: usize = 64 << 20;
const BUFFERED: usize = 24 << 20;

/// Writes a long body as fast as it is taken, and counts.
fn pour(mut to: impl AsyncWrite + Unpin + Send + 'static) -> Arc<AtomicUsize> {
    let written = Arc::new(AtomicUsize::new(0));
    let count = written.clone();
    tokio::spawn(async move {
        let piece = vec![b'x'; PIECE];
        while count.load(Ordering::Relaxed) < BODY && to.write_all(&piece).await.is_ok() {
            count.fetch_add(PIECE, Ordering::Relaxed);
        }
        // Held open: the length says where it ends.
        let _ = to.flush().await;
        std::future::pending::<()>().await;
    });
    written
}

/// Waits until the writer gets on no more.
async fn held(written: &AtomicUsize) -> usize {
    let mut before = usize::MAX;
    loop {
        let now = written.load(Ordering::Relaxed);
        if now == before {
            return now;
        }
        before = now;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

async fn drained(from: &mut (impl AsyncRead + Unpin), bytes: usize) {
    let (mut from, mut nowhere) = (from.take(bytes as u64), tokio::io::sink());
    let read = timeout(2 * SOON, tokio::io::copy(&mut from, &mut nowhere)).await.expect("it does not go on");
    assert_eq!(read.unwrap(), bytes as u64);
}

#[tokio::test]
async fn who_reads_slowly_holds_the_guest_that_writes() {
    let way = Way::new().await;
    let mut client = way.asks(GET).await;
    let mut guest = way.guest().await;
    guest.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {BODY}\r\n\r\n").as_bytes()).await.unwrap();
    let written = pour(guest);
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(timeout(SOON, client.read_u8()).await.expect("no head").unwrap());
    }
    let early = held(&written).await;
    assert!(early < BUFFERED, "{early} bytes were taken that nobody reads");
    drained(&mut client, BODY).await;
}

#[tokio::test]
async fn a_guest_that_reads_slowly_holds_who_writes() {
    let way = Way::new().await;
    let client = way.asks(&format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {BODY}\r\n\r\n")).await;
    let written = pour(client);
    let mut guest = way.guest().await;
    let early = held(&written).await;
    assert!(early < BUFFERED, "{early} bytes were taken that nobody reads");
    drained(&mut guest, BODY).await;
}
