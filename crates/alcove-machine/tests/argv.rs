//! QEMU's command line, to the letter. `ALCOVE_UPDATE_GOLDEN=1` writes the files anew; the change is then reviewed.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::path::{Path, PathBuf};

use alcove_machine::qemu::argv::{self, Arguments, Identity, Paths};
use alcove_types::machine::{Acceleration, MachineSetup};

fn paths(prefix: &str) -> Paths {
    let at = |name: &str| PathBuf::from(format!("{prefix}/{name}"));
    Paths {
        kernel: at("images/abc123/vmlinuz"),
        initrd: at("images/abc123/initrd"),
        root: at("images/abc123/root.erofs"),
        data: at("data.qcow2"),
        memory: PathBuf::from("/proc/4711/fd/9"),
        credentials: at("credentials/machine.blob"),
        serial_log: at("logs/serial.log"),
        boot_log: at("boot.jsonl"),
        qmp: at("qmp.sock"),
        qmp_diag: at("qmp-diag.sock"),
        agent: at("qga.sock"),
        console: at("console.sock"),
        pidfile: at("qemu.pid"),
    }
}

const SETUP: MachineSetup = MachineSetup { memory_bytes: 4 << 30, cpus: 4, disk_bytes: 64 << 30 };

fn arguments<'a>(paths: &'a Paths, setup: &'a MachineSetup) -> Arguments<'a> {
    Arguments {
        machine_type: "pc-q35-10.0",
        acceleration: Acceleration::Tcg,
        setup,
        uuid: uuid::Uuid::from_u128(0x1234_5678_9abc_4def_8123_4567_89ab_cdef),
        mac: "52:54:00:12:34:56",
        instance: "default",
        image: "abc123",
        cmdline: "console=ttyS0 quiet",
        rescue: false,
        incoming: false,
        sandbox: true,
        memory_file: true,
        paths,
    }
}

fn text(arguments: &Arguments<'_>) -> String {
    let mut out = String::new();
    for argument in argv::build(arguments) {
        let argument = argument.to_string_lossy().into_owned();
        out.push_str(if argument.starts_with('-') && !out.is_empty() { "\n" } else { "" });
        out.push_str(if argument.starts_with('-') { "" } else { " " });
        out.push_str(&argument);
    }
    out.push('\n');
    out
}

fn golden(name: &str, arguments: &Arguments<'_>) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    let built = text(arguments);
    if std::env::var_os("ALCOVE_UPDATE_GOLDEN").is_some() {
        std::fs::write(&file, &built).unwrap();
    }
    assert_eq!(built, std::fs::read_to_string(&file).unwrap(), "{name}");
}

#[test]
fn the_command_line_is_what_it_was() {
    let paths = paths("/home/ada/alcove");
    golden("cold-tcg.txt", &arguments(&paths, &SETUP));
    golden(
        "resume-kvm.txt",
        &Arguments { acceleration: Acceleration::Kvm, incoming: true, ..arguments(&paths, &SETUP) },
    );
    golden(
        "rescue-without-seccomp.txt",
        &Arguments { rescue: true, sandbox: false, memory_file: false, ..arguments(&paths, &SETUP) },
    );
}

#[test]
fn odd_paths_stay_one_argument() {
    let paths = paths("/home/a,b \"c\"");
    golden("odd-paths.txt", &arguments(&paths, &SETUP));
}

#[test]
fn the_fingerprint_is_of_what_the_guest_can_see() {
    let here = paths("/here");
    let there = paths("/there");
    let base = argv::hardware(&arguments(&here, &SETUP));
    for same in [
        arguments(&there, &SETUP),
        Arguments { instance: "clone", ..arguments(&here, &SETUP) },
        Arguments { image: "def456", ..arguments(&here, &SETUP) },
        Arguments { rescue: true, incoming: true, sandbox: false, ..arguments(&here, &SETUP) },
    ] {
        assert_eq!(argv::hardware(&same), base, "{same:?}");
    }
    let larger = MachineSetup { memory_bytes: 8 << 30, ..SETUP };
    let wider = MachineSetup { cpus: 8, ..SETUP };
    for other in [
        arguments(&here, &larger),
        arguments(&here, &wider),
        Arguments { machine_type: "pc-q35-9.2", ..arguments(&here, &SETUP) },
        Arguments { acceleration: Acceleration::Kvm, ..arguments(&here, &SETUP) },
        Arguments { mac: "52:54:00:12:34:57", ..arguments(&here, &SETUP) },
        Arguments { uuid: uuid::Uuid::nil(), ..arguments(&here, &SETUP) },
        Arguments { cmdline: "console=ttyS0", ..arguments(&here, &SETUP) },
    ] {
        assert_ne!(argv::hardware(&other), base, "{other:?}");
    }
    // The size of the disk is not on the command line: the disk's own mark covers it.
    let disk = MachineSetup { disk_bytes: 1 << 40, ..SETUP };
    assert_eq!(argv::hardware(&arguments(&here, &disk)), base);
}

#[test]
fn the_process_says_what_it_was_started_as() {
    let paths = paths("/p");
    let built = argv::build(&arguments(&paths, &SETUP));
    let name = built[1].to_string_lossy().into_owned();
    let identity = Identity::parse(name.split(',').next().unwrap()).unwrap();
    assert_eq!(
        identity,
        Identity {
            image: "abc123".into(),
            hardware: argv::hardware(&arguments(&paths, &SETUP)),
            acceleration: Acceleration::Tcg,
            rescue: false,
        }
    );
    for other in ["", "debian", "alcove-x", "alcove-x:img:vax:0", "other-x:img:tcg:0"] {
        assert_eq!(Identity::parse(other), None, "{other}");
    }
}
