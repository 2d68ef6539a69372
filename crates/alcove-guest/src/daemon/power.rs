//! Switching the machine off, in order: systemd stops Kubernetes, then the pods, then the rest, and unmounts the disks.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    process::Command,
    thread,
};

/// `struct input_event`: the time, and then what this module asks for.
const EVENT_BYTES: usize = 24;
const EV_KEY: u16 = 1;
const KEY_POWER: u16 = 116;

/// Asks systemd to end everything. Returns at once.
pub(super) fn off() -> io::Result<()> {
    let status = Command::new("/usr/bin/systemctl").args(["--no-block", "poweroff"]).status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("systemctl ended with {status}"))) }
}

/// Switches the machine off when its power button is pressed, which is how a host asks that can't come in by the door.
/// On threads of their own: a runtime that hangs must not keep anybody from it.
pub(super) fn watch_buttons() {
    for device in buttons(Path::new("/sys")) {
        let watched = thread::Builder::new().name("power button".into()).stack_size(64 * 1024).spawn(move || {
            if let Err(error) = File::open(&device).and_then(|button| watch(button, off)) {
                super::say(&format!("the power button {} can't be heard: {error}", device.display()));
            }
        });
        if let Err(error) = watched {
            super::say(&format!("the power button can't be listened to: {error}"));
        }
    }
}

/// Calls `pressed` at every press, until the button is gone.
fn watch(mut button: impl Read, pressed: impl Fn() -> io::Result<()>) -> io::Result<()> {
    let mut event = [0; EVENT_BYTES];
    loop {
        button.read_exact(&mut event)?;
        let [.., kind0, kind1, code0, code1, value0, value1, value2, value3] = event;
        let key = (u16::from_ne_bytes([kind0, kind1]), u16::from_ne_bytes([code0, code1]));
        if key == (EV_KEY, KEY_POWER) && i32::from_ne_bytes([value0, value1, value2, value3]) == 1 {
            super::say("the power button was pressed");
            pressed()?;
        }
    }
}

fn buttons(sysfs: &Path) -> Vec<PathBuf> {
    let is_button = |device: &Path| fs::read_to_string(device.join("device/name")).is_ok_and(|n| n == "Power Button\n");
    let devices = fs::read_dir(sysfs.join("class/input")).into_iter().flatten().flatten();
    devices
        .filter(|device| device.file_name().to_string_lossy().starts_with("event") && is_button(&device.path()))
        .map(|device| Path::new("/dev/input").join(device.file_name()))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn event(kind: u16, code: u16, value: i32) -> Vec<u8> {
        [&[0; 16][..], &kind.to_ne_bytes(), &code.to_ne_bytes(), &value.to_ne_bytes()].concat()
    }

    #[test]
    fn a_press_is_heard_once() {
        // Down, the end of the report, up, and another key.
        let events = [event(1, 116, 1), event(0, 0, 0), event(1, 116, 0), event(1, 30, 1)].concat();
        let presses = Cell::new(0);
        let end = watch(&*events, || {
            presses.set(presses.get() + 1);
            Ok(())
        });
        assert_eq!(presses.get(), 1);
        assert_eq!(end.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn the_button_is_found_by_its_name() {
        let sys = tempfile::tempdir().unwrap();
        for (device, name) in [("event0", "AT Translated Set 2 keyboard\n"), ("event1", "Power Button\n")] {
            let folder = sys.path().join("class/input").join(device).join("device");
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("name"), name).unwrap();
        }
        assert_eq!(buttons(sys.path()), [Path::new("/dev/input/event1")]);
        assert!(buttons(&sys.path().join("none")).is_empty());
    }
}
