//! Putting the root together: the read-only image, and over it what changes.

use std::{
    fs,
    io::{self, Write},
    os::{
        fd::AsFd,
        unix::fs::{OpenOptionsExt, PermissionsExt, symlink},
    },
    path::Path,
    time::Duration,
};

use alcove_guest::{addresses::OWN, kubernetes_config, sys};
use alcove_types::guest::MachineCredentials;
use rustix::{
    fs::Mode,
    mount::{MountFlags, mount, mount_bind, mount_move},
};

use crate::{
    data_disk,
    failure::{self, Context, Failure},
};

const STEP: &str = "initrd";
/// What is kept of `/etc`: K3s's configuration, which belongs to the owner as much as to us.
const KEPT_ETC: &str = "var/lib/alcove/etc/rancher";
/// How much of the memory `/tmp` may take.
const TMP_OPTIONS: &std::ffi::CStr = c"mode=1777,size=256m,nr_inodes=65536";

/// Mounts what the kernel offers, and `/run`.
pub(crate) fn mount_kernel_file_systems() -> io::Result<()> {
    let safe = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let mounts = [
        ("proc", c"proc", safe, c""),
        ("sysfs", c"sysfs", safe, c""),
        ("devtmpfs", c"devtmpfs", MountFlags::NOSUID, c"mode=0755"),
        ("tmpfs", c"tmpfs", MountFlags::NOSUID | MountFlags::NODEV, c"mode=0755,size=20%"),
    ];
    for ((name, kind, flags, options), place) in mounts.into_iter().zip(["/proc", "/sys", "/dev", "/run"]) {
        fs::create_dir_all(place)?;
        mount(name, place, kind, flags, options)?;
    }
    // Programs look for QEMU's ports by name; without udev nobody else makes these links.
    fs::create_dir_all("/dev/virtio-ports")?;
    for entry in fs::read_dir("/sys/class/virtio-ports").into_iter().flatten().flatten() {
        let name = fs::read_to_string(entry.path().join("name")).unwrap_or_default();
        let name = name.trim();
        if !name.is_empty() && !name.contains('/') {
            symlink(Path::new("..").join(entry.file_name()), Path::new("/dev/virtio-ports").join(name))?;
        }
    }
    Ok(())
}

/// Mounts the image's root.
pub(crate) fn mount_root(device: &Path, place: &Path) -> Result<(), Failure> {
    data_disk::wait_for(device, Duration::from_secs(30)).map_err(|failure| Failure::new(STEP, failure.to_string()))?;
    fs::create_dir_all(place).step(STEP, "the root's place can't be made")?;
    mount(device, place, c"erofs", MountFlags::RDONLY, c"").step(STEP, "the image's root is damaged (root.erofs)")
}

/// Lays what changes over the image's root, and writes down who this machine is.
pub(crate) fn furnish(root: &Path, machine: Option<&MachineCredentials>) -> Result<(), Failure> {
    // A new image must never be shadowed by what an old one had in /etc: changes there last until the next boot, and
    // what has to last is kept by name.
    let upper = Path::new("/run/alcove/etc/upper");
    let work = Path::new("/run/alcove/etc/work");
    for folder in [upper, work] {
        fs::create_dir_all(folder).step(STEP, "the folders for /etc can't be made")?;
    }
    let etc = root.join("etc");
    let options = format!("lowerdir={},upperdir={},workdir={}", etc.display(), upper.display(), work.display());
    let options = std::ffi::CString::new(options).unwrap_or_default();
    mount("overlay", &etc, c"overlay", MountFlags::NOSUID | MountFlags::NODEV, options.as_c_str())
        .step(STEP, "/etc can't be mounted")?;
    mount("tmpfs", root.join("tmp"), c"tmpfs", MountFlags::NOSUID | MountFlags::NODEV, TMP_OPTIONS)
        .step(STEP, "/tmp can't be mounted")?;

    let kept = root.join(KEPT_ETC);
    // Without a data disk (rescue) there is nowhere to keep it.
    if fs::create_dir_all(&kept).is_ok() {
        let rancher = etc.join("rancher");
        fs::create_dir_all(&rancher).step(STEP, "/etc/rancher can't be made")?;
        mount_bind(&kept, &rancher).step(STEP, "/etc/rancher can't be mounted")?;
    }
    if let Some(machine) = machine {
        identify(&etc, machine).step(STEP, "the machine's name can't be written")?;
        configure_kubernetes(root, machine).step(STEP, "the configuration of Kubernetes can't be written")?;
    }
    make_var(&root.join("var")).step(STEP, "the folders of /var can't be made")
}

/// Kubernetes can start as soon as systemd does: nothing is left for it to wait for.
fn configure_kubernetes(root: &Path, machine: &MachineCredentials) -> io::Result<()> {
    let about = fs::read(root.join("usr/lib/alcove/image.json")).unwrap_or_default();
    let about: serde_json::Value = serde_json::from_slice(&about).unwrap_or_default();
    let distribution = about["kubernetes"]["distribution"].as_str().unwrap_or_default();
    let config = kubernetes_config::render(&machine.kubernetes.token, &machine.hostname, distribution);
    let path = root.join("etc").join(kubernetes_config::PATH);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder.join("config.yaml.d"))?;
    }
    let new = path.with_extension("new");
    write_file(&new, &config, 0o600)?;
    fs::rename(new, path)?;
    if distribution == "k3s" { offer_archives(root) } else { Ok(()) }
}

/// The official release imports container images from archives in its own folder: show it those of the image.
fn offer_archives(root: &Path) -> io::Result<()> {
    let folder = root.join("var/lib/rancher/k3s/agent/images");
    fs::create_dir_all(&folder)?;
    for entry in fs::read_dir(root.join("usr/lib/alcove/images")).into_iter().flatten().flatten() {
        let link = folder.join(entry.file_name());
        let _ = fs::remove_file(&link);
        symlink(Path::new("/usr/lib/alcove/images").join(entry.file_name()), link)?;
    }
    Ok(())
}

/// What programs expect to find in `/var`. The rest makes its folders itself.
fn make_var(var: &Path) -> io::Result<()> {
    for folder in ["cache", "lib", "log/journal", "spool", "tmp"] {
        fs::create_dir_all(var.join(folder))?;
    }
    fs::set_permissions(var.join("tmp"), fs::Permissions::from_mode(0o1777))?;
    for (name, target) in [("run", "/run"), ("lock", "/run/lock")] {
        match symlink(target, var.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    fs::create_dir_all("/run/lock")?;
    // The journal is written all the time and checks itself: copies of every block would only cost.
    if let Err(error) = sys::disable_copy_on_write(fs::File::open(var.join("log/journal"))?.as_fd()) {
        failure::say(&format!("copy-on-write stays on for the journal: {error}"));
    }
    Ok(())
}

fn identify(etc: &Path, machine: &MachineCredentials) -> io::Result<()> {
    let name = &machine.hostname;
    rustix::system::sethostname(name.as_bytes())?;
    write_file(&etc.join("hostname"), &format!("{name}\n"), 0o644)?;
    write_file(&etc.join("hosts"), &format!("127.0.0.1 localhost\n::1 localhost\n{OWN} {name}\n"), 0o644)?;
    write_file(&etc.join("machine-id"), &format!("{}\n", machine.machine_id), 0o444)
}

fn write_file(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let _ = fs::remove_file(path);
    fs::OpenOptions::new().create_new(true).write(true).mode(mode).open(path)?.write_all(text.as_bytes())
}

/// Makes `root` the root and gives the initrd's memory back.
pub(crate) fn switch(root: &Path) -> io::Result<()> {
    for place in ["dev", "proc", "sys", "run"] {
        mount_move(Path::new("/").join(place), root.join(place))?;
    }
    let _ = fs::remove_dir_all("/lib");
    let _ = fs::remove_file("/init");
    rustix::process::chdir(root)?;
    mount_move(".", "/")?;
    rustix::process::chroot(".")?;
    rustix::process::chdir("/")?;
    rustix::process::umask(Mode::WGRP | Mode::WOTH);
    Ok(())
}
