//! A keychain that never keeps anybody waiting for longer than a deadline.

use std::{
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        mpsc::{RecvTimeoutError, sync_channel},
    },
    thread,
    time::Duration,
};

use super::{Ask, SecretStore, Trouble};

/// How long an access may take during which nobody is asked.
const ACCESS: Duration = Duration::from_secs(5);
/// How long a person has to type a password. When it takes longer, the keychain is open for the next try.
const PASSWORD: Duration = Duration::from_secs(45);

/// A [`SecretStore`] with a deadline on every access. One access runs at a time, on a thread of its own, and goes on when
/// nobody waits for it any more; the next begins when it has ended, or gives up waiting at its own deadline. So neither
/// threads nor questions on the screen pile up before a keychain that hangs.
pub struct Patient {
    store: Arc<dyn SecretStore>,
    turn: Arc<Turn>,
    access: Duration,
    password: Duration,
}

impl Patient {
    /// With the usual deadlines.
    pub fn new(store: Arc<dyn SecretStore>) -> Self {
        Self::with_deadlines(store, ACCESS, PASSWORD)
    }

    /// With other deadlines: of an access, and of one during which a person types a password.
    pub fn with_deadlines(store: Arc<dyn SecretStore>, access: Duration, password: Duration) -> Self {
        Self { store, turn: Arc::default(), access, password }
    }

    /// [`SecretStore::look`].
    pub(super) fn look(&self, item: Option<&str>) -> Result<(), Trouble> {
        let item = item.map(str::to_owned);
        self.within(self.access, move |store| store.look(item.as_deref()))
    }

    /// [`SecretStore::get`].
    pub(super) fn get(&self, item: &str, ask: Ask) -> Result<Option<String>, Trouble> {
        let deadline = if ask == Ask::Person { self.password } else { self.access };
        let item = item.to_owned();
        self.within(deadline, move |store| store.get(&item, ask))
    }

    /// [`SecretStore::set`].
    pub(super) fn set(&self, item: &str, label: &str, secret: &str) -> Result<(), Trouble> {
        let (item, label, secret) = (item.to_owned(), label.to_owned(), secret.to_owned());
        self.within(self.access, move |store| store.set(&item, &label, &secret))
    }

    /// [`SecretStore::delete`].
    pub(super) fn delete(&self, item: &str) -> Result<(), Trouble> {
        let item = item.to_owned();
        self.within(self.access, move |store| store.delete(&item))
    }

    fn within<T: Send + 'static>(
        &self,
        deadline: Duration,
        access: impl FnOnce(&dyn SecretStore) -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, Trouble> {
        let taken = self.turn.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut taken, waited) =
            self.turn.ended.wait_timeout_while(taken, deadline, |taken| *taken).unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            return Err(Trouble::Slow(deadline));
        }
        *taken = true;
        drop(taken);
        let running = Running(self.turn.clone());
        let (store, (answer, answered)) = (self.store.clone(), sync_channel(1));
        let spawned = thread::Builder::new().name("keychain".into()).spawn(move || {
            let result = access(&*store);
            drop(running);
            // Nobody may be waiting any more.
            let _ = answer.send(result);
        });
        if let Err(error) = spawned {
            return Err(Trouble::Failed(error.to_string()));
        }
        match answered.recv_timeout(deadline) {
            Ok(result) => result,
            Err(RecvTimeoutError::Timeout) => Err(Trouble::Slow(deadline)),
            Err(RecvTimeoutError::Disconnected) => Err(Trouble::Failed("the access broke off".into())),
        }
    }
}

/// Whether an access runs.
#[derive(Default)]
struct Turn {
    taken: Mutex<bool>,
    ended: Condvar,
}

/// Gives the turn back when an access has ended, however it ends.
struct Running(Arc<Turn>);

impl Drop for Running {
    fn drop(&mut self) {
        *self.0.taken.lock().unwrap_or_else(PoisonError::into_inner) = false;
        self.0.ended.notify_one();
    }
}
