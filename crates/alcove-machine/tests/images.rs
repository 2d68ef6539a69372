//! Finding, checking and installing guest images.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod common;

use std::fs;

use alcove_machine::{
    Home, Layout, MachineError,
    image::{self, Check, Image, Images},
};

fn layout(dir: &std::path::Path) -> Layout {
    Layout::new(Home::at(dir.join("home")).unwrap(), "images".parse().unwrap())
}

#[test]
fn the_newest_good_image_is_found() {
    let dir = tempfile::tempdir().unwrap();
    common::make_image(&dir.path().join("images/old"), "old", b"k", b"i");
    let newer = dir.path().join("images/new");
    common::make_image(&newer, "new", b"k", b"i");
    let manifest = fs::read_to_string(newer.join("manifest.json")).unwrap();
    fs::write(newer.join("manifest.json"), manifest.replace("2026-01-01", "2026-02-01")).unwrap();
    let broken = dir.path().join("images/broken");
    common::make_image(&broken, "broken", b"kernel", b"i");
    fs::write(broken.join("vmlinuz"), b"ker").unwrap();
    let found = Images::find_in(&[dir.path().join("images"), dir.path().join("nowhere")]);
    assert_eq!(found.newest().unwrap().version(), "new");
    assert_eq!(found.found.len(), 2);
    assert_eq!(found.version("old").unwrap().version(), "old");
    for (version, words) in [("broken", "bytes instead of"), ("other", "not on this computer")] {
        let error = found.version(version).unwrap_err();
        assert!(matches!(&error, MachineError::ImageInvalid { message, .. } if message.contains(words)), "{error}");
    }
}

#[test]
fn damage_newer_manifests_and_other_processors_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("image");
    let image = common::make_image(&folder, "abc", b"kernel", b"i");
    image.verify(Check::Full).unwrap();
    fs::write(folder.join("vmlinuz"), b"Kernel").unwrap();
    image.verify(Check::Quick).unwrap();
    assert!(image.verify(Check::Full).unwrap_err().to_string().contains("hash"));
    fs::remove_file(folder.join("vmlinuz")).unwrap();
    assert!(image.verify(Check::Quick).unwrap_err().to_string().contains("missing"));
    let manifest = fs::read_to_string(folder.join("manifest.json")).unwrap();
    fs::write(folder.join("manifest.json"), manifest.replace("\"schema\":1", "\"schema\":9")).unwrap();
    assert!(matches!(Image::open(&folder), Err(MachineError::TooNew { .. })));
    fs::write(folder.join("manifest.json"), manifest.replace("\"version\":\"abc\"", "\"version\":\"../abc\"")).unwrap();
    assert!(matches!(Image::open(&folder), Err(MachineError::ImageInvalid { .. })));
    fs::write(folder.join("manifest.json"), "{").unwrap();
    assert!(matches!(Image::open(&folder), Err(MachineError::ImageInvalid { .. })));
}

#[test]
fn images_are_installed_from_folders_and_tar_files() {
    let dir = tempfile::tempdir().unwrap();
    let layout = layout(dir.path());
    let source = dir.path().join("source");
    common::make_image(&source, "abc", b"kernel", b"initrd");
    let mut last = (0, 0);
    let installed = image::install(&layout, &source, &mut |done, total| last = (done, total)).unwrap();
    assert_eq!(installed.folder, layout.home().images().join("abc"));
    assert!(last.0 > 0 && last.0 == last.1);
    // Again, and over a damaged one.
    image::install(&layout, &source, &mut |_, _| {}).unwrap();
    fs::write(installed.kernel(), b"KERNEL").unwrap();
    image::install(&layout, &source, &mut |_, _| {}).unwrap().verify(Check::Full).unwrap();

    let file = dir.path().join("image.tar");
    let mut archive = tar::Builder::new(fs::File::create(&file).unwrap());
    archive.append_dir_all("abc", &source).unwrap();
    archive.into_inner().unwrap();
    fs::remove_dir_all(&installed.folder).unwrap();
    image::install(&layout, &file, &mut |_, _| {}).unwrap().verify(Check::Full).unwrap();
    // A file that was cut off leaves nothing behind.
    let content = fs::read(&file).unwrap();
    fs::write(&file, &content[..content.len() / 3]).unwrap();
    fs::remove_dir_all(layout.home().images().join("abc")).unwrap();
    let error = image::install(&layout, &file, &mut |_, _| {}).unwrap_err();
    assert!(matches!(error, MachineError::ImageInvalid { .. }), "{error:?}");
    assert_eq!(fs::read_dir(layout.home().images()).unwrap().count(), 0);
}
