//! The one door between the host and the guest.
//!
//! The host reaches everything in the machine through a single TCP port. Both ends prove who they are with
//! certificates of an authority that is made for one machine and forgotten at once, so nothing else on the host, and no
//! other machine, can come in. The name that the client asks for (TLS SNI) picks the service behind the door.

mod error;
#[cfg(feature = "keys")]
mod keys;
mod service;
mod splice;
mod tls;

pub use error::DoorError;
#[cfg(feature = "keys")]
pub use keys::DoorKeys;
pub use service::Service;
pub use splice::{BUFFER_BYTES, splice};
pub use tls::{ClientPem, Door, DoorClient, ServerPem, client_config, server_config};

/// The port that the guest listens on.
pub const GUEST_PORT: u16 = 7443;
