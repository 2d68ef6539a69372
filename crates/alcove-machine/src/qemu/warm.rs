//! Making an instance from a warm machine.

use std::{fs, path::Path};

use super::{disk, provider::QemuOptions, version};
use crate::{
    Layout, MachineError, MachineSpec, Result,
    credentials::Credentials,
    files, liveness,
    state::{DiskMark, Reason, StateFolder},
};

/// What is copied as it is.
const FILES: [&str; 1] = ["qemu.json"];

pub(crate) async fn adopt(from: &Path, to: &Layout, options: &QemuOptions) -> Result<MachineSpec> {
    let from = std::path::absolute(from).map_err(|e| MachineError::io("can't find", from, e))?;
    to.create()?;
    if liveness::holder(&to.pidfile())?.is_some() || to.data_disk().exists() || to.machine_json().exists() {
        return Err(MachineError::Exists(format!("the machine {}", to.instance())));
    }
    let base = from.join("data.qcow2");
    let warm = StateFolder::new(from.join("state"));
    let facts = warm.facts().map_err(MachineError::StateInvalid)?;
    if DiskMark::of(&base)? != facts.disk {
        return Err(MachineError::StateInvalid(Reason::DiskChanged));
    }
    let spec: MachineSpec = files::read_versioned(&from.join("machine.json"), crate::spec::SCHEMA)?
        .ok_or_else(|| MachineError::NotFound(format!("machine in {}", from.display())))?;

    let secrets = from.join("credentials");
    for entry in fs::read_dir(&secrets).map_err(|e| MachineError::io("can't read", &secrets, e))?.flatten() {
        // The original's entry in the keychain stays the original's.
        if !Credentials::belongs_to_copies(&entry.file_name()) {
            continue;
        }
        let content = fs::read(entry.path()).map_err(|e| MachineError::io("can't read", entry.path(), e))?;
        files::write_private(&to.credentials().join(entry.file_name()), &content)?;
    }
    Credentials::copy_keys(&secrets, &to.credentials()).await?;
    for name in FILES {
        let content = fs::read(from.join(name)).map_err(|e| MachineError::io("can't read", from.join(name), e))?;
        files::write_private(&to.machine().join(name), &content)?;
    }
    let installed = version::find(options.qemu.as_deref()).await?;
    disk::create(&installed.qemu_img, &to.data_disk(), None, Some(&base)).await?;
    let state = StateFolder::new(to.state());
    files::link_or_copy(&warm.memory(), &state.memory())?;
    state.disk_moved_on(&facts, &to.data_disk())?;
    // Makes it a machine, so it comes last.
    spec.save(to)?;
    Ok(spec)
}
