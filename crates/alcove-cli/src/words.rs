//! Sizes, times and names for people.

use std::time::Duration;

use alcove_types::{
    machine::{Acceleration, Desired, Phase},
    task::Task,
};
use jiff::Timestamp;

/// Reads a size such as `4GB`, `512M` or a number of bytes. `G`, `GB` and `GiB` mean the same here: memory comes in
/// those.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let power = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 1,
        "m" | "mb" | "mib" => 2,
        "g" | "gb" | "gib" => 3,
        "t" | "tb" | "tib" => 4,
        _ => return Err(format!("{unit:?} is no unit of size; write something like 4GB")),
    };
    let number: f64 = number.parse().map_err(|_| "write a number and a unit, such as 4GB".to_owned())?;
    let bytes = number * 1024f64.powi(power);
    if bytes.is_finite() && bytes < 1e18 {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // bounded just above
        return Ok(bytes.round() as u64);
    }
    Err("that is more than any computer has".to_owned())
}

/// A size for people, in binary units by the names that people use; the pages do the same.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [(&str, u64); 4] = [("TB", 1 << 40), ("GB", 1 << 30), ("MB", 1 << 20), ("KB", 1 << 10)];
    for (unit, one) in UNITS {
        if bytes >= one {
            let tenths = u128::from(bytes) * 10 / u128::from(one);
            return match (tenths / 10, tenths % 10) {
                (whole, 0) => format!("{whole} {unit}"),
                (whole, tenth) => format!("{whole}.{tenth} {unit}"),
            };
        }
    }
    format!("{bytes} B")
}

/// A duration for people.
pub(crate) fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..10 => format!("{:.1} s", time.as_secs_f64()),
        10..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// How long ago something was.
pub(crate) fn ago(time: &str, now: Timestamp) -> String {
    match time.parse::<Timestamp>() {
        Ok(then) => {
            let past = now.duration_since(then);
            duration(Duration::from_secs(u64::try_from(past.as_secs()).unwrap_or(0)))
        }
        Err(_) => "some time".to_owned(),
    }
}

/// A phase in one word.
pub(crate) const fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Absent => "not made yet",
        Phase::Starting => "starting",
        Phase::Running => "running",
        Phase::Suspending => "suspending",
        Phase::Suspended => "suspended",
        Phase::Stopping => "stopping",
        Phase::Stopped => "stopped",
        Phase::Failed => "failed",
    }
}

/// What is wanted, in one word.
pub(crate) const fn desired(desired: Desired) -> &'static str {
    match desired {
        Desired::Running => "running",
        Desired::Suspended => "suspended",
        Desired::Stopped => "stopped",
    }
}

/// How the processor is virtualised.
pub(crate) const fn acceleration(acceleration: Option<Acceleration>) -> &'static str {
    match acceleration {
        Some(Acceleration::Kvm) => "KVM",
        Some(Acceleration::Hvf) => "Hypervisor.framework",
        Some(Acceleration::Whpx) => "Hyper-V",
        Some(Acceleration::Tcg) => "emulated",
        None => "not tried yet",
    }
}

/// A step of the boot.
pub(crate) fn step(name: &str) -> &str {
    match name {
        "kernel" => "Linux kernel",
        "initrd" => "First files",
        "data_disk" => "Data disk",
        "userspace" => "System services",
        "network" => "Network",
        "door" => "Door to this computer",
        "certificates" => "Certificates",
        "containerd" => "Container runtime",
        "datastore" => "Cluster store",
        "apiserver" => "Kubernetes API",
        "controllers" => "Controllers",
        "node" => "Node",
        "images" => "Container images",
        "platform" => "Web desktop",
        "restore" => "Saved memory",
        "clock" => "Clock",
        "image_manifest" => "Image: what it holds",
        "image_look" => "Image: what is here already",
        "image_place" => "Image: putting it in place",
        other => other,
    }
}

/// What a task does now: its step by name, and how far what it brings has come.
pub(crate) fn task(task: &Task) -> String {
    let message = match task.message.strip_prefix("step:") {
        Some(name) => step(name).to_owned(),
        None => plain(task.message.strip_prefix("file:").unwrap_or(&task.message)),
    };
    let Some(transfer) = &task.transfer else { return message };
    let mut text = format!("{message}: {} of {}", size(transfer.bytes), size(transfer.total_bytes));
    if let Some(speed) = transfer.bytes_per_second {
        text.push_str(&format!(", {}/s", size(speed)));
    }
    if let Some(left) = transfer.seconds_left {
        text.push_str(&format!(", {} left", duration(Duration::from_secs(left))));
    }
    text
}

/// Text from elsewhere, safe for a terminal: control characters could move the cursor or change its title.
pub(crate) fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || *c == '\t').collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in [
            ("4GB", 4 << 30),
            ("4GiB", 4 << 30),
            ("4g", 4 << 30),
            ("512 MB", 512 << 20),
            ("1.5G", 3 << 29),
            ("4096", 4096),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for bad in ["", "GiB", "4 parsecs", "-1G", "1e400", "99999999999T"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_and_times_are_short() {
        assert_eq!(size(4 << 30), "4 GB");
        assert_eq!(size(1_610_612_736), "1.5 GB");
        assert_eq!(size(12), "12 B");
        assert_eq!(duration(Duration::from_millis(1234)), "1.2 s");
        assert_eq!(duration(Duration::from_secs(75)), "75 s");
        assert_eq!(duration(Duration::from_secs(600)), "10 min");
        assert_eq!(duration(Duration::from_secs(400_000)), "4 days");
        assert_eq!(plain("a\u{1b}[31mb\u{7}"), "a[31mb");
    }
}
