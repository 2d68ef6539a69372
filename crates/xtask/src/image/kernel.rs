//! The kernel, unpacked.
//!
//! QEMU can start the bare kernel (PVH), and does not have to let the guest unpack itself: that saves a second and a
//! half of a boot without hardware virtualisation.

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Stdio},
    thread,
};

use anyhow::{Context, Result, bail, ensure};

use super::base::Base;

/// Which kernel it is.
#[derive(Debug)]
pub(super) struct Kernel {
    /// Such as `6.12.1-cloud-amd64`.
    pub(super) release: String,
}

const ELF: &[u8] = b"\x7fELF";

pub(super) fn unpack(base: &Base, out: &Path) -> Result<Kernel> {
    let boot = base.tools.join("boot");
    let packed = fs::read_dir(&boot)?
        .flatten()
        .find(|entry| entry.file_name().to_string_lossy().starts_with("vmlinuz-"))
        .context("Debian's tree has no kernel")?;
    let release = packed.file_name().to_string_lossy().trim_start_matches("vmlinuz-").to_owned();
    let image = fs::read(packed.path())?;
    let config = fs::read_to_string(boot.join(format!("config-{release}"))).unwrap_or_default();
    let kernel = if config.lines().any(|line| line == "CONFIG_PVH=y") { decompress(&image)? } else { image };
    fs::write(out.join("vmlinuz"), kernel)?;
    Ok(Kernel { release })
}

/// Takes the compressed kernel out of a bzImage (see the kernel's boot protocol) and unpacks it.
fn decompress(image: &[u8]) -> Result<Vec<u8>> {
    let number = |at: usize| -> Result<usize> {
        let bytes = image.get(at..at + 4).context("the kernel's file is too short")?;
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize)
    };
    ensure!(image.get(0x202..0x206) == Some(b"HdrS"), "the kernel's file is no bzImage");
    let setup_sectors = match image[0x1f1] {
        0 => 4,
        sectors => usize::from(sectors),
    };
    let start = (setup_sectors + 1) * 512 + number(0x248)?;
    let payload = image.get(start..start + number(0x24c)?).context("the kernel's file is cut off")?;
    let (program, arguments): (&str, &[&str]) = match payload {
        [0x28, 0xb5, 0x2f, 0xfd, ..] => ("zstd", &["-d", "-c", "-q"]),
        [0xfd, b'7', b'z', b'X', b'Z', ..] => ("xz", &["-d", "-c", "-q", "--single-stream"]),
        [0x1f, 0x8b, ..] => ("gzip", &["-d", "-c", "-q"]),
        [0x02, 0x21, 0x4c, 0x18, ..] => ("lz4", &["-d", "-c", "-q"]),
        _ => bail!("the kernel is compressed in a way that is not known"),
    };
    let kernel = filter(program, arguments, payload)?;
    ensure!(kernel.starts_with(ELF), "what {program} made of the kernel is no kernel");
    Ok(kernel)
}

/// Sends bytes through a program. What follows the compressed data (its length, for one) makes some programs complain
/// after they have written everything, so the result is judged, not the exit status.
fn filter(program: &str, arguments: &[&str], input: &[u8]) -> Result<Vec<u8>> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("{program} can't be started (is it installed?)"))?;
    let mut stdin = child.stdin.take().context("no pipe")?;
    let output = thread::scope(|scope| {
        scope.spawn(move || {
            let _ = stdin.write_all(input);
        });
        child.wait_with_output()
    })?;
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(kernel: &[u8]) -> Vec<u8> {
        let payload = filter("gzip", &["-c"], kernel).unwrap();
        let mut image = vec![0; 1024];
        image[0x1f1] = 1;
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x248..0x24c].copy_from_slice(&16u32.to_le_bytes());
        image[0x24c..0x250].copy_from_slice(&(payload.len() as u32).to_le_bytes());
        image.extend([0; 16]);
        image.extend(payload);
        image.extend(b"trailer");
        image
    }

    #[test]
    fn a_kernel_is_found_in_its_envelope() {
        assert_eq!(decompress(&packed(b"\x7fELF and so on")).unwrap(), b"\x7fELF and so on");
    }

    #[test]
    fn what_is_no_kernel_is_refused() {
        assert!(decompress(&packed(b"text")).is_err());
        assert!(decompress(b"short").is_err());
        let mut cut = packed(b"\x7fELF and so on");
        cut.truncate(1045);
        assert!(decompress(&cut).is_err());
    }
}
