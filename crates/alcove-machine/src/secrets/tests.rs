#![allow(clippy::unwrap_used)] // a test may fail that way

use std::{
    collections::HashMap,
    fs,
    path::Path,
    sync::{Arc, Condvar, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use super::{
    Ask, Keep, Kept, Patient, Reason, SecretStore, Trouble, Vault,
    place::{Holder, Place},
};
use crate::{Home, Layout, MachineError, credentials::Credentials};

/// A keychain in memory, with everything that can be wrong with one.
#[derive(Default)]
struct Memory {
    items: Mutex<HashMap<String, String>>,
    mood: Mutex<Mood>,
    /// A hanging access goes on when this is set.
    released: (Mutex<bool>, Condvar),
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Mood {
    #[default]
    Open,
    /// Locked; a person who is asked types the password, or not.
    Locked {
        opens: bool,
    },
    Gone,
    Fails,
    Hangs,
    /// Takes secrets and keeps something else.
    Garbles,
}

impl Memory {
    fn is(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    fn items(&self) -> MutexGuard<'_, HashMap<String, String>> {
        self.items.lock().unwrap()
    }

    fn access(&self, ask: Ask) -> Result<(), Trouble> {
        let mood = *self.mood.lock().unwrap();
        match mood {
            Mood::Open | Mood::Garbles => Ok(()),
            Mood::Locked { opens: true } if ask == Ask::Person => {
                self.is(Mood::Open);
                Ok(())
            }
            Mood::Locked { .. } => Err(Trouble::Locked),
            Mood::Gone => Err(Trouble::Absent("nobody answers".into())),
            Mood::Fails => Err(Trouble::Failed("broken".into())),
            Mood::Hangs => {
                let released = self.released.0.lock().unwrap();
                let _end = self.released.1.wait_while(released, |released| !*released).unwrap();
                Ok(())
            }
        }
    }
}

impl SecretStore for Memory {
    fn look(&self, _: Option<&str>) -> Result<(), Trouble> {
        self.access(Ask::Nobody)
    }

    fn get(&self, item: &str, ask: Ask) -> Result<Option<String>, Trouble> {
        self.access(ask)?;
        Ok(self.items().get(item).cloned())
    }

    fn set(&self, item: &str, _: &str, secret: &str) -> Result<(), Trouble> {
        self.access(Ask::Nobody)?;
        let garbles = *self.mood.lock().unwrap() == Mood::Garbles;
        let kept = if garbles { secret.to_uppercase() } else { secret.to_owned() };
        self.items().insert(item.into(), kept);
        Ok(())
    }

    fn delete(&self, item: &str) -> Result<(), Trouble> {
        self.access(Ask::Nobody)?;
        self.items().remove(item);
        Ok(())
    }
}

struct Bench {
    _dir: tempfile::TempDir,
    layout: Layout,
    keychain: Arc<Memory>,
}

/// Deadlines of a keychain that answers, however busy the computer, and of one that never does.
const AMPLE: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_millis(100);

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(Home::at(dir.path()).unwrap(), "test".parse().unwrap());
        layout.create().unwrap();
        Self { _dir: dir, layout, keychain: Arc::default() }
    }

    /// As a process that has just started has it.
    fn vault(&self, keep: Keep) -> Vault {
        let hangs = matches!(*self.keychain.mood.lock().unwrap(), Mood::Hangs);
        let deadline = if hangs { SOON } else { AMPLE };
        Vault::new(keep, Some(Patient::with_deadlines(self.keychain.clone(), deadline, deadline * 2)))
    }

    fn folder(&self) -> std::path::PathBuf {
        self.layout.credentials()
    }

    fn key_files(&self) -> usize {
        ["door-server.key", "door-client.key", "identity.key"].iter().filter(|n| self.folder().join(n).exists()).count()
    }

    fn holder(&self) -> Option<Holder> {
        Place::read(&self.folder()).unwrap().map(|p| p.keys)
    }

    /// The keys are in one place, whole, and a process that has just started reads them from there.
    fn reads_back(&self, keep: Keep, keys: &Credentials) {
        assert_eq!(self.vault(keep).load(&self.layout, Ask::Nobody).unwrap().as_ref(), Some(keys));
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        *self.keychain.released.0.lock().unwrap() = true;
        self.keychain.released.1.notify_all();
        let _ = fs::remove_dir_all(self.layout.runtime());
    }
}

fn text_of(folder: &Path) -> String {
    let files = fs::read_dir(folder).unwrap().flatten();
    files.map(|f| fs::read_to_string(f.path()).unwrap()).collect::<Vec<_>>().join("\n")
}

#[test]
fn keys_of_a_new_machine_lie_in_the_keychain_alone() {
    let bench = Bench::new();
    let vault = bench.vault(Keep::Keychain);
    assert!(vault.kept(&bench.layout).in_keychain, "where they are going to lie");
    let keys = vault.ensure(&bench.layout).unwrap();
    assert_eq!((bench.key_files(), bench.keychain.items().len()), (0, 1));
    let files = text_of(&bench.folder());
    assert!(!files.contains("PRIVATE KEY") && !files.contains(&keys.identity_key));
    bench.reads_back(Keep::Keychain, &keys);
    assert_eq!(vault.kept(&bench.layout), Kept { in_keychain: true, reason: Reason::KeychainRuns, trouble: None });
    // What is destroyed leaves nothing behind.
    vault.forget(&bench.layout);
    assert!(bench.keychain.items().is_empty());
}

#[test]
fn without_a_usable_keychain_keys_lie_in_files_and_move_in_later() {
    for (mood, trouble) in [
        (Mood::Gone, Trouble::Absent("nobody answers".into())),
        (Mood::Locked { opens: true }, Trouble::Locked),
        (Mood::Fails, Trouble::Failed("broken".into())),
    ] {
        let bench = Bench::new();
        bench.keychain.is(mood);
        let vault = bench.vault(Keep::Keychain);
        let keys = vault.ensure(&bench.layout).unwrap();
        assert_eq!((bench.key_files(), bench.keychain.items().len()), (3, 0));
        assert_eq!(
            vault.kept(&bench.layout),
            Kept { in_keychain: false, reason: Reason::Unusable(trouble), trouble: None }
        );
        bench.reads_back(Keep::Keychain, &keys);
        bench.keychain.is(Mood::Open);
        assert_eq!(bench.vault(Keep::Keychain).kept(&bench.layout).reason, Reason::NextStart);
        let again = bench.vault(Keep::Keychain).for_start(&bench.layout).unwrap();
        assert_eq!(again.as_ref(), Some(&keys), "the same keys");
        assert_eq!((bench.key_files(), bench.keychain.items().len()), (0, 1));
        bench.reads_back(Keep::Keychain, &keys);
    }
}

#[test]
fn files_stay_until_the_keychain_has_given_the_keys_back() {
    let bench = Bench::new();
    bench.keychain.is(Mood::Garbles);
    let vault = bench.vault(Keep::Keychain);
    let keys = vault.ensure(&bench.layout).unwrap();
    assert_eq!((bench.key_files(), bench.keychain.items().len(), bench.holder()), (3, 0, None));
    assert!(matches!(vault.kept(&bench.layout).reason, Reason::Unusable(Trouble::Failed(_))));
    bench.reads_back(Keep::Keychain, &keys);
}

#[test]
fn a_keychain_that_hangs_costs_a_deadline_and_no_more() {
    let bench = Bench::new();
    bench.keychain.is(Mood::Hangs);
    let began = Instant::now();
    let keys = bench.vault(Keep::Keychain).ensure(&bench.layout).unwrap();
    assert!(began.elapsed() < Duration::from_secs(10));
    bench.reads_back(Keep::Keychain, &keys);

    // It holds the keys and hangs: an error that says so, in time, and again without another thread.
    let bench = Bench::new();
    let keys = bench.vault(Keep::Keychain).ensure(&bench.layout).unwrap();
    bench.keychain.is(Mood::Hangs);
    let vault = bench.vault(Keep::Keychain);
    for _ in 0..3 {
        let error = vault.load(&bench.layout, Ask::Nobody).unwrap_err();
        assert!(matches!(error, MachineError::Keychain(Trouble::Slow(_))), "{error}");
        assert_eq!(error.api().code, alcove_types::ErrorCode::Timeout);
    }
    // And when it answers at last, all is well.
    bench.keychain.is(Mood::Open);
    *bench.keychain.released.0.lock().unwrap() = true;
    bench.keychain.released.1.notify_all();
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        match vault.load(&bench.layout, Ask::Nobody) {
            Ok(read) => break assert_eq!(read, Some(keys)),
            Err(error) => assert!(Instant::now() < until, "{error}"),
        }
    }
}

#[test]
fn a_locked_keychain_says_so_and_opens_for_a_person_who_starts_the_machine() {
    let bench = Bench::new();
    let vault = bench.vault(Keep::Keychain);
    let keys = vault.ensure(&bench.layout).unwrap();
    bench.keychain.is(Mood::Locked { opens: false });
    // Who has read them knows them.
    assert_eq!(vault.load(&bench.layout, Ask::Nobody).unwrap().as_ref(), Some(&keys));
    assert_eq!(vault.kept(&bench.layout).trouble, None);

    let vault = bench.vault(Keep::Keychain);
    for error in [
        vault.load(&bench.layout, Ask::Nobody).unwrap_err(),
        vault.for_start(&bench.layout).unwrap_err(),
        vault.ensure(&bench.layout).unwrap_err(),
    ] {
        let error = error.api();
        assert_eq!(error.code, alcove_types::ErrorCode::WrongState);
        assert!(error.message.contains("locked") && error.hint.contains("Unlock"), "{error:?}");
    }
    assert_eq!(vault.kept(&bench.layout).trouble, Some(Trouble::Locked));
    bench.keychain.is(Mood::Locked { opens: true });
    assert!(vault.load(&bench.layout, Ask::Nobody).is_err(), "looking asks nobody");
    assert_eq!(vault.for_start(&bench.layout).unwrap(), Some(keys));
}

#[test]
fn keys_that_the_keychain_has_lost_are_made_anew_when_the_machine_boots() {
    let bench = Bench::new();
    let old = bench.vault(Keep::Keychain).ensure(&bench.layout).unwrap();
    bench.keychain.items().clear();
    let vault = bench.vault(Keep::Keychain);
    assert!(matches!(vault.load(&bench.layout, Ask::Nobody), Err(MachineError::KeysLost)));
    assert!(matches!(vault.for_start(&bench.layout), Err(MachineError::KeysLost)), "a saved guest knows the old ones");
    let new = vault.ensure(&bench.layout).unwrap();
    assert_ne!(new.door, old.door);
    assert_ne!(new.identity_key, old.identity_key);
    assert_eq!(new.token, old.token, "a cluster does not come up with another token");
    bench.reads_back(Keep::Keychain, &new);
}

#[test]
fn a_keychain_that_is_gone_is_given_up_on_only_when_files_are_asked_for() {
    let bench = Bench::new();
    let old = bench.vault(Keep::Keychain).ensure(&bench.layout).unwrap();
    bench.keychain.is(Mood::Gone);
    for keep in [Keep::Keychain, Keep::Files] {
        let error = bench.vault(keep).for_start(&bench.layout).unwrap_err().api();
        assert!(error.hint.contains("ALCOVE_SECRETS=file"), "{error:?}");
    }
    assert!(bench.vault(Keep::Keychain).ensure(&bench.layout).is_err());
    let new = bench.vault(Keep::Files).ensure(&bench.layout).unwrap();
    assert_ne!(new.door, old.door);
    assert_eq!((bench.key_files(), bench.holder()), (3, Some(Holder::FilesStill)));
    // Should it come back, its old entry goes, and the keys of now stay.
    bench.keychain.is(Mood::Open);
    assert_eq!(bench.vault(Keep::Files).for_start(&bench.layout).unwrap().as_ref(), Some(&new));
    assert_eq!((bench.keychain.items().len(), bench.holder()), (0, None));
}

#[test]
fn keys_move_out_when_files_are_asked_for() {
    let bench = Bench::new();
    let keys = bench.vault(Keep::Keychain).ensure(&bench.layout).unwrap();
    let vault = bench.vault(Keep::Files);
    assert_eq!(vault.for_start(&bench.layout).unwrap().as_ref(), Some(&keys));
    assert_eq!((bench.key_files(), bench.keychain.items().len(), bench.holder()), (3, 0, None));
    assert_eq!(vault.kept(&bench.layout), Kept { in_keychain: false, reason: Reason::Forced, trouble: None });
    bench.reads_back(Keep::Files, &keys);
}

#[test]
fn a_move_that_was_cut_off_at_any_step_loses_nothing() {
    // In: the note is written, the keychain may or may not have the keys; the files count.
    for stale in [None, Some("something old")] {
        let bench = Bench::new();
        let keys = bench.vault(Keep::Files).ensure(&bench.layout).unwrap();
        let place = Place::new(&bench.layout);
        place.write(&bench.folder(), Holder::FilesStill).unwrap();
        if let Some(stale) = stale {
            bench.keychain.items().insert(place.item.clone(), stale.into());
        }
        bench.reads_back(Keep::Keychain, &keys);
        assert_eq!(bench.vault(Keep::Keychain).for_start(&bench.layout).unwrap().as_ref(), Some(&keys));
        assert_eq!((bench.key_files(), bench.keychain.items().len()), (0, 1), "one entry, not two");
        bench.reads_back(Keep::Keychain, &keys);
    }
    // In: the keychain counts, and the files were not yet removed. They may be older, and must not come back.
    let bench = Bench::new();
    let keys = bench.vault(Keep::Keychain).ensure(&bench.layout).unwrap();
    fs::write(bench.folder().join("identity.key"), "0".repeat(64)).unwrap();
    assert_eq!(bench.vault(Keep::Keychain).for_start(&bench.layout).unwrap().as_ref(), Some(&keys));
    assert_eq!(bench.key_files(), 0);
    // Out: the files count, and the keychain was not yet told to forget.
    let bench = Bench::new();
    let keys = bench.vault(Keep::Keychain).ensure(&bench.layout).unwrap();
    bench.keychain.is(Mood::Open);
    let place = Place::read(&bench.folder()).unwrap().unwrap();
    crate::credentials::write_keys(&bench.folder(), &crate::credentials::keys(&keys)).unwrap();
    place.write(&bench.folder(), Holder::FilesStill).unwrap();
    assert_eq!(bench.vault(Keep::Files).for_start(&bench.layout).unwrap().as_ref(), Some(&keys));
    assert_eq!((bench.keychain.items().len(), bench.holder()), (0, None));
}

#[test]
fn a_copy_of_a_machine_gets_keys_of_its_own_place() {
    let (from, to) = (Bench::new(), Bench::new());
    let vault = from.vault(Keep::Keychain);
    vault.ensure(&from.layout).unwrap();
    vault.copy(&from.folder(), &to.folder()).unwrap();
    assert_eq!((to.key_files(), from.keychain.items().len()), (3, 1));
    for name in ["place.json", "machine.blob"] {
        assert!(!Credentials::belongs_to_copies(name.as_ref()));
    }
}

/// Against the Secret Service of the session that the environment names. Run in a session of its own by
/// [`the_secret_service_keeps_keys`]; what a person's own keychain holds is never touched.
#[cfg(target_os = "linux")]
#[test]
#[ignore = "run in a session of its own by the_secret_service_keeps_keys"]
fn inside_a_session() {
    let bench = Bench::new();
    let vault = || Vault::new(Keep::Keychain, Some(Patient::new(Arc::new(super::keychain::Keychain))));
    let keys = vault().ensure(&bench.layout).unwrap();
    assert_eq!((bench.key_files(), bench.holder()), (0, Some(Holder::Keychain)));
    assert_eq!(vault().load(&bench.layout, Ask::Nobody).unwrap(), Some(keys.clone()));
    assert!(vault().kept(&bench.layout).in_keychain);
    lock_all(true);
    assert_eq!(vault().kept(&bench.layout).trouble, Some(Trouble::Locked));
    assert!(matches!(vault().load(&bench.layout, Ask::Nobody), Err(MachineError::Keychain(Trouble::Locked))));
    // A new machine does not wait for a locked keychain.
    let other = Bench::new();
    vault().ensure(&other.layout).unwrap();
    assert_eq!((other.key_files(), vault().kept(&other.layout).reason), (3, Reason::Unusable(Trouble::Locked)));
    lock_all(false);
    assert_eq!(vault().load(&bench.layout, Ask::Nobody).unwrap(), Some(keys));
    let place = Place::read(&bench.folder()).unwrap().unwrap();
    super::keychain::Keychain.delete(&place.item).unwrap();
    assert!(matches!(vault().load(&bench.layout, Ask::Nobody), Err(MachineError::KeysLost)));
    vault().ensure(&bench.layout).unwrap();
    vault().forget(&bench.layout);
}

/// Locks the keychain, or unlocks it as a login does.
#[cfg(target_os = "linux")]
fn lock_all(lock: bool) {
    use secret_service::{EncryptionType, blocking::SecretService};
    if lock {
        let service = SecretService::connect(EncryptionType::Plain).unwrap();
        service.get_default_collection().unwrap().lock().unwrap();
    } else {
        let status = std::process::Command::new("sh")
            .args(["-c", "printf pw | gnome-keyring-daemon --replace --unlock --components=secrets >&2"])
            .status()
            .unwrap();
        assert!(status.success());
    }
}

#[cfg(target_os = "linux")]
#[test]
fn the_secret_service_keeps_keys() {
    let home = tempfile::tempdir().unwrap();
    let runtime = home.path().join("run");
    fs::create_dir(&runtime).unwrap();
    fs::set_permissions(&runtime, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let ran = std::process::Command::new("dbus-run-session")
        .args(["--", "sh", "-c"])
        .arg(
            "printf pw | gnome-keyring-daemon --unlock --components=secrets >&2 && \
             exec \"$0\" --exact secrets::tests::inside_a_session --ignored --nocapture",
        )
        .arg(std::env::current_exe().unwrap())
        .env("HOME", home.path())
        .env("XDG_RUNTIME_DIR", &runtime)
        .env("XDG_DATA_HOME", home.path().join("data"))
        .env_remove("DBUS_SESSION_BUS_ADDRESS")
        .env_remove("GNOME_KEYRING_CONTROL")
        .output()
        .expect("dbus-run-session and gnome-keyring-daemon (Debian: dbus, gnome-keyring)");
    let text = String::from_utf8_lossy(&ran.stdout).into_owned() + &String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success() && text.contains("1 passed"), "{text}");
}
