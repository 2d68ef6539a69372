//! The part of the guest's daemon, as the supervisor sees it through the door: an image without Kubernetes.

use std::{fs, net::TcpListener, path::PathBuf, sync::Arc, thread, time::Duration};

use alcove_door::{Door, ServerPem, Service, server_config};
use alcove_types::{
    Condition, ConditionStatus,
    guest::{GuestEvent, GuestStatus, KubernetesStatus, MachineCredentials, Usage},
};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};

const GREETING: Duration = Duration::from_secs(10);

/// What a caller's request means for the machine.
pub(crate) enum Happening {
    /// Somebody is at the door: whether the guest runs.
    Knock,
    /// A call to the guest's API.
    Call(String),
    /// The guest is to shut down.
    ShutDown,
}

/// Tells the machine; the answer counts for [`Happening::Knock`].
pub(crate) type Tell = Arc<dyn Fn(Happening) -> bool + Send + Sync>;

/// Opens the door with the keys that the machine was given. Without keys it stays shut, as in a guest that hangs.
pub(crate) fn serve(listener: TcpListener, keys: PathBuf, tell: Tell) {
    let Some(door) = door(&keys) else {
        std::mem::forget(listener);
        return;
    };
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        if let Ok(runtime) = runtime {
            runtime.block_on(accept(listener, door, tell));
        }
    });
}

fn door(keys: &PathBuf) -> Option<Door> {
    let machine: MachineCredentials = serde_json::from_slice(&fs::read(keys).ok()?).ok()?;
    let keys = machine.door;
    let pem = ServerPem { ca_cert: keys.ca_cert, server_cert: keys.server_cert, server_key: keys.server_key };
    Some(Door::new(server_config(&pem).ok()?))
}

async fn accept(listener: TcpListener, door: Door, tell: Tell) {
    let Ok(listener) = listener.set_nonblocking(true).and_then(|()| tokio::net::TcpListener::from_std(listener)) else {
        return;
    };
    while let Ok((tcp, _)) = listener.accept().await {
        let (door, tell) = (door.clone(), tell.clone());
        tokio::spawn(async move {
            // A guest that stands still takes connections and says nothing.
            while !tell(Happening::Knock) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            if let Ok((service, stream)) = door.greet(tcp, GREETING).await {
                let (read, write) = tokio::io::split(stream);
                talk(service, BufReader::new(read), write, &tell).await;
            }
        });
    }
}

/// HTTP as far as the supervisor speaks it.
async fn talk(
    service: Service,
    mut read: impl AsyncBufReadExt + Unpin,
    mut write: impl AsyncWrite + Unpin,
    tell: &Tell,
) {
    loop {
        let mut head = Vec::new();
        let mut length = 0;
        loop {
            let mut line = String::new();
            if !read.read_line(&mut line).await.is_ok_and(|n| n > 0) {
                return;
            }
            if line.trim().is_empty() {
                break;
            }
            if let Some(bytes) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = bytes.trim().parse().unwrap_or(0);
            }
            head.push(line);
        }
        let mut body = vec![0; length];
        if read.read_exact(&mut body).await.is_err() {
            return;
        }
        let path = head.first().and_then(|l| l.split(' ').nth(1)).unwrap_or_default().to_owned();
        let (told, call) = (tell.clone(), path.clone());
        // A held point stops this caller alone.
        let _ = tokio::task::spawn_blocking(move || told(Happening::Call(call))).await;
        let answer = match (service, path.as_str()) {
            (Service::Gateway, _) => plain("ok"),
            (_, "/v1/events") => {
                let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
                let event = GuestEvent::Status(Box::new(status()));
                let event = serde_json::to_string(&event).unwrap_or_default();
                if write.write_all(format!("{head}data: {event}\n\n").as_bytes()).await.is_ok() {
                    // Until the caller goes.
                    let _ = read.read_u8().await;
                }
                return;
            }
            (_, "/v1/status") => plain(&serde_json::to_string(&status()).unwrap_or_default()),
            (_, "/v1/time") => plain(r#"{"offset_ms":0}"#),
            (_, "/v1/disk/grow") => plain(r#"{"bytes":0}"#),
            (_, "/v1/shutdown") => {
                tell(Happening::ShutDown);
                plain("")
            }
            (_, "/v1/resumed" | "/v1/suspend-prepare") => plain(""),
            _ => "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".into(),
        };
        if write.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

fn plain(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

fn status() -> GuestStatus {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    GuestStatus {
        boot_id: "1".into(),
        version: "0".into(),
        image: "abc123".into(),
        kernel: "6.12".into(),
        kubernetes: KubernetesStatus { distribution: "none".into(), ..KubernetesStatus::default() },
        conditions: vec![Condition {
            kind: "PlatformReady".into(),
            status: ConditionStatus::True,
            reason: "Ready".into(),
            message: "the stand-in's gateway answers".into(),
            hint: String::new(),
            since: "2026-01-01T00:00:00Z".into(),
        }],
        memory: Usage::default(),
        disk: Usage::default(),
        cpu_share: 0.0,
        cpus: 1,
        uptime_s: 1,
        unix_time_ns: u64::try_from(now.as_nanos()).unwrap_or(u64::MAX),
    }
}
