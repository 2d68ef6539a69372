//! Talking to QEMU's control socket.
//!
//! The commands and events are the `qapi` crate's; the connection is our own. A supervisor must outlive newer QEMUs and
//! dropped requests, so here an event or a field that is not known is passed over, and an answer for which nobody waits
//! any more is dropped, where the crate's own connection would end.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use qapi::{Command, Execute, qmp};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{UnixStream, unix::OwnedReadHalf},
    sync::{broadcast, mpsc, oneshot, watch},
    time::{Instant, sleep, timeout, timeout_at},
};

use crate::{MachineError, Result};

/// How long QEMU may take for an answer. Its main loop stands still while it opens disks or ends a migration.
const ANSWER: Duration = Duration::from_secs(30);
/// How long QEMU may take to greet. It does not when another client is connected.
const GREETING: Duration = Duration::from_secs(5);
/// No answer of QEMU is longer.
const LONGEST_LINE: usize = 8 << 20;

/// An event as QEMU sent it.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Its name, such as `STOP`.
    pub name: String,
    /// Its data.
    pub data: Value,
}

impl Event {
    /// The data of an event of a known kind; `None` when it is of another kind or has an unknown shape.
    pub fn as_kind<E: qapi::Event>(&self) -> Option<E> {
        if self.name != E::NAME {
            return None;
        }
        serde_json::from_value(self.data.clone()).ok()
    }
}

/// Why a command failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum QmpError {
    /// QEMU refused it.
    #[error("QEMU refused {command}: {reason}")]
    Refused {
        /// The command.
        command: &'static str,
        /// What QEMU said.
        reason: String,
    },
    /// The connection is gone.
    #[error("QEMU closed its control socket during {0}")]
    Closed(&'static str),
    /// QEMU did not answer.
    #[error("QEMU did not answer {0}")]
    Timeout(&'static str),
    /// QEMU's answer has an unknown shape.
    #[error("QEMU's answer to {0} is not understood: {1}")]
    Answer(&'static str, String),
}

impl From<QmpError> for MachineError {
    fn from(error: QmpError) -> Self {
        match error {
            QmpError::Timeout(what) => Self::Timeout { what: format!("QEMU's answer to {what}"), after: ANSWER },
            other => Self::hypervisor(other.to_string()),
        }
    }
}

type Answer = std::result::Result<Value, String>;

struct Request {
    id: u64,
    line: Vec<u8>,
    answer: oneshot::Sender<Answer>,
}

/// A connection to QEMU's control socket.
#[derive(Debug)]
pub struct Qmp {
    requests: mpsc::Sender<Request>,
    events: broadcast::Sender<Event>,
    closed: watch::Receiver<bool>,
    next_id: AtomicU64,
    version: String,
}

impl Qmp {
    /// Connects, trying until the deadline: QEMU makes the socket a moment after it was started.
    pub async fn connect(socket: &Path, deadline: Instant) -> Result<Self> {
        let stream = loop {
            match UnixStream::connect(socket).await {
                Ok(stream) => break stream,
                Err(e) if Instant::now() >= deadline => return Err(MachineError::io("can't connect to", socket, e)),
                Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                    sleep(Duration::from_millis(5)).await;
                }
                Err(e) => return Err(MachineError::io("can't connect to", socket, e)),
            }
        };
        let (read, mut write) = stream.into_split();
        let mut lines = Lines::new(read);
        let greeting_by = deadline.max(Instant::now() + GREETING);
        let greeting = match timeout_at(greeting_by, lines.next()).await {
            Ok(Ok(Some(greeting))) => greeting,
            Ok(Ok(None)) => return Err(MachineError::hypervisor("QEMU closed its control socket before it greeted")),
            Ok(Err(e)) => return Err(MachineError::io("can't read from", socket, e)),
            Err(_) => {
                return Err(MachineError::hypervisor(
                    "QEMU does not greet on its control socket: another program holds it, or QEMU hangs",
                ));
            }
        };
        let version = greeting
            .pointer("/QMP/version/qemu")
            .and_then(|v| Some([v.get("major")?, v.get("minor")?, v.get("micro")?].map(|n| n.as_u64().unwrap_or(0))))
            .map(|[major, minor, micro]| format!("{major}.{minor}.{micro}"))
            .ok_or_else(|| MachineError::hypervisor("QEMU's greeting is not understood"))?;

        let (requests, mut inbox) = mpsc::channel::<Request>(32);
        let (events, _) = broadcast::channel(256);
        let (closing, closed) = watch::channel(false);
        let sender = events.clone();
        let path: PathBuf = socket.into();
        tokio::spawn(async move {
            let mut waiting: HashMap<u64, oneshot::Sender<Answer>> = HashMap::new();
            loop {
                tokio::select! {
                    request = inbox.recv() => {
                        let Some(request) = request else { break };
                        waiting.retain(|_, w| !w.is_closed());
                        waiting.insert(request.id, request.answer);
                        if let Err(e) = write.write_all(&request.line).await {
                            tracing::debug!(socket = %path.display(), error = %e, "QMP can't be written");
                            break;
                        }
                    }
                    line = lines.next() => match line {
                        Ok(Some(message)) => receive(message, &mut waiting, &sender),
                        Ok(None) => break,
                        Err(e) => {
                            tracing::debug!(socket = %path.display(), error = %e, "QMP can't be read");
                            break;
                        }
                    }
                }
            }
            closing.send_replace(true);
        });
        let qmp = Self { requests, events, closed, next_id: AtomicU64::new(1), version };
        qmp.execute(qmp::qmp_capabilities { enable: None }).await?;
        Ok(qmp)
    }

    /// QEMU's version.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Events from now on.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// Whether the connection is gone.
    pub fn is_closed(&self) -> bool {
        *self.closed.borrow()
    }

    /// Turns true when the connection is gone.
    pub(crate) fn closing(&self) -> watch::Receiver<bool> {
        self.closed.clone()
    }

    /// Returns when the connection is gone.
    pub async fn closed(&self) {
        let mut closed = self.closed.clone();
        // An error means that the task has ended, which it does with the connection.
        let _ = closed.wait_for(|c| *c).await;
    }

    /// Runs a command. Dropping the future is harmless.
    pub async fn execute<C: Command>(&self, command: C) -> std::result::Result<C::Ok, QmpError> {
        let value = self.execute_raw(command).await?;
        serde_json::from_value(value).map_err(|e| QmpError::Answer(C::NAME, e.to_string()))
    }

    /// Runs a command and returns the answer as it came: for answers with words that a newer QEMU may add to.
    pub async fn execute_raw<C: Command>(&self, command: C) -> std::result::Result<Value, QmpError> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let mut line = serde_json::to_vec(&Execute::new(command, Some(id)))
            .map_err(|e| QmpError::Answer(C::NAME, e.to_string()))?;
        line.push(b'\n');
        let (answer, answered) = oneshot::channel();
        self.requests.send(Request { id, line, answer }).await.map_err(|_| QmpError::Closed(C::NAME))?;
        match timeout(ANSWER, answered).await {
            Ok(Ok(Ok(value))) => Ok(value),
            Ok(Ok(Err(reason))) => Err(QmpError::Refused { command: C::NAME, reason }),
            Ok(Err(_)) => Err(QmpError::Closed(C::NAME)),
            Err(_) => Err(QmpError::Timeout(C::NAME)),
        }
    }

    /// QEMU's word for what the machine does, such as `running`.
    pub async fn run_state(&self) -> std::result::Result<String, QmpError> {
        let answer = self.execute_raw(qmp::query_status {}).await?;
        match answer.get("status").and_then(Value::as_str) {
            Some(state) => Ok(state.into()),
            None => Err(QmpError::Answer("query-status", answer.to_string())),
        }
    }

    /// A command of the human monitor, for what QMP itself does not tell.
    pub async fn monitor(&self, command: &str) -> std::result::Result<String, QmpError> {
        self.execute(qmp::human_monitor_command { cpu_index: None, command_line: command.into() }).await
    }

    /// The host's port that leads to this port of the guest.
    pub async fn forwarded_port(&self, guest_port: u16) -> std::result::Result<Option<u16>, QmpError> {
        Ok(parse_forward(&self.monitor("info usernet").await?, guest_port))
    }
}

fn receive(mut message: Value, waiting: &mut HashMap<u64, oneshot::Sender<Answer>>, events: &broadcast::Sender<Event>) {
    if let Some(name) = message.get("event").and_then(Value::as_str) {
        let event = Event { name: name.into(), data: message.get_mut("data").map(Value::take).unwrap_or_default() };
        tracing::debug!(event = event.name, data = %event.data, "QEMU event");
        let _ = events.send(event);
        return;
    }
    let Some(waiter) = message.get("id").and_then(Value::as_u64).and_then(|id| waiting.remove(&id)) else { return };
    let answer = match message.get_mut("return") {
        Some(value) => Ok(value.take()),
        None => Err(message.pointer("/error/desc").and_then(Value::as_str).unwrap_or("no reason given").into()),
    };
    let _ = waiter.send(answer);
}

/// `TCP[HOST_FORWARD]  14       127.0.0.1 45351       10.0.2.15  7443     0     0` in the answer of `info usernet`.
fn parse_forward(said: &str, guest_port: u16) -> Option<u16> {
    said.lines().filter(|l| l.contains("TCP[HOST_FORWARD]")).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let target: u16 = fields.get(5)?.parse().ok()?;
        if target == guest_port { fields.get(3)?.parse().ok() } else { None }
    })
}

/// JSON documents, one a line.
struct Lines {
    read: BufReader<OwnedReadHalf>,
    pending: Vec<u8>,
}

impl Lines {
    fn new(read: OwnedReadHalf) -> Self {
        Self { read: BufReader::new(read), pending: Vec::new() }
    }

    /// The next document. Cancel-safe: what was read of a line is kept. A line that is no JSON is an error, for it is
    /// not QEMU that talks then.
    async fn next(&mut self) -> io::Result<Option<Value>> {
        loop {
            let chunk = self.read.fill_buf().await?;
            if chunk.is_empty() {
                return Ok(None);
            }
            let end = chunk.iter().position(|b| *b == b'\n');
            let taken = end.map_or(chunk.len(), |e| e + 1);
            self.pending.extend_from_slice(&chunk[..taken]);
            self.read.consume(taken);
            if self.pending.len() > LONGEST_LINE {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "endless line"));
            }
            if end.is_some() {
                let line = std::mem::take(&mut self.pending);
                if line.trim_ascii().is_empty() {
                    continue;
                }
                return serde_json::from_slice(&line).map(Some).map_err(io::Error::from);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forwarded_port_is_found() {
        let said = "Hub -1 (net):\n  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\n\
                    \x20 TCP[ESTABLISHED]   21       127.0.0.1 40000       10.0.2.15  7443     0     0\n\
                    \x20 TCP[HOST_FORWARD]  14       127.0.0.1 45351       10.0.2.15  7443     0     0\n";
        assert_eq!(parse_forward(said, 7443), Some(45351));
        assert_eq!(parse_forward(said, 80), None);
        assert_eq!(parse_forward("", 7443), None);
    }
}
