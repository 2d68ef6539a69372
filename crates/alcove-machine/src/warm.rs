//! A warm machine: a prepared folder from which instances come up by a resume instead of a boot.

use std::path::Path;

use crate::{Layout, MachineSpec, Result};

/// Makes a new instance at `to` from a folder that holds a suspended machine (`machine.json`, `qemu.json`,
/// `credentials/`, `data.qcow2`, `state/`). The folder stays as it is: the new data disk is an overlay on the old one,
/// the state is linked or copied. Returns the new instance's spec.
pub fn adopt(from: &Path, to: &Layout) -> Result<MachineSpec> {
    crate::qemu::warm::adopt(from, to)
}
