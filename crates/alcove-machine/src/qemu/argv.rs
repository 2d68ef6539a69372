//! QEMU's command line as a pure function of the machine, and the fingerprint of what the guest can see of it.

use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
};

use alcove_types::machine::{Acceleration, MachineSetup};
use sha2::{Digest, Sha256};

use crate::{Layout, image::Image};

/// Name of the data disk's node in QEMU.
pub(crate) const DATA_NODE: &str = "data";
/// Id of the guest agent's port.
pub(crate) const AGENT_PORT: &str = "agent";
/// Id of the serial console's socket.
pub(crate) const CONSOLE: &str = "console";
/// The guest's fixed address.
const GUEST_ADDRESS: &str = "10.0.2.15";

/// Everything that the command line is made of.
#[derive(Debug, Clone)]
pub struct Arguments<'a> {
    /// The versioned machine type, such as `pc-q35-10.0`.
    pub machine_type: &'a str,
    /// How the processor is virtualised.
    pub acceleration: Acceleration,
    /// Sizes.
    pub setup: &'a MachineSetup,
    /// The machine's UUID.
    pub uuid: uuid::Uuid,
    /// The network card's address.
    pub mac: &'a str,
    /// The instance's name.
    pub instance: &'a str,
    /// Version of the image.
    pub image: &'a str,
    /// Kernel command line, without what belongs to one machine.
    pub cmdline: &'a str,
    /// Bring up a shell on the serial console instead of the system.
    pub rescue: bool,
    /// Load a suspended state instead of booting.
    pub incoming: bool,
    /// Confine QEMU with seccomp.
    pub sandbox: bool,
    /// The guest's memory is a file.
    pub memory_file: bool,
    /// The files.
    pub paths: &'a Paths,
}

/// The files on the command line.
#[derive(Debug, Clone)]
pub struct Paths {
    /// Kernel.
    pub kernel: PathBuf,
    /// Initial RAM disk.
    pub initrd: PathBuf,
    /// Root file system.
    pub root: PathBuf,
    /// Data disk.
    pub data: PathBuf,
    /// The guest's memory, where that is a file: another one at each start.
    pub memory: PathBuf,
    /// The blob with the guest's credentials.
    pub credentials: PathBuf,
    /// Serial log.
    pub serial_log: PathBuf,
    /// Boot events.
    pub boot_log: PathBuf,
    /// The supervisor's control socket.
    pub qmp: PathBuf,
    /// The control socket for diagnosis.
    pub qmp_diag: PathBuf,
    /// The guest agent's socket.
    pub agent: PathBuf,
    /// The console's socket.
    pub console: PathBuf,
    /// The pidfile.
    pub pidfile: PathBuf,
}

impl Paths {
    /// The files of an instance.
    pub fn of(layout: &Layout, image: &Image) -> Self {
        Self {
            kernel: image.kernel(),
            initrd: image.initrd(),
            root: image.root(),
            data: layout.data_disk(),
            memory: PathBuf::new(),
            credentials: layout.credentials_blob(),
            serial_log: layout.serial_log(),
            boot_log: layout.boot_jsonl(),
            qmp: layout.qmp_sock(),
            qmp_diag: layout.qmp_diag_sock(),
            agent: layout.qga_sock(),
            console: layout.console_sock(),
            pidfile: layout.pidfile(),
        }
    }

    /// The same names for every instance: what remains of a command line with these is what the guest can see.
    fn anywhere() -> Self {
        let at = PathBuf::from;
        Self {
            kernel: at("kernel"),
            initrd: at("initrd"),
            root: at("root"),
            data: at("data"),
            memory: at("memory"),
            credentials: at("credentials"),
            serial_log: at("serial"),
            boot_log: at("boot"),
            qmp: at("qmp"),
            qmp_diag: at("qmp-diag"),
            agent: at("agent"),
            console: at("console"),
            pidfile: at("pidfile"),
        }
    }
}

/// What the live process knows of itself: it carries it in its name, so that a supervisor that did not start it can ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Version of the image.
    pub image: String,
    /// See [`hardware`].
    pub hardware: String,
    /// How the processor is virtualised.
    pub acceleration: Acceleration,
    /// Started for rescue.
    pub rescue: bool,
}

impl Identity {
    /// As QEMU's `-name` has it.
    fn name(&self, instance: &str) -> String {
        let rescue = if self.rescue { ":rescue" } else { "" };
        format!("alcove-{instance}:{}:{}:{}{rescue}", self.image, acceleration_word(self.acceleration), self.hardware)
    }

    /// Reads it from a name.
    pub fn parse(name: &str) -> Option<Self> {
        let mut parts = name.split(':');
        parts.next().filter(|p| p.starts_with("alcove-"))?;
        let (image, acceleration, hardware) = (parts.next()?, parts.next()?, parts.next()?);
        let rescue = parts.next() == Some("rescue");
        let acceleration = parse_acceleration(acceleration)?;
        Some(Self { image: image.into(), hardware: hardware.into(), acceleration, rescue })
    }
}

/// An acceleration as QEMU calls it.
pub fn acceleration_word(acceleration: Acceleration) -> &'static str {
    match acceleration {
        Acceleration::Kvm => "kvm",
        Acceleration::Hvf => "hvf",
        Acceleration::Whpx => "whpx",
        Acceleration::Tcg => "tcg",
    }
}

/// An acceleration by the name that QEMU has for it.
pub fn parse_acceleration(word: &str) -> Option<Acceleration> {
    [Acceleration::Kvm, Acceleration::Hvf, Acceleration::Whpx, Acceleration::Tcg]
        .into_iter()
        .find(|a| acceleration_word(*a) == word)
}

/// The processor's model for an acceleration.
pub fn cpu_model(acceleration: Acceleration) -> &'static str {
    match acceleration {
        Acceleration::Kvm | Acceleration::Hvf => "host",
        Acceleration::Whpx => "qemu64",
        Acceleration::Tcg => "max",
    }
}

/// SHA-256 (16 digits of it) of everything that the guest can see of its hardware: not of paths, ports, the instance's
/// name, or how it was started this time.
pub fn hardware(arguments: &Arguments<'_>) -> String {
    let anywhere = Paths::anywhere();
    let seen = Arguments {
        instance: "any",
        image: "any",
        rescue: false,
        incoming: false,
        sandbox: false,
        paths: &anywhere,
        ..arguments.clone()
    };
    let mut hash = Sha256::new();
    for argument in build_named(&seen, "any") {
        hash.update(argument.as_encoded_bytes());
        hash.update([0]);
    }
    hex::encode(&hash.finalize()[..8])
}

/// The arguments of QEMU. It starts with its processors standing still, so that nothing happens before the supervisor
/// listens.
pub fn build(arguments: &Arguments<'_>) -> Vec<OsString> {
    let identity = Identity {
        image: arguments.image.into(),
        hardware: hardware(arguments),
        acceleration: arguments.acceleration,
        rescue: arguments.rescue,
    };
    build_named(arguments, &identity.name(arguments.instance))
}

fn build_named(a: &Arguments<'_>, name: &str) -> Vec<OsString> {
    let p = a.paths;
    let mut argv = Argv::default();
    argv.pair("-name", format!("{name},debug-threads=on"));
    argv.flag("-nodefaults").flag("-no-user-config");
    let memory = if a.memory_file { ",memory-backend=memory" } else { "" };
    argv.pair("-machine", format!("{},vmport=off,usb=off,graphics=off{memory}", a.machine_type));
    argv.pair("-accel", accel(a.acceleration, a.setup.memory_bytes));
    argv.pair("-cpu", cpu_model(a.acceleration));
    argv.pair("-smp", format!("{0},sockets=1,cores={0},threads=1", a.setup.cpus));
    let megabytes = a.setup.memory_bytes >> 20;
    argv.pair("-m", format!("{megabytes}M"));
    if a.memory_file {
        let file = format!("memory-backend-file,id=memory,size={megabytes}M,share=on,mem-path=");
        argv.pair_os("-object", with_path(&file, &p.memory, ""));
    }
    argv.pair("-uuid", a.uuid.to_string());
    argv.pair("-rtc", "base=utc,clock=host");
    argv.pair("-display", "none");
    argv.pair("-action", "reboot=reset,shutdown=poweroff,panic=pause,watchdog=none");
    argv.flag("-S");

    argv.path("-kernel", &p.kernel).path("-initrd", &p.initrd);
    let rescue = if a.rescue { " alcove.rescue" } else { "" };
    argv.pair("-append", format!("{} alcove.instance={}{rescue}", a.cmdline.trim(), a.instance));
    argv.pair_os("-fw_cfg", with_path("name=opt/alcove/machine,file=", &p.credentials, ""));

    argv.pair("-object", "iothread,id=disks");
    argv.pair_os("-blockdev", blockdev_root(&p.root));
    argv.pair("-device", "virtio-blk-pci,id=root-disk,drive=root,serial=alcove-root,iothread=disks");
    argv.pair_os("-blockdev", blockdev_data(&p.data));
    argv.pair(
        "-device",
        format!(
            "virtio-blk-pci,id=data-disk,drive={DATA_NODE},serial=alcove-data,iothread=disks,werror=stop,rerror=stop"
        ),
    );

    // Port 0: the system picks a free one, and QEMU says which (`info usernet`). Nothing to race for.
    argv.pair(
        "-netdev",
        format!(
            "user,id=net,net=10.0.2.0/24,host=10.0.2.2,dns=10.0.2.3,dhcpstart={GUEST_ADDRESS},ipv6=off,\
             hostfwd=tcp:127.0.0.1:0-{GUEST_ADDRESS}:{}",
            alcove_door::GUEST_PORT
        ),
    );
    argv.pair("-device", format!("virtio-net-pci,id=net-card,netdev=net,mac={},romfile=", a.mac));

    let console =
        with_path(&format!("socket,id={CONSOLE},server=on,wait=off,path="), &p.console, ",logappend=on,logfile=");
    argv.pair_os("-chardev", append_path(console, &p.serial_log));
    argv.pair("-serial", format!("chardev:{CONSOLE}"));
    argv.pair("-device", "virtio-serial-pci,id=ports");
    argv.pair_os("-chardev", with_path("socket,id=agent,server=on,wait=off,path=", &p.agent, ""));
    argv.pair("-device", format!("virtserialport,id={AGENT_PORT},chardev=agent,name=org.qemu.guest_agent.0"));
    argv.pair_os("-chardev", with_path("file,id=boot,append=on,path=", &p.boot_log, ""));
    argv.pair("-device", "virtserialport,id=boot-port,chardev=boot,name=org.alcove.boot.0");

    argv.pair("-object", "rng-builtin,id=rng");
    argv.pair("-device", "virtio-rng-pci,id=rng-device,rng=rng");
    argv.pair("-device", "virtio-balloon-pci,id=balloon,free-page-reporting=on,deflate-on-oom=on");
    argv.pair("-device", "pvpanic-pci,id=panic");

    for (id, path) in [("qmp", &p.qmp), ("qmp-diag", &p.qmp_diag)] {
        argv.pair_os("-chardev", with_path(&format!("socket,id={id},server=on,wait=off,path="), path, ""));
        argv.pair("-mon", format!("chardev={id},mode=control"));
    }
    argv.path("-pidfile", &p.pidfile);
    if a.sandbox {
        argv.pair("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
    }
    if a.incoming {
        argv.pair("-incoming", "defer");
    }
    argv.0
}

fn accel(acceleration: Acceleration, memory_bytes: u64) -> String {
    match acceleration {
        // Translated code takes several times the room of the original; a buffer that overflows is emptied altogether.
        Acceleration::Tcg => {
            let buffer = if memory_bytes >= 2 << 30 { 1024 } else { 256 };
            format!("tcg,thread=multi,tb-size={buffer}")
        }
        other => acceleration_word(other).into(),
    }
}

/// A document for `-blockdev`: unlike the short form it takes any path as it is.
fn blockdev_root(path: &Path) -> OsString {
    json_with_path(
        r#"{"driver":"raw","node-name":"root","read-only":true,"file":{"driver":"file","read-only":true,"filename":"#,
        path,
        "}}",
    )
}

fn blockdev_data(path: &Path) -> OsString {
    json_with_path(
        r#"{"driver":"qcow2","node-name":"data","discard":"unmap","detect-zeroes":"unmap","cache":{"direct":false,"no-flush":false},"file":{"driver":"file","discard":"unmap","aio":"threads","filename":"#,
        path,
        "}}",
    )
}

fn json_with_path(before: &str, path: &Path, after: &str) -> OsString {
    // A path that is not UTF-8 can't be said in JSON; QEMU then names the file that it can't open.
    let path = serde_json::Value::String(path.to_string_lossy().into_owned());
    OsString::from(format!("{before}{path}{after}"))
}

/// A path in QEMU's `key=value,…` syntax, where a comma is written twice.
fn with_path(before: &str, path: &Path, after: &str) -> OsString {
    let mut out = append_path(OsString::from(before), path);
    out.push(after);
    out
}

fn append_path(mut out: OsString, path: &Path) -> OsString {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let mut bytes = Vec::with_capacity(path.as_os_str().len());
    for byte in path.as_os_str().as_bytes() {
        bytes.push(*byte);
        if *byte == b',' {
            bytes.push(b',');
        }
    }
    out.push(OsString::from_vec(bytes));
    out
}

#[derive(Default)]
struct Argv(Vec<OsString>);

impl Argv {
    fn flag(&mut self, flag: &str) -> &mut Self {
        self.0.push(flag.into());
        self
    }

    fn pair(&mut self, flag: &str, value: impl AsRef<str>) -> &mut Self {
        self.pair_os(flag, value.as_ref())
    }

    fn pair_os(&mut self, flag: &str, value: impl AsRef<OsStr>) -> &mut Self {
        self.0.push(flag.into());
        self.0.push(value.as_ref().to_owned());
        self
    }

    fn path(&mut self, flag: &str, path: &Path) -> &mut Self {
        self.pair_os(flag, path)
    }
}
