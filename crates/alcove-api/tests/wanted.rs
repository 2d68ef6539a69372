//! What was answered holds, whatever else is asked for meanwhile, and every task ends. One thread runs everything here:
//! the reconciler gets to work only where a test waits, so that nothing is left to chance.
#![allow(clippy::unwrap_used)] // a test may fail that way

mod common;

use std::fs;

use alcove_api::Supervisor;
use alcove_types::{
    ErrorCode,
    machine::{MachineSetup, Phase, SnapshotRequest},
    task::{Task, TaskState},
};
use common::{DEADLINE, Does, GIB, SETUP, World, done, me, until};
use serde_json::{Value, json};

const OTHER: MachineSetup = MachineSetup { memory_bytes: 4 * GIB, ..SETUP };

/// What the next supervisor would go on towards, were this one killed now.
fn wanted(world: &World) -> String {
    let text = fs::read(world.layout.machine().join("desired.json")).unwrap();
    let wanted: Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(wanted["at_work"], true);
    wanted["desired"].as_str().unwrap().to_owned()
}

async fn until_under_way(supervisor: &Supervisor, task: &Task) {
    until("it is under way", || supervisor.tasks().get(&task.id).unwrap().state == TaskState::Running).await;
}

fn all_have_ended(supervisor: &Supervisor) -> bool {
    supervisor.tasks().list().iter().all(|task| task.state.ended())
}

#[tokio::test]
async fn what_was_answered_outlives_a_supervisor_killed_at_once() {
    let world = World::new(DEADLINE);
    let supervisor = world.running().await;
    supervisor.suspend(&me()).await.unwrap();
    assert_eq!(wanted(&world), "suspended");
    supervisor.start(false, &me()).await.unwrap();
    assert_eq!(wanted(&world), "running");
    supervisor.stop(&me()).await.unwrap();
    assert_eq!(wanted(&world), "stopped");
    supervisor.restart(&me()).await.unwrap();
    assert_eq!(wanted(&world), "running");
    supervisor.kill(&me()).await.unwrap();
    assert_eq!(wanted(&world), "stopped");
    done(&supervisor, supervisor.resume(&me()).await).await.unwrap();
    assert_eq!(wanted(&world), "running");
    assert!(all_have_ended(&supervisor), "what a newer request replaced, too");
}

#[tokio::test]
async fn a_start_asked_for_while_the_machine_is_being_made_is_kept() {
    let world = World::new(DEADLINE);
    let supervisor = world.supervisor();
    world.image("one", 1, Does::ComesUp);
    let gate = world.stage.gate.lock().await;
    let made = supervisor.create(SETUP, &me()).await.unwrap();
    until_under_way(&supervisor, &made).await;
    let started = supervisor.start(false, &me()).await;
    assert_eq!(supervisor.create(OTHER, &me()).await.unwrap_err().code, ErrorCode::Conflict);
    assert_eq!(supervisor.settings().settings.machine, Some(SETUP));
    drop(gate);
    done(&supervisor, Ok(made)).await.unwrap();
    done(&supervisor, started).await.unwrap();
    assert_eq!(supervisor.machine().phase, Phase::Running);
    assert_eq!(world.started(), ["one"]);

    let bare = World::new(DEADLINE);
    let supervisor = bare.supervisor();
    supervisor.change_settings(&json!({ "start": "keep" }), &me()).unwrap();
    supervisor.leave().await;
    let supervisor = bare.supervisor();
    // Nothing to make it from: who waits for the start is told so.
    let made = supervisor.create(SETUP, &me()).await;
    let started = supervisor.start(false, &me()).await;
    let error = done(&supervisor, made).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::ImageInvalid);
    assert_eq!(done(&supervisor, started).await.unwrap_err(), error);
    assert_eq!(supervisor.start(false, &me()).await.unwrap_err().code, ErrorCode::WrongState);
    // The start ended with that: the next machine is not started by it.
    bare.image("one", 1, Does::ComesUp);
    done(&supervisor, supervisor.create(SETUP, &me()).await).await.unwrap();
    done(&supervisor, supervisor.stop(&me()).await).await.unwrap();
    assert!(bare.started().is_empty());
}

#[tokio::test]
async fn a_kill_does_not_tear_work_that_has_the_machine_for_itself() {
    let world = World::new(DEADLINE);
    let supervisor = world.running().await;
    done(&supervisor, supervisor.suspend(&me()).await).await.unwrap();
    let gate = world.stage.gate.lock().await;
    let copied = supervisor.snapshot(SnapshotRequest { name: "a".into(), note: String::new() }, &me()).await.unwrap();
    until_under_way(&supervisor, &copied).await;
    let killed = supervisor.kill(&me()).await;
    drop(gate);
    done(&supervisor, Ok(copied)).await.unwrap();
    done(&supervisor, killed).await.unwrap();
    assert_eq!(supervisor.snapshots().await.unwrap().len(), 1);
    assert_eq!(supervisor.machine().phase, Phase::Stopped);
    assert!(all_have_ended(&supervisor));
}

#[tokio::test]
async fn a_reset_ends_what_waited_for_the_machine_and_leaves_nothing_wanted() {
    let world = World::new(DEADLINE);
    let supervisor = world.running().await;
    done(&supervisor, supervisor.stop(&me()).await).await.unwrap();
    supervisor.change_settings(&json!({ "start": "keep" }), &me()).unwrap();
    let gate = world.stage.gate.lock().await;
    let reset = supervisor.reset("test", &me()).await.unwrap();
    until_under_way(&supervisor, &reset).await;
    let started = supervisor.start(false, &me()).await;
    drop(gate);
    done(&supervisor, Ok(reset)).await.unwrap();
    assert_eq!(done(&supervisor, started).await.unwrap_err().code, ErrorCode::WrongState);
    supervisor.leave().await;
    // The next machine starts when it is told to.
    let next = world.supervisor();
    done(&next, next.create(OTHER, &me()).await).await.unwrap();
    done(&next, next.stop(&me()).await).await.unwrap();
    assert_eq!(world.started(), ["one"]);
}

#[tokio::test]
async fn who_asks_before_the_first_look_finds_the_machine() {
    let world = World::new(DEADLINE);
    let first = world.running().await;
    first.leave().await;
    let next = world.supervisor();
    assert_eq!(next.create(OTHER, &me()).await.unwrap_err().code, ErrorCode::Conflict);
    assert_eq!(next.settings().settings.machine, Some(SETUP));
    let stopped = next.stop(&me()).await;
    done(&next, stopped).await.unwrap();
    assert_eq!(next.machine().phase, Phase::Stopped);
}

#[tokio::test]
async fn a_supervisor_that_is_to_keep_the_machine_brings_none_up() {
    let world = World::new(DEADLINE);
    let supervisor = world.running().await;
    let resting = supervisor.put_away(&me()).await.unwrap();
    supervisor.quit(resting.as_ref()).await.unwrap();
    drop(supervisor);
    // As for `alcove settings`: what is asked for alone brings it up.
    let keeps = world.begin(true);
    until("it has looked", || keeps.machine().phase == Phase::Suspended).await;
    let resting = keeps.put_away(&me()).await.unwrap();
    keeps.quit(resting.as_ref()).await.unwrap();
    assert_eq!(keeps.machine().phase, Phase::Suspended);
    drop(keeps);
    let brings = world.begin(false);
    until("it is up again", || brings.machine().phase == Phase::Running).await;
}
