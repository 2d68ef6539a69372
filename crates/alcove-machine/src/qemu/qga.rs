//! Talking to the guest agent, for what must work when the guest's own daemon does not.

use std::{path::Path, time::Duration};

use qapi::{Command, Execute, qga};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    time::timeout,
};

use crate::{MachineError, Result};

/// No answer of the agent that we ask for is longer.
const LONGEST_ANSWER: usize = 1 << 20;

/// A connection to the guest agent. Answers carry no ids, so one request is under way at a time, and one that was given
/// up ends the connection.
#[derive(Debug)]
pub struct Agent {
    stream: UnixStream,
    pending: Vec<u8>,
    patience: Duration,
    broken: bool,
}

impl Agent {
    /// Connects and finds the beginning of the conversation: what an earlier client left unread is passed over.
    /// `Timeout` when nobody listens in the guest.
    pub async fn connect(socket: &Path, patience: Duration) -> Result<Self> {
        let stream = match timeout(patience, UnixStream::connect(socket)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(e)) => return Err(MachineError::io("can't connect to", socket, e)),
            Err(_) => return Err(silent(patience)),
        };
        let mut agent = Self { stream, pending: Vec::new(), patience, broken: false };
        let id = i64::from(rand::random::<u32>());
        // 0xFF makes the agent's parser drop half a request that an earlier client may have left.
        let mut request = vec![0xff];
        request.extend(encode(qga::guest_sync_delimited { id })?);
        let wait = async {
            agent.write(&request).await?;
            loop {
                let answer = agent.line().await?;
                if answer.get("return").and_then(Value::as_i64) == Some(id) {
                    return Ok(());
                }
            }
        };
        match timeout(patience, wait).await {
            Ok(result) => result.map(|()| agent),
            Err(_) => Err(silent(patience)),
        }
    }

    /// Runs a command that is answered.
    pub async fn execute<C: Command>(&mut self, command: C) -> Result<C::Ok> {
        let request = encode(command)?;
        let patience = self.patience;
        if std::mem::replace(&mut self.broken, true) {
            return Err(MachineError::hypervisor("an earlier request to the guest agent was given up"));
        }
        let wait = async {
            self.write(&request).await?;
            self.line().await
        };
        let answer = timeout(patience, wait).await.map_err(|_| silent(patience))??;
        self.broken = false;
        match answer.get("return") {
            Some(value) => serde_json::from_value(value.clone())
                .map_err(|e| MachineError::hypervisor(format!("the guest agent's answer is not understood: {e}"))),
            None => {
                let reason = answer.pointer("/error/desc").and_then(Value::as_str).unwrap_or("no reason given");
                Err(MachineError::hypervisor(format!("the guest agent refused {}: {reason}", C::NAME)))
            }
        }
    }

    /// Asks the guest to shut down. The agent does not answer this.
    pub async fn shut_down(&mut self) -> Result<()> {
        let request = encode(qga::guest_shutdown { mode: Some(qga::GuestShutdownMode::Powerdown) })?;
        self.write(&request).await
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream
            .write_all(bytes)
            .await
            .map_err(|e| MachineError::hypervisor(format!("the guest agent can't be reached: {e}")))
    }

    async fn line(&mut self) -> Result<Value> {
        loop {
            if let Some(end) = self.pending.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.pending.drain(..=end).filter(|b| *b != 0xff).collect();
                if let Ok(value) = serde_json::from_slice(&line) {
                    return Ok(value);
                }
                // The rest of an answer that an earlier client did not read.
                continue;
            }
            let mut buffer = [0; 4096];
            let n = self.stream.read(&mut buffer).await.unwrap_or(0);
            if n == 0 || self.pending.len() > LONGEST_ANSWER {
                return Err(MachineError::hypervisor("the guest agent's socket was closed"));
            }
            self.pending.extend_from_slice(&buffer[..n]);
        }
    }
}

fn encode<C: Command>(command: C) -> Result<Vec<u8>> {
    let mut line = serde_json::to_vec(&Execute::<C, u32>::with_command(command))
        .map_err(|e| MachineError::hypervisor(format!("a request to the guest agent can't be written: {e}")))?;
    line.push(b'\n');
    Ok(line)
}

fn silent(after: Duration) -> MachineError {
    MachineError::Timeout { what: "an answer of the guest agent".into(), after }
}
