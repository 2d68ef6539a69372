//! What a person or a program gets to see: data on stdout, everything else on stderr.

use std::{
    fmt::Write as _,
    io::{self, IsTerminal, Write as _},
};

use alcove_types::ApiError;
use serde::Serialize;

use crate::words::plain;

/// A role that text can have on a terminal.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Role {
    Good,
    Attention,
    Failed,
    Hint,
    Quiet,
    Strong,
}

/// Where and how to print.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) json: bool,
    pub(crate) quiet: bool,
    color_out: bool,
    color_err: bool,
    terminal_err: bool,
}

impl Output {
    pub(crate) fn new(json: bool, quiet: bool) -> Self {
        let set = |name: &str| std::env::var_os(name).is_some_and(|v| !v.is_empty());
        let wanted = !set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|t| t != "dumb");
        Self {
            json,
            quiet,
            color_out: wanted && io::stdout().is_terminal(),
            color_err: wanted && io::stderr().is_terminal(),
            terminal_err: io::stderr().is_terminal(),
        }
    }

    /// Whether a line on stderr can be drawn over.
    pub(crate) fn live(&self) -> bool {
        self.terminal_err && self.color_err && self.talks()
    }

    /// Whether progress is shown at all.
    pub(crate) const fn talks(&self) -> bool {
        !self.json && !self.quiet
    }

    /// Prints data: as JSON, or as the text that `human` makes.
    pub(crate) fn data<T: Serialize>(&self, data: &T, human: impl FnOnce() -> String) {
        if self.json {
            let text = serde_json::to_string_pretty(data).unwrap_or_else(|_| "null".to_owned());
            self.raw(format!("{text}\n").as_bytes());
        } else {
            let mut text = human();
            if !text.is_empty() && !text.ends_with('\n') {
                text.push('\n');
            }
            self.raw(text.as_bytes());
        }
    }

    /// Prints one JSON document as one line.
    pub(crate) fn json_line<T: Serialize>(&self, data: &T) {
        let text = serde_json::to_string(data).unwrap_or_else(|_| "null".to_owned());
        self.raw(format!("{text}\n").as_bytes());
    }

    /// Writes bytes to stdout. When nobody reads any more there is nothing left to do: `alcove logs | head` ends.
    #[allow(clippy::unused_self)] // printing goes through the output, always
    pub(crate) fn raw(&self, bytes: &[u8]) {
        let mut out = io::stdout().lock();
        if out.write_all(bytes).and_then(|()| out.flush()).is_err() {
            std::process::exit(0);
        }
    }

    /// A word on the side, such as what was done without being asked for.
    pub(crate) fn note(&self, text: &str) {
        if self.talks() {
            self.err_line(text);
        }
    }

    /// A line on stderr.
    #[allow(clippy::unused_self)]
    pub(crate) fn err_line(&self, text: &str) {
        let _ = writeln!(io::stderr().lock(), "{text}");
    }

    /// Bytes on stderr, for a line that is drawn over.
    #[allow(clippy::unused_self)]
    pub(crate) fn err_raw(&self, text: &str) {
        let mut err = io::stderr().lock();
        let _ = err.write_all(text.as_bytes()).and_then(|()| err.flush());
    }

    /// Shows an error with its hint.
    pub(crate) fn error(&self, error: &ApiError) {
        if self.json {
            self.err_line(&serde_json::to_string(error).unwrap_or_else(|_| "{}".to_owned()));
            return;
        }
        let mut text = format!("{} {}", self.err_paint(Role::Failed, "error:"), plain(&error.message));
        let words = error.details.as_ref().and_then(|d| d.get("last_words")).and_then(|w| w.as_array());
        for line in words.into_iter().flatten().filter_map(|line| line.as_str()) {
            let _ = write!(text, "\n  {}", self.err_paint(Role::Quiet, &format!("| {}", plain(line))));
        }
        if !error.hint.is_empty() {
            let _ = write!(text, "\n{} {}", self.err_paint(Role::Hint, "hint:"), plain(&error.hint));
        }
        self.err_line(&text);
    }

    /// Text in its role, for stdout.
    pub(crate) fn paint(&self, role: Role, text: &str) -> String {
        paint(self.color_out, role, text)
    }

    /// Text in its role, for stderr.
    pub(crate) fn err_paint(&self, role: Role, text: &str) -> String {
        paint(self.color_err, role, text)
    }
}

fn paint(color: bool, role: Role, text: &str) -> String {
    if !color {
        return text.to_owned();
    }
    let code = match role {
        Role::Good => "32",
        Role::Attention => "33",
        Role::Failed => "1;31",
        Role::Hint => "1;36",
        Role::Quiet => "2",
        Role::Strong => "1",
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}

/// Lines up columns; the last one is free.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|r| r.get(column)).map(|c| c.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, "{cell:<width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
