//! Growing the disk while the machine runs.
#![allow(clippy::unwrap_used)] // a test may fail that way

mod common;

use std::time::{Duration, Instant};

use alcove_api::{Config, Supervisor, operations::Caller};
use alcove_machine::MachineSpec;
use alcove_types::machine::Phase;
use common::{GIB, World};
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_larger_disk_takes_effect_while_the_machine_runs() {
    let world = World::new(true).await;
    world.until("it runs", |w| w.phase() == Phase::Running).await;
    assert_eq!((world.grown(), world.guest.grown()), (vec![], 0), "nothing is to be done");
    let began = Instant::now();
    world.wants(32);
    world.until("it is noted", |w| w.noted() == 32 * GIB).await;
    assert!(began.elapsed() < Duration::from_secs(4), "at once, not at the next look");
    assert_eq!((world.grown(), world.guest.grown()), (vec![32 * GIB], 1));
    assert!(world.supervisor.settings().restart_needed.is_empty());
    world.until("it is shown", |w| w.supervisor.machine().setup.unwrap().disk_bytes == 32 * GIB).await;
    let log = world.supervisor.operations(10, None).unwrap().operations;
    assert!(log.iter().any(|o| o.what == "machine.grow_disk" && o.result == "succeeded"), "{log:?}");
    // Memory and processors still wait for a restart, and a smaller disk for ever.
    world.wants(20);
    let patch = json!({ "machine": { "memory_bytes": 4 * GIB } });
    world.supervisor.change_settings(&patch, &Caller::supervisor()).unwrap();
    world.wants(40);
    world.until("it is noted", |w| w.noted() == 40 * GIB).await;
    assert_eq!(world.grown(), [32 * GIB, 40 * GIB]);
    assert_eq!(MachineSpec::load(&world.layout).unwrap().unwrap().setup.memory_bytes, 2 * GIB);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suspended_machine_gets_its_larger_disk_when_it_runs_again() {
    let world = World::new(false).await;
    world.until("it is suspended", |w| w.phase() == Phase::Suspended).await;
    world.wants(32);
    // A look after the change has been taken in: the wanted generation moves only with requests, so ask for nothing new.
    world.supervisor.suspend(&Caller::supervisor()).await.unwrap();
    world.until("it has looked", |w| w.supervisor.tasks().list().iter().all(|t| t.state.ended())).await;
    assert_eq!((world.grown(), world.noted()), (vec![], 16 * GIB), "its disk belongs to its saved memory");
    *world.provider.power.lock().unwrap() = world.on.clone();
    // It was resumed; the supervisor finds it on and wanted so.
    let task = world.supervisor.resume(&Caller::supervisor()).await.unwrap();
    world.supervisor.wait(&task.id, Duration::from_secs(30)).await.unwrap();
    world.until("it is noted", |w| w.noted() == 32 * GIB).await;
    assert_eq!((world.grown(), world.guest.grown()), (vec![32 * GIB], 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_can_not_grow_yet_is_asked_again() {
    let world = World::new(true).await;
    world.until("it runs", |w| w.phase() == Phase::Running).await;
    *world.guest.broken.lock().unwrap() = true;
    world.wants(32);
    let told = |w: &World| w.supervisor.machine().conditions.into_iter().find(|c| c.kind == "DiskHasItsSize");
    world.until("it is told", |w| told(w).is_some()).await;
    assert!(told(&world).unwrap().message.contains("It is busy."));
    assert_eq!((world.noted(), world.guest.grown()), (16 * GIB, 1), "not again at once");
    // The next supervisor sees that the guest has not got what the disk has.
    *world.guest.broken.lock().unwrap() = false;
    world.supervisor.leave().await;
    let config = Config {
        instance: "test".into(),
        image_folders: Vec::new(),
        image_source: "/nonexistent".into(),
        boot_deadline: Duration::from_secs(60),
    };
    let next = Supervisor::begin(config, world.layout.clone(), world.provider.clone()).unwrap();
    world.until("it is noted", |w| w.noted() == 32 * GIB).await;
    assert_eq!((world.grown(), world.guest.grown()), (vec![32 * GIB], 2));
    world
        .until("nothing is told any more", |_| !next.machine().conditions.iter().any(|c| c.kind == "DiskHasItsSize"))
        .await;
}
