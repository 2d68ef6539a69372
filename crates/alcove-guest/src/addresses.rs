//! Addresses that never change.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// This machine.
pub const OWN: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
/// The host, and the way to everything else.
pub const HOST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
/// The Service of the platform's gateway.
pub const GATEWAY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 43, 0, 80)), 80);
