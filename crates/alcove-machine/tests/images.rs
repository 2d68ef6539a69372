//! Finding, checking, placing and deleting guest images.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod common;

use std::fs;

use alcove_machine::{
    Home, Layout, MachineError,
    image::{self, Check, Image, Images},
    kubectl,
};
use alcove_types::image::ImageFile;
use sha2::{Digest, Sha256};

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
fn an_image_is_put_in_place_over_a_damaged_one_and_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let layout = layout(dir.path());
    let images = layout.home().images();
    fs::create_dir_all(&images).unwrap();
    let staged = || {
        let folder = images.join(".bring");
        common::make_image(&folder, "abc", b"kernel", b"initrd");
        folder
    };
    let there = image::publish(&layout, &staged()).unwrap();
    assert_eq!(there.folder, images.join("abc"));
    fs::write(there.kernel(), b"KERNEL").unwrap();
    image::publish(&layout, &staged()).unwrap().verify(Check::Full).unwrap();
    // Half an image takes no place.
    let half = staged();
    fs::write(half.join("initrd"), b"ini").unwrap();
    assert!(matches!(image::publish(&layout, &half), Err(MachineError::ImageInvalid { .. })));
    fs::remove_dir_all(&half).unwrap();
    there.verify(Check::Full).unwrap();

    fs::create_dir_all(images.join(".replaced-killed/image")).unwrap();
    image::sweep(&images);
    image::delete(&images, &there.folder).unwrap();
    assert_eq!(fs::read_dir(&images).unwrap().count(), 0);
}

#[test]
fn a_manifest_from_elsewhere_names_no_file_outside_its_folder() {
    let dir = tempfile::tempdir().unwrap();
    let image = common::make_image(&dir.path().join("image"), "abc", b"k", b"i");
    let place = std::path::Path::new("manifest.json");
    let read = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut value = serde_json::to_value(&image.manifest).unwrap();
        change(&mut value);
        image::read_manifest(value.to_string().as_bytes(), place)
    };
    assert!(read(&|_| ()).is_ok());
    for name in ["../evil", "/etc/passwd", "a/b", "..", ".hidden", "manifest.json", "initrd", "", "a\u{0}b"] {
        let error = read(&|m| m["files"][0]["name"] = name.into()).unwrap_err();
        assert!(matches!(error, MachineError::ImageInvalid { .. }), "{name:?}: {error}");
    }
    for version in ["..", "a/b", "", ".x"] {
        assert!(read(&|m| m["version"] = version.into()).is_err(), "{version:?}");
    }
    assert!(read(&|m| m["files"][0]["sha256"] = "abc".into()).is_err());
    assert!(
        read(&|m| m["files"][2] = m["files"][1].clone()).is_err(),
        "a file that is named twice, and one that lacks"
    );
    assert!(matches!(read(&|m| m["schema"] = 9.into()), Err(MachineError::TooNew { .. })));
    assert!(image::read_manifest(b"<html>", place).unwrap_err().to_string().contains("not the manifest"));
}

#[test]
fn an_images_kubectl_is_run_only_when_it_is_what_the_manifest_says() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let home = Home::at(dir.path().join("home")).unwrap();
    let folder = dir.path().join("image");
    let mut image = common::make_image(&folder, "abc", b"k", b"i");
    assert_eq!(kubectl::kubectl(&home, &image).unwrap(), None);

    let file = folder.join("kubectl");
    let content = b"#!/bin/sh\nexit 7\n";
    fs::write(&file, content).unwrap();
    let sha256 = hex::encode(Sha256::digest(content));
    image.manifest.files.push(ImageFile { name: "kubectl".into(), bytes: content.len() as u64, sha256 });
    image.verify(Check::Full).unwrap();
    assert_eq!(image.kubectl().unwrap(), file);
    assert_eq!(kubectl::kubectl(&home, &image).unwrap().unwrap(), file);
    assert_ne!(fs::metadata(&file).unwrap().permissions().mode() & 0o100, 0, "it can be run");

    // Known from then on, but not by its size and name alone.
    let record = home.images().join(".kubectl-checked.json");
    let known = fs::read(&record).unwrap();
    kubectl::kubectl(&home, &image).unwrap().unwrap();
    assert_eq!(fs::read(&record).unwrap(), known);
    fs::write(&file, b"#!/bin/sh\nexit 8\n").unwrap();
    let error = kubectl::kubectl(&home, &image).unwrap_err();
    assert!(error.to_string().contains("checksum"), "{error}");
    fs::write(&file, b"#!").unwrap();
    assert!(kubectl::kubectl(&home, &image).unwrap_err().to_string().contains("size"));
}
