//! Following the guest's boot port: a file to which QEMU appends what the guest writes, one JSON document a line.

use std::{
    io::{self, SeekFrom},
    path::PathBuf,
    time::Duration,
};

use alcove_types::boot::BootEvent;
use tokio::{
    fs::{File, OpenOptions},
    io::{AsyncReadExt, AsyncSeekExt},
    time::sleep,
};

/// The longest line that is taken; the rest of a longer one is dropped.
const LONGEST_LINE: usize = 64 * 1024;
/// How much of it is kept: a boot writes some hundred kilobytes. A guest that goes on and on does not fill the host's disk.
const KEPT: u64 = 8 << 20;
/// How often the file is looked at. It is a plain file that QEMU appends to: looking is cheap, and it works on every
/// system and file system.
const INTERVAL: Duration = Duration::from_millis(50);

/// Reads boot events as they are written. Starts at the beginning of the file, waits for a file that is not there yet,
/// and begins anew when the file is cut off (a new boot). Lines that are no events are skipped.
#[derive(Debug)]
pub struct BootLog {
    path: PathBuf,
    file: Option<File>,
    position: u64,
    pending: Vec<u8>,
    skipping: bool,
    ready: std::collections::VecDeque<BootEvent>,
}

impl BootLog {
    /// Follows this file.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            file: None,
            position: 0,
            pending: Vec::new(),
            skipping: false,
            ready: std::collections::VecDeque::new(),
        }
    }

    /// The next event; waits for it as long as it takes. Dropping the future loses nothing.
    pub async fn next(&mut self) -> BootEvent {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return event;
            }
            match self.read().await {
                Ok(true) => {}
                Ok(false) => sleep(INTERVAL).await,
                Err(e) => {
                    tracing::debug!(path = %self.path.display(), error = %e, "the boot log can't be read");
                    self.file = None;
                    sleep(INTERVAL).await;
                }
            }
        }
    }

    /// What has been written so far and was not returned yet.
    pub async fn drain(&mut self) -> Vec<BootEvent> {
        while let Ok(true) = self.read().await {}
        self.ready.drain(..).collect()
    }

    /// Reads a piece; false when there was nothing new.
    async fn read(&mut self) -> io::Result<bool> {
        let length = match tokio::fs::metadata(&self.path).await {
            Ok(meta) => meta.len(),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                self.restart();
                return Ok(false);
            }
            Err(e) => return Err(e),
        };
        if length < self.position {
            self.restart();
        }
        if length == self.position {
            if length > KEPT {
                // QEMU appends: it goes on from the beginning.
                OpenOptions::new().write(true).open(&self.path).await?.set_len(0).await?;
                self.restart();
            }
            return Ok(false);
        }
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(File::open(&self.path).await?),
        };
        // One buffer on the stack of this call, and the position moves only after the bytes were taken over: dropped in
        // between, the next call reads the same piece again.
        let mut buffer = [0_u8; 16 * 1024];
        file.seek(SeekFrom::Start(self.position)).await?;
        let n = file.read(&mut buffer).await?;
        self.position += n as u64;
        self.take(&buffer[..n]);
        Ok(n > 0)
    }

    fn restart(&mut self) {
        self.file = None;
        self.position = 0;
        self.pending.clear();
        self.skipping = false;
    }

    fn take(&mut self, mut bytes: &[u8]) {
        while let Some(end) = bytes.iter().position(|b| *b == b'\n') {
            if !std::mem::take(&mut self.skipping) {
                self.pending.extend_from_slice(&bytes[..end]);
                if let Some(event) = parse(&self.pending) {
                    self.ready.push_back(event);
                }
            }
            self.pending.clear();
            bytes = &bytes[end + 1..];
        }
        if self.pending.len() + bytes.len() > LONGEST_LINE {
            self.skipping = true;
            self.pending.clear();
        }
        if !self.skipping {
            self.pending.extend_from_slice(bytes);
        }
    }
}

/// One line as an event; `None` for anything else. The guest is not trusted to write well-formed lines: it may be cut
/// off in the middle of one when it dies.
pub fn parse(line: &[u8]) -> Option<BootEvent> {
    let line = line.trim_ascii();
    // A line that was cut off by a crash may have the next one glued to it: the last document on the line counts.
    let start = line.windows(2).rposition(|w| w == b"{\"").filter(|_| line.first() != Some(&b'{')).unwrap_or(0);
    serde_json::from_slice(line).ok().or_else(|| serde_json::from_slice(line.get(start..)?).ok())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use alcove_types::boot::StepState;

    use super::*;

    #[tokio::test]
    async fn follows_a_file_that_grows_and_starts_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("boot.jsonl");
        let mut log = BootLog::new(&path);
        assert!(log.drain().await.is_empty());
        let mut file = std::fs::File::create(&path).unwrap();
        file.write_all(b"{\"step\":\"kernel\",\"state\":\"done\",\"at_ms\":900}\n\xff\xfe garbage\n{\"step\":\"ini")
            .unwrap();
        let first = log.next().await;
        assert_eq!((first.step.as_str(), first.state, first.at_ms), ("kernel", Some(StepState::Done), 900));
        assert!(log.drain().await.is_empty());
        file.write_all(b"trd\",\"at_ms\":1000,\"log\":\"mounted\"}\n").unwrap();
        assert_eq!(log.next().await.log.as_deref(), Some("mounted"));
        std::fs::write(&path, b"{\"step\":\"kernel\",\"at_ms\":1}\n").unwrap();
        assert_eq!(log.next().await.at_ms, 1);
    }

    #[tokio::test]
    async fn skips_endless_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("boot.jsonl");
        let mut content = vec![b'x'; 3 * LONGEST_LINE];
        content.extend_from_slice(b"\n{\"step\":\"node\",\"at_ms\":5}\n");
        std::fs::write(&path, content).unwrap();
        let mut log = BootLog::new(&path);
        assert_eq!(log.next().await.step, "node");
        assert!(log.pending.capacity() <= 4 * LONGEST_LINE);
    }

    #[tokio::test]
    async fn what_a_talkative_guest_writes_does_not_fill_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("boot.jsonl");
        let mut qemu = std::fs::OpenOptions::new().create(true).append(true).open(&path).unwrap();
        let mut log = BootLog::new(&path);
        let line = [vec![b'x'; 64 * 1024 - 1], vec![b'\n']].concat();
        while qemu.metadata().unwrap().len() <= KEPT {
            qemu.write_all(&line).unwrap();
        }
        assert!(log.drain().await.is_empty());
        assert_eq!(qemu.metadata().unwrap().len(), 0);
        qemu.write_all(b"{\"step\":\"node\",\"at_ms\":5}\n").unwrap();
        assert_eq!(log.next().await.step, "node");
    }

    #[test]
    fn a_torn_line_does_not_take_the_next_one_with_it() {
        let event = parse(b"ate\":\"running\"{\"step\":\"door\",\"at_ms\":7}").unwrap();
        assert_eq!(event.step, "door");
        assert!(parse(b"").is_none());
        assert!(parse(b"{\"step\":7}").is_none());
    }
}
