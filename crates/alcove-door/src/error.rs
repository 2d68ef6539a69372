//! What can go wrong at the door.

use std::io;

/// An error at the door, on either side of it.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// A certificate or key could not be read.
    #[error("the door's {what} can't be read: {reason}")]
    BadPem {
        /// Which of the keys it was.
        what: &'static str,
        /// Why it can't be used.
        reason: String,
    },
    /// Keys could not be made.
    #[error("the door's keys could not be made: {0}")]
    Keys(String),
    /// The TLS library refused the configuration.
    #[error("TLS refuses the door's keys: {0}")]
    Tls(#[from] rustls::Error),
    /// The guest's port did not take the connection.
    #[error("the machine's door does not open: {0}")]
    Connect(#[source] io::Error),
    /// The two ends did not agree on who they are.
    #[error("the machine's door refused the handshake: {0}")]
    Handshake(#[source] io::Error),
    /// Nobody answered in time.
    #[error("the machine's door did not answer in {0} ms")]
    Timeout(u128),
    /// The client asked for a service that does not exist.
    #[error("there is no service {0:?} behind the door")]
    UnknownService(String),
}
