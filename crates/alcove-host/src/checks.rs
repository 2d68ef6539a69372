//! Whether a host can run a machine, check by check, each with what to do.

use alcove_types::host::{Check, CheckStatus};

use crate::{
    HostSnapshot, Kvm, Qemu, gib,
    proposal::{LEAST_CPUS, LEAST_DISK, LEAST_MEMORY, most_memory},
};

/// Free space with which a machine starts, but has little room to grow.
const TIGHT_DISK: u64 = 2 * LEAST_DISK;
/// The clock can't be earlier than this (1 January 2026): certificates made now would be from the past.
const EARLIEST: u64 = 1_767_225_600;

/// All checks in the order in which they matter.
#[must_use]
pub fn checks_of(host: &HostSnapshot) -> Vec<Check> {
    vec![virtualisation(host), qemu(host), memory(host), processors(host), disk(host), ports(host), time(host)]
}

fn check(id: &str, title: &str, found: (CheckStatus, String, String)) -> Check {
    let (status, message, hint) = found;
    Check { id: id.to_owned(), title: title.to_owned(), status, message, hint }
}

fn ok(message: impl Into<String>) -> (CheckStatus, String, String) {
    (CheckStatus::Ok, message.into(), String::new())
}

fn warn(message: impl Into<String>, hint: impl Into<String>) -> (CheckStatus, String, String) {
    (CheckStatus::Warn, message.into(), hint.into())
}

fn fail(message: impl Into<String>, hint: impl Into<String>) -> (CheckStatus, String, String) {
    (CheckStatus::Fail, message.into(), hint.into())
}

fn virtualisation(host: &HostSnapshot) -> Check {
    let slow = "The machine is emulated instead, which works and is several times slower.";
    let found = match host.kvm {
        Kvm::Opens => ok("/dev/kvm can be used; the first start tries whether a machine runs in it"),
        Kvm::Refused => warn(
            format!("/dev/kvm is there, but you may not use it. {slow}"),
            "Run `sudo usermod -aG kvm \"$USER\"`, then log out and in again.",
        ),
        Kvm::Missing if host.cpu_virtualises => warn(
            format!("the processor can virtualise, but /dev/kvm is not there. {slow}"),
            "Run `sudo modprobe kvm_intel` or `sudo modprobe kvm_amd`.",
        ),
        Kvm::Missing => warn(
            format!("the processor does not offer hardware virtualisation. {slow}"),
            "Turn on VT-x or AMD-V (SVM) in the computer's firmware settings; in a virtual machine, turn on nested \
             virtualisation.",
        ),
    };
    check("virtualisation", "Hardware virtualisation", found)
}

fn qemu(host: &HostSnapshot) -> Check {
    let found = match &host.qemu {
        Qemu::Found { path, version } => ok(format!("QEMU {version} at {}", path.display())),
        Qemu::Unusable { message, hint } => fail(message, hint),
    };
    check("qemu", "QEMU", found)
}

fn memory(host: &HostSnapshot) -> Check {
    let (total, free) = (gib(host.memory_bytes), gib(host.memory_available_bytes));
    let found = if most_memory(host) < LEAST_MEMORY {
        fail(
            format!("the computer has {total} of memory; a machine needs {} beside the system", gib(LEAST_MEMORY)),
            "A computer with at least 4 GB is needed.",
        )
    } else if host.memory_available_bytes < LEAST_MEMORY {
        warn(
            format!("{free} of {total} are free now; the smallest machine has {}", gib(LEAST_MEMORY)),
            "Close some programs before starting the machine.",
        )
    } else {
        ok(format!("{free} of {total} are free"))
    };
    check("memory", "Memory", found)
}

fn processors(host: &HostSnapshot) -> Check {
    let found = if host.architecture == "x86_64" && host.cpus >= LEAST_CPUS {
        ok(format!("{} processors ({})", host.cpus, host.cpu))
    } else if host.architecture == "x86_64" {
        warn("there is only one processor: the machine and the rest of the computer share it", "Expect a slow start.")
    } else {
        fail(
            format!("the processor is of the kind {}; there are machines for x86_64 only", host.architecture),
            "Use a computer with an Intel or AMD processor.",
        )
    };
    check("processors", "Processors", found)
}

fn disk(host: &HostSnapshot) -> Check {
    let folder = host.data_folder.display();
    let hint = "Free some space, or set XDG_DATA_HOME to a folder on a larger disk.";
    let found = match (&host.folder_problem, host.disk_free_bytes) {
        (Some(problem), _) => {
            fail(format!("{folder} can't be written to ({problem})"), "Set XDG_DATA_HOME to a folder of yours.")
        }
        (None, None) => warn(format!("the free space at {folder} can't be told"), "Look at it with `df -h`."),
        (None, Some(free)) if free < LEAST_DISK => {
            fail(format!("{} are free at {folder}; a machine needs {}", gib(free), gib(LEAST_DISK)), hint)
        }
        (None, Some(free)) if free < TIGHT_DISK => {
            warn(format!("{} are free at {folder}: enough to start, little to grow", gib(free)), hint)
        }
        (None, Some(free)) => ok(format!("{} are free at {folder}", gib(free))),
    };
    check("disk", "Disk space", found)
}

fn ports(host: &HostSnapshot) -> Check {
    let found = match &host.loopback_problem {
        None => ok("ports on 127.0.0.1 can be opened"),
        Some(problem) => fail(
            format!("no port on 127.0.0.1 can be opened ({problem})"),
            "Bring the loopback interface up (`sudo ip link set lo up`), or allow it in the firewall.",
        ),
    };
    check("ports", "Local ports", found)
}

fn time(host: &HostSnapshot) -> Check {
    let hint = "Set the clock, or run `sudo timedatectl set-ntp true`.";
    let found = if host.unix_time < EARLIEST {
        fail("the clock is years behind: certificates made now would not be valid", hint)
    } else {
        match host.clock_synchronised {
            Some(true) => ok("the clock is kept right over the network"),
            Some(false) => warn("the clock has not been set over the network since the computer started", hint),
            None => ok("the clock shows a sensible time; whether it is kept right can't be told"),
        }
    };
    check("time", "Clock", found)
}
