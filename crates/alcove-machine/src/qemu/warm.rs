//! Making an instance from a warm machine.

use std::path::Path;

use crate::{Layout, MachineError, MachineSpec, Result};

pub(crate) fn adopt(_from: &Path, _to: &Layout) -> Result<MachineSpec> {
    Err(MachineError::Unsupported { message: "not there yet".into(), hint: String::new() })
}
