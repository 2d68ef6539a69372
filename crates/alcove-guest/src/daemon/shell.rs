//! A shell in the guest, over a WebSocket: binary frames carry the terminal's bytes, text frames its size and its end.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::process::ExitStatusExt,
    },
    process::{Command, ExitStatus},
    sync::Arc,
    time::Duration,
};

use alcove_guest::sys;
use axum::{
    extract::{
        State, WebSocketUpgrade,
        ws::{Message, WebSocket},
    },
    response::Response,
};
use bytes::{Buf, Bytes, BytesMut};
use futures_util::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use rustix::{
    fs::{Mode, OFlags},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};
use serde::Deserialize;
use tokio::{io::unix::AsyncFd, time::timeout};

use super::{
    api::{Asked, Refusal},
    state::Guest,
};

const BLOCK: usize = 16 * 1024;
/// What is kept of a paste until the terminal takes it; the rest of it waits outside.
const UNTYPED: usize = 1024 * 1024;
/// How often a client is spoken to when there is nothing to show. That one is gone is seen by what it sends, too, but
/// nothing more is read from it while a paste waits.
const PING: Duration = Duration::from_secs(15);

/// The terminal that is wanted.
#[derive(Debug, Deserialize)]
pub(super) struct Wanted {
    cols: Option<u16>,
    rows: Option<u16>,
    /// A command for the shell; without one it is an interactive login shell.
    command: Option<String>,
}

/// What a client says in a text frame.
#[derive(Debug, Deserialize)]
struct Control {
    resize: Size,
}

#[derive(Debug, Deserialize)]
struct Size {
    cols: u16,
    rows: u16,
}

pub(super) async fn get(
    State(guest): State<Arc<Guest>>,
    Asked(wanted): Asked<Wanted>,
    upgrade: WebSocketUpgrade,
) -> Result<Response, Refusal> {
    let terminal = Terminal::open(&wanted).map_err(|error| Refusal::internal("no terminal can be opened", &error))?;
    let guard = guest.stream();
    Ok(upgrade.on_upgrade(move |socket| async move {
        let _guard = guard;
        if let Err(error) = attend(socket, terminal).await {
            super::say(&format!("a shell ended: {error}"));
        }
    }))
}

/// A pseudo-terminal with a shell on it.
struct Terminal {
    master: AsyncFd<File>,
    shell: tokio::process::Child,
}

impl Terminal {
    fn open(wanted: &Wanted) -> io::Result<Self> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let name = ptsname(&master, Vec::new())?;
        let slave: OwnedFd =
            rustix::fs::open(name.as_c_str(), OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())?;
        resize(&master, wanted.cols.unwrap_or(80), wanted.rows.unwrap_or(24))?;
        let mut command = Command::new("/usr/bin/bash");
        command.arg("--login");
        if let Some(line) = &wanted.command {
            command.args(["-c", line]);
        }
        command
            .env_clear()
            .envs([
                ("HOME", "/root"),
                ("LANG", "C.UTF-8"),
                ("LOGNAME", "root"),
                ("PATH", "/usr/sbin:/usr/bin"),
                ("SHELL", "/usr/bin/bash"),
                ("TERM", "xterm-256color"),
                ("USER", "root"),
            ])
            .current_dir("/root")
            .stdin(slave.try_clone()?)
            .stdout(slave.try_clone()?)
            .stderr(slave);
        sys::on_own_terminal(&mut command);
        let mut command = tokio::process::Command::from(command);
        let shell = command.kill_on_drop(true).spawn()?;
        // The command holds the other end open as long as it lives; then the end of the shell would never be seen.
        drop(command);
        rustix::io::ioctl_fionbio(&master, true)?;
        Ok(Self { master: sys::watched(File::from(master))?, shell })
    }
}

async fn read(master: &AsyncFd<File>, block: &mut [u8]) -> io::Result<usize> {
    loop {
        let mut ready = master.readable().await?;
        match ready.try_io(|master| master.get_ref().read(block)) {
            // The kernel's word for "the last one has closed the other end".
            Ok(Err(error)) if error.raw_os_error() == Some(libc::EIO) => return Ok(0),
            Ok(outcome) => return outcome,
            Err(_) => {}
        }
    }
}

/// Writes as much as the terminal takes now.
async fn write(master: &AsyncFd<File>, bytes: &[u8]) -> io::Result<usize> {
    loop {
        let mut ready = master.writable().await?;
        match ready.try_io(|master| master.get_ref().write(bytes)) {
            // Nobody is there any more to read it.
            Ok(Err(error)) if error.raw_os_error() == Some(libc::EIO) => return Ok(bytes.len()),
            Ok(outcome) => return outcome,
            Err(_) => {}
        }
    }
}

fn resize(terminal: impl AsFd, cols: u16, rows: u16) -> io::Result<()> {
    let size = Winsize { ws_col: cols.clamp(1, 1000), ws_row: rows.clamp(1, 1000), ws_xpixel: 0, ws_ypixel: 0 };
    Ok(tcsetwinsize(terminal, size)?)
}

/// Carries bytes both ways until the shell has ended or the client is gone. Neither way ever waits for the other: a
/// program that answers all that is typed takes no more until its answers are read.
async fn attend(socket: WebSocket, mut terminal: Terminal) -> io::Result<()> {
    let (mut to_client, mut from_client) = socket.split();
    // When the client is gone, the shell is killed and what it has started gets a hang-up: the terminal closes.
    tokio::select! {
        there = show(&terminal.master, &mut to_client) => if !there? { return Ok(()) },
        gone = type_in(&terminal.master, &mut from_client) => return gone,
    }
    let status = tokio::select! {
        status = terminal.shell.wait() => status?,
        gone = type_in(&terminal.master, &mut from_client) => return gone,
    };
    let end = serde_json::json!({ "exit": code(status) }).to_string();
    let _ = to_client.send(Message::Text(end.into())).await;
    let _ = to_client.send(Message::Close(None)).await;
    Ok(())
}

/// Sends what the terminal shows, until everybody has closed it. Returns whether the client was there all the time.
async fn show(master: &AsyncFd<File>, client: &mut SplitSink<WebSocket, Message>) -> io::Result<bool> {
    let mut block = vec![0; BLOCK];
    loop {
        let message = match timeout(PING, read(master, &mut block)).await {
            Ok(read) => match read? {
                0 => return Ok(true),
                length => Message::Binary(Bytes::copy_from_slice(&block[..length])),
            },
            Err(_) => Message::Ping(Bytes::new()),
        };
        if client.send(message).await.is_err() {
            return Ok(false);
        }
    }
}

/// Types what the client sends, until it is gone.
async fn type_in(master: &AsyncFd<File>, client: &mut SplitStream<WebSocket>) -> io::Result<()> {
    let mut untyped = BytesMut::new();
    loop {
        tokio::select! {
            message = client.next(), if untyped.len() < UNTYPED => match message {
                Some(Ok(Message::Binary(bytes))) => untyped.extend_from_slice(&bytes),
                Some(Ok(Message::Text(text))) => {
                    // What is not understood is from a newer client, and no reason to end its shell.
                    if let Ok(Control { resize: Size { cols, rows } }) = serde_json::from_str(&text) {
                        resize(master.get_ref(), cols, rows)?;
                    }
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Close(_)) | Err(_)) | None => return Ok(()),
            },
            typed = write(master, &untyped), if !untyped.is_empty() => untyped.advance(typed?),
        }
    }
}

/// The exit code as shells count it: a signal is 128 and its number.
fn code(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(255)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use axum::{Router, routing::get};
    use futures_util::Stream;
    use tokio::{
        net::{TcpListener, TcpStream},
        sync::oneshot,
    };
    use tokio_tungstenite::tungstenite;

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(60);

    #[test]
    fn a_signal_is_an_exit_code_too() {
        assert_eq!(code(ExitStatus::from_raw(3 << 8)), 3);
        assert_eq!(code(ExitStatus::from_raw(9)), 137);
    }

    #[tokio::test]
    async fn a_terminal_carries_a_commands_output_and_end() {
        let wanted = Wanted { cols: Some(90), rows: Some(20), command: Some("stty size; exit 3".into()) };
        let Ok(mut terminal) = Terminal::open(&wanted) else { return };
        let mut text = Vec::new();
        let mut block = [0; 1024];
        loop {
            match read(&terminal.master, &mut block).await.unwrap() {
                0 => break,
                length => text.extend_from_slice(&block[..length]),
            }
        }
        assert!(String::from_utf8_lossy(&text).contains("20 90"), "{}", String::from_utf8_lossy(&text));
        assert_eq!(code(terminal.shell.wait().await.unwrap()), 3);
    }

    type Client = tokio_tungstenite::WebSocketStream<TcpStream>;

    /// A client of a shell that runs `line`, and what becomes of the guest's side.
    async fn shell(line: &str) -> Option<(Client, oneshot::Receiver<io::Result<()>>)> {
        let wanted = Wanted { cols: None, rows: None, command: Some(line.to_owned()) };
        let terminal = Terminal::open(&wanted).ok()?;
        let (ended, end) = oneshot::channel();
        let once = Arc::new(Mutex::new(Some((terminal, ended))));
        let answer = async move |upgrade: WebSocketUpgrade| {
            let (terminal, ended) = once.lock().unwrap().take().unwrap();
            upgrade.on_upgrade(async move |socket| {
                let _ = ended.send(attend(socket, terminal).await);
            })
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        tokio::spawn(axum::serve(listener, Router::new().route("/", get(answer))).into_future());
        let (mut client, _) = tokio_tungstenite::client_async("ws://guest/", tcp).await.unwrap();
        while !next(&mut client).await.ends_with(b"ready\n") {}
        Some((client, end))
    }

    /// The next bytes that the terminal shows; none at its end.
    async fn next(
        client: &mut (impl Stream<Item = Result<tungstenite::Message, tungstenite::Error>> + Unpin),
    ) -> Bytes {
        let message = timeout(DEADLINE, client.next()).await.expect("the terminal stands still");
        match message.unwrap().unwrap() {
            tungstenite::Message::Binary(bytes) => bytes,
            tungstenite::Message::Text(end) => {
                assert_eq!(end.as_str(), r#"{"exit":0}"#);
                Bytes::new()
            }
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_large_paste_comes_back_whole_from_a_program_that_echoes_it() {
        let paste = vec![b'a'; 3 * UNTYPED];
        let line = format!("stty raw -echo; echo ready; head -c {}", paste.len());
        let Some((client, end)) = shell(&line).await else { return };
        let (mut to, mut from) = client.split();
        let length = paste.len();
        let pasting = tokio::spawn(async move { to.send(tungstenite::Message::Binary(paste.into())).await });
        let mut echoed = 0;
        loop {
            match next(&mut from).await.len() {
                0 => break,
                more => echoed += more,
            }
        }
        assert_eq!(echoed, length);
        pasting.await.unwrap().unwrap();
        timeout(DEADLINE, end).await.unwrap().unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_client_that_goes_away_takes_a_shell_along_that_reads_nothing() {
        let Some((mut client, end)) = shell("stty raw -echo; echo ready; exec sleep 1000").await else { return };
        client.send(tungstenite::Message::Binary(vec![b'a'; UNTYPED / 2].into())).await.unwrap();
        drop(client);
        timeout(DEADLINE, end).await.expect("nobody noticed").unwrap().unwrap();
    }
}
