//! Snapshots of a machine that the stand-in runs: whoever dies in the midst of one, no memory is lost.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod common;

use std::{fs, io::Write};

use alcove_machine::{
    MachineError, Power, Provider, QemuProvider, StartOptions,
    state::{Reason, Validity},
};
use alcove_types::{ErrorCode, machine::SnapshotRequest};
use common::{Bench, eventually};
use tokio::runtime::Runtime;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Doing {
    Create,
    Restore,
    Delete,
}

const ALL: [Doing; 3] = [Doing::Create, Doing::Restore, Doing::Delete];

fn request(name: &str) -> SnapshotRequest {
    SnapshotRequest { name: name.into(), note: String::new() }
}

/// A suspended machine with a snapshot `kept`; how far it had counted by then.
async fn suspended() -> (Bench, QemuProvider, u64) {
    let bench = Bench::standin();
    let provider = bench.provider();
    provider.prepare(&bench.spec, &bench.image).await.unwrap();
    provider.start(&bench.spec, &bench.image, StartOptions::default()).await.unwrap();
    bench.tick_after(0).await;
    provider.suspend().await.unwrap();
    provider.snapshot(&request("kept"), &bench.image).await.unwrap();
    let count = bench.ticks();
    (bench, provider, count)
}

async fn work(bench: &Bench, provider: &QemuProvider, doing: Doing) -> Result<(), MachineError> {
    match doing {
        Doing::Create => provider.snapshot(&request("new"), &bench.image).await.map(drop),
        Doing::Restore => provider.restore("kept").await.map(drop),
        Doing::Delete => provider.delete_snapshot("kept").await,
    }
}

/// The machine's memory is there and is its own.
async fn resumes(bench: &Bench, provider: &QemuProvider, count: u64) {
    let power = provider.observe().await.unwrap().power;
    assert!(matches!(power, Power::Suspended { .. }), "{power:?}");
    let state = provider.state(&bench.spec, &bench.image).await.unwrap();
    assert!(matches!(state, Some(Validity::Usable(_))), "{state:?}");
    provider.resume(&bench.spec, &bench.image).await.unwrap();
    assert!(bench.tick_after(count).await < count + 10_000);
    assert!(!bench.layout.moving_json().exists());
}

fn names(snapshots: &[alcove_types::machine::Snapshot]) -> Vec<&str> {
    snapshots.iter().map(|s| s.name.as_str()).collect()
}

/// The tool has changed the disk's file, and the supervisor dies before it has noted so.
#[test]
fn a_supervisor_that_is_killed_beside_its_disk_tool_loses_no_memory() {
    for doing in ALL {
        let first = Runtime::new().unwrap();
        let (bench, count) = first.block_on(async {
            let (bench, provider, count) = suspended().await;
            bench.script("hold=after:snapshot");
            let held = bench.dir.path().join("bin/held");
            tokio::select! {
                ended = work(&bench, &provider, doing) => panic!("{doing:?} ended: {ended:?}"),
                () = eventually("the disk tool has done its work", || held.exists()) => {}
            }
            (bench, count)
        });
        // All that ran in it ends where it stands, and the locks go.
        drop(first);
        bench.script("");
        Runtime::new().unwrap().block_on(async {
            let provider = bench.provider();
            resumes(&bench, &provider, count).await;
            provider.suspend().await.unwrap();
            let left = provider.list_snapshots().await.unwrap();
            let expected: &[&str] = if doing == Doing::Delete { &[] } else { &["kept"] };
            assert_eq!(names(&left), expected, "{doing:?} is ended or given up, never half done");
            // It can be asked for again.
            provider.snapshot(&request("new"), &bench.image).await.unwrap();
            resumes(&bench, &provider, count).await;
        });
    }
}

/// The tool fails after it has changed the disk's file, as on a full disk.
#[tokio::test]
async fn a_disk_tool_that_fails_half_way_loses_no_memory() {
    for doing in ALL {
        let (bench, provider, count) = suspended().await;
        bench.script("snapshot-fails-late=Failed to write: No space left on device");
        let error = work(&bench, &provider, doing).await.unwrap_err();
        assert_eq!(error.api().code, ErrorCode::DiskFull, "{doing:?}");
        bench.script("");
        assert!(!bench.layout.moving_json().exists());
        if doing == Doing::Restore {
            // Nobody knows which disk it is now, so neither memory may be put beside it. The snapshot is there still.
            let state = provider.state(&bench.spec, &bench.image).await.unwrap();
            assert_eq!(state, Some(Validity::Discard(Reason::DiskChanged)));
            work(&bench, &provider, doing).await.unwrap();
        }
        resumes(&bench, &provider, count).await;
        provider.suspend().await.unwrap();
        if doing != Doing::Restore {
            work(&bench, &provider, doing).await.unwrap();
        }
        resumes(&bench, &provider, count).await;
    }
}

/// What somebody else did to the disk is nothing that a snapshot may cover up.
#[tokio::test]
async fn a_disk_that_was_really_changed_stays_refused() {
    for doing in [Doing::Create, Doing::Delete] {
        let (bench, provider, _) = suspended().await;
        fs::OpenOptions::new().append(true).open(bench.layout.data_disk()).unwrap().write_all(b"x").unwrap();
        let ended = work(&bench, &provider, doing).await;
        let refused = matches!(ended, Err(MachineError::StateInvalid(Reason::DiskChanged)));
        assert!(refused || doing == Doing::Delete && ended.is_ok(), "{ended:?}");
        let state = provider.state(&bench.spec, &bench.image).await.unwrap();
        assert_eq!(state, Some(Validity::Discard(Reason::DiskChanged)), "{doing:?}");
    }
    // Nor after one that ended well.
    let (bench, provider, _) = suspended().await;
    fs::OpenOptions::new().append(true).open(bench.layout.data_disk()).unwrap().write_all(b"x").unwrap();
    let state = provider.state(&bench.spec, &bench.image).await.unwrap();
    assert_eq!(state, Some(Validity::Discard(Reason::DiskChanged)));
}
