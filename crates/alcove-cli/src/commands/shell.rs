//! `alcove shell`.

use std::fmt::Write as _;

use alcove_client::{TerminalMessage, encode_component};
use bytes::Bytes;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::Context;
use crate::{
    exit::{self, Failure, usage},
    terminal::{Raw, typed, window},
};

/// Ctrl-]
const LEAVE: u8 = 0x1d;
/// Ctrl-D
const END: u8 = 0x04;
/// The most output of a command that is kept for `--json`.
const KEPT: usize = 16 * 1024 * 1024;

pub(crate) async fn run(context: &Context<'_>, rescue: bool, command: &[String]) -> Result<(), Failure> {
    if context.output.json && command.is_empty() {
        return Err(usage(
            "a shell is for people, --json for programs",
            "Name a command: `alcove --json shell -- CMD`.",
        ));
    }
    let client = context.connect_or_adopt().await?;
    let (cols, rows) = window();
    let mut path = format!("/api/v1/machine/shell?cols={cols}&rows={rows}");
    if rescue {
        "/api/v1/machine/console/attach".clone_into(&mut path);
    } else if !command.is_empty() {
        let _ = write!(path, "&command={}", encode_component(&quoted(command)));
    }
    let mut terminal = client.terminal(&path).await?;
    if rescue {
        context.output.note("This is the machine's serial console. Ctrl-] leaves it.");
    }

    let unusable = |e: std::io::Error| exit::internal(format!("the terminal can't be used ({e})"));
    let mut resized = signal(SignalKind::window_change()).map_err(unusable)?;
    let mut ended = signal(SignalKind::terminate()).map_err(unusable)?;
    let mut hung_up = signal(SignalKind::hangup()).map_err(unusable)?;
    let raw = Raw::enter().map_err(unusable)?;
    let mut typed = typed();
    let mut input_open = true;
    let mut kept = Vec::new();
    let result = loop {
        tokio::select! {
            message = terminal.output.next() => match message {
                Ok(TerminalMessage::Output(bytes)) if context.output.json => {
                    kept.extend_from_slice(&bytes[..bytes.len().min(KEPT.saturating_sub(kept.len()))]);
                }
                Ok(TerminalMessage::Output(bytes)) => context.output.raw(&bytes),
                Ok(TerminalMessage::Exit(code)) => break Ok(Some(code)),
                Ok(TerminalMessage::Closed) => break Ok(None),
                Err(e) => break Err(e),
            },
            bytes = typed.recv(), if input_open => match bytes {
                Some(bytes) if rescue && bytes.contains(&LEAVE) => break Ok(Some(exit::OK)),
                Some(bytes) => if let Err(e) = terminal.input.write(bytes).await {
                    break Err(e);
                },
                None => {
                    input_open = false;
                    // The other side is a terminal: this is how it learns that no more comes.
                    if !rescue && let Err(e) = terminal.input.write(Bytes::from_static(&[END])).await {
                        break Err(e);
                    }
                }
            },
            _ = resized.recv() => {
                let (cols, rows) = window();
                if !rescue && let Err(e) = terminal.input.resize(cols, rows).await {
                    break Err(e);
                }
            }
            _ = ended.recv() => break Ok(Some(128 + 15)),
            _ = hung_up.recv() => break Ok(Some(128 + 1)),
        }
    };
    drop(raw);
    let _ = terminal.input.close().await;
    let code = match result? {
        Some(code) => code,
        None if rescue => exit::OK,
        None => {
            return Err(alcove_types::ApiError::new(
                alcove_types::ErrorCode::GuestUnreachable,
                "the machine closed the shell",
                "It may be stopping: see `alcove status`.",
            )
            .into());
        }
    };
    if context.output.json {
        context.output.data(&json!({ "exit_code": code, "output": String::from_utf8_lossy(&kept) }), String::new);
    }
    if code == exit::OK { Ok(()) } else { Err(Failure::Code(code)) }
}

/// Words as a shell reads them back.
fn quoted(words: &[String]) -> String {
    let quote = |word: &String| {
        let safe = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
        if !word.is_empty() && word.chars().all(safe) {
            word.clone()
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        }
    };
    words.iter().map(quote).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    #[test]
    fn words_stay_words() {
        let words = ["ls", "-l", "/a b", "", "it's", "$HOME"].map(str::to_owned);
        assert_eq!(super::quoted(&words), r"ls -l '/a b' '' 'it'\''s' '$HOME'");
    }
}
