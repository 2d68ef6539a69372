//! The network card. Its address never changes, so nothing in the guest notices where the host is.

use std::{io, net::Ipv4Addr, path::Path};

use alcove_guest::{
    addresses::{HOST, OWN},
    sys,
};

const CARD: &str = "eth0";
const PREFIX: u8 = 24;

/// Brings loopback and the network card up.
pub(crate) fn configure() -> io::Result<()> {
    sys::configure_interface("lo", Ipv4Addr::LOCALHOST, 8)?;
    // A machine without a card (a restore that is being looked at, for one) still boots.
    if Path::new("/sys/class/net").join(CARD).exists() {
        sys::configure_interface(CARD, OWN, PREFIX)?;
        sys::default_route(HOST)?;
    }
    Ok(())
}
