//! Hosts and files that can't work: each ends in a reason and a hint, at once, and loses nothing.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use alcove_machine_tests::World;
use alcove_types::{ErrorCode, machine::Phase};
use anyhow::{Context, Result};

const SOON: Duration = Duration::from_secs(60);
const SETUP: [&str; 8] = ["setup", "--memory", "2GiB", "--cpus", "2", "--disk", "10GiB", "--no-wait"];

/// Waits until the machine has failed, and gives the reason's code.
fn failure(world: &World) -> Result<ErrorCode> {
    world.phase(Phase::Failed, SOON)?;
    let failure = world.machine()?.failure.context("no reason is given")?;
    assert!(!failure.error.hint.is_empty(), "no way on: {failure:?}");
    Ok(failure.error.code)
}

fn script(world: &World, name: &str, text: &str) -> Result<String> {
    let path = world.home().join(name);
    fs::write(&path, text)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    Ok(path.to_string_lossy().into_owned())
}

#[test]
fn qemu_is_missing_too_old_or_dies_at_once() -> Result<()> {
    let real = "#!/bin/sh\ncase \"$*\" in *-version*|*help*) exec qemu-system-x86_64 \"$@\";; esac\n";
    for (name, text, code) in [
        ("missing", None, ErrorCode::HypervisorMissing),
        ("old", Some("#!/bin/sh\necho 'QEMU emulator version 7.2.0'\n".to_owned()), ErrorCode::HypervisorMissing),
        ("dies", Some(format!("{real}echo 'it broke for a reason' >&2\nexit 1\n")), ErrorCode::HypervisorFailed),
    ] {
        let mut world = World::empty(name)?;
        let qemu = match &text {
            Some(text) => script(&world, "qemu-system-x86_64", text)?,
            None => "/nonexistent/qemu-system-x86_64".to_owned(),
        };
        world.set("ALCOVE_QEMU", &qemu);
        world.set("ALCOVE_ACCEL", "tcg");
        world.supervise()?;
        let made = world.alcove(&SETUP)?;
        if made.code != 0 {
            // Without QEMU not even the machine's disk can be made: the setup itself is refused, and says why.
            assert_eq!(code, ErrorCode::HypervisorMissing, "{made:?}");
            assert!(made.stderr.contains("QEMU") && made.stderr.contains("hint:"), "{made:?}");
            assert_eq!(world.machine()?.phase, Phase::Absent);
            continue;
        }
        world.alcove(&["start", "--no-wait"])?;
        assert_eq!(failure(&world)?, code, "{name}");
        if name == "dies" {
            let failure = world.machine()?.failure.context("no reason")?;
            assert!(format!("{failure:?}").contains("it broke for a reason"), "{failure:?}");
        }
    }
    Ok(())
}

fn damaged_image(world: &World, damage: impl Fn(&Path) -> Result<()>) -> Result<String> {
    let image = std::path::PathBuf::from(std::env::var_os("ALCOVE_IMAGES").context("ALCOVE_IMAGES is not set")?);
    let copy = world.home().join("image");
    fs::create_dir_all(&copy)?;
    for entry in fs::read_dir(&image)?.flatten() {
        // A second name is enough; what is damaged is replaced, not written into.
        fs::hard_link(entry.path(), copy.join(entry.file_name()))
            .or_else(|_| fs::copy(entry.path(), copy.join(entry.file_name())).map(drop))?;
    }
    damage(&copy)?;
    Ok(copy.to_string_lossy().into_owned())
}

#[test]
fn a_damaged_image_is_not_booted() -> Result<()> {
    let mut world = World::empty("image")?;
    let images = damaged_image(&world, |folder| {
        let root = folder.join("root.erofs");
        fs::remove_file(&root)?;
        Ok(fs::write(&root, b"cut short")?)
    })?;
    world.set("ALCOVE_IMAGES", &images);
    world.set("ALCOVE_ACCEL", "tcg");
    world.supervise()?;
    world.alcove(&SETUP)?;
    world.alcove(&["start", "--no-wait"])?;
    if world.machine()?.phase == Phase::Absent {
        let tasks = world.get("/api/v1/tasks")?.to_string();
        assert!(tasks.contains("image_invalid"), "{tasks}");
        return Ok(());
    }
    assert_eq!(failure(&world)?, ErrorCode::ImageInvalid);
    assert_eq!(world.qemu(), None);
    Ok(())
}

#[test]
fn a_second_supervisor_leaves_the_first_alone() -> Result<()> {
    let mut world = World::empty("two")?;
    world.supervise()?;
    let before = world.loopback()?;
    let second = world.program("alcoved")?.output()?;
    assert_eq!(second.status.code(), Some(3), "{second:?}");
    assert_eq!(world.loopback()?, before);
    world.ok(&["status"])?;
    Ok(())
}

#[test]
fn a_settings_file_of_a_newer_version_is_left_alone_and_explained() -> Result<()> {
    let mut world = World::empty("newer")?;
    let path = world.layout().settings_json();
    fs::create_dir_all(path.parent().context("no folder")?)?;
    fs::write(&path, "{\"schema\": 99, \"later\": true}\n")?;
    world.supervise()?;
    let settings = world.get("/api/v1/settings")?;
    assert_eq!(settings["problem"]["code"], "too_new");
    let refused = world.alcove(&["settings", "set", "theme", "dark"])?;
    assert_ne!(refused.code, 0);
    assert_eq!(fs::read_to_string(&path)?, "{\"schema\": 99, \"later\": true}\n");
    Ok(())
}

#[test]
fn settings_changed_by_hand_are_taken_up() -> Result<()> {
    let mut world = World::empty("hand")?;
    world.supervise()?;
    let path = world.layout().settings_json();
    fs::write(&path, "{\"theme\": \"dark\"}")?;
    world.until("the theme is dark", SOON, |w| Ok(w.get("/api/v1/settings")?["settings"]["theme"] == "dark"))?;
    fs::write(&path, "{\"theme\": ")?;
    world.until(
        "the problem is told",
        SOON,
        |w| Ok(w.get("/api/v1/settings")?["problem"]["code"] == "file_corrupt"),
    )?;
    assert_eq!(world.get("/api/v1/settings")?["settings"]["theme"], "dark", "what was in force stays in force");
    Ok(())
}

#[test]
fn a_damaged_spec_is_explained_and_kept() -> Result<()> {
    let mut world = World::empty("spec")?;
    fs::write(world.layout().machine_json(), "{\"schema\": 1, ")?;
    world.supervise()?;
    world.until("the reason is told", SOON, |w| {
        Ok(w.machine()?.failure.is_some_and(|f| f.error.code == ErrorCode::FileCorrupt))
    })?;
    assert_eq!(fs::read_to_string(world.layout().machine_json())?, "{\"schema\": 1, ");
    Ok(())
}
