//! A guest behind a real door. It is up, without Kubernetes.

use std::{
    convert::Infallible,
    future::ready,
    sync::{Arc, Mutex},
};

use alcove_api::{
    clock,
    link::{Body, full},
};
use alcove_door::{Door, Service};
use alcove_machine::Power;
use alcove_types::{
    Condition, ConditionStatus,
    guest::{DiskBytes, GuestEvent, GuestStatus, KubernetesStatus, Usage},
};
use futures_util::{StreamExt, stream};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::{
    body::{Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpListener;

use super::{DEADLINE, machine::Machine, others};

pub(super) async fn serve(listener: TcpListener, door: Door, machine: Arc<Mutex<Machine>>, image: String) {
    while let Ok((tcp, _)) = listener.accept().await {
        let (door, machine, image) = (door.clone(), machine.clone(), image.clone());
        tokio::spawn(async move {
            let Ok((service, stream)) = door.greet(tcp, DEADLINE).await else { return };
            let answers = service_fn(|request: Request<Incoming>| {
                let pods = matches!(request.uri().path(), "/v1/shell" | "/v1/logs") || service != Service::Guest;
                let mut machine = machine.lock().unwrap();
                machine.platform_asked += usize::from(service == Service::Gateway);
                let answer = match service {
                    Service::Gateway if machine.platform_silent => failing(StatusCode::BAD_GATEWAY, "Nobody is there."),
                    _ if pods => others::answer(request),
                    _ => answer(request.uri().path(), &image, &mut machine),
                };
                ready(Ok::<_, Infallible>(answer))
            });
            // The host may hang up at any time.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answers).with_upgrades().await;
        });
    }
}

fn answer(path: &str, image: &str, machine: &mut Machine) -> Response<Body> {
    match path {
        "/v1/events" => {
            let event = GuestEvent::Status(Box::new(status(image, machine)));
            let line = format!("data:{}\n\n", serde_json::to_string(&event).unwrap());
            // Open until the host hangs up.
            let events = stream::iter([Ok(Frame::data(line.into()))]).chain(stream::pending());
            Response::new(StreamBody::new(events).boxed_unsync())
        }
        "/v1/disk/grow" => {
            machine.told += 1;
            if machine.busy {
                return failing(StatusCode::INTERNAL_SERVER_ERROR, "It is busy.");
            }
            Response::new(full(serde_json::to_vec(&DiskBytes { bytes: 1 }).unwrap()))
        }
        "/v1/time" => {
            machine.told_the_time += 1;
            Response::new(full(json!({ "offset_ms": 0 }).to_string()))
        }
        "/v1/shutdown" => {
            machine.end(Power::Off);
            Response::new(full(""))
        }
        _ => Response::new(full("")),
    }
}

fn failing(status: StatusCode, message: &str) -> Response<Body> {
    let error = json!({ "code": "internal", "message": message, "hint": "Wait." });
    let mut refused = Response::new(full(error.to_string()));
    *refused.status_mut() = status;
    refused
}

fn status(image: &str, machine: &Machine) -> GuestStatus {
    let distribution = if machine.platform { "modules" } else { "none" };
    let up = ["KubernetesReady", "PlatformReady"].into_iter().filter(|_| machine.platform).map(|kind| Condition {
        kind: kind.into(),
        status: ConditionStatus::True,
        reason: "Up".into(),
        message: String::new(),
        hint: String::new(),
        since: clock::now(),
    });
    GuestStatus {
        boot_id: "b".into(),
        version: "0".into(),
        image: image.into(),
        kernel: "6.12".into(),
        kubernetes: KubernetesStatus { distribution: distribution.into(), ..KubernetesStatus::default() },
        conditions: up.chain(machine.says.clone()).collect(),
        memory: Usage::default(),
        disk: Usage::default(),
        cpu_share: 0.0,
        cpus: 1,
        uptime_s: 1,
        unix_time_ns: clock::unix_ns(),
    }
}
