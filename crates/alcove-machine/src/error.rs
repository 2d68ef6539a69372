//! What can go wrong with a machine, and what a person can do about it.

use std::{io, path::PathBuf, time::Duration};

use alcove_types::{ApiError, ErrorCode};
use serde_json::json;

use crate::secrets::Trouble;

/// An error of the machine.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// A file or folder of ours could not be read or written.
    #[error("{what} {path}: {source}", path = path.display())]
    Io {
        /// What was tried, such as "can't write".
        what: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// There is no space left where the machine lives.
    #[error("no space is left on the disk that holds {path}", path = path.display())]
    DiskFull {
        /// The file that could not be written.
        path: PathBuf,
    },
    /// No QEMU was found.
    #[error("QEMU is not installed: {looked}")]
    HypervisorMissing {
        /// Where it was looked for.
        looked: String,
        /// How to install it on this host.
        hint: String,
    },
    /// The QEMU that was found is too old.
    #[error("QEMU {version} at {path} is too old, {needed} or newer is needed", path = path.display())]
    HypervisorTooOld {
        /// The executable.
        path: PathBuf,
        /// Its version.
        version: String,
        /// The oldest that works.
        needed: &'static str,
        /// How to get a newer one on this host.
        hint: String,
    },
    /// QEMU would not start, died, or refused a command.
    #[error("{message}")]
    HypervisorFailed {
        /// What happened.
        message: String,
        /// The last lines that QEMU or the guest wrote.
        last_words: Vec<String>,
    },
    /// QEMU was ended from outside: by somebody, or by the system for want of memory.
    #[error("{0}: QEMU was ended from outside")]
    HypervisorKilled(String),
    /// There is no image, or it is damaged.
    #[error("{message}")]
    ImageInvalid {
        /// What is wrong.
        message: String,
        /// What to do.
        hint: String,
    },
    /// The suspended state can't be used.
    #[error("the suspended state can't be used: {0}")]
    StateInvalid(crate::state::Reason),
    /// One of our files is damaged. It was kept under another name where it could be.
    #[error("{path} is damaged: {reason}", path = path.display())]
    FileCorrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
        /// Where the damaged content was kept.
        kept: Option<PathBuf>,
    },
    /// A file was written by a newer version.
    #[error("{path} was written by a newer Alcove (schema {found}, this one knows {known})", path = path.display())]
    TooNew {
        /// The file.
        path: PathBuf,
        /// The schema in it.
        found: u64,
        /// The newest schema that this version knows.
        known: u32,
    },
    /// Another process is working on the same machine.
    #[error("another Alcove process is working on this machine")]
    Busy,
    /// Another supervisor works on the same machine.
    #[error("another supervisor works on this machine; it is reached in {runtime}", runtime = runtime.display())]
    Claimed {
        /// Its runtime folder.
        runtime: PathBuf,
    },
    /// A program that is none of ours looks at the serial console, and it serves one.
    #[error("another program holds the machine's serial console")]
    ConsoleTaken,
    /// The machine's present state does not allow it.
    #[error("{message}")]
    WrongState {
        /// What does not fit.
        message: String,
        /// What to do first.
        hint: &'static str,
    },
    /// It did not happen before its deadline.
    #[error("{what} did not happen in {}", seconds(*.after))]
    Timeout {
        /// What was waited for.
        what: String,
        /// The deadline.
        after: Duration,
    },
    /// A value that was asked for breaks a rule.
    #[error("{message}")]
    BadRequest {
        /// Which rule.
        message: String,
        /// What is allowed.
        hint: String,
    },
    /// The named thing does not exist.
    #[error("there is no {0}")]
    NotFound(String),
    /// The named thing exists already.
    #[error("{0} exists already")]
    Exists(String),
    /// This host can't do it.
    #[error("{message}")]
    Unsupported {
        /// What it can't do.
        message: String,
        /// The way around it.
        hint: String,
    },
    /// The keychain holds the machine's keys and does not give them.
    #[error("the machine's keys can't be read: {0}")]
    Keychain(Trouble),
    /// The keychain is open and does not hold the machine's keys any more.
    #[error("the machine's keys are gone from your keychain")]
    KeysLost,
    /// The door's keys could not be made.
    #[error(transparent)]
    Door(#[from] alcove_door::DoorError),
}

fn seconds(d: Duration) -> String {
    if d < Duration::from_secs(1) { format!("{} ms", d.as_millis()) } else { format!("{} s", d.as_secs()) }
}

impl MachineError {
    /// An error of the file system; a full disk becomes [`MachineError::DiskFull`].
    pub fn io(what: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        let path = path.into();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { path },
            _ => Self::Io { what, path, source },
        }
    }

    /// QEMU failed without having said why.
    pub(crate) fn hypervisor(message: impl Into<String>) -> Self {
        Self::HypervisorFailed { message: message.into(), last_words: Vec::new() }
    }

    /// The last lines that QEMU or the guest wrote before this happened.
    pub fn last_words(&self) -> &[String] {
        match self {
            Self::HypervisorFailed { last_words, .. } => last_words,
            _ => &[],
        }
    }

    /// The error as people and programs get to see it.
    pub fn api(&self) -> ApiError {
        let (code, hint) = self.code_and_hint();
        let mut error = ApiError::new(code, sentence(&self.to_string()), hint);
        match self {
            Self::HypervisorFailed { last_words, .. } if !last_words.is_empty() => {
                error = error.with_details(json!({ "last_words": last_words }));
            }
            Self::StateInvalid(reason) => error = error.with_details(json!({ "reason": reason })),
            Self::FileCorrupt { kept: Some(kept), .. } => error = error.with_details(json!({ "kept": kept })),
            _ => {}
        }
        error
    }

    fn code_and_hint(&self) -> (ErrorCode, String) {
        match self {
            Self::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                (ErrorCode::Internal, "Check who owns the file and its folder: they must belong to you.".into())
            }
            Self::Io { .. } => (ErrorCode::Internal, "Check the disk and the folder's permissions, then try again.".into()),
            Self::DiskFull { .. } => (
                ErrorCode::DiskFull,
                "Free some space on that disk, then try again. Nothing was lost: the machine goes on as soon as it can write.".into(),
            ),
            Self::HypervisorMissing { hint, .. } | Self::HypervisorTooOld { hint, .. } => {
                (ErrorCode::HypervisorMissing, hint.clone())
            }
            Self::HypervisorFailed { .. } => (
                ErrorCode::HypervisorFailed,
                "Run `alcove doctor` to check this computer; the log in the machine's folder (logs/qemu.log) says more.".into(),
            ),
            Self::HypervisorKilled(_) => (
                ErrorCode::HypervisorFailed,
                "Close what needs much memory on this computer, or give the machine less, then start it again. What was saved is still there.".into(),
            ),
            Self::ImageInvalid { hint, .. } => (ErrorCode::ImageInvalid, hint.clone()),
            Self::StateInvalid(_) => (
                ErrorCode::StateInvalid,
                "Start the machine instead of resuming it: it boots from its disk, and nothing that was saved there is lost.".into(),
            ),
            Self::FileCorrupt { kept: Some(_), .. } => (
                ErrorCode::FileCorrupt,
                "The damaged file was kept beside it. Restore it from a backup, or reset the machine.".into(),
            ),
            Self::FileCorrupt { kept: None, .. } => {
                (ErrorCode::FileCorrupt, "Restore the file from a backup, or reset the machine.".into())
            }
            Self::TooNew { .. } => (ErrorCode::TooNew, "Update Alcove to the version that wrote it, or a newer one.".into()),
            Self::Busy => (ErrorCode::Conflict, "Wait until the other operation ends, then try again.".into()),
            Self::Claimed { .. } => (ErrorCode::Conflict, "Use that one: `alcove status` talks to it.".into()),
            Self::ConsoleTaken => (
                ErrorCode::Conflict,
                "Close the program that is connected to console.sock in the machine's runtime folder, then try again. \
                 `alcove logs --source serial` shows what the machine wrote."
                    .into(),
            ),
            Self::WrongState { hint, .. } => (ErrorCode::WrongState, (*hint).into()),
            Self::Timeout { .. } => {
                (ErrorCode::Timeout, "Try again. If it stays so, look at the machine's console and its log.".into())
            }
            Self::BadRequest { hint, .. } => (ErrorCode::BadRequest, hint.clone()),
            Self::NotFound(_) => (ErrorCode::NotFound, "Check the name.".into()),
            Self::Exists(_) => (ErrorCode::Conflict, "Choose another name, or remove the old one first.".into()),
            Self::Unsupported { hint, .. } => (ErrorCode::Unsupported, hint.clone()),
            Self::Keychain(trouble) => keychain(trouble),
            Self::KeysLost => (
                ErrorCode::WrongState,
                "Restart the machine: it boots from its disk with new keys, and nothing on the disk is lost.".into(),
            ),
            Self::Door(_) => (ErrorCode::Internal, "Try again.".into()),
        }
    }
}

fn keychain(trouble: &Trouble) -> (ErrorCode, String) {
    match trouble {
        Trouble::Locked => (ErrorCode::WrongState, "Unlock your keychain, then try again.".into()),
        Trouble::Slow(_) => (ErrorCode::Timeout, "Look whether your keychain asks for a password, then try again.".into()),
        Trouble::Absent(_) => (
            ErrorCode::WrongState,
            "Log in to the desktop session in which your keychain runs, then try again. If it is gone for good, start \
             Alcove with ALCOVE_SECRETS=file and restart the machine: it gets new keys, and nothing on its disk is lost."
                .into(),
        ),
        Trouble::Failed(_) => (
            ErrorCode::Internal,
            "Look at your keychain with its own program, then try again. If the entry `alcove` is damaged there, delete \
             it and restart the machine: it gets new keys, and nothing on its disk is lost."
                .into(),
        ),
    }
}

/// A message as a sentence: capital letter first, full stop last.
fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    let mut out: String = match chars.next() {
        // A path or a lower-case name of a program stays as it is.
        Some(first) if first.is_ascii_lowercase() => first.to_ascii_uppercase().to_string(),
        Some(first) => first.to_string(),
        None => return out_of_words(),
    };
    out.push_str(chars.as_str().trim_end());
    if !out.ends_with(['.', '!', '?']) {
        out.push('.');
    }
    out
}

fn out_of_words() -> String {
    "Something went wrong.".into()
}

impl From<MachineError> for ApiError {
    fn from(error: MachineError) -> Self {
        error.api()
    }
}
