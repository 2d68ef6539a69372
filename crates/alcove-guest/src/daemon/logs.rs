//! The guest's logs, as text.

use std::{process::Stdio, sync::Arc};

use axum::{
    body::Body,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use futures_util::StreamExt;
use serde::Deserialize;
use tokio::process::Command;
use tokio_util::io::ReaderStream;

use super::{
    api::{Asked, Refusal},
    state::Guest,
};

const LINES: u32 = 200;
const MOST_LINES: u32 = 20_000;

/// Which log, and how much of it.
#[derive(Debug, Deserialize)]
pub(super) struct Wanted {
    unit: Option<String>,
    lines: Option<u32>,
    follow: Option<String>,
}

impl Wanted {
    fn arguments(&self) -> Result<Vec<String>, Refusal> {
        let lines = self.lines.unwrap_or(LINES).min(MOST_LINES);
        let mut arguments: Vec<String> =
            ["--no-pager", "--quiet", "--boot", "--output=short-iso-precise"].map(str::to_owned).to_vec();
        arguments.push(format!("--lines={lines}"));
        match self.unit.as_deref().unwrap_or("all") {
            "all" => {}
            "kernel" => arguments.push("--dmesg".to_owned()),
            // Nothing that a caller says becomes part of an argument.
            "k3s" => arguments.push("--unit=k3s.service".to_owned()),
            "alcove-guest" => arguments.push("--unit=alcove-guest.service".to_owned()),
            _ => {
                return Err(Refusal::bad_request(
                    "there is no such log",
                    "The logs are k3s, alcove-guest, kernel and all.",
                ));
            }
        }
        if matches!(self.follow.as_deref(), Some("1" | "true")) {
            arguments.push("--follow".to_owned());
        }
        Ok(arguments)
    }
}

pub(super) async fn get(State(guest): State<Arc<Guest>>, Asked(wanted): Asked<Wanted>) -> Result<Response, Refusal> {
    let mut journal = Command::new("/usr/bin/journalctl")
        .args(wanted.arguments()?)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| Refusal::internal("the journal can't be read", &error))?;
    let Some(output) = journal.stdout.take() else {
        return Err(Refusal::internal("the journal can't be read", &"it says nothing"));
    };
    // The process lives as long as the answer is read, and ends when the caller goes away.
    let held = (journal, guest.stream());
    let text = ReaderStream::with_capacity(output, 16 * 1024).map(move |block| {
        let _ = &held;
        block
    });
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], Body::from_stream(text)).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(unit: &str, lines: u32, follow: &str) -> Wanted {
        Wanted { unit: Some(unit.into()), lines: Some(lines), follow: Some(follow.into()) }
    }

    #[test]
    fn only_known_logs_are_read() {
        let Ok(arguments) = wanted("k3s", 5, "1").arguments() else { panic!("k3s has a log") };
        assert!(arguments.contains(&"--unit=k3s.service".to_owned()));
        assert!(arguments.contains(&"--lines=5".to_owned()));
        assert!(arguments.contains(&"--follow".to_owned()));
        assert!(wanted("--vacuum-size=1", 5, "0").arguments().is_err());
        let Ok(arguments) = wanted("all", 1_000_000, "0").arguments() else { panic!("everything has a log") };
        assert!(arguments.contains(&format!("--lines={MOST_LINES}")));
        assert!(!arguments.contains(&"--follow".to_owned()));
    }
}
