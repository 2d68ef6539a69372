//! The door: one port, three services.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use alcove_door::{Door, GUEST_PORT, ServerPem, Service, server_config, splice};
use alcove_guest::addresses::{GATEWAY, HOST};
use alcove_types::{ApiError, ErrorCode, boot::StepState};
use anyhow::{Context, Result};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tokio_rustls::server::TlsStream;

use super::{api, state::Guest};

/// How long a caller may take to prove who it is.
const GREETING: Duration = Duration::from_secs(10);
/// Callers at one time; more wait outside.
const CALLERS: usize = 512;
/// How long the gateway's address may take to answer.
const GATEWAY_DEADLINE: Duration = Duration::from_secs(3);

/// An open door.
pub(super) struct OpenDoor {
    door: Door,
    listener: TcpListener,
}

/// Starts to listen.
pub(super) async fn open(guest: &Guest) -> Result<OpenDoor> {
    let keys = &guest.machine.door;
    let config = server_config(&ServerPem {
        ca_cert: keys.ca_cert.clone(),
        server_cert: keys.server_cert.clone(),
        server_key: keys.server_key.clone(),
    })?;
    let socket = TcpSocket::new_v4()?;
    // A daemon that was killed left connections behind that must not keep the port from the next one.
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, GUEST_PORT))).context("the door's port is taken")?;
    Ok(OpenDoor { door: Door::new(config), listener: socket.listen(256)? })
}

/// Lets callers in until the daemon ends.
pub(super) async fn serve(guest: Arc<Guest>, door: OpenDoor) {
    let callers = Arc::new(Semaphore::new(CALLERS));
    let router = api::router(Arc::clone(&guest));
    loop {
        let Some((permit, tcp)) = caller(&door.listener, HOST.into(), &callers).await else { return };
        let (guest, door, router) = (Arc::clone(&guest), door.door.clone(), router.clone());
        tokio::spawn(async move {
            let _permit = permit;
            // Who is refused learns nothing, and is no news: anything on the host may knock.
            let Ok((service, stream)) = door.greet(tcp, GREETING).await else { return };
            match service {
                Service::Guest => serve_api(stream, router).await,
                Service::Kubernetes => to_kubernetes(&guest, stream).await,
                Service::Gateway => to_gateway(&guest, stream).await,
            }
        });
    }
}

/// Waits for the next caller from `host` and for a place for it. Pods reach this port too, before the rules of the network
/// are laid: they are turned away, and none of them takes a place from the host.
async fn caller(
    listener: &TcpListener,
    host: IpAddr,
    callers: &Arc<Semaphore>,
) -> Option<(OwnedSemaphorePermit, TcpStream)> {
    loop {
        match listener.accept().await {
            Ok((tcp, from)) if from.ip() == host => {
                return Some((Arc::clone(callers).acquire_owned().await.ok()?, tcp));
            }
            Ok(_) => {}
            Err(error) => {
                // Out of descriptors, most likely: they come back when callers leave.
                super::say(&format!("the door can't accept: {error}"));
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn serve_api(stream: TlsStream<TcpStream>, router: axum::Router) {
    let service = TowerToHyperService::new(router);
    // A caller that goes away in the middle is no news either.
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
}

async fn to_kubernetes(guest: &Guest, mut caller: TlsStream<TcpStream>) {
    match guest.cluster.connect().await {
        Ok(mut cluster) => {
            let _ = splice(&mut caller, &mut cluster).await;
        }
        Err(error) => {
            let hint = "It starts some time after the machine; the boot's steps show how far it is.";
            let message = format!("Kubernetes does not answer yet: {error:#}");
            refuse(caller, &ApiError::new(ErrorCode::KubernetesUnreachable, message, hint)).await;
        }
    }
}

async fn to_gateway(guest: &Guest, mut caller: TlsStream<TcpStream>) {
    // Before Kubernetes has laid its rules, the address is one like any other outside of the machine.
    let connected = if guest.step("node") == Some(StepState::Done) {
        match timeout(GATEWAY_DEADLINE, TcpStream::connect(GATEWAY)).await {
            Ok(connected) => connected.map_err(|error| error.to_string()),
            Err(_) => Err(format!("no answer in {} s", GATEWAY_DEADLINE.as_secs())),
        }
    } else {
        Err("Kubernetes is not up yet".to_owned())
    };
    match connected {
        Ok(mut gateway) => {
            let _ = gateway.set_nodelay(true);
            let _ = splice(&mut caller, &mut gateway).await;
        }
        Err(error) => {
            let hint = "The platform starts after Kubernetes; the boot's steps show how far it is.";
            let message = format!("the web desktop's gateway does not answer yet: {error}");
            refuse(caller, &ApiError::new(ErrorCode::GuestUnreachable, message, hint)).await;
        }
    }
}

/// Answers whatever is asked with one refusal.
async fn refuse(mut caller: TlsStream<TcpStream>, error: &ApiError) {
    // Closing with an unread question would reset the connection before the answer is read.
    let mut question = [0; 4096];
    let _ = timeout(GREETING, caller.read(&mut question)).await;
    let body = serde_json::to_string(error).unwrap_or_default();
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\ncontent-length: {}\r\nretry-after: 1\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    if caller.write_all(answer.as_bytes()).await.is_ok() {
        let _ = caller.shutdown().await;
        let _ = timeout(Duration::from_secs(1), async { while matches!(caller.read(&mut question).await, Ok(1..)) {} })
            .await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_host_takes_a_place_at_the_door() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let door = listener.local_addr().unwrap();
        let knock = async |from: Ipv4Addr| {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind((from, 0).into()).unwrap();
            socket.connect(door).await.unwrap()
        };
        let (pod, host) = (Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::new(127, 0, 0, 3));
        let mut silent = Vec::new();
        for _ in 0..8 {
            silent.push(knock(pod).await);
        }
        let knocking = knock(host).await;
        let callers = Arc::new(Semaphore::new(1));
        let (_permit, tcp) = caller(&listener, host.into(), &callers).await.unwrap();
        assert_eq!(tcp.peer_addr().unwrap(), knocking.local_addr().unwrap());
        // They are not kept waiting either.
        for mut tcp in silent {
            assert!(matches!(tcp.read(&mut [0; 1]).await, Ok(0) | Err(_)));
        }
    }
}
