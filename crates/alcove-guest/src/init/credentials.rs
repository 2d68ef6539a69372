//! What the host hands to this machine at boot.

use std::{fs, io::Write, os::unix::fs::OpenOptionsExt};

use alcove_types::guest::MachineCredentials;
use rustix::{fs::Mode, io::Errno};

use crate::failure::{Context, Failure};

const FIRMWARE: &str = "/sys/firmware/qemu_fw_cfg/by_name/opt/alcove/machine/raw";
/// Where the daemon finds them.
const KEPT_AT: &str = "/run/alcove/credentials";
const STEP: &str = "initrd";

/// Reads the machine's credentials from the firmware, keeps them for the daemon and takes the firmware's copy away.
pub(crate) fn take() -> Result<MachineCredentials, Failure> {
    let text = fs::read(FIRMWARE).step(STEP, "the host gave no credentials (firmware item opt/alcove/machine)")?;
    let credentials = parse(&text)?;
    fs::create_dir_all("/run/alcove").step(STEP, "/run/alcove can't be made")?;
    let mut file = fs::OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(KEPT_AT)
        .step(STEP, "the credentials can't be kept")?;
    file.write_all(text.trim_ascii()).step(STEP, "the credentials can't be kept")?;
    // Nothing else in the guest needs the firmware's items; without the module they can't be read by mistake.
    match rustix::system::delete_module(c"qemu_fw_cfg", 0) {
        Ok(()) | Err(Errno::NOENT | Errno::AGAIN | Errno::BUSY) => {}
        Err(errno) => return Err(errno).step(STEP, "the firmware's copy of the credentials can't be taken away"),
    }
    rustix::fs::chmod("/run/alcove", Mode::RWXU | Mode::RGRP | Mode::XGRP | Mode::ROTH | Mode::XOTH)
        .step(STEP, "/run/alcove can't be opened")?;
    Ok(credentials)
}

/// The error never quotes the text: it holds keys.
fn parse(text: &[u8]) -> Result<MachineCredentials, Failure> {
    let credentials: MachineCredentials = serde_json::from_slice(text.trim_ascii()).map_err(|error| {
        Failure::new(
            STEP,
            format!("the host's credentials are damaged at line {} column {}", error.line(), error.column()),
        )
    })?;
    let id = &credentials.machine_id;
    if id.len() != 32 || !id.bytes().all(|byte| byte.is_ascii_hexdigit() && !byte.is_ascii_uppercase()) {
        return Err(Failure::new(STEP, "the host's credentials hold a bad machine id"));
    }
    let name = &credentials.hostname;
    let fits = (1..=63).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-');
    if !fits {
        return Err(Failure::new(STEP, "the host's credentials hold a host name that can't be used"));
    }
    Ok(credentials)
}

#[cfg(test)]
mod tests {
    use super::parse;

    fn text(machine_id: &str, hostname: &str) -> String {
        let padding = " ".repeat(2000);
        format!(
            r#"{{"schema":1,"instance":"default","hostname":"{hostname}","machine_id":"{machine_id}",
            "door":{{"ca_cert":"a","server_cert":"b","server_key":"secret"}},"kubernetes":{{"token":"secret"}},
            "identity_key":"00","unix_time_ns":1,"account":{{"name":"o","display_name":"O"}}}}{padding}
"#
        )
    }

    const ID: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn credentials_are_read_with_their_padding() {
        let credentials = parse(text(ID, "alcove-2").as_bytes()).unwrap();
        assert_eq!(credentials.hostname, "alcove-2");
    }

    #[test]
    fn what_would_end_up_in_files_is_checked() {
        for (id, name) in
            [("0123", "alcove"), (&ID.to_uppercase(), "alcove"), (ID, ""), (ID, "a b"), (ID, "-a"), (ID, "A")]
        {
            assert!(parse(text(id, name).as_bytes()).is_err(), "{id} {name}");
        }
    }

    #[test]
    fn damage_is_told_without_the_secrets() {
        let failure = parse(&text(ID, "alcove").as_bytes()[..250]).unwrap_err().to_string();
        assert!(failure.contains("damaged at line"), "{failure}");
        assert!(!failure.contains("secret"), "{failure}");
        assert!(parse(b"").is_err());
    }
}
