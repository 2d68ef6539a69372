//! What stands behind the guest's door besides its own API: pods, which may answer anything.

use alcove_api::link::{Body, full};
use http::{HeaderMap, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::io::AsyncWriteExt;

/// A conversation that gives back what it gets, or a page that tells what was asked and tries to set a cookie.
pub(super) fn answer(mut request: Request<Incoming>) -> Response<Body> {
    if let Some(protocol) = request.headers().get(header::UPGRADE).cloned() {
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let Ok(upgraded) = upgrade.await else { return };
            let (mut hears, mut says) = tokio::io::split(TokioIo::new(upgraded));
            // Ends with the other side.
            let _ = tokio::io::copy(&mut hears, &mut says).await;
            let _ = says.shutdown().await;
        });
        let mut switched = Response::new(full(""));
        *switched.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        switched.headers_mut().insert(header::CONNECTION, "upgrade".parse().unwrap());
        switched.headers_mut().insert(header::UPGRADE, protocol);
        return switched;
    }
    let asked = json!({ "path": request.uri().path(), "headers": told(request.headers()) });
    let mut page = Response::new(full(asked.to_string()));
    page.headers_mut().insert(header::CONTENT_TYPE, "text/html".parse().unwrap());
    page.headers_mut().insert(header::SET_COOKIE, "pod=1; Path=/".parse().unwrap());
    page
}

fn told(headers: &HeaderMap) -> serde_json::Value {
    headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap_or_default().to_owned())).collect()
}
