//! The part of `qemu-img`: a disk is the head of a qcow2 file and whatever the guest appended; its snapshots lie beside.
//!
//! Words of the script: `disk-tool-fails=WORDS`, `snapshot-fails-late=WORDS` (after it has changed the disk's file), and
//! `hold=after:snapshot`.

use std::{fs, io::Write, path::PathBuf};

use crate::Script;

pub(crate) fn run(script: &Script, arguments: &[String]) -> i32 {
    if let Some(words) = script.value("disk-tool-fails") {
        eprintln!("qemu-img: {words}");
        return 1;
    }
    let late = || {
        script.pass(&format!("after:{}", arguments[0]));
        script.value(&format!("{}-fails-late", arguments[0])).map_or(Ok(()), |words| Err(words.to_owned()))
    };
    match work(arguments).and_then(|()| late()) {
        Ok(()) => 0,
        Err(e) => {
            eprintln!("qemu-img: {e}");
            1
        }
    }
}

fn work(arguments: &[String]) -> Result<(), String> {
    let plain: Vec<&String> = plain(&arguments[1..]);
    let backing = arguments.iter().position(|a| a == "-b").and_then(|i| arguments.get(i + 1));
    match arguments[0].as_str() {
        "create" => {
            let disk = plain.first().ok_or("no file")?;
            let size = match (plain.get(1), backing) {
                (Some(size), _) => size.parse().map_err(|e| format!("{e}"))?,
                (None, Some(backing)) => size_of(backing)?,
                (None, None) => return Err("no size".into()),
            };
            fs::write(disk, head(size)).map_err(|e| e.to_string())
        }
        "resize" => {
            let (disk, size) = (plain.first().ok_or("no file")?, plain.get(1).ok_or("no size")?);
            let mut content = fs::read(disk).map_err(|e| e.to_string())?;
            content[24..32].copy_from_slice(&size.parse::<u64>().map_err(|e| e.to_string())?.to_be_bytes());
            fs::write(disk, content).map_err(|e| e.to_string())
        }
        "info" => {
            let disk = plain.first().ok_or("no file")?;
            let names: Vec<_> = tags(disk).into_iter().map(|t| serde_json::json!({ "name": t })).collect();
            println!("{}", serde_json::json!({ "snapshots": names }));
            Ok(())
        }
        "snapshot" => {
            let flag = arguments.iter().find(|a| ["-c", "-a", "-d"].contains(&a.as_str())).ok_or("no action")?;
            let tag = arguments.iter().skip_while(|a| *a != flag).nth(1).ok_or("no tag")?;
            let disk = plain.last().ok_or("no file")?;
            let kept = PathBuf::from(format!("{disk}.snapshot.{tag}"));
            let done = match flag.as_str() {
                "-c" => fs::copy(disk, &kept).map(|_| ()),
                "-a" => fs::copy(&kept, disk).map(|_| ()),
                _ => fs::remove_file(&kept),
            };
            done.map_err(|e| e.to_string())?;
            if flag != "-a" {
                // The list of snapshots lies in the file itself: making or deleting one changes it.
                let mut file = fs::OpenOptions::new().append(true).open(disk).map_err(|e| e.to_string())?;
                file.write_all(b"s").map_err(|e| e.to_string())?;
            }
            Ok(())
        }
        other => Err(format!("unknown command {other}")),
    }
}

/// The arguments that belong to no flag.
fn plain(arguments: &[String]) -> Vec<&String> {
    let mut out = Vec::new();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "-q" | "-U" => {}
            flag if flag.starts_with("--") => {}
            flag if flag.starts_with('-') => {
                rest.next();
            }
            _ => out.push(argument),
        }
    }
    out
}

fn tags(disk: &str) -> Vec<String> {
    let disk = PathBuf::from(disk);
    let prefix = format!("{}.snapshot.", disk.file_name().unwrap_or_default().to_string_lossy());
    let Some(entries) = disk.parent().and_then(|p| fs::read_dir(p).ok()) else { return Vec::new() };
    let mut found: Vec<String> = entries
        .flatten()
        .filter_map(|e| e.file_name().to_string_lossy().strip_prefix(&prefix).map(str::to_owned))
        .collect();
    found.sort();
    found
}

fn size_of(disk: &str) -> Result<u64, String> {
    let content = fs::read(disk).map_err(|e| e.to_string())?;
    let bytes = content.get(24..32).and_then(|b| b.try_into().ok()).ok_or("not a disk")?;
    Ok(u64::from_be_bytes(bytes))
}

fn head(size: u64) -> [u8; 104] {
    let mut head = [0; 104];
    head[..4].copy_from_slice(b"QFI\xfb");
    head[4..8].copy_from_slice(&3_u32.to_be_bytes());
    head[24..32].copy_from_slice(&size.to_be_bytes());
    head
}
