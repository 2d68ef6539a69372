//! A start for rescue: a console comes up, and nothing else is waited for.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod common;

use std::time::Duration;

use alcove_api::Supervisor;
use alcove_types::{ConditionStatus, condition::find, image::ImageRole, machine::Phase};
use common::{DEADLINE, Does, World, done, me, until};

fn is_on_for_rescue(supervisor: &Supervisor) -> bool {
    let machine = supervisor.machine();
    let system = find(&machine.conditions, "SystemUp").map(|c| (c.status, c.reason.clone()));
    machine.phase == Phase::Running && system == Some((ConditionStatus::False, "Rescue".into()))
}

#[tokio::test]
async fn a_machine_on_for_rescue_is_up_says_so_and_is_left_alone() {
    // A boot that is not ready by then has failed; there is nothing here that would get ready.
    let world = World::new(Duration::from_millis(200));
    let supervisor = world.running().await;
    world.image("two", 2, Does::ComesUp);
    done(&supervisor, supervisor.start(true, &me()).await).await.unwrap();
    assert!(is_on_for_rescue(&supervisor));
    assert_eq!(world.started(), ["one", "one"], "who rescues a machine wants it as it is");

    // Nor does the next supervisor take it for one that does not come up.
    supervisor.leave().await;
    let supervisor = world.supervisor();
    until("it is taken over", || is_on_for_rescue(&supervisor)).await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert!(is_on_for_rescue(&supervisor));
    let images = supervisor.images().await.unwrap().images;
    assert!(images.iter().all(|image| image.role != ImageRole::Refused));
}

#[tokio::test]
async fn a_start_brings_the_system_up_again() {
    let world = World::new(DEADLINE);
    let supervisor = world.running().await;
    done(&supervisor, supervisor.start(true, &me()).await).await.unwrap();
    done(&supervisor, supervisor.start(false, &me()).await).await.unwrap();
    assert_eq!(world.started(), ["one"; 3]);
    let machine = supervisor.machine();
    assert_eq!(machine.phase, Phase::Running);
    assert!(machine.guest.is_some() && find(&machine.conditions, "SystemUp").is_none());
}

#[tokio::test]
async fn put_away_it_is_off_and_boots_its_system_next() {
    let world = World::new(DEADLINE);
    let supervisor = world.running().await;
    done(&supervisor, supervisor.start(true, &me()).await).await.unwrap();
    done(&supervisor, supervisor.suspend(&me()).await).await.unwrap();
    let machine = supervisor.machine();
    assert_eq!(machine.phase, Phase::Stopped);
    assert!(machine.conditions.is_empty(), "{:?}", machine.conditions);
    done(&supervisor, supervisor.resume(&me()).await).await.unwrap();
    assert!(supervisor.machine().guest.is_some());
}

/// The machine was ended for this; that its hypervisor is gone may be told when the next one runs.
#[tokio::test]
async fn the_end_of_the_one_before_is_no_crash_of_this_one() {
    let world = World::new(DEADLINE);
    let supervisor = world.running().await;
    done(&supervisor, supervisor.start(true, &me()).await).await.unwrap();
    let looked = world.stage.machine().looked;
    world.stage.tell_an_old_end();
    // By the second look it has been heard.
    until("the machine was looked at", || world.stage.machine().looked >= looked + 2).await;
    assert!(is_on_for_rescue(&supervisor));
    assert!(find(&supervisor.machine().conditions, "LastBootClean").is_none());
}
