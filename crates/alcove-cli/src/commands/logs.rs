//! `alcove logs`.

use std::{
    fs::File,
    io::{Read as _, Seek as _, SeekFrom},
    path::Path,
};

use alcove_types::{ApiError, ErrorCode};
use clap::ValueEnum as _;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::Context;
use crate::{
    args::LogSource,
    exit::{self, Failure},
};

/// How much of the end of a file is looked at for its last lines.
const TAIL: u64 = 4 * 1024 * 1024;

pub(crate) async fn run(context: &Context<'_>, source: LogSource, follow: bool, lines: u32) -> Result<(), Failure> {
    let client = match context.connect_or_adopt().await {
        Ok(client) => client,
        // What is written on this computer can be read without the supervisor, and is wanted most when it is gone.
        Err(e) if e.code == ErrorCode::SupervisorUnreachable && !follow => return from_file(context, source, lines, e),
        Err(e) => return Err(e.into()),
    };
    let name = name(source);
    let path = format!("/api/v1/machine/logs?source={name}&lines={lines}&follow={}", u8::from(follow));
    let mut interrupted =
        signal(SignalKind::interrupt()).map_err(|e| exit::internal(format!("signals can't be listened for ({e})")))?;
    let mut stream = client.text(&path).await?;
    let mut splitter = Splitter::default();
    loop {
        tokio::select! {
            chunk = stream.chunk() => match chunk? {
                Some(bytes) => print(context, &name, &mut splitter, &bytes),
                None => break,
            },
            _ = interrupted.recv() => return Err(Failure::Code(exit::DETACHED)),
        }
    }
    rest(context, &name, &mut splitter);
    Ok(())
}

fn name(source: LogSource) -> String {
    source.to_possible_value().map_or_else(String::new, |v| v.get_name().to_owned())
}

fn from_file(context: &Context<'_>, source: LogSource, lines: u32, unreachable: ApiError) -> Result<(), Failure> {
    let layout = context.layout()?;
    let path = match source {
        LogSource::Serial => layout.serial_log(),
        LogSource::Qemu => layout.qemu_log(),
        LogSource::Alcoved => layout.supervisor_log(),
        LogSource::K3s | LogSource::AlcoveGuest | LogSource::Kernel | LogSource::All => {
            let hint = "Logs of the guest need a running machine; `--source serial`, `qemu` and `alcoved` do not.";
            return Err(ApiError { hint: hint.to_owned(), ..unreachable }.into());
        }
    };
    let text = tail(&path, lines).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => ApiError::new(
            ErrorCode::NotFound,
            format!("there is no {} yet", path.display()),
            "It appears when the machine is started.",
        ),
        _ => exit::internal(format!("{} can't be read ({e})", path.display())),
    })?;
    let mut splitter = Splitter::default();
    print(context, &name(source), &mut splitter, &text);
    rest(context, &name(source), &mut splitter);
    Ok(())
}

/// The last lines of a file.
fn tail(path: &Path, lines: u32) -> std::io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let from = length.saturating_sub(TAIL);
    file.seek(SeekFrom::Start(from))?;
    let mut text = Vec::new();
    file.take(TAIL).read_to_end(&mut text)?;
    let body = text.strip_suffix(b"\n").unwrap_or(&text);
    let wanted = usize::try_from(lines).unwrap_or(usize::MAX);
    let start = match wanted {
        0 => text.len(),
        _ => body.iter().enumerate().rev().filter(|(_, b)| **b == b'\n').nth(wanted - 1).map_or(0, |(at, _)| at + 1),
    };
    Ok(text.split_off(start))
}

/// Puts lines together from pieces.
#[derive(Default)]
struct Splitter {
    line: Vec<u8>,
}

impl Splitter {
    fn push(&mut self, bytes: &[u8], mut each: impl FnMut(&[u8])) {
        for piece in bytes.split_inclusive(|b| *b == b'\n') {
            self.line.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                each(&self.line);
                self.line.clear();
            }
        }
    }
}

fn print(context: &Context<'_>, source: &str, splitter: &mut Splitter, bytes: &[u8]) {
    if context.output.json {
        splitter.push(bytes, |line| json_line(context, source, line));
    } else {
        splitter.push(bytes, |line| context.output.raw(&harmless(line)));
    }
}

fn rest(context: &Context<'_>, source: &str, splitter: &mut Splitter) {
    if !splitter.line.is_empty() {
        print(context, source, splitter, b"\n");
    }
}

fn json_line(context: &Context<'_>, source: &str, line: &[u8]) {
    let text = String::from_utf8_lossy(line);
    context.output.json_line(&json!({ "source": source, "line": text.trim_end_matches(['\n', '\r']) }));
}

/// A line without what could take over the terminal: colours stay, everything else that starts with escape goes.
fn harmless(line: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(line.len());
    let mut rest = line;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            0x1b => {
                let parameters = after
                    .strip_prefix(b"[")
                    .map(|a| a.iter().take_while(|b| b.is_ascii_digit() || **b == b';').count());
                if let Some(count) = parameters
                    && after.get(count + 1) == Some(&b'm')
                {
                    out.push(0x1b);
                    out.extend_from_slice(&after[..count + 2]);
                    rest = &after[count + 2..];
                }
            }
            b'\n' | b'\t' => out.push(byte),
            0..0x20 | 0x7f => {}
            _ => out.push(byte),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_of_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        for (text, lines, expected) in [
            ("a\nb\nc\n", 2, "b\nc\n"),
            ("a\nb\nc", 2, "b\nc"),
            ("a\nb\n", 9, "a\nb\n"),
            ("a\n", 0, ""),
            ("", 3, ""),
            ("\n\n\n", 1, "\n"),
        ] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(tail(&path, lines).unwrap(), expected.as_bytes(), "{text:?} {lines}");
        }
    }

    #[test]
    fn lines_can_not_take_over_the_terminal() {
        assert_eq!(harmless(b"\x1b[1;31mred\x1b[0m\r\n"), b"\x1b[1;31mred\x1b[0m\n");
        assert_eq!(harmless(b"\x1b[2Jx\x1b]0;title\x07y\x1b"), b"[2Jx]0;titley");
        assert_eq!(harmless("né\n".as_bytes()), "né\n".as_bytes());
    }

    #[test]
    fn lines_are_whole_however_they_are_cut() {
        let text = b"one\ntwo\n\nthree";
        for size in 1..text.len() {
            let mut splitter = Splitter::default();
            let mut lines = Vec::new();
            for piece in text.chunks(size) {
                splitter.push(piece, |line| lines.push(String::from_utf8_lossy(line).into_owned()));
            }
            assert_eq!(lines, ["one\n", "two\n", "\n"]);
            assert_eq!(splitter.line, b"three");
        }
    }
}
