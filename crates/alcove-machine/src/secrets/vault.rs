//! The machine's keys, wherever they lie, and their way from one place to the other.

use std::{
    collections::HashMap,
    env, fmt,
    path::Path,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use serde::{Deserialize, Serialize};

use super::{
    Ask, Patient, Trouble,
    place::{Holder, Place},
};
use crate::{
    Layout, MachineError, Result,
    credentials::{self, Credentials},
};

/// Where keys are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// In the keychain where one can be used.
    Keychain,
    /// In files, whatever runs.
    Files,
}

/// Where a machine's keys lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// `true`: in the keychain; `false`: in files.
    pub in_keychain: bool,
    /// Why there.
    pub reason: Reason,
    /// Why they can't be read now, when they can't.
    pub trouble: Option<Trouble>,
}

/// Why keys lie where they lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// A keychain runs.
    KeychainRuns,
    /// `ALCOVE_SECRETS=file` asks for files.
    Forced,
    /// No keychain can be used now.
    Unusable(Trouble),
    /// A keychain runs since a while ago: they go there when the machine is next started.
    NextStart,
}

/// What the keychain holds of a machine, as one entry: all of it is there, or none.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Keys {
    pub(crate) door_server_key: String,
    pub(crate) door_client_key: String,
    pub(crate) identity_key: String,
    /// SHA-256 of the authority's certificate that they belong to.
    pub(crate) authority: String,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").finish_non_exhaustive()
    }
}

/// Keeps the keys of this process's machines.
pub struct Vault {
    keep: Keep,
    keychain: Option<Patient>,
    /// What was read once, by the keychain's name for it: a keychain that is locked later costs a process nothing.
    known: Mutex<HashMap<String, Keys>>,
    /// Why keys could not be moved when it was last tried.
    trouble: Mutex<Option<Trouble>>,
    /// Held while keys are made or moved.
    moving: Mutex<()>,
}

static OF_PROCESS: OnceLock<Vault> = OnceLock::new();

impl Vault {
    /// With a keychain, if there is one at all, and where keys are wanted.
    pub fn new(keep: Keep, keychain: Option<Patient>) -> Self {
        Self { keep, keychain, known: Mutex::default(), trouble: Mutex::default(), moving: Mutex::default() }
    }

    /// With the keychain of the person's session, unless `ALCOVE_SECRETS=file` asks for files. The keychain is touched
    /// when it is first needed.
    pub fn of_session() -> Self {
        let keep = match env::var("ALCOVE_SECRETS").as_deref() {
            Ok("file") => Keep::Files,
            Ok("" | "auto") | Err(_) => Keep::Keychain,
            Ok(other) => {
                tracing::warn!(value = other, "ALCOVE_SECRETS is `auto` or `file`; taken for `auto`");
                Keep::Keychain
            }
        };
        #[cfg(target_os = "linux")]
        let keychain = Some(Patient::new(Arc::new(super::keychain::Keychain)));
        #[cfg(not(target_os = "linux"))]
        let keychain = None;
        Self::new(keep, keychain)
    }

    /// Makes this the vault of the process. Called once, before a machine is touched; without it keys lie in files, so
    /// that a program which only looks at machines, or tests them, never writes to a person's keychain.
    pub fn install(self) {
        if OF_PROCESS.set(self).is_err() {
            tracing::warn!("the place for secrets was chosen already");
        }
    }

    pub(crate) fn of_process() -> &'static Self {
        OF_PROCESS.get_or_init(|| Self::new(Keep::Files, None))
    }

    /// Reads a machine's keys; `None` when they have not all been made. Moves nothing.
    pub(crate) fn load(&self, layout: &Layout, ask: Ask) -> Result<Option<Credentials>> {
        let folder = layout.credentials();
        let mut place = Place::read(&folder)?;
        loop {
            let read = self.load_from(layout, place.as_ref(), ask);
            // Another thread may have moved them meanwhile; each moves at most once or twice in a process's life.
            let now = Place::read(&folder)?;
            if now == place {
                return read;
            }
            place = now;
        }
    }

    fn load_from(&self, layout: &Layout, place: Option<&Place>, ask: Ask) -> Result<Option<Credentials>> {
        match place {
            Some(Place { keys: Holder::Keychain, item, .. }) => {
                let keys = self.keys(item, ask)?;
                credentials::with_keys(&layout.credentials(), keys)
            }
            _ => credentials::from_files(&layout.credentials()),
        }
    }

    fn keys(&self, item: &str, ask: Ask) -> Result<Keys> {
        if let Some(keys) = lock(&self.known).get(item) {
            return Ok(keys.clone());
        }
        match self.keychain().and_then(|k| k.get(item, ask)) {
            Ok(Some(text)) => {
                let keys: Keys = serde_json::from_str(&text)
                    .map_err(|_| MachineError::Keychain(Trouble::Failed("what it holds is not ours".into())))?;
                lock(&self.known).insert(item.to_owned(), keys.clone());
                Ok(keys)
            }
            Ok(None) => Err(MachineError::KeysLost),
            Err(trouble) => Err(MachineError::Keychain(trouble)),
        }
    }

    fn keychain(&self) -> Result<&Patient, Trouble> {
        self.keychain.as_ref().ok_or_else(|| Trouble::Absent("this program uses none".into()))
    }

    /// Reads a machine's keys for a start, during which a person may be asked for a password, and brings them to where
    /// they are wanted.
    pub(crate) fn for_start(&self, layout: &Layout) -> Result<Option<Credentials>> {
        let _one = lock(&self.moving);
        let read = self.load(layout, Ask::Person)?;
        if read.is_some() {
            self.settle(layout);
        }
        Ok(read)
    }

    /// Reads a machine's keys; those that are missing are made, and so are those that the keychain has lost. The machine
    /// must be off.
    ///
    /// # Errors
    /// When they can be neither read nor made; when a keychain holds them and does not give them.
    pub fn ensure(&self, layout: &Layout) -> Result<Credentials> {
        let _one = lock(&self.moving);
        let folder = layout.credentials();
        let read = match self.load(layout, Ask::Person) {
            Err(error) if self.lost(&error) => {
                tracing::warn!(%error, "the keychain has lost the machine's keys; it gets new ones");
                credentials::remove_keys(&folder)?;
                if let Some(place) = Place::read(&folder)? {
                    place.write(&folder, Holder::FilesStill)?;
                }
                None
            }
            other => other?,
        };
        let credentials = match read {
            Some(there) => there,
            None => credentials::make(layout)?,
        };
        self.settle(layout);
        Ok(credentials)
    }

    /// Whether the keys will not come back. Whoever asks for files where no keychain runs has given up on it.
    fn lost(&self, error: &MachineError) -> bool {
        match error {
            MachineError::KeysLost => true,
            MachineError::Keychain(Trouble::Absent(_)) => self.keep == Keep::Files && self.keychain.is_some(),
            _ => false,
        }
    }

    /// Brings the keys to where they are wanted. What goes wrong is told in the log and tried again at the next start:
    /// the keys can be read where they are.
    fn settle(&self, layout: &Layout) {
        let settled = self.settle_keys(layout);
        let trouble = match settled {
            Ok(()) => None,
            Err(MachineError::Keychain(trouble)) => {
                // No keychain at all is how many computers are; nothing is wrong with them.
                if !matches!(trouble, Trouble::Absent(_)) {
                    tracing::warn!(%trouble, "the machine's keys stay where they are");
                }
                Some(trouble)
            }
            Err(error) => {
                tracing::warn!(%error, "the machine's keys stay where they are");
                Some(Trouble::Failed(error.to_string()))
            }
        };
        *lock(&self.trouble) = trouble;
    }

    fn settle_keys(&self, layout: &Layout) -> Result<()> {
        let folder = layout.credentials();
        let place = Place::read(&folder)?;
        match (self.keep, place) {
            (Keep::Keychain, Some(place)) if place.keys == Holder::Keychain => {
                credentials::remove_secret_files(&folder)
            }
            (Keep::Keychain, place) => self.move_in(layout, &folder, place),
            (Keep::Files, Some(place)) => self.move_out(&folder, &place),
            (Keep::Files, None) => Ok(()),
        }
    }

    /// Files first stay what counts; the keychain counts once it has given back what it was given; the files then go.
    fn move_in(&self, layout: &Layout, folder: &Path, place: Option<Place>) -> Result<()> {
        let keychain = self.keychain().map_err(MachineError::Keychain)?;
        keychain.look(None).map_err(MachineError::Keychain)?;
        let Some(keys) = credentials::from_files(folder)?.map(|c| credentials::keys(&c)) else { return Ok(()) };
        let place = place.unwrap_or_else(|| Place::new(layout));
        // Should the process end now, this says that the keychain may hold a copy.
        place.write(folder, Holder::FilesStill)?;
        let text = serde_json::to_string(&keys)
            .map_err(|_| MachineError::Keychain(Trouble::Failed("the keys can't be written down".into())))?;
        let label = format!("Alcove: keys of the machine {}", layout.instance());
        let kept = keychain.set(&place.item, &label, &text).and_then(|()| keychain.get(&place.item, Ask::Nobody));
        match kept {
            Ok(Some(back)) if back == text => {}
            Ok(_) => {
                // It can't be relied on. A copy that can't be removed either is told by the note.
                if keychain.delete(&place.item).is_ok() {
                    Place::remove(folder)?;
                }
                return Err(MachineError::Keychain(Trouble::Failed("it did not give back what it was given".into())));
            }
            Err(trouble) => return Err(MachineError::Keychain(trouble)),
        }
        lock(&self.known).insert(place.item.clone(), keys);
        place.write(folder, Holder::Keychain)?;
        credentials::remove_secret_files(folder)?;
        tracing::info!("the machine's keys are kept in the keychain now");
        Ok(())
    }

    /// The other way: the files count before the keychain forgets.
    fn move_out(&self, folder: &Path, place: &Place) -> Result<()> {
        if place.keys == Holder::Keychain {
            // Read a moment ago, so it is known.
            let keys = self.keys(&place.item, Ask::Nobody)?;
            credentials::write_keys(folder, &keys)?;
            place.write(folder, Holder::FilesStill)?;
            tracing::info!("the machine's keys are kept in files now");
        }
        self.keychain().and_then(|k| k.delete(&place.item)).map_err(MachineError::Keychain)?;
        lock(&self.known).remove(&place.item);
        Place::remove(folder)
    }

    /// Forgets the keys of a machine that is destroyed. A keychain that can't be reached keeps an entry that opens
    /// nothing any more.
    pub(crate) fn forget(&self, layout: &Layout) {
        let _one = lock(&self.moving);
        let Ok(Some(place)) = Place::read(&layout.credentials()) else { return };
        lock(&self.known).remove(&place.item);
        if let Err(trouble) = self.keychain().and_then(|k| k.delete(&place.item)) {
            tracing::warn!(%trouble, item = place.item, "the keychain keeps an entry that belongs to no machine any more");
        }
    }

    /// The keys of a machine's folder that is only copied from: of whoever holds them.
    pub(crate) fn copy(&self, from: &Path, to: &Path) -> Result<()> {
        match Place::read(from)? {
            Some(Place { keys: Holder::Keychain, item, .. }) => {
                credentials::write_keys(to, &self.keys(&item, Ask::Person)?)
            }
            _ => Ok(()),
        }
    }

    /// Where a machine's keys lie, and why. May take seconds when the keychain does.
    pub fn kept(&self, layout: &Layout) -> Kept {
        match Place::read(&layout.credentials()) {
            Ok(Some(Place { keys: Holder::Keychain, item, .. })) => {
                let known = lock(&self.known).contains_key(&item);
                let trouble = if known { None } else { self.keychain().and_then(|k| k.look(Some(&item))).err() };
                Kept { in_keychain: true, reason: Reason::KeychainRuns, trouble }
            }
            _ if self.keep == Keep::Files => Kept { in_keychain: false, reason: Reason::Forced, trouble: None },
            _ => {
                let refused = lock(&self.trouble).clone();
                // Before the machine is made it has no keys: what is told is where they are going to lie.
                let made = matches!(credentials::from_files(&layout.credentials()), Ok(Some(_)));
                let reason = match (self.keychain().and_then(|k| k.look(None)), refused) {
                    (Err(trouble), _) | (Ok(()), Some(trouble @ Trouble::Failed(_))) => Reason::Unusable(trouble),
                    (Ok(()), _) if made => Reason::NextStart,
                    (Ok(()), _) => Reason::KeychainRuns,
                };
                Kept { in_keychain: reason == Reason::KeychainRuns, reason, trouble: None }
            }
        }
    }
}

/// Where the keys of a machine lie, as this process sees it. See [`Vault::kept`].
pub fn kept(layout: &Layout) -> Kept {
    Vault::of_process().kept(layout)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
