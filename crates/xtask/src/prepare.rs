//! What the machine that builds needs: Debian packages, said before they are installed.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use anyhow::{Context, Result, bail, ensure};

use crate::steps::Steps;

/// To build the image and run the machine.
const MACHINE: &[&str] = &[
    "qemu-system-x86",
    "qemu-utils",
    "mmdebstrap",
    "debian-archive-keyring",
    "uidmap",
    "cpio",
    "zstd",
    "gcc",
    "libc6-dev",
    "pkg-config",
];
/// QEMU and what its version fixes.
const QEMU: &[&str] = &["qemu-system-x86", "qemu-utils", "qemu-system-common", "qemu-system-data", "seabios"];
/// To build the window.
const WINDOW: &[&str] = &[
    "libwebkit2gtk-4.1-dev",
    "libayatana-appindicator3-dev",
    "librsvg2-dev",
    "libssl-dev",
    "libdbus-1-dev",
    "libxdo-dev",
];
/// To test.
const TESTS: &[&str] = &[
    "webkit2gtk-driver",
    "xvfb",
    "xauth",
    "dbus",
    "dbus-x11",
    "gnome-keyring",
    "at-spi2-core",
    "chromium",
    "rpm",
    "openbox",
    "x11-utils",
    "xdotool",
    "trayer",
    "curl",
    "imagemagick",
    "fonts-noto-cjk",
    "nftables",
    "runc",
    "iproute2",
    "libfaketime",
];

/// What is going to be done.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Build and run, without the window.
    Headless,
    /// Build and run with the window.
    Window,
    /// Build and test everything.
    Tests,
}

/// Installs what is missing, after saying so.
pub(crate) fn prepare(purpose: Purpose, steps: &mut Steps) -> Result<()> {
    for (tool, hint) in [
        ("cargo", "Install Rust with rustup."),
        ("go", "Install Go 1.26 or newer; older ones fetch it by themselves."),
        ("node", "Install Node.js 20 or newer."),
        ("npm", "Install npm; it comes with Node.js."),
    ] {
        ensure!(crate::product::on_path(tool), "{tool} is not installed. {hint}");
    }
    if !Path::new("/etc/debian_version").exists() {
        steps.say("this is no Debian or Ubuntu: install what is missing by yourself (see README)");
        return Ok(());
    }
    let mut wanted: BTreeSet<&str> = MACHINE.iter().copied().collect();
    if purpose != Purpose::Headless {
        wanted.extend(WINDOW);
    }
    if purpose == Purpose::Tests {
        wanted.extend(TESTS);
    }
    let missing: Vec<&str> = wanted.into_iter().filter(|p| !installed(p)).collect();
    let old_qemu = qemu_is_old();
    if missing.is_empty() && !old_qemu {
        return Ok(());
    }
    let mut names = missing.clone();
    if old_qemu && !names.contains(&"qemu-system-x86") {
        names.extend(["qemu-system-x86", "qemu-utils"]);
    }
    steps.say(&format!("installing Debian packages: {}", names.join(" ")));
    let backports = needs_backports(&names).then(backports).transpose()?;
    if let Some((_, suite)) = &backports {
        steps.say(&format!("QEMU comes from {suite}: this release's own is too old"));
    }
    let script = installation(&names, backports.as_ref());
    let mut command = if is_root() {
        Command::new("sh")
    } else {
        ensure!(
            crate::product::on_path("sudo"),
            "Packages are missing and there is no sudo. As root: apt-get install {}",
            missing.join(" ")
        );
        let mut sudo = Command::new("sudo");
        sudo.arg("sh");
        sudo
    };
    steps.run("Debian packages", command.args(["-c", &script]))
}

/// What apt is asked for. Everything in one request, with QEMU's own parts alone named from the backports: asked for
/// one after the other, or with the whole suite preferred, QEMU brings libraries that contradict those of the window.
fn installation(names: &[&str], backports: Option<&(String, String)>) -> String {
    let mut script = String::from("set -e\nexport DEBIAN_FRONTEND=noninteractive\n");
    let mut wanted: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    if let Some((mirror, suite)) = backports {
        script += &format!("echo 'deb {mirror} {suite} main' > /etc/apt/sources.list.d/alcove-backports.list\n");
        wanted.retain(|name| !QEMU.contains(&name.as_str()));
        wanted.extend(QEMU.iter().map(|part| format!("{part}/{suite}")));
    }
    script + "apt-get update\napt-get install -y --no-install-recommends " + &wanted.join(" ") + "\n"
}

/// Whether this process may do everything.
pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0)
}

fn installed(package: &str) -> bool {
    let query = Command::new("dpkg-query").args(["-W", "-f=${db:Status-Status}", package]).output();
    query.is_ok_and(|o| o.stdout == b"installed")
}

/// `file:` migration, which suspends the machine, came with QEMU 8.2.
fn qemu_is_old() -> bool {
    let Ok(output) = Command::new("qemu-system-x86_64").arg("--version").output() else { return true };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = text.split("version ").nth(1).and_then(|v| v.split([' ', '(']).next()).unwrap_or_default();
    let mut numbers = version.split('.').filter_map(|n| n.trim().parse::<u32>().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) < (8, 2)
}

fn needs_backports(names: &[&str]) -> bool {
    names.contains(&"qemu-system-x86") && codename().as_deref() == Some("bookworm")
}

fn codename() -> Option<String> {
    let text = fs::read_to_string("/etc/os-release").ok()?;
    text.lines().find_map(|l| l.strip_prefix("VERSION_CODENAME=")).map(|v| v.trim_matches('"').to_owned())
}

/// The mirror that this machine's own sources name, and the backports suite.
fn backports() -> Result<(String, String)> {
    let mut texts = vec![fs::read_to_string("/etc/apt/sources.list").unwrap_or_default()];
    for entry in fs::read_dir("/etc/apt/sources.list.d").context("can't read apt's sources")?.flatten() {
        texts.push(fs::read_to_string(entry.path()).unwrap_or_default());
    }
    for line in texts.iter().flat_map(|t| t.lines()) {
        let line = line.trim();
        let uri = line
            .strip_prefix("URIs:")
            .or_else(|| line.strip_prefix("deb "))
            .and_then(|rest| rest.split_whitespace().find(|w| w.starts_with("http")))
            .filter(|uri| uri.trim_end_matches('/').ends_with("/debian"));
        if let Some(uri) = uri {
            return Ok((uri.to_owned(), "bookworm-backports".to_owned()));
        }
    }
    bail!("apt's sources name no Debian mirror: install QEMU 8.2 or newer by yourself")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_asked_for_at_once_and_only_qemu_from_the_backports() {
        let names = ["qemu-system-x86", "qemu-utils", "rpm"];
        let plain = installation(&names, None);
        assert!(plain.ends_with("install -y --no-install-recommends qemu-system-x86 qemu-utils rpm\n"), "{plain}");

        let backports = ("http://mirror.example/debian".to_owned(), "some-backports".to_owned());
        let script = installation(&names, Some(&backports));
        assert_eq!(script.matches("apt-get install").count(), 1, "{script}");
        assert!(!script.contains(" -t "), "{script}");
        let wanted: Vec<&str> = script.lines().last().into_iter().flat_map(str::split_whitespace).skip(4).collect();
        let from_backports = |name: &str| wanted.contains(&format!("{name}/some-backports").as_str());
        assert!(QEMU.iter().all(|part| from_backports(part)) && wanted.contains(&"rpm"), "{script}");
        assert_eq!(wanted.len(), QEMU.len() + 1, "{script}");
    }
}
