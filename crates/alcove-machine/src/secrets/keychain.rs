//! The Secret Service of the person's session (GNOME Keyring, KWallet, KeePassXC) over D-Bus.
//!
//! Each access opens a connection of its own: a service that was restarted is found again. A search never unlocks
//! anything, so that looking at a machine puts no question on the screen.

use std::collections::HashMap;

use secret_service::{
    EncryptionType, Error,
    blocking::{Item, SecretService},
};

use super::{Ask, SecretStore, Trouble};

/// The Secret Service of the session that the environment names.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Keychain;

/// `service` and `username` are what the `keyring` libraries use: other programs show and find the entry by them.
fn attributes(item: &str) -> HashMap<&str, &str> {
    HashMap::from([("service", "alcove"), ("username", item)])
}

impl SecretStore for Keychain {
    fn look(&self, item: Option<&str>) -> Result<(), Trouble> {
        let service = connect()?;
        match item {
            Some(item) => find(&service, item).map(drop),
            None if default_is_open(&service)? => Ok(()),
            None => Err(Trouble::Locked),
        }
    }

    fn get(&self, item: &str, ask: Ask) -> Result<Option<String>, Trouble> {
        let service = connect()?;
        let found = match find(&service, item) {
            Err(Trouble::Locked) if ask == Ask::Person => {
                unlock(&service, item)?;
                find(&service, item)?
            }
            other => other?,
        };
        let Some(found) = found else { return Ok(None) };
        let secret = found.get_secret().map_err(trouble)?;
        String::from_utf8(secret).map(Some).map_err(|_| Trouble::Failed("what it holds is not ours".into()))
    }

    fn set(&self, item: &str, label: &str, secret: &str) -> Result<(), Trouble> {
        let service = connect()?;
        if !default_is_open(&service)? {
            return Err(Trouble::Locked);
        }
        let keychain = service.get_default_collection().map_err(trouble)?;
        keychain.create_item(label, attributes(item), secret.as_bytes(), true, "text/plain").map(drop).map_err(trouble)
    }

    fn delete(&self, item: &str) -> Result<(), Trouble> {
        match find(&connect()?, item)? {
            Some(found) => found.delete().map_err(trouble),
            None => Ok(()),
        }
    }
}

fn connect() -> Result<SecretService<'static>, Trouble> {
    SecretService::connect(EncryptionType::Dh).map_err(|error| {
        tracing::debug!(%error, "no Secret Service");
        Trouble::Absent("no Secret Service answers there".into())
    })
}

/// Whether the keychain for new secrets is open. There may be none before a person's first login.
fn default_is_open(service: &SecretService<'_>) -> Result<bool, Trouble> {
    match service.get_default_collection() {
        Ok(keychain) => keychain.is_locked().map(|locked| !locked).map_err(trouble),
        Err(Error::NoResult) => Err(Trouble::Absent("it has no keychain for new secrets".into())),
        Err(error) => Err(trouble(error)),
    }
}

/// The item, when it can be read. Some services don't tell what a locked keychain holds, and some hide locked ones
/// altogether: only when all is open does "not found" mean that it is not there.
fn find<'a>(service: &'a SecretService<'_>, item: &str) -> Result<Option<Item<'a>>, Trouble> {
    let mut found = service.search_items(attributes(item)).map_err(trouble)?;
    if !found.unlocked.is_empty() {
        return Ok(Some(found.unlocked.swap_remove(0)));
    }
    if !found.locked.is_empty() {
        return Err(Trouble::Locked);
    }
    for keychain in service.get_all_collections().map_err(trouble)? {
        if keychain.is_locked().map_err(trouble)? {
            return Err(Trouble::Locked);
        }
    }
    match default_is_open(service) {
        Ok(true) => Ok(None),
        Ok(false) | Err(Trouble::Absent(_)) => Err(Trouble::Locked),
        Err(other) => Err(other),
    }
}

/// Lets the service ask the person for the password, and waits for the answer.
fn unlock(service: &SecretService<'_>, item: &str) -> Result<(), Trouble> {
    let found = service.search_items(attributes(item)).map_err(trouble)?;
    if !found.locked.is_empty() {
        let items: Vec<&Item<'_>> = found.locked.iter().collect();
        return service.unlock_all(&items).map_err(trouble);
    }
    service.get_default_collection().map_err(trouble)?.unlock().map_err(trouble)
}

fn trouble(error: Error) -> Trouble {
    match error {
        Error::Locked | Error::Prompt | Error::PromptDisconnected | Error::NoResult => Trouble::Locked,
        Error::Unavailable => Trouble::Absent(Error::Unavailable.to_string()),
        other => Trouble::Failed(other.to_string()),
    }
}
