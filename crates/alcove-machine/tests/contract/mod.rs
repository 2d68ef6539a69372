//! What every provider must do. A provider's tests give a [`Subject`]; the rest is here.

#![allow(unreachable_pub, clippy::unwrap_used, clippy::panic, reason = "shared by several test programs")]

use std::{future::Future, time::Duration};

use alcove_machine::{
    MachineError, MachineSpec, Power, Provider, ProviderEvent, StartOptions, image::Image, provider::On,
    state::Validity,
};
use alcove_types::machine::SnapshotRequest;

/// A machine of the provider that is tested, not made yet.
pub trait Subject {
    /// A provider for the machine, made anew: as by a supervisor that was killed and started again.
    fn provider(&self) -> Box<dyn Provider>;
    fn spec(&self) -> &MachineSpec;
    fn image(&self) -> &Image;
    /// Whether the guest listens to its power button.
    fn has_power_button(&self) -> bool;
    /// Waits until the guest has counted further than this; how far it is.
    fn count_after(&self, count: u64) -> impl Future<Output = u64>;
}

async fn on(provider: &dyn Provider) -> On {
    match provider.observe().await.unwrap().power {
        Power::On(on) => on,
        other => panic!("the machine is {other:?}"),
    }
}

async fn off(provider: &dyn Provider) -> bool {
    provider.observe().await.unwrap().power == Power::Off
}

fn wrong_state<T: std::fmt::Debug>(result: Result<T, MachineError>) {
    let error = result.unwrap_err();
    assert!(matches!(error, MachineError::WrongState { .. }), "{error:?}");
    assert!(!error.api().hint.is_empty());
}

/// A machine's whole life, every step seen through a fresh provider too.
pub async fn whole_life(subject: &impl Subject) {
    let (spec, image) = (subject.spec(), subject.image());
    let supervisor = subject.provider();
    let provider = supervisor.as_ref();

    // Nothing is there, and nothing that needs a machine works.
    assert_eq!(provider.observe().await.unwrap().power, Power::Absent);
    wrong_state(provider.start(spec, image, StartOptions::default()).await);
    wrong_state(provider.suspend().await);
    wrong_state(provider.console().await);
    assert!(provider.list_snapshots().await.unwrap().is_empty());
    provider.stop(Duration::from_secs(1)).await.unwrap();
    provider.kill().await.unwrap();

    // Preparing can be repeated.
    provider.prepare(spec, image).await.unwrap();
    provider.prepare(spec, image).await.unwrap();
    let observation = provider.observe().await.unwrap();
    assert_eq!(observation.power, Power::Off);
    assert_eq!(observation.disk.unwrap().total, spec.setup.disk_bytes);
    assert!(provider.state(spec, image).await.unwrap().is_none());
    assert!(matches!(provider.resume(spec, image).await, Err(MachineError::StateInvalid(_))));

    // Started, it runs, and a second start is refused.
    let started = provider.start(spec, image, StartOptions::default()).await.unwrap();
    assert!(started.door.ip().is_loopback());
    let seen = on(provider).await;
    assert_eq!((seen.standstill, seen.door, seen.image.as_deref()), (None, Some(started.door), Some(image.version())));
    assert!(seen.rss_bytes.unwrap() > 0);
    let count = subject.count_after(0).await;
    wrong_state(provider.start(spec, image, StartOptions::default()).await);
    wrong_state(provider.destroy().await);
    wrong_state(provider.snapshot(&SnapshotRequest { name: "no".into(), note: String::new() }, image).await);
    provider.prepare(spec, image).await.unwrap();

    // A supervisor that is killed lets go of its connection; the next one takes over.
    drop(supervisor);
    if subject.provider().capabilities().suspend {
        suspend_and_resume(subject, count).await;
    }
    let supervisor = subject.provider();
    let provider = supervisor.as_ref();
    if provider.capabilities().grow_disk {
        let more = spec.setup.disk_bytes + (64 << 20);
        provider.grow_disk(more).await.unwrap();
        assert_eq!(provider.observe().await.unwrap().disk.unwrap().total, more);
        assert!(matches!(provider.grow_disk(more - (1 << 20)).await, Err(MachineError::BadRequest { .. })));
    }

    // It ends: by its power button where it has one, else by force.
    let mut events = provider.events().await.unwrap();
    if subject.has_power_button() {
        provider.stop(Duration::from_secs(60)).await.unwrap();
    } else {
        let error = provider.stop(Duration::from_millis(100)).await.unwrap_err();
        assert!(matches!(error, MachineError::Timeout { .. }), "{error:?}");
        provider.kill().await.unwrap();
    }
    assert!(off(provider).await);
    exited(&mut events).await;

    drop(supervisor);
    if subject.provider().capabilities().snapshot {
        snapshots(subject).await;
    }
    let provider = subject.provider();
    provider.destroy().await.unwrap();
    provider.destroy().await.unwrap();
    assert_eq!(provider.observe().await.unwrap().power, Power::Absent);
}

async fn exited(events: &mut tokio::sync::broadcast::Receiver<ProviderEvent>) -> ProviderEvent {
    let wait = async {
        loop {
            if let event @ ProviderEvent::Exited { .. } = events.recv().await.unwrap() {
                break event;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wait).await.expect("an Exited event")
}

async fn suspend_and_resume(subject: &impl Subject, count: u64) {
    let (spec, image) = (subject.spec(), subject.image());
    // A fresh provider adopts the machine that an earlier one started.
    let supervisor = subject.provider();
    let fresh = supervisor.as_ref();
    let mut events = fresh.events().await.unwrap();
    let suspended = fresh.suspend().await.unwrap();
    assert!(suspended.bytes > 0);
    exited(&mut events).await;
    let Power::Suspended { state } = fresh.observe().await.unwrap().power else { panic!("not suspended") };
    assert_eq!(state.fingerprint.image, image.version());
    assert!(matches!(fresh.state(spec, image).await.unwrap(), Some(Validity::Usable(_))));
    wrong_state(fresh.grow_disk(spec.setup.disk_bytes + (1 << 30)).await);
    fresh.prepare(spec, image).await.unwrap();
    drop(supervisor);

    // Another one resumes it: the guest goes on counting where it was.
    let other = subject.provider();
    let other = other.as_ref();
    other.resume(spec, image).await.unwrap();
    let seen = on(other).await;
    assert_eq!(seen.standstill, None);
    let further = subject.count_after(count).await;
    assert!(further > count && further < count + 10_000);
    assert!(other.state(spec, image).await.unwrap().is_none(), "a state is used once");
}

async fn snapshots(subject: &impl Subject) {
    let (spec, image) = (subject.spec(), subject.image());
    let provider = subject.provider();
    let provider = provider.as_ref();
    let request = |name: &str| SnapshotRequest { name: name.into(), note: "before the upgrade".into() };
    assert!(matches!(provider.snapshot(&request("../evil"), image).await, Err(MachineError::BadRequest { .. })));
    let cold = provider.snapshot(&request("cold"), image).await.unwrap();
    assert!(!cold.with_memory);
    assert!(matches!(provider.snapshot(&request("cold"), image).await, Err(MachineError::Exists(_))));

    provider.start(spec, image, StartOptions::default()).await.unwrap();
    let count = subject.count_after(0).await;
    provider.suspend().await.unwrap();
    let warm = provider.snapshot(&request("warm"), image).await.unwrap();
    assert!(warm.with_memory && warm.state_bytes > 0);
    assert_eq!(
        provider.list_snapshots().await.unwrap().iter().map(|s| s.name.as_str()).collect::<Vec<_>>(),
        ["cold", "warm"]
    );

    // The suspended machine can still be resumed, and the snapshot stays usable, more than once.
    for _ in 0..2 {
        provider.resume(spec, image).await.unwrap();
        subject.count_after(count).await;
        provider.kill().await.unwrap();
        assert!(off(provider).await);
        provider.restore("warm").await.unwrap();
        assert!(matches!(provider.observe().await.unwrap().power, Power::Suspended { .. }));
    }
    provider.restore("cold").await.unwrap();
    assert!(off(provider).await);
    provider.delete_snapshot("cold").await.unwrap();
    provider.delete_snapshot("warm").await.unwrap();
    assert!(matches!(provider.restore("warm").await, Err(MachineError::NotFound(_))));
    assert!(provider.list_snapshots().await.unwrap().is_empty());
}
