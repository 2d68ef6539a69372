//! Growing the disk while the machine runs.
#![allow(clippy::unwrap_used)] // a test may fail that way

mod common;

use std::time::{Duration, Instant};

use alcove_api::Supervisor;
use alcove_types::{Condition, machine::Phase};
use common::{DEADLINE, GIB, World, done, me, until, wants};
use serde_json::json;

fn told(supervisor: &Supervisor) -> Option<Condition> {
    supervisor.machine().conditions.into_iter().find(|c| c.kind == "DiskHasItsSize")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_larger_disk_takes_effect_while_the_machine_runs() {
    let world = World::new(DEADLINE);
    let supervisor = world.running().await;
    assert_eq!(world.grown(), (vec![], 0), "nothing is to be done");
    let began = Instant::now();
    wants(&supervisor, 32);
    until("it is noted", || world.noted().setup.disk_bytes == 32 * GIB).await;
    assert!(began.elapsed() < Duration::from_secs(4), "at once, not at the next look");
    assert_eq!(world.grown(), (vec![32 * GIB], 1));
    assert!(supervisor.settings().restart_needed.is_empty());
    until("it is shown", || supervisor.machine().setup.unwrap().disk_bytes == 32 * GIB).await;
    let log = supervisor.operations(10, None).unwrap().operations;
    assert!(log.iter().any(|o| o.what == "machine.grow_disk" && o.result == "succeeded"), "{log:?}");
    // Memory and processors still wait for a restart, and a smaller disk for ever.
    wants(&supervisor, 20);
    supervisor.change_settings(&json!({ "machine": { "memory_bytes": 4 * GIB } }), &me()).unwrap();
    wants(&supervisor, 40);
    until("it is noted", || world.noted().setup.disk_bytes == 40 * GIB).await;
    assert_eq!(world.grown().0, [32 * GIB, 40 * GIB]);
    assert_eq!(world.noted().setup.memory_bytes, 2 * GIB);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suspended_machine_gets_its_larger_disk_when_it_runs_again() {
    let world = World::new(DEADLINE);
    let supervisor = world.running().await;
    done(&supervisor, supervisor.suspend(&me()).await).await.unwrap();
    assert_eq!(supervisor.machine().phase, Phase::Suspended);
    wants(&supervisor, 32);
    // A look after the change has been taken in: generations move only with requests, so ask for nothing new.
    done(&supervisor, supervisor.suspend(&me()).await).await.unwrap();
    let noted = world.noted().setup.disk_bytes;
    assert_eq!((world.grown().0, noted), (vec![], 16 * GIB), "its disk belongs to its saved memory");
    done(&supervisor, supervisor.resume(&me()).await).await.unwrap();
    until("it is noted", || world.noted().setup.disk_bytes == 32 * GIB).await;
    assert_eq!((world.grown(), world.started().len()), ((vec![32 * GIB], 1), 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_can_not_grow_yet_is_asked_again() {
    let world = World::new(DEADLINE);
    let supervisor = world.running().await;
    world.stage.machine().busy = true;
    wants(&supervisor, 32);
    until("it is told", || told(&supervisor).is_some()).await;
    assert!(told(&supervisor).unwrap().message.contains("It is busy."));
    assert_eq!((world.noted().setup.disk_bytes, world.grown().1), (16 * GIB, 1), "not again at once");
    // The next supervisor sees that the guest has not got what the disk has.
    world.stage.machine().busy = false;
    supervisor.leave().await;
    let next = world.supervisor();
    until("it is noted", || world.noted().setup.disk_bytes == 32 * GIB).await;
    assert_eq!(world.grown(), (vec![32 * GIB], 2));
    until("nothing is told any more", || told(&next).is_none()).await;
}
