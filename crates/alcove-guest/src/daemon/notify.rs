//! Talking to systemd (`sd_notify`).

use std::{
    env,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram},
    },
    time::Duration,
};

/// Tells systemd something. Outside of systemd it tells nobody.
pub(super) fn send(message: &str) {
    let Ok(path) = env::var("NOTIFY_SOCKET") else { return };
    let address = match path.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(&path),
    };
    if let (Ok(address), Ok(socket)) = (address, UnixDatagram::unbound()) {
        let _ = socket.send_to_addr(message.as_bytes(), &address);
    }
}

/// Tells systemd again and again that the daemon still turns: a runtime that hangs is started anew.
pub(super) async fn watchdog() {
    let Some(limit) = env::var("WATCHDOG_USEC").ok().and_then(|text| text.parse().ok()) else { return };
    let mut beat = tokio::time::interval(Duration::from_micros(limit) / 3);
    loop {
        beat.tick().await;
        send("WATCHDOG=1");
    }
}
