//! Telling the host how the boot goes.
//!
//! Events are lines of JSON. The initrd and the daemon append them to a virtio-serial port that ends in a file on the
//! host, and to a file in `/run` from which the daemon answers whoever asks later.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use alcove_types::boot::{BootEvent, StepState};

/// The port's name, as QEMU was told.
pub const PORT_NAME: &str = "org.alcove.boot.0";
/// Where the events of this boot are kept.
pub const RECORD: &str = "/run/alcove/boot";

/// Milliseconds since the guest's kernel started. Does not count the time in which the machine was suspended to disk.
#[must_use]
pub fn now_ms() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    u64::try_from(Duration::try_from(now).unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

/// A step's change.
#[must_use]
pub fn step_event(step: &str, state: StepState, message: Option<String>) -> BootEvent {
    BootEvent { step: step.to_owned(), state: Some(state), at_ms: now_ms(), message, log: None }
}

/// A line of log that belongs to a step.
#[must_use]
pub fn log_event(step: &str, line: &str) -> BootEvent {
    BootEvent { step: step.to_owned(), state: None, at_ms: now_ms(), message: None, log: Some(line.to_owned()) }
}

/// The device of the virtio-serial port with that name. There is no udev that would make a link to it.
#[must_use]
pub fn port_device(sysfs: &Path, name: &str) -> Option<PathBuf> {
    std::fs::read_dir(sysfs.join("class/virtio-ports")).ok()?.flatten().find_map(|entry| {
        let found = std::fs::read_to_string(entry.path().join("name")).ok()?;
        (found.trim_end() == name).then(|| Path::new("/dev").join(entry.file_name()))
    })
}

/// Writes events to the host and to the record. A host that does not listen is no reason to fail a boot.
#[derive(Debug)]
pub struct BootLog {
    port: Option<File>,
    record: Option<File>,
}

impl BootLog {
    /// Opens the port and the record, as far as they are there.
    #[must_use]
    pub fn open() -> Self {
        let port = port_device(Path::new("/sys"), PORT_NAME).and_then(|device| {
            // A host that has stopped reading must not stop the guest.
            OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC).open(device).ok()
        });
        Self { port, record: open_record(Path::new(RECORD)).ok() }
    }

    /// Writes one event.
    pub fn write(&mut self, event: &BootEvent) {
        let Ok(mut line) = serde_json::to_vec(event) else { return };
        line.push(b'\n');
        for file in [&mut self.port, &mut self.record].into_iter().flatten() {
            // One write for the whole line, so that lines of two writers never mix.
            let _ = file.write(&line);
        }
    }
}

fn open_record(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_found_by_its_name() {
        let sys = tempfile::tempdir().unwrap();
        for (device, name) in [("vport1p1", "org.qemu.guest_agent.0\n"), ("vport1p2", "org.alcove.boot.0\n")] {
            let folder = sys.path().join("class/virtio-ports").join(device);
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("name"), name).unwrap();
        }
        assert_eq!(port_device(sys.path(), PORT_NAME), Some(PathBuf::from("/dev/vport1p2")));
        assert_eq!(port_device(sys.path(), "org.example.0"), None);
    }

    #[test]
    fn events_are_lines_of_json_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("alcove/boot");
        let mut log = BootLog { port: None, record: Some(open_record(&path).unwrap()) };
        log.write(&step_event("data_disk", StepState::Running, None));
        log.write(&log_event("data_disk", "a \"line\"\nof two"));
        let text = std::fs::read_to_string(path).unwrap();
        let events: Vec<BootEvent> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(events.len(), 2);
        assert_eq!(events[0].state, Some(StepState::Running));
        assert_eq!(events[1].log.as_deref(), Some("a \"line\"\nof two"));
        assert!(events[0].at_ms <= events[1].at_ms);
    }
}
