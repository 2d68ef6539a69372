//! A newer image goes on trial at the next cold boot, is kept when the machine came up with it, and is returned from by
//! itself, for good, when it did not: the real reconciler, over a provider whose guests come up or don't as their image
//! says, and a real door.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod common;

use std::time::Duration;

use alcove_api::Supervisor;
use alcove_types::{
    ErrorCode,
    image::{ImageFetch, ImageRole},
    machine::Phase,
};
use common::{DEADLINE, Does, World, done, me, until};

async fn restart(supervisor: &Supervisor) {
    done(supervisor, supervisor.restart(&me()).await).await.unwrap();
}

async fn role(supervisor: &Supervisor, version: &str) -> ImageRole {
    let list = supervisor.images().await.unwrap();
    list.images.iter().find(|i| i.manifest.version == version).unwrap().role
}

/// What was done to images, in order: operation and message.
fn told(supervisor: &Supervisor) -> Vec<(String, String)> {
    let mut all = supervisor.operations(100, None).unwrap().operations;
    all.reverse();
    all.into_iter().filter(|o| o.what.starts_with("image.")).map(|o| (o.what, o.message)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_image_goes_on_trial_at_the_next_boot_and_is_kept_when_it_comes_up() {
    let world = World::new(DEADLINE);
    let supervisor = world.running().await;
    world.image("two", 2, Does::ComesUp);
    assert_eq!(role(&supervisor, "two").await, ImageRole::Next);
    assert_eq!(role(&supervisor, "one").await, ImageRole::Active, "a running machine is left alone");
    assert_eq!(world.started(), ["one"]);

    restart(&supervisor).await;
    assert_eq!(world.started(), ["one", "two"]);
    assert_eq!(supervisor.machine().image.as_deref(), Some("two"));
    assert_eq!(told(&supervisor), [("image.commit".into(), "two".into())]);
    assert_eq!((world.noted().slots.trial, world.noted().slots.current()), (None, Some("two")), "it is written down");
    assert_eq!(role(&supervisor, "two").await, ImageRole::Active);
    assert_eq!(role(&supervisor, "one").await, ImageRole::Unused);
    restart(&supervisor).await;
    assert_eq!(world.started(), ["one", "two", "two"]);
    // The older one may go now, the one in use may not.
    assert_eq!(supervisor.remove_image("two".into(), &me()).await.unwrap_err().code, ErrorCode::Conflict);
    supervisor.remove_image("one".into(), &me()).await.unwrap();
}

/// The machine returns to `one` by itself, and the failed image is not tried again until a newer one comes.
async fn fails_its_trial(does: Does, boot_deadline: Duration, starts: usize) {
    let world = World::new(boot_deadline);
    let supervisor = world.running().await;
    world.image("two", 2, does);
    // The person's own request is fulfilled in the end, with the older image.
    restart(&supervisor).await;
    assert_eq!(supervisor.machine().phase, Phase::Running);
    assert_eq!(supervisor.machine().image.as_deref(), Some("one"));
    let mut expected = vec!["one".to_owned()];
    expected.extend(std::iter::repeat_n("two".to_owned(), starts));
    expected.push("one".into());
    assert_eq!(world.started(), expected);
    assert_eq!(told(&supervisor), [("image.roll_back".into(), "two did not come up".into())]);
    assert_eq!(world.noted().slots.current(), Some("one"));
    assert_eq!(role(&supervisor, "two").await, ImageRole::Refused);

    // Neither a restart nor another supervisor tries it again.
    restart(&supervisor).await;
    supervisor.leave().await;
    let supervisor = world.supervisor();
    until("the machine is taken over", || supervisor.machine().phase == Phase::Running).await;
    restart(&supervisor).await;
    assert_eq!(world.started().len(), expected.len() + 2);
    assert!(world.started()[expected.len()..].iter().all(|v| v == "one"));
    assert_eq!(role(&supervisor, "two").await, ImageRole::Refused);

    world.image("three", 3, Does::ComesUp);
    restart(&supervisor).await;
    assert_eq!(supervisor.machine().image.as_deref(), Some("three"), "a newer one gets its chance");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_with_which_nothing_starts_is_returned_from_and_refused() {
    fails_its_trial(Does::NeverStarts, DEADLINE, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_that_never_gets_ready_is_returned_from_and_refused() {
    fails_its_trial(Does::StaysSilent, Duration::from_secs(3), 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_whose_kernel_crashes_again_and_again_is_returned_from_and_refused() {
    fails_its_trial(Does::Panics, DEADLINE, 4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trial_goes_on_under_the_next_supervisor() {
    let world = World::new(Duration::from_secs(3));
    let first = world.running().await;
    world.image("two", 2, Does::StaysSilent);
    first.restart(&me()).await.unwrap();
    until("the trial has begun", || world.started().len() == 2).await;
    first.leave().await;
    assert!(world.noted().slots.trial.is_some());
    let second = world.supervisor();
    assert_eq!(role(&second, "two").await, ImageRole::Trial);
    assert_eq!(role(&second, "one").await, ImageRole::Fallback);
    let refused = second.remove_image("one".into(), &me()).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::Conflict, "what it may return to stays");
    until("it has returned", || world.started().last().unwrap() == "one" && world.started().len() == 3).await;
    until("it is up", || second.machine().phase == Phase::Running).await;
    assert_eq!(role(&second, "two").await, ImageRole::Refused);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lone_image_that_fails_is_told_and_not_refused() {
    let world = World::new(DEADLINE);
    let supervisor = world.running().await;
    world.stage.machine().does.insert("one".into(), Does::NeverStarts);
    let error = done(&supervisor, supervisor.restart(&me()).await).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::HypervisorFailed);
    until("it is seen as failed", || supervisor.machine().phase == Phase::Failed).await;
    assert_eq!(role(&supervisor, "one").await, ImageRole::Active);
    assert!(told(&supervisor).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_is_not_blamed_for_what_the_host_lacks() {
    let world = World::new(DEADLINE);
    let supervisor = world.running().await;
    world.image("two", 2, Does::FindsNoRoom);
    let error = done(&supervisor, supervisor.restart(&me()).await).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::DiskFull, "the person hears what is the matter");
    assert_eq!(role(&supervisor, "two").await, ImageRole::Trial);
    assert!(told(&supervisor).is_empty());
    world.stage.machine().does.insert("two".into(), Does::ComesUp);
    done(&supervisor, supervisor.start(false, &me()).await).await.unwrap();
    assert_eq!(supervisor.machine().image.as_deref(), Some("two"), "with room, it gets its trial");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_hangs_before_it_can_report_is_shown_with_what_its_console_said() {
    let world = World::new(Duration::from_millis(300));
    let supervisor = world.running().await;
    done(&supervisor, supervisor.stop(&me()).await).await.unwrap();
    world.stage.machine().does.insert("one".into(), Does::StaysSilent);
    std::fs::write(world.layout.serial_log(), "Run /init as init process\nwaiting for the root device\n").unwrap();
    let error = done(&supervisor, supervisor.start(false, &me()).await).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Timeout);
    until("it is seen as failed", || supervisor.machine().phase == Phase::Failed).await;
    let failure = supervisor.machine().failure.unwrap();
    assert_eq!(failure.last_words.last().map(String::as_str), Some("waiting for the root device"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_image_that_somebody_brings_again_gets_another_chance() {
    let world = World::new(DEADLINE);
    let supervisor = world.running().await;
    world.image("two", 2, Does::NeverStarts);
    restart(&supervisor).await;
    assert_eq!(role(&supervisor, "two").await, ImageRole::Refused);
    // It was the host's fault, say, and is mended.
    world.image("two", 2, Does::ComesUp);
    let source = world.layout.home().images().join("two").display().to_string();
    let request = ImageFetch { source: Some(source), sha256: None };
    done(&supervisor, supervisor.fetch_image(request, &me())).await.unwrap();
    assert_eq!(role(&supervisor, "two").await, ImageRole::Next);
    restart(&supervisor).await;
    assert_eq!(supervisor.machine().image.as_deref(), Some("two"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_stays_while_it_can_not_be_told_who_needs_it() {
    let world = World::new(DEADLINE);
    let supervisor = world.running().await;
    world.image("two", 2, Does::ComesUp);
    let other = world.layout.home().data().join("machines/other");
    std::fs::create_dir_all(&other).unwrap();
    std::fs::write(other.join("machine.json"), "{\"schema\": 99}").unwrap();
    let error = supervisor.remove_image("two".into(), &me()).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Conflict);
    assert!(error.message.contains("`other`") && !error.hint.is_empty(), "{error:?}");
    assert_eq!(role(&supervisor, "two").await, ImageRole::Next, "the list is shown all the same");
    std::fs::remove_dir_all(&other).unwrap();
    supervisor.remove_image("two".into(), &me()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_without_encryption_needs_a_checksum() {
    let world = World::new(DEADLINE);
    let supervisor = world.supervisor();
    let ask = |source: &str, sha256: Option<String>| {
        supervisor.fetch_image(ImageFetch { source: Some(source.into()), sha256 }, &me())
    };
    let error = ask("http://192.0.2.1/images/1/", None).unwrap_err();
    assert_eq!(error.code, ErrorCode::BadRequest);
    assert!(error.hint.contains("--sha256") && error.hint.contains("https://"), "{error:?}");
    // Here nobody is in between; and a checksum says what it must be.
    let task = ask("http://127.0.0.1:1/images/1/", None);
    assert_eq!(done(&supervisor, task).await.unwrap_err().code, ErrorCode::SourceUnreachable);
    let task = ask("http://192.0.2.1/images/1/", Some("ab".repeat(32))).unwrap();
    supervisor.tasks().cancel(&task.id).unwrap();
}
