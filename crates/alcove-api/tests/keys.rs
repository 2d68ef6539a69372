//! A keychain that is locked while a machine runs: the machine is out of reach only for as long as that.
#![allow(clippy::unwrap_used)] // a test may fail that way

mod common;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use alcove_machine::secrets::{Ask, Keep, Patient, SecretStore, Trouble, Vault};
use alcove_types::{host::CheckStatus, machine::Phase};
use common::World;

/// A keychain in memory. It is in the process's vault, so this file has one test.
#[derive(Default)]
struct Memory {
    items: Mutex<HashMap<String, String>>,
    locked: AtomicBool,
}

impl Memory {
    fn open(&self) -> Result<(), Trouble> {
        if self.locked.load(Ordering::SeqCst) { Err(Trouble::Locked) } else { Ok(()) }
    }
}

impl SecretStore for Memory {
    fn look(&self, _: Option<&str>) -> Result<(), Trouble> {
        self.open()
    }

    fn get(&self, item: &str, ask: Ask) -> Result<Option<String>, Trouble> {
        assert_eq!(ask, Ask::Nobody, "nobody asked for the machine");
        self.open()?;
        Ok(self.items.lock().unwrap().get(item).cloned())
    }

    fn set(&self, item: &str, _: &str, secret: &str) -> Result<(), Trouble> {
        self.open()?;
        self.items.lock().unwrap().insert(item.into(), secret.into());
        Ok(())
    }

    fn delete(&self, item: &str) -> Result<(), Trouble> {
        self.items.lock().unwrap().remove(item);
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_whose_keychain_is_locked_is_taken_over_when_it_opens() {
    let keychain = Arc::<Memory>::default();
    let vault = || Vault::new(Keep::Keychain, Some(Patient::new(keychain.clone())));
    // The supervisor that made the keys has died, and what it knew with it.
    let world = World::with_keys(true, |layout| {
        let keys = vault().ensure(layout).unwrap();
        assert_eq!(keychain.items.lock().unwrap().len(), 1);
        keychain.locked.store(true, Ordering::SeqCst);
        vault().install();
        keys
    })
    .await;
    let told = |w: &World| w.supervisor.machine().conditions.into_iter().find(|c| c.kind == "KeysReadable");
    world.until("it is told", |w| told(w).is_some()).await;
    let condition = told(&world).unwrap();
    assert!(condition.message.contains("locked") && condition.hint.contains("Unlock"), "{condition:?}");
    assert_eq!(world.phase(), Phase::Starting);
    let facts = world.supervisor.host().await.unwrap();
    assert_eq!((facts.secrets.as_str(), facts.secrets_why.as_str()), ("keychain", "keychain_locked"));
    let checks = world.supervisor.doctor().await.unwrap().checks;
    assert_eq!(checks.iter().find(|c| c.id == "secrets").unwrap().status, CheckStatus::Warn);

    keychain.locked.store(false, Ordering::SeqCst);
    world.until("it is taken over", |w| w.phase() == Phase::Running).await;
    assert!(told(&world).is_none());
    // Locked again, it costs nothing.
    keychain.locked.store(true, Ordering::SeqCst);
    assert_eq!(world.supervisor.host().await.unwrap().secrets_why, "keychain_runs");
    world.wants(32);
    world.until("the guest is reached", |w| w.guest.grown() == 1).await;
}
