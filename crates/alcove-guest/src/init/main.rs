//! The initrd's only program.
//!
//! It loads the few kernel modules that the way to the root needs, mounts the read-only root and the data disk, hands
//! over what the host gave to this machine, and becomes systemd. What it can't do it says on the serial console and to
//! the host, and leaves a shell there.
//!
//! Installed in the root too, where `alcove-init modules LIST` loads the modules of a list in one go.

mod credentials;
mod data_disk;
mod failure;
mod modules;
mod network;
mod rescue;
mod root;
mod tunables;

use std::{os::unix::process::CommandExt, path::Path, process::Command, thread};

use alcove_guest::boot_port::{BootLog, step_event};
use alcove_types::boot::StepState::{Done, Failed, Running};

use crate::failure::{Context, Failure};

/// Where the root is put together before it becomes the root.
const NEW_ROOT: &str = "/sysroot";
const SYSTEMD: &str = "/usr/lib/systemd/systemd";

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, command, list] = arguments.as_slice()
        && command == "modules"
    {
        std::process::exit(i32::from(!modules::load_list(Path::new(list))));
    }
    if std::process::id() != 1 {
        failure::say("alcove-init is the initrd's init; outside of it, it knows only: modules LIST");
        std::process::exit(2);
    }
    let mut log = None;
    let failure = match boot(&mut log) {
        Ok(never) => match never {},
        Err(failure) => failure,
    };
    if let Some(log) = &mut log {
        log.write(&step_event(failure.step, Failed, Some(failure.to_string())));
    }
    failure::say(&format!("the boot failed at {}: {failure}", failure.step));
    rescue::shell(Path::new(NEW_ROOT))
}

/// The way from the kernel to systemd. Returns only when it fails.
fn boot(log: &mut Option<BootLog>) -> Result<std::convert::Infallible, Failure> {
    root::mount_kernel_file_systems().step("initrd", "the kernel's file systems can't be mounted")?;
    let log = log.insert(BootLog::open());
    log.write(&step_event("kernel", Done, None));
    log.write(&step_event("initrd", Running, None));
    let command_line = std::fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let rescue = command_line.split_ascii_whitespace().any(|word| word == "alcove.rescue");

    modules::load_group("root")?;
    // Btrfs takes its time (it measures checksum code): let it do so on the other processor.
    let data_modules = thread::spawn(|| modules::load_group("data"));
    let rest_modules = thread::spawn(|| modules::load_group("rest"));

    let machine = credentials::take();
    root::mount_root(Path::new("/dev/vda"), Path::new(NEW_ROOT))?;

    log.write(&step_event("data_disk", Running, None));
    let data = join(data_modules).and_then(|()| data_disk::open(Path::new("/dev/vdb"), Path::new(NEW_ROOT)));
    let others = join(rest_modules);
    let machine = match (rescue, data, machine) {
        // Someone wants to look at a machine that does not come up: whatever is missing must not stop them.
        (true, data, machine) => {
            for failure in [data.err(), machine.as_ref().err().cloned(), others.err()].into_iter().flatten() {
                failure::say(&format!("rescue goes on although {} failed: {failure}", failure.step));
            }
            machine.ok()
        }
        (false, data, machine) => {
            data?;
            others?;
            Some(machine?)
        }
    };
    log.write(&step_event("data_disk", Done, None));

    root::furnish(Path::new(NEW_ROOT), machine.as_ref())?;
    network::configure().step("network", "the network card can't be set up")?;
    tunables::apply();
    log.write(&step_event("initrd", Done, None));
    log.write(&step_event("userspace", Running, None));

    root::switch(Path::new(NEW_ROOT)).step("initrd", "the root can't be entered")?;
    let mut systemd = Command::new(SYSTEMD);
    systemd.env_clear().env("PATH", "/usr/sbin:/usr/bin");
    if rescue {
        systemd.arg("--unit=alcove-rescue.target");
    }
    Err(systemd.exec()).step("userspace", "systemd can't be started")
}

fn join(thread: thread::JoinHandle<Result<(), Failure>>) -> Result<(), Failure> {
    thread.join().unwrap_or_else(|_| Err(Failure::new("initrd", "a thread of the initrd died")))
}
