//! Checks and proposals over recorded hosts.
#![allow(clippy::unwrap_used)] // a test may fail that way

use std::path::PathBuf;

use alcove_host::{HostSnapshot, Kvm, Qemu, checks_of, proposal_of};
use alcove_types::host::CheckStatus;

const GIB: u64 = 1 << 30;

/// A usual desktop computer, from which the others differ.
fn desktop() -> HostSnapshot {
    serde_json::from_str(include_str!("hosts/desktop.json")).expect("a recorded host")
}

fn statuses(host: &HostSnapshot) -> String {
    let line = |c: alcove_types::host::Check| {
        assert_eq!(
            c.hint.is_empty(),
            c.status == CheckStatus::Ok,
            "{}: a hint exactly when something needs doing",
            c.id
        );
        assert!(!c.message.is_empty() && !c.title.is_empty());
        format!("{}={}", c.id, serde_json::to_value(c.status).unwrap().as_str().unwrap())
    };
    checks_of(host).into_iter().map(line).collect::<Vec<_>>().join(" ")
}

fn found(host: &HostSnapshot, id: &str) -> (CheckStatus, String, String) {
    let check = checks_of(host).into_iter().find(|c| c.id == id).expect("the check");
    (check.status, check.message, check.hint)
}

#[test]
fn a_usual_desktop_is_fine() {
    let all = "virtualisation=ok qemu=ok memory=ok processors=ok disk=ok ports=ok time=ok";
    assert_eq!(statuses(&desktop()), all);
    let proposal = proposal_of(&desktop());
    assert_eq!((proposal.setup.memory_bytes, proposal.setup.cpus), (4 * GIB, 4));
    assert_eq!(proposal.setup.disk_bytes, 64 * GIB);
    assert_eq!((proposal.least.memory_bytes, proposal.most.memory_bytes), (2 * GIB, 12 * GIB + GIB / 4));
    assert_eq!((proposal.least.cpus, proposal.most.cpus), (2, 8));
}

#[test]
fn every_kind_of_virtualisation_has_its_hint() {
    for (kvm, cpu, status, word) in [
        (Kvm::Opens, true, CheckStatus::Ok, ""),
        (Kvm::Refused, true, CheckStatus::Warn, "usermod"),
        (Kvm::Missing, true, CheckStatus::Warn, "modprobe"),
        (Kvm::Missing, false, CheckStatus::Warn, "firmware"),
    ] {
        let host = HostSnapshot { kvm, cpu_virtualises: cpu, ..desktop() };
        let (found, _, hint) = found(&host, "virtualisation");
        assert_eq!(found, status);
        assert!(hint.contains(word), "{hint}");
    }
}

#[test]
fn a_qemu_that_can_not_be_used_is_quoted() {
    let qemu = Qemu::Unusable { message: "QEMU is not installed".into(), hint: "Install it.".into() };
    let host = HostSnapshot { qemu, ..desktop() };
    let expected = (CheckStatus::Fail, "QEMU is not installed".to_owned(), "Install it.".to_owned());
    assert_eq!(found(&host, "qemu"), expected);
    assert_eq!(host.facts().qemu, None);
    assert_eq!(desktop().facts().qemu.as_deref(), Some("10.0.2"));
}

#[test]
fn half_of_what_is_free_stays_the_computers() {
    let proposal = proposal_of(&HostSnapshot { disk_free_bytes: Some(45 * GIB), ..desktop() });
    assert_eq!((proposal.setup.disk_bytes, proposal.most.disk_bytes), (22 * GIB, 43 * GIB));
}

#[test]
fn a_small_laptop_gets_a_small_machine() {
    let host = HostSnapshot {
        memory_bytes: 4 * GIB,
        memory_available_bytes: GIB,
        cpus: 2,
        disk_free_bytes: Some(15 * GIB),
        ..desktop()
    };
    assert_eq!(statuses(&host), "virtualisation=ok qemu=ok memory=warn processors=ok disk=warn ports=ok time=ok");
    let proposal = proposal_of(&host);
    assert_eq!((proposal.setup.memory_bytes, proposal.setup.cpus), (2 * GIB, 2));
    assert_eq!((proposal.setup.disk_bytes, proposal.most.disk_bytes), (10 * GIB, 13 * GIB));
    assert_eq!(proposal.most.memory_bytes, 2 * GIB + GIB / 2);
}

#[test]
fn a_host_that_can_not_says_so() {
    let host = HostSnapshot {
        memory_bytes: 2 * GIB,
        disk_free_bytes: Some(GIB),
        architecture: "aarch64".into(),
        loopback_problem: Some("Cannot assign requested address".into()),
        unix_time: 1_000,
        ..desktop()
    };
    assert_eq!(statuses(&host), "virtualisation=ok qemu=ok memory=fail processors=fail disk=fail ports=fail time=fail");
    let host = HostSnapshot { folder_problem: Some("Permission denied".into()), ..desktop() };
    assert_eq!(found(&host, "disk").1, "/home/ada/.local/share/alcove can't be written to (Permission denied)");
}

#[test]
fn limits_always_hold() {
    for memory in [0, GIB, 3 * GIB, 4 * GIB, 8 * GIB, 16 * GIB, 24 * GIB, 64 * GIB, 512 * GIB] {
        for cpus in [0, 1, 2, 3, 8, 256] {
            for disk in [None, Some(0), Some(5 * GIB), Some(11 * GIB), Some(100 * GIB), Some(u64::MAX)] {
                let host = HostSnapshot { memory_bytes: memory, cpus, disk_free_bytes: disk, ..desktop() };
                let p = proposal_of(&host);
                for [least, setup, most] in [
                    [p.least.memory_bytes, p.setup.memory_bytes, p.most.memory_bytes],
                    [p.least.cpus.into(), p.setup.cpus.into(), p.most.cpus.into()],
                    [p.least.disk_bytes, p.setup.disk_bytes, p.most.disk_bytes],
                ] {
                    assert!(least <= setup && setup <= most, "{host:?}");
                }
                assert!(p.least.cpus >= 1);
                assert_eq!(p.setup.memory_bytes % (GIB / 4), 0);
            }
        }
    }
}

#[test]
fn a_container_with_one_processor_and_no_clock_service() {
    let host = HostSnapshot {
        cpus: 1,
        clock_synchronised: None,
        data_folder: PathBuf::from("/data"),
        disk_free_bytes: None,
        ..desktop()
    };
    assert_eq!(statuses(&host), "virtualisation=ok qemu=ok memory=ok processors=warn disk=warn ports=ok time=ok");
    assert_eq!(proposal_of(&host).setup.cpus, 1);
}
