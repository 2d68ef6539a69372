//! The serial console, shared. QEMU serves one client and says nothing to a second; so we are that one, as long as
//! somebody looks, and everybody sees what the guest writes and may type.

use std::{
    path::Path,
    sync::{Arc, Weak},
    time::Duration,
};

use qapi::qmp;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    sync::{Mutex, broadcast, mpsc},
    task::JoinSet,
    time::{Instant, sleep},
};

use super::{argv, qmp::Qmp};
use crate::{MachineError, Result};

/// Pieces of output that are kept for one who reads slowly. Whoever is slower than this misses some; the serial log has
/// it all.
const BACKLOG: usize = 256;
/// How long QEMU may take to see that its last client has gone.
const FREE: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Who looks at the console now: where the next one joins, when somebody does.
type Place = Mutex<Option<mpsc::UnboundedSender<UnixStream>>>;

/// One machine's console.
#[derive(Debug, Default)]
pub(crate) struct Console {
    place: Arc<Place>,
}

impl Console {
    /// A connection of one's own to the console behind this socket. `qmp` is asked whether somebody else has it.
    pub(crate) async fn join(&self, socket: &Path, qmp: Option<&Qmp>) -> Result<UnixStream> {
        let (ours, theirs) = UnixStream::pair().map_err(|e| MachineError::io("can't connect to", socket, e))?;
        let mut place = self.place.lock().await;
        let theirs = match place.as_ref() {
            // One that has just ended gives the connection back.
            Some(join) => match join.send(theirs) {
                Ok(()) => return Ok(ours),
                Err(mpsc::error::SendError(theirs)) => theirs,
            },
            None => theirs,
        };
        if let Some(qmp) = qmp {
            must_be_free(qmp).await?;
        }
        let machine = UnixStream::connect(socket).await.map_err(|e| MachineError::io("can't connect to", socket, e))?;
        let (join, joining) = mpsc::unbounded_channel();
        tokio::spawn(share(machine, theirs, joining, Arc::downgrade(&self.place)));
        *place = Some(join);
        Ok(ours)
    }
}

/// Whoever connects while another one is connected waits in line without a word: that is looked at before.
async fn must_be_free(qmp: &Qmp) -> Result<()> {
    let by = Instant::now() + FREE;
    loop {
        // A QEMU that does not say is not asked further.
        let Ok(all) = qmp.execute(qmp::query_chardev {}).await else { return Ok(()) };
        let taken = |c: &qmp::ChardevInfo| c.label == argv::CONSOLE && !c.filename.starts_with("disconnected:");
        if !all.iter().any(taken) {
            return Ok(());
        }
        if Instant::now() >= by {
            return Err(MachineError::ConsoleTaken);
        }
        sleep(LOOK_AGAIN).await;
    }
}

/// Carries between the machine and all who look, until nobody does any more or the machine ends.
async fn share(
    machine: UnixStream,
    first: UnixStream,
    mut joining: mpsc::UnboundedReceiver<UnixStream>,
    place: Weak<Place>,
) {
    let (mut from_machine, mut to_machine) = machine.into_split();
    let (output, _) = broadcast::channel::<Arc<[u8]>>(BACKLOG);
    let (input, mut typed) = mpsc::channel::<Vec<u8>>(16);
    // By itself: a guest that reads nothing must not keep anybody from seeing what it writes.
    let mut writing = JoinSet::new();
    writing.spawn(async move {
        while let Some(bytes) = typed.recv().await {
            if to_machine.write_all(&bytes).await.is_err() {
                return;
            }
        }
    });
    let mut people = JoinSet::new();
    people.spawn(serve(first, output.subscribe(), input.clone()));
    let mut more = true;
    let mut buffer = vec![0; 8192];
    loop {
        tokio::select! {
            read = from_machine.read(&mut buffer) => match read {
                Ok(n @ 1..) => {
                    // Nobody may be left to be told.
                    let _ = output.send(buffer[..n].into());
                }
                _ => break,
            },
            joined = joining.recv(), if more => match joined {
                Some(person) => {
                    people.spawn(serve(person, output.subscribe(), input.clone()));
                }
                // The provider is gone; those who look are not.
                None => more = false,
            },
            Some(_) = people.join_next() => {
                if people.is_empty() {
                    let Some(late) = left(&mut joining, &place).await else { return };
                    people.spawn(serve(late, output.subscribe(), input.clone()));
                }
            }
        }
    }
    if let Some(place) = place.upgrade() {
        *place.lock().await = None;
    }
    drop(output);
    // What the guest said last still has its way to them.
    while people.join_next().await.is_some() {}
}

/// The last one has gone: the place is given up, unless somebody has joined in this moment.
async fn left(joining: &mut mpsc::UnboundedReceiver<UnixStream>, place: &Weak<Place>) -> Option<UnixStream> {
    let place = place.upgrade()?;
    let mut place = place.lock().await;
    let late = joining.try_recv().ok();
    if late.is_none() {
        *place = None;
    }
    late
}

/// Carries between one who looks and all the rest.
async fn serve(person: UnixStream, mut output: broadcast::Receiver<Arc<[u8]>>, input: mpsc::Sender<Vec<u8>>) {
    let (mut from_person, mut to_person) = person.into_split();
    let mut buffer = vec![0; 1024];
    let typing = async {
        while let Ok(n @ 1..) = from_person.read(&mut buffer).await {
            if input.send(buffer[..n].to_vec()).await.is_err() {
                break;
            }
        }
    };
    let showing = async {
        loop {
            match output.recv().await {
                Ok(bytes) if to_person.write_all(&bytes).await.is_err() => break,
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => break,
            }
        }
    };
    tokio::select! {
        () = typing => {}
        () = showing => {}
    }
}
