//! The operation log: one JSON line for each thing that somebody asked for and how it ended. Append-only; the oldest
//! lines go when it has grown large.

use std::{
    fs,
    io::{self, Write},
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
    largest: u64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    next: u64,
    file: Option<fs::File>,
    bytes: u64,
}

/// A log that would become larger than this is set aside; one older log is kept. That is years of a person's work.
const LARGEST: u64 = 8 * 1024 * 1024;

impl Operations {
    /// Opens the log. A line that a power cut left unfinished is closed off, and later lines stand by themselves.
    ///
    /// # Errors
    /// When the file can be neither read nor made.
    pub fn open(path: &Path, events: Arc<Events>) -> io::Result<Self> {
        Self::open_up_to(path, events, LARGEST)
    }

    fn open_up_to(path: &Path, events: Arc<Events>, largest: u64) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut file = append_to(path)?;
        let mut bytes = fs::read(path)?;
        if bytes.last().is_some_and(|b| *b != b'\n') {
            file.write_all(b"\n")?;
            bytes.push(b'\n');
        }
        let last = match newest_first(&bytes).next() {
            Some(last) => Some(last.id),
            // Set aside just before the end.
            None => newest_first(&older(path)?).next().map(|o| o.id),
        };
        let state = State { next: last.map_or(1, |id| id + 1), file: Some(file), bytes: bytes.len() as u64 };
        Ok(Self { path: path.to_owned(), events, largest, state: Mutex::new(state) })
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
        if let Ok(mut line) = serde_json::to_vec(&operation) {
            line.push(b'\n');
            if let Err(error) = self.write(&mut state, &line) {
                tracing::error!(%error, what, "the operation log can't be written");
            }
        }
        drop(state);
        self.events.publish(Event::Operation(operation));
    }

    fn write(&self, state: &mut State, line: &[u8]) -> io::Result<()> {
        let length = line.len() as u64;
        if state.bytes > 0 && state.bytes + length > self.largest {
            // One that can't be set aside grows on: better than a line that is lost.
            match self.set_aside() {
                Ok(file) => (state.file, state.bytes) = (Some(file), 0),
                Err(error) => tracing::warn!(%error, "the operation log can't be set aside"),
            }
        }
        let Some(file) = state.file.as_mut() else { return Ok(()) };
        file.write_all(line).and_then(|()| file.sync_data())?;
        state.bytes += length;
        Ok(())
    }

    fn set_aside(&self) -> io::Result<fs::File> {
        fs::rename(&self.path, older_path(&self.path))?;
        let file = append_to(&self.path)?;
        // Without its name a line that was synced is lost all the same.
        self.path.parent().map_or(Ok(()), |folder| fs::File::open(folder)?.sync_all())?;
        Ok(file)
    }

    /// A page of the log, newest first; `before` is exclusive. Reads files, so it is not for the event loop.
    ///
    /// # Errors
    /// When a file can't be read.
    pub fn page(&self, limit: usize, before: Option<u64>) -> io::Result<OperationList> {
        let mut operations: Vec<Operation> = Vec::new();
        let mut below = before.unwrap_or(u64::MAX);
        let mut take = |bytes: &[u8]| {
            for operation in newest_first(bytes) {
                if operations.len() > limit {
                    return true;
                }
                // A log that is set aside between the two looks shows its lines twice.
                if operation.id < below {
                    below = operation.id;
                    operations.push(operation);
                }
            }
            operations.len() > limit
        };
        if !take(&fs::read(&self.path)?) {
            take(&older(&self.path)?);
        }
        let more = operations.len() > limit;
        operations.truncate(limit);
        let next_before = if more { operations.last().map(|o| o.id) } else { None };
        Ok(OperationList { operations, next_before })
    }
}

fn append_to(path: &Path) -> io::Result<fs::File> {
    fs::OpenOptions::new().create(true).append(true).read(true).mode(0o600).open(path)
}

/// Where the log is that was set aside.
fn older_path(path: &Path) -> PathBuf {
    path.with_extension("1.jsonl")
}

fn older(path: &Path) -> io::Result<Vec<u8>> {
    match fs::read(older_path(path)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        read => read,
    }
}

/// Lines that can't be read are passed over: the rest of the log is still worth having.
fn newest_first(bytes: &[u8]) -> impl Iterator<Item = Operation> {
    bytes.rsplit(|b| *b == b'\n').filter_map(|line| serde_json::from_slice(line).ok())
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

    #[test]
    fn a_log_that_grew_large_is_set_aside_and_its_pages_go_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("operations.jsonl");
        let open = || Operations::open_up_to(&path, Arc::default(), 4000).unwrap();
        let mut log = open();
        for n in 0..200 {
            log.record(&Caller::supervisor(), "x", &n.to_string(), "accepted", "", None);
            if n % 7 == 0 {
                // Whatever the file holds when a supervisor ends.
                log = open();
            }
        }
        let lengths: Vec<u64> =
            fs::read_dir(folder.path()).unwrap().map(|f| f.unwrap().metadata().unwrap().len()).collect();
        assert_eq!(lengths.len(), 2, "one older log is kept");
        assert!(lengths.iter().all(|l| *l <= 4000), "{lengths:?}");
        let (mut ids, mut before) = (Vec::new(), None);
        loop {
            let page = log.page(3, before).unwrap();
            ids.extend(page.operations.iter().map(|o| o.id));
            before = page.next_before;
            if before.is_none() {
                break;
            }
        }
        assert!(ids.len() > 25, "both logs are read: {ids:?}");
        let expected: Vec<u64> = (0..ids.len() as u64).map(|n| 200 - n).collect();
        assert_eq!(ids, expected, "no gap, no repeat");
    }

    #[test]
    fn numbers_go_on_when_the_log_was_just_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("operations.jsonl");
        let log = Operations::open(&path, Arc::default()).unwrap();
        log.record(&Caller::supervisor(), "x", "", "accepted", "", None);
        drop(log);
        fs::rename(&path, older_path(&path)).unwrap();
        let log = Operations::open(&path, Arc::default()).unwrap();
        log.record(&Caller::supervisor(), "x", "", "accepted", "", None);
        let page = log.page(10, None).unwrap();
        assert_eq!(page.operations.iter().map(|o| o.id).collect::<Vec<_>>(), [2, 1]);
    }
}
