//! The root's file system.

use std::path::Path;

use anyhow::Result;

use super::{base::Base, tools::output};

/// LZ4 in its slow variant: an emulated processor unpacks it several times faster than zstd, for a tenth more bytes.
const COMPRESSION: &str = "-zlz4hc,9";
/// What is packed together. Larger packs are smaller, and each read unpacks more than it asked for.
const CLUSTER: &str = "-C32768";

/// Packs a tar into an erofs image.
pub(super) fn make(base: &Base, tar: &Path, out: &Path) -> Result<()> {
    let mut command = base.program("usr/bin/mkfs.erofs", "mkfs.erofs");
    command.args([COMPRESSION, CLUSTER, "--tar=f", "-T0", "-Uclear", "-Eztailpacking", "--quiet"]).arg(out).arg(tar);
    output(&mut command)?;
    Ok(())
}
