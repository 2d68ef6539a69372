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
};

use alcove_guest::sys;
use axum::{
    extract::{
        State, WebSocketUpgrade,
        ws::{Message, WebSocket},
    },
    response::Response,
};
use bytes::Bytes;
use rustix::{
    fs::{Mode, OFlags},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};
use serde::Deserialize;
use tokio::io::unix::AsyncFd;

use super::{
    api::{Asked, Refusal},
    state::Guest,
};

const BLOCK: usize = 16 * 1024;

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

    async fn read(&self, block: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut ready = self.master.readable().await?;
            match ready.try_io(|master| master.get_ref().read(block)) {
                // The kernel's word for "the last one has closed the other end".
                Ok(Err(error)) if error.raw_os_error() == Some(libc::EIO) => return Ok(0),
                Ok(outcome) => return outcome,
                Err(_) => {}
            }
        }
    }

    async fn write(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let mut ready = self.master.writable().await?;
            if let Ok(written) = ready.try_io(|master| master.get_ref().write(bytes)) {
                bytes = &bytes[written?..]
            }
        }
        Ok(())
    }
}

fn resize(terminal: impl AsFd, cols: u16, rows: u16) -> io::Result<()> {
    let size = Winsize { ws_col: cols.clamp(1, 1000), ws_row: rows.clamp(1, 1000), ws_xpixel: 0, ws_ypixel: 0 };
    Ok(tcsetwinsize(terminal, size)?)
}

async fn attend(mut socket: WebSocket, mut terminal: Terminal) -> io::Result<()> {
    let mut block = vec![0; BLOCK];
    loop {
        tokio::select! {
            read = terminal.read(&mut block) => match read? {
                0 => break,
                length => {
                    let bytes = Bytes::copy_from_slice(&block[..length]);
                    if socket.send(Message::Binary(bytes)).await.is_err() {
                        return Ok(());
                    }
                }
            },
            message = socket.recv() => match message {
                Some(Ok(Message::Binary(bytes))) => terminal.write(&bytes).await?,
                Some(Ok(Message::Text(text))) => {
                    // What is not understood is from a newer client, and no reason to end its shell.
                    if let Ok(Control { resize: Size { cols, rows } }) = serde_json::from_str(&text) {
                        resize(terminal.master.get_ref(), cols, rows)?;
                    }
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                // Gone: the shell gets a hang-up when the terminal closes.
                Some(Ok(Message::Close(_)) | Err(_)) | None => return Ok(()),
            },
        }
    }
    let status = terminal.shell.wait().await?;
    let end = serde_json::json!({ "exit": code(status) }).to_string();
    let _ = socket.send(Message::Text(end.into())).await;
    let _ = socket.send(Message::Close(None)).await;
    Ok(())
}

/// The exit code as shells count it: a signal is 128 and its number.
fn code(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(255)
}

#[cfg(test)]
mod tests {
    use super::*;

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
            match terminal.read(&mut block).await.unwrap() {
                0 => break,
                length => text.extend_from_slice(&block[..length]),
            }
        }
        assert!(String::from_utf8_lossy(&text).contains("20 90"), "{}", String::from_utf8_lossy(&text));
        assert_eq!(code(terminal.shell.wait().await.unwrap()), 3);
    }
}
