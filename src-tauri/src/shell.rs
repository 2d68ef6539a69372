//! What the parts of the shell share: where the supervisor is, what the machine looks like, what a person waits for.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use alcove_client::Client;
use alcove_machine::InstanceName;
use alcove_types::{ApiError, ErrorCode, machine::Machine, settings::Language};
use serde::Serialize;
use tokio::sync::{Notify, watch};

use crate::words::{self, Word};

/// How the pages reach the supervisor.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Connection {
    /// The supervisor's address on loopback.
    pub(crate) base: String,
    /// Proves to the supervisor that these are our pages.
    pub(crate) token: String,
    /// The instance.
    pub(crate) instance: String,
}

/// The supervisor as seen from here.
#[derive(Clone)]
pub(crate) enum Reach {
    /// Being looked for or started.
    Looking,
    /// It answers.
    Connected { client: Client, connection: Connection },
    /// It does not answer, and this is why.
    Away(ApiError),
}

/// Shared by commands, tray, notices and windows.
pub(crate) struct Shell {
    /// The instance that is shown.
    pub(crate) instance: InstanceName,
    /// The supervisor.
    pub(crate) reach: watch::Sender<Reach>,
    /// The machine, as last told.
    pub(crate) machine: watch::Sender<Option<Machine>>,
    /// Quitting has begun.
    pub(crate) quitting: watch::Sender<bool>,
    /// The person stays after all, while quitting is under way.
    pub(crate) stay: Notify,
    /// Wakes the search for the supervisor.
    pub(crate) look_now: Notify,
    language: Mutex<Option<Language>>,
    hidden: AtomicBool,
    ready: AtomicBool,
    pending: Mutex<Option<String>>,
}

impl Shell {
    /// A shell that knows nothing yet; `hidden` keeps its window away until asked for.
    pub(crate) fn new(instance: InstanceName, hidden: bool) -> Self {
        Self {
            instance,
            reach: watch::Sender::new(Reach::Looking),
            machine: watch::Sender::new(None),
            quitting: watch::Sender::new(false),
            stay: Notify::new(),
            look_now: Notify::new(),
            language: Mutex::new(None),
            hidden: AtomicBool::new(hidden),
            ready: AtomicBool::new(false),
            pending: Mutex::new(None),
        }
    }

    /// The client, while the supervisor answers.
    pub(crate) fn client(&self) -> Result<Client, ApiError> {
        match &*self.reach.borrow() {
            Reach::Connected { client, .. } => Ok(client.clone()),
            Reach::Away(error) => Err(error.clone()),
            Reach::Looking => Err(ApiError::new(
                ErrorCode::SupervisorUnreachable,
                "Alcove's supervisor is still starting",
                "Try again in a moment.",
            )),
        }
    }

    /// Says a word in the owner's language.
    pub(crate) fn say(&self, word: Word) -> &'static str {
        words::say(self.language(), word)
    }

    /// The owner's language, or the system's.
    pub(crate) fn language(&self) -> Language {
        lock(&self.language).unwrap_or_else(words::system_language)
    }

    /// Takes the owner's language; says whether it changed.
    pub(crate) fn set_language(&self, language: Option<Language>) -> bool {
        std::mem::replace(&mut *lock(&self.language), language) != language
    }

    /// Keeps a page for when the window can show one.
    pub(crate) fn navigate_later(&self, path: String) {
        *lock(&self.pending) = Some(path);
        self.hidden.store(false, Ordering::Release);
    }

    /// The pages are up: the page that waited for them, if any.
    pub(crate) fn pages_ready(&self) -> Option<String> {
        self.ready.store(true, Ordering::Release);
        lock(&self.pending).take()
    }

    /// Whether the pages listen already.
    pub(crate) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// Whether the window is to stay away for now.
    pub(crate) fn stays_hidden(&self) -> bool {
        self.hidden.load(Ordering::Acquire)
    }

    /// Someone asked for the window.
    pub(crate) fn unhide(&self) {
        self.hidden.store(false, Ordering::Release);
    }
}

/// A lock whose holder panicked still guards whole values here.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
