//! Where the machine's private keys are kept: in the keychain of the person's session where one runs, else in files that
//! only their owner can read.
//!
//! A keychain may be locked, slow or gone, and none of that may cost a person the machine. So every access has a
//! deadline, what was read once stays known to the process, keys leave their files only after the keychain has given
//! them back unharmed, and keys that a keychain has lost for good are made anew at the next boot from the disk.

#[cfg(target_os = "linux")]
mod keychain;
mod patient;
mod place;
#[cfg(test)]
mod tests;
mod vault;

use std::time::Duration;

pub use patient::Patient;
pub(crate) use vault::Keys;
pub use vault::{Keep, Kept, Reason, Vault, kept};

/// Why a keychain did not do what it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// None runs in this session.
    #[error("no keychain runs in this session ({0})")]
    Absent(String),
    /// It is locked, or it was not unlocked when it asked for that.
    #[error("your keychain is locked")]
    Locked,
    /// It refused, or broke.
    #[error("your keychain could not be used ({0})")]
    Failed(String),
    /// It did not answer in time.
    #[error("your keychain did not answer within {} s", .0.as_secs())]
    Slow(Duration),
}

/// Whether a person may be asked to unlock the keychain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// The keychain is left as it is; when it is locked, that is the answer.
    Nobody,
    /// Somebody waits for the machine, so a question on the screen is fine.
    Person,
}

/// A keychain: secrets by name. The calls may block for as long as they like; [`Patient`] bounds them.
pub trait SecretStore: Send + Sync + 'static {
    /// Whether secrets can be kept in it now, or, with a name, whether that secret can be read. Asks nobody.
    ///
    /// # Errors
    /// Why not.
    fn look(&self, item: Option<&str>) -> Result<(), Trouble>;

    /// Reads a secret; `None` when the keychain is open and certainly does not hold it.
    ///
    /// # Errors
    /// When it can't be told, as with a locked keychain.
    fn get(&self, item: &str, ask: Ask) -> Result<Option<String>, Trouble>;

    /// Keeps a secret in the place of an earlier one of this name. `label` is what people see. Asks nobody.
    ///
    /// # Errors
    /// When it was not, or not certainly, kept.
    fn set(&self, item: &str, label: &str, secret: &str) -> Result<(), Trouble>;

    /// Forgets a secret; one that is not there is fine. Asks nobody.
    ///
    /// # Errors
    /// When it may still be there.
    fn delete(&self, item: &str) -> Result<(), Trouble>;
}
