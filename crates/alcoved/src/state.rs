//! What every route can reach.

use std::sync::Arc;

use alcove_api::Supervisor;
use alcove_types::{session::Surface, status::Endpoints};
use tokio_util::sync::CancellationToken;

use crate::{
    access::{self, Sessions},
    identity::IdentityKey,
    replay::Replays,
};

/// What every route can reach. Cheap to clone.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) supervisor: Supervisor,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) replays: Arc<Replays>,
    pub(crate) identity: Arc<IdentityKey>,
    /// The loopback port.
    pub(crate) port: u16,
    /// Cancelled when the supervisor ends.
    pub(crate) ending: CancellationToken,
}

impl App {
    /// Where a surface answers: each under a name of its own, because a browser gives the cookies of an address to
    /// every port of it.
    pub(crate) fn origin(&self, surface: Surface) -> String {
        match surface {
            Surface::Native => format!("http://{}:{}", access::NATIVE, self.port),
            Surface::Desktop => format!("http://desktop.localhost:{}", self.port),
        }
    }

    pub(crate) fn endpoints(&self) -> Endpoints {
        Endpoints {
            native: self.origin(Surface::Native),
            desktop: self.origin(Surface::Desktop),
            // For programs, which hold the token and may not find names under `localhost`.
            kubernetes: format!("http://127.0.0.1:{}/kubernetes", self.port),
        }
    }
}
