//! Saving a machine's memory to the disk and loading it again.
//!
//! Where the guest's memory is a file that we can read as well ([`super::memory`]), QEMU's own migration writes only what
//! it knows of the devices, and the memory is packed by us ([`crate::packed`]). Elsewhere the migration writes all of it:
//! `mapped-ram` gives every page a fixed place, so that several threads write and read it; zero pages are holes. QEMUs
//! that can't do that write a plain stream, which does as well, with more processor time.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use qapi::qmp::{self, MigrateSetParameters, MigrationCapability, MigrationCapabilityStatus};
use tokio::time::{Instant, interval};

use super::{
    memory::MemoryFile,
    probe,
    qmp::{Qmp, QmpError},
};
use crate::{
    MachineError, Result,
    packed::{self, Packed},
    state::{Reason, StateFolder},
};

/// The longest that saving or loading may take, for many gigabytes on a slow disk.
const DEADLINE: Duration = Duration::from_secs(600);
/// Events say when a migration ends; it is asked as well, for an event can be missed.
const POLL: Duration = Duration::from_millis(200);
/// Bytes a second: without a limit to speak of. QEMU's default would be 128 MiB.
const BANDWIDTH: u64 = 1 << 40;
/// Threads that write. More gain nothing on one disk.
const CHANNELS: u8 = 2;
/// With less than this left, a write that failed did so for want of space, whatever QEMU says.
const NEARLY_FULL: u64 = 16 << 20;

/// How the memory is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// The devices by QEMU and the memory by us, packed.
    Packed,
    /// Fixed places, past the page cache.
    MappedDirect,
    /// Fixed places.
    Mapped,
    /// One stream.
    Stream,
}

impl Format {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Packed => "packed-zstd",
            Self::MappedDirect => "mapped-ram-direct",
            Self::Mapped => "mapped-ram",
            Self::Stream => "stream",
        }
    }

    pub(crate) fn parse(word: &str) -> Option<Self> {
        [Self::Packed, Self::MappedDirect, Self::Mapped, Self::Stream].into_iter().find(|f| f.word() == word)
    }
}

/// Saves a stopped machine into the folder's file in making. `memory` is the guest's, where that is a file. Says in which
/// format it was written.
pub(crate) async fn save(qmp: &Qmp, folder: &StateFolder, memory: Option<File>) -> Result<Format> {
    let target = folder.memory_in_making();
    let mut formats = vec![Format::Mapped, Format::Stream];
    if target.parent().is_some_and(probe::takes_direct_io) {
        formats.insert(0, Format::MappedDirect);
    }
    if memory.is_some() {
        formats.insert(0, Format::Packed);
    }
    let mut last = None;
    for format in formats {
        if let Err(e) = prepare(qmp, format).await {
            tracing::debug!(format = format.word(), error = %e, "this QEMU can't save in this format");
            last = Some(e.into());
            continue;
        }
        let saved = match &memory {
            Some(memory) if format == Format::Packed => pack(qmp, memory, &target).await,
            _ => run(qmp, Direction::Out, &target).await,
        };
        match saved {
            Ok(()) => return Ok(format),
            Err(e @ MachineError::DiskFull { .. }) => return Err(e),
            Err(e) if qmp.is_closed() => return Err(e),
            Err(e) => {
                tracing::warn!(format = format.word(), error = %e, "saving failed");
                last = Some(e);
            }
        }
    }
    Err(last.unwrap_or_else(|| MachineError::hypervisor("QEMU can't save the machine")))
}

async fn pack(qmp: &Qmp, memory: &File, target: &Path) -> Result<()> {
    let failed = |e| MachineError::io("can't write", target, e);
    let devices = MemoryFile::for_devices()?;
    // First: what QEMU has under way for the guest is in the guest's memory once it has said all of its devices.
    run(qmp, Direction::Out, &devices.path).await?;
    let (memory, path) = (memory.try_clone().map_err(failed)?, target.to_owned());
    let work = move || packed::pack(&memory, &devices.file, &File::options().write(true).open(path)?);
    let ended = tokio::task::spawn_blocking(work).await.unwrap_or_else(|e| Err(io::Error::other(e)));
    ended.map_err(failed)
}

/// A saved memory on its way into a QEMU.
pub(crate) enum Source {
    /// A file that QEMU reads as it is.
    File(PathBuf, Format),
    /// A packed one that is being unpacked: the memory to where QEMU has it, the devices for QEMU to read.
    Unpacking(tokio::task::JoinHandle<Result<MemoryFile>>),
}

impl Source {
    /// Begins with what can be done before there is a QEMU. `into` is the memory of the guest to be.
    pub(crate) fn open(folder: &StateFolder, format: Format, into: Option<&MemoryFile>) -> Result<Self> {
        let saved = folder.memory();
        match into {
            Some(into) if format == Format::Packed => {
                let into = into.file.try_clone().map_err(|e| MachineError::io("can't use", &into.path, e))?;
                Ok(Self::Unpacking(tokio::task::spawn_blocking(move || unpack(&saved, &into))))
            }
            None if format == Format::Packed => Err(MachineError::StateInvalid(Reason::Hardware)),
            _ => Ok(Self::File(saved, format)),
        }
    }
}

fn unpack(saved: &Path, into: &File) -> Result<MemoryFile> {
    let failed = |e: io::Error| match e.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
            MachineError::StateInvalid(Reason::Truncated(e.to_string()))
        }
        _ => MachineError::io("can't read", saved, e),
    };
    let packed = File::open(saved).and_then(Packed::open).map_err(failed)?;
    let devices = MemoryFile::for_devices()?;
    packed.unpack(into, &devices.file).map_err(failed)?;
    Ok(devices)
}

/// Loads a saved machine into a QEMU that waits for it.
pub(crate) async fn load(qmp: &Qmp, source: Source) -> Result<()> {
    match source {
        Source::File(memory, format) => {
            // Written past the page cache, read through it where the file system has changed: both are the same file.
            let direct = memory.parent().is_some_and(probe::takes_direct_io);
            let format = if format == Format::MappedDirect && !direct { Format::Mapped } else { format };
            prepare(qmp, format).await?;
            run(qmp, Direction::In, &memory).await
        }
        Source::Unpacking(unpacking) => {
            prepare(qmp, Format::Packed).await?;
            // All of the memory comes first: QEMU looks into it while it loads the devices.
            let ended = unpacking.await;
            let devices =
                ended.map_err(|e| MachineError::hypervisor(format!("unpacking ended unexpectedly: {e}")))??;
            run(qmp, Direction::In, &devices.path).await
        }
    }
}

/// Ends a migration that an earlier supervisor began and did not see through, and makes the machine one that can be
/// saved again.
pub(crate) async fn clear(qmp: &Qmp) -> Result<()> {
    let deadline = Instant::now() + DEADLINE;
    let mut tick = interval(POLL);
    loop {
        tick.tick().await;
        match qmp.run_state().await?.as_str() {
            // QEMU saves nothing twice: the guest runs for a moment, then stands still as it was.
            "postmigrate" => {
                qmp.execute(qmp::cont {}).await?;
                return Ok(());
            }
            "finish-migrate" => {
                // Refused when it has just ended, which the next look shows.
                let _ = qmp.execute(qmp::migrate_cancel {}).await;
            }
            _ => match status(qmp).await? {
                Some((s, _))
                    if matches!(s.as_str(), "setup" | "active" | "device" | "cancelling" | "pre-switchover") =>
                {
                    let _ = qmp.execute(qmp::migrate_cancel {}).await;
                }
                _ => return Ok(()),
            },
        }
        if Instant::now() > deadline {
            return Err(MachineError::Timeout { what: "the end of an earlier save".into(), after: DEADLINE });
        }
    }
}

async fn prepare(qmp: &Qmp, format: Format) -> std::result::Result<(), QmpError> {
    let mapped = matches!(format, Format::Mapped | Format::MappedDirect);
    let packed = format == Format::Packed;
    let capability = |capability, state| MigrationCapabilityStatus { capability, state };
    qmp.execute(qmp::migrate_set_capabilities { capabilities: vec![capability(MigrationCapability::events, true)] })
        .await?;
    // A QEMU that does not know a capability does not have it on either.
    for (wanted, capabilities) in [
        (packed, vec![capability(MigrationCapability::x_ignore_shared, packed)]),
        (
            mapped,
            vec![capability(MigrationCapability::mapped_ram, mapped), capability(MigrationCapability::multifd, mapped)],
        ),
    ] {
        let set = qmp.execute(qmp::migrate_set_capabilities { capabilities }).await;
        if wanted {
            set?;
        }
    }
    let parameters = |direct_io| {
        qmp::migrate_set_parameters(MigrateSetParameters {
            max_bandwidth: Some(BANDWIDTH),
            multifd_channels: mapped.then_some(CHANNELS),
            direct_io,
            ..MigrateSetParameters::default()
        })
    };
    match format {
        Format::MappedDirect => qmp.execute(parameters(Some(true))).await.map(|_| ()),
        _ => match qmp.execute(parameters(Some(false))).await {
            Err(QmpError::Refused { .. }) => qmp.execute(parameters(None)).await.map(|_| ()),
            other => other.map(|_| ()),
        },
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Out,
    In,
}

async fn run(qmp: &Qmp, direction: Direction, file: &Path) -> Result<()> {
    let mut events = qmp.events();
    let uri = Some(format!("file:{}", file.display()));
    match direction {
        Direction::Out => {
            qmp.execute(qmp::migrate { uri, channels: None, detach: None, resume: None }).await?;
        }
        Direction::In => {
            qmp.execute(qmp::migrate_incoming { uri, channels: None, exit_on_error: None }).await?;
        }
    }
    let deadline = Instant::now() + DEADLINE;
    let mut tick = interval(POLL);
    loop {
        tokio::select! {
            event = events.recv() => match event {
                Ok(event) if event.name == "MIGRATION" => {}
                Ok(_) => continue,
                // Lagging loses nothing, since the state is asked for; a closed channel goes with the connection.
                Err(_) => {
                    tick.tick().await;
                }
            },
            _ = tick.tick() => {}
            () = qmp.closed() => return Err(MachineError::hypervisor(match direction {
                Direction::Out => "QEMU died while it saved the machine",
                Direction::In => "QEMU died while it loaded the saved machine",
            })),
        }
        match status(qmp).await? {
            Some((state, _)) if state == "completed" => return Ok(()),
            Some((state, why)) if state == "failed" || state == "cancelled" => {
                return Err(failure(direction, file, why.as_deref().unwrap_or(&state)));
            }
            _ => {}
        }
        if Instant::now() > deadline {
            if direction == Direction::Out {
                let _ = qmp.execute(qmp::migrate_cancel {}).await;
            }
            return Err(MachineError::Timeout {
                what: "saving or loading the machine's memory".into(),
                after: DEADLINE,
            });
        }
    }
}

/// The migration's state and what went wrong with it. Taken from the raw answer: newer QEMUs have further words for it.
async fn status(qmp: &Qmp) -> Result<Option<(String, Option<String>)>> {
    let answer = qmp.execute_raw(qmp::query_migrate {}).await?;
    let text = |key: &str| answer.get(key).and_then(|v| v.as_str()).map(str::to_owned);
    Ok(text("status").map(|status| (status, text("error-desc"))))
}

fn failure(direction: Direction, file: &Path, why: &str) -> MachineError {
    if direction == Direction::Out {
        let parent = file.parent().unwrap_or(Path::new("."));
        // What has no blocks, such as a file in memory, is on no disk.
        let disk = rustix::fs::statvfs(parent).ok().filter(|s| s.f_blocks > 0);
        let left = disk.map(|s| s.f_bavail.saturating_mul(s.f_frsize));
        if why.contains("No space left") || why.contains("quota") || left.is_some_and(|left| left < NEARLY_FULL) {
            return MachineError::DiskFull { path: file.into() };
        }
    }
    MachineError::hypervisor(match direction {
        Direction::Out => format!("QEMU could not save the machine: {why}"),
        Direction::In => format!("QEMU could not load the saved machine: {why}"),
    })
}
