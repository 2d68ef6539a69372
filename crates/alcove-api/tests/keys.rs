//! A keychain that is locked while a machine runs: the machine is out of reach only for as long as that.
#![allow(clippy::unwrap_used)] // a test may fail that way

mod common;

use std::{
    collections::HashMap,
    fs,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use alcove_machine::{
    MachineSpec,
    credentials::Credentials,
    secrets::{Ask, Keep, Patient, SecretStore, Trouble, Vault},
};
use alcove_types::{guest::Account, host::CheckStatus, machine::Phase};
use common::{DEADLINE, Does, SETUP, World, until, wants};
use serde_json::json;

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

/// A machine that runs, as a supervisor which was killed left it.
async fn left_running(world: &World, keys: &Credentials) {
    world.image("one", 1, Does::ComesUp);
    let account = Account { name: "ada".into(), display_name: "Ada".into() };
    let spec = MachineSpec::new(world.layout.instance().clone(), SETUP, account, "one").unwrap();
    spec.save(&world.layout).unwrap();
    let settings = json!({ "schema": 1, "machine": SETUP });
    fs::write(world.layout.settings_json(), settings.to_string()).unwrap();
    let wanted = json!({ "desired": "running", "generation": 1, "at_work": true });
    fs::write(world.layout.machine().join("desired.json"), wanted.to_string()).unwrap();
    world.stage.machine().disk = SETUP.disk_bytes;
    world.stage.switch_on("one", &keys.door).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_whose_keychain_is_locked_is_taken_over_when_it_opens() {
    let keychain = Arc::<Memory>::default();
    let vault = || Vault::new(Keep::Keychain, Some(Patient::new(keychain.clone())));
    let world = World::new(DEADLINE);
    world.layout.create().unwrap();
    // The supervisor that made the keys has died, and what it knew with it.
    left_running(&world, &vault().ensure(&world.layout).unwrap()).await;
    assert_eq!(keychain.items.lock().unwrap().len(), 1);
    keychain.locked.store(true, Ordering::SeqCst);
    vault().install();
    let supervisor = world.supervisor();
    let told = || supervisor.machine().conditions.into_iter().find(|c| c.kind == "KeysReadable");
    until("it is told", || told().is_some()).await;
    let condition = told().unwrap();
    assert!(condition.message.contains("locked") && condition.hint.contains("Unlock"), "{condition:?}");
    assert_eq!(supervisor.machine().phase, Phase::Starting);
    let facts = supervisor.host().await.unwrap();
    assert_eq!((facts.secrets.as_str(), facts.secrets_why.as_str()), ("keychain", "keychain_locked"));
    let checks = supervisor.doctor().await.unwrap().checks;
    assert_eq!(checks.iter().find(|c| c.id == "secrets").unwrap().status, CheckStatus::Warn);

    keychain.locked.store(false, Ordering::SeqCst);
    until("it is taken over", || supervisor.machine().phase == Phase::Running).await;
    assert!(told().is_none());
    // Locked again, it costs nothing.
    keychain.locked.store(true, Ordering::SeqCst);
    assert_eq!(supervisor.host().await.unwrap().secrets_why, "keychain_runs");
    wants(&supervisor, 32);
    until("the guest is reached", || world.grown().1 == 1).await;
}
