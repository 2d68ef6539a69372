//! A warm machine: a prepared folder from which instances come up by a resume instead of a boot.

use std::path::Path;

use crate::{Layout, MachineSpec, Result, qemu::QemuOptions};

/// Makes a new instance at `to` from a folder that holds a suspended machine (`machine.json`, `qemu.json`,
/// `credentials/`, `data.qcow2`, `state/`). The folder stays as it is and must stay where it is: the new data disk is an
/// overlay on the old one; the state is linked or copied. Returns the new instance's spec, which keeps the identity that
/// the saved guest knows. The next step is a resume.
pub async fn adopt(from: &Path, to: &Layout) -> Result<MachineSpec> {
    adopt_with(from, to, &QemuOptions::default()).await
}

/// [`adopt`] with a QEMU of one's choice.
pub async fn adopt_with(from: &Path, to: &Layout, options: &QemuOptions) -> Result<MachineSpec> {
    crate::qemu::warm::adopt(from, to, options).await
}
