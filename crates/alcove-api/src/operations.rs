//! The operation log: one JSON line for each thing that somebody asked for and how it ended. Append-only.

use std::{
    fs,
    io::{self, BufRead, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use alcove_types::{
    event::Event,
    operation::{Operation, OperationList},
};

use crate::{clock, events::Events};

/// Who asks, and through what.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Such as `owner`.
    pub who: String,
    /// `cli`, `window`, `browser` or `supervisor`.
    pub via: String,
}

impl Caller {
    /// The supervisor itself.
    pub fn supervisor() -> Self {
        Self { who: "supervisor".into(), via: "supervisor".into() }
    }
}

/// The log of one instance.
#[derive(Debug)]
pub struct Operations {
    path: PathBuf,
    events: Arc<Events>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    next: u64,
    file: Option<fs::File>,
}

impl Operations {
    /// Opens the log. A line that a power cut left unfinished is closed off, and later lines stand by themselves.
    ///
    /// # Errors
    /// When the file can be neither read nor made.
    pub fn open(path: &Path, events: Arc<Events>) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut file = fs::OpenOptions::new().create(true).append(true).read(true).mode(0o600).open(path)?;
        let bytes = fs::read(path)?;
        if bytes.last().is_some_and(|b| *b != b'\n') {
            file.write_all(b"\n")?;
        }
        let next = parse(&bytes).last().map_or(1, |o| o.id + 1);
        Ok(Self { path: path.to_owned(), events, state: Mutex::new(State { next, file: Some(file) }) })
    }

    /// Adds a line.
    pub fn record(&self, caller: &Caller, what: &str, subject: &str, result: &str, message: &str, task: Option<&str>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let operation = Operation {
            id: state.next,
            at: clock::now(),
            who: caller.who.clone(),
            via: caller.via.clone(),
            what: what.to_owned(),
            subject: subject.to_owned(),
            result: result.to_owned(),
            message: message.to_owned(),
            task: task.map(str::to_owned),
        };
        state.next += 1;
        if let (Some(file), Ok(mut line)) = (state.file.as_mut(), serde_json::to_vec(&operation)) {
            line.push(b'\n');
            if let Err(error) = file.write_all(&line).and_then(|()| file.sync_data()) {
                tracing::error!(%error, what, "the operation log can't be written");
            }
        }
        drop(state);
        self.events.publish(Event::Operation(operation));
    }

    /// A page of the log, newest first; `before` is exclusive.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn page(&self, limit: usize, before: Option<u64>) -> io::Result<OperationList> {
        let bytes = fs::read(&self.path)?;
        let mut operations: Vec<Operation> =
            parse(&bytes).into_iter().filter(|o| before.is_none_or(|before| o.id < before)).collect();
        operations.reverse();
        let more = operations.len() > limit;
        operations.truncate(limit);
        let next_before = if more { operations.last().map(|o| o.id) } else { None };
        Ok(OperationList { operations, next_before })
    }
}

/// Lines that can't be read are passed over: the rest of the log is still worth having.
fn parse(bytes: &[u8]) -> Vec<Operation> {
    bytes.lines().map_while(Result::ok).filter_map(|line| serde_json::from_str(&line).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_line_costs_only_itself() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("operations.jsonl");
        let log = Operations::open(&path, Arc::default()).unwrap();
        log.record(&Caller::supervisor(), "machine.start", "default", "accepted", "", None);
        drop(log);
        let mut bytes = fs::read(&path).unwrap();
        bytes.extend_from_slice(b"{\"id\":2,\"at\":\"20");
        fs::write(&path, &bytes).unwrap();
        let log = Operations::open(&path, Arc::default()).unwrap();
        log.record(&Caller::supervisor(), "machine.stop", "default", "accepted", "", None);
        let page = log.page(10, None).unwrap();
        assert_eq!(
            page.operations.iter().map(|o| o.what.as_str()).collect::<Vec<_>>(),
            ["machine.stop", "machine.start"]
        );
        assert_eq!(page.next_before, None);
    }

    #[test]
    fn pages_follow_each_other_without_gap_or_repeat() {
        let folder = tempfile::tempdir().unwrap();
        let log = Operations::open(&folder.path().join("o.jsonl"), Arc::default()).unwrap();
        for n in 0..5 {
            log.record(&Caller::supervisor(), "x", &n.to_string(), "accepted", "", None);
        }
        let first = log.page(2, None).unwrap();
        let second = log.page(2, first.next_before).unwrap();
        let third = log.page(2, second.next_before).unwrap();
        let ids: Vec<u64> =
            [first.operations, second.operations, third.operations].concat().iter().map(|o| o.id).collect();
        assert_eq!(ids, [5, 4, 3, 2, 1]);
        assert_eq!(third.next_before, None);
    }
}
