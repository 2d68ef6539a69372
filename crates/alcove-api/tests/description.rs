//! What is written down of a machine can't be used, or its disk is not there: it is said, it stays said, and nothing is
//! made in its place.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod common;

use std::fs;

use alcove_types::{ErrorCode, machine::Phase};
use common::{DEADLINE, SETUP, World, done, me, until};
use serde_json::{Value, json};

#[tokio::test]
async fn a_description_from_a_newer_version_is_kept_and_no_machine_is_made_over_it() {
    let world = World::new(DEADLINE);
    let supervisor = world.running().await;
    done(&supervisor, supervisor.stop(&me()).await).await.unwrap();
    supervisor.leave().await;
    let path = world.layout.machine_json();
    let ours = fs::read(&path).unwrap();
    let mut newer: Value = serde_json::from_slice(&ours).unwrap();
    newer["schema"] = json!(99);
    fs::write(&path, newer.to_string()).unwrap();

    let supervisor = world.supervisor();
    // The reconciler has looked, and found nothing to do.
    let started = done(&supervisor, supervisor.start(false, &me()).await).await.unwrap_err();
    let made = supervisor.create(SETUP, &me()).await.unwrap_err();
    let failure = supervisor.machine().failure.unwrap().error;
    assert_eq!((failure.code, &failure, &failure), (made.code, &made, &started));
    assert!(failure.message.contains("newer"), "{failure:?}");
    assert_eq!(supervisor.machine().phase, Phase::Failed);
    assert_eq!(fs::read_to_string(&path).unwrap(), newer.to_string());
    assert_eq!(world.started(), ["one"]);

    // Put right by a person: it goes on.
    fs::write(&path, &ours).unwrap();
    until("it is seen", || supervisor.machine().failure.is_none()).await;
    done(&supervisor, supervisor.start(false, &me()).await).await.unwrap();
    assert_eq!(supervisor.machine().phase, Phase::Running);
}

#[tokio::test]
async fn a_damaged_description_can_be_deleted_with_its_machine_though_the_settings_are_damaged_too() {
    let world = World::new(DEADLINE);
    let supervisor = world.running().await;
    done(&supervisor, supervisor.stop(&me()).await).await.unwrap();
    supervisor.leave().await;
    fs::write(world.layout.machine_json(), "{").unwrap();
    fs::write(world.layout.settings_json(), "{").unwrap();
    let supervisor = world.supervisor();
    done(&supervisor, supervisor.reset("test", &me()).await).await.unwrap();
    let machine = supervisor.machine();
    assert_eq!((machine.phase, machine.failure), (Phase::Absent, None));
}

#[tokio::test]
async fn a_disk_that_is_missing_is_said_until_it_is_back() {
    let world = World::new(DEADLINE);
    let supervisor = world.running().await;
    done(&supervisor, supervisor.stop(&me()).await).await.unwrap();
    supervisor.leave().await;
    fs::write(world.layout.qemu_json(), "{}").unwrap();
    let disk = world.stage.take_disk();

    let supervisor = world.supervisor();
    until("it is said", || supervisor.machine().phase == Phase::Failed).await;
    let error = done(&supervisor, supervisor.start(false, &me()).await).await.unwrap_err();
    assert!(error.message.contains("disk is missing"), "{error:?}");
    assert_eq!(supervisor.create(SETUP, &me()).await.unwrap_err().code, ErrorCode::FileCorrupt);

    world.stage.put_disk(disk);
    until("it is seen", || supervisor.machine().failure.is_none()).await;
    done(&supervisor, supervisor.start(false, &me()).await).await.unwrap();
}

#[tokio::test]
async fn a_deletion_that_was_interrupted_is_gone_on_with() {
    let world = World::new(DEADLINE);
    let supervisor = world.running().await;
    done(&supervisor, supervisor.stop(&me()).await).await.unwrap();
    supervisor.leave().await;
    // As far as it had come: the disk is gone, its description is not.
    world.stage.take_disk();
    let supervisor = world.supervisor();
    until("it is gone", || !world.layout.machine_json().exists()).await;
    until("it is said", || supervisor.machine().phase == Phase::Absent).await;
    done(&supervisor, supervisor.create(SETUP, &me()).await).await.unwrap();
}
