//! What a guest says is taken for what it is: its memory of before a suspend, and its own affairs alone.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod common;

use std::time::{Duration, Instant};

use alcove_types::{
    Condition, ConditionStatus,
    condition::find,
    machine::{Phase, SnapshotRequest},
};
use common::{DEADLINE, World, done, me, until};

#[tokio::test]
async fn a_resumed_machine_is_up_when_its_platform_answers_and_not_when_it_remembers_so() {
    let world = World::new(DEADLINE);
    world.stage.machine().platform = true;
    let supervisor = world.running().await;
    done(&supervisor, supervisor.suspend(&me()).await).await.unwrap();
    world.stage.machine().platform_silent = true;
    let resumed = supervisor.resume(&me()).await.unwrap();
    until("the guest has spoken", || supervisor.machine().guest.is_some()).await;
    let asked = world.stage.machine().platform_asked;
    // What the guest said has been heard long before that.
    until("the platform is asked in vain", || world.stage.machine().platform_asked >= asked + 2).await;
    assert_eq!(supervisor.machine().phase, Phase::Starting);
    assert!(!supervisor.tasks().get(&resumed.id).unwrap().state.ended());
    world.stage.machine().platform_silent = false;
    done(&supervisor, Ok(resumed)).await.unwrap();
    assert_eq!(supervisor.machine().phase, Phase::Running);
}

#[tokio::test]
async fn a_guest_speaks_of_itself_alone() {
    let world = World::new(DEADLINE);
    let says = |kind: &str| Condition {
        kind: kind.into(),
        status: ConditionStatus::False,
        reason: "Lies".into(),
        message: String::new(),
        hint: String::new(),
        since: String::new(),
    };
    world.stage.machine().says = vec![says("DiskHealthy"), says("HostDiskHasSpace"), says("Anything")];
    let supervisor = world.running().await;
    let conditions = supervisor.machine().conditions;
    assert!(find(&conditions, "DiskHealthy").is_some());
    assert!(find(&conditions, "HostDiskHasSpace").is_none() && find(&conditions, "Anything").is_none());
}

#[tokio::test]
async fn a_copy_with_memory_that_is_brought_back_keeps_it_and_resumes() {
    let world = World::new(DEADLINE);
    let supervisor = world.running().await;
    done(&supervisor, supervisor.suspend(&me()).await).await.unwrap();
    let request = SnapshotRequest { name: "warm".into(), note: String::new() };
    done(&supervisor, supervisor.snapshot(request, &me()).await).await.unwrap();
    done(&supervisor, supervisor.stop(&me()).await).await.unwrap();
    assert_eq!(supervisor.machine().phase, Phase::Stopped);

    done(&supervisor, supervisor.restore("warm".into(), &me()).await).await.unwrap();
    until("it is suspended", || supervisor.machine().phase == Phase::Suspended).await;
    done(&supervisor, supervisor.start(false, &me()).await).await.unwrap();
    assert_eq!(world.started(), ["one"], "it was resumed and not booted");
}

#[tokio::test]
async fn a_machine_that_was_taken_over_is_known_as_well_as_before() {
    let world = World::new(DEADLINE);
    let first = world.running().await;
    let known = first.machine();
    first.leave().await;
    let next = world.supervisor();
    until("it is taken over", || next.machine().phase == Phase::Running).await;
    assert!(known.acceleration.is_some());
    assert_eq!(next.machine().acceleration, known.acceleration);
    common::wants(&next, 16);
    next.change_settings(&serde_json::json!({ "machine": { "cpus": 1 } }), &me()).unwrap();
    assert_eq!(next.machine().restart_needed, ["machine.cpus"]);
}

#[tokio::test]
async fn a_hypervisor_that_hangs_is_said_to_and_is_fine_when_it_answers_again() {
    let world = World::new(DEADLINE);
    let supervisor = world.running().await;
    world.stage.silence(Instant::now().checked_sub(Duration::from_secs(61)));
    until("it is said", || supervisor.machine().phase == Phase::Failed).await;
    assert!(supervisor.machine().failure.unwrap().error.hint.contains("alcove kill"));
    world.stage.silence(None);
    until("it is fine", || supervisor.machine().phase == Phase::Running).await;
    assert_eq!(supervisor.machine().failure, None);
}

#[tokio::test]
async fn a_guest_that_does_not_know_the_time_is_told() {
    let world = World::new(DEADLINE);
    world.stage.machine().says = vec![Condition {
        kind: "ClockInSync".into(),
        status: ConditionStatus::Unknown,
        reason: "NotToldYet".into(),
        message: String::new(),
        hint: String::new(),
        since: String::new(),
    }];
    let _supervisor = world.running().await;
    until("it is told", || world.stage.machine().told_the_time > 0).await;
}
