//! Carries requests through the door: streaming both ways, upgrades included, nothing buffered.
//!
//! Bodies are polled by the other side's connection, so a slow reader slows the writer; a dropped request drops its
//! connection.

use alcove_api::link::Link;
use alcove_door::Service;
use alcove_types::{ApiError, ErrorCode, session::Surface};
use axum::{
    Extension,
    body::Body,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;

use crate::{
    access::{Channel, surface_of_host},
    answer::{Answer, Refusal},
    explain::wants_page,
    identity,
    state::App,
};

/// Headers that belong to one connection (RFC 9110 §7.6.1).
const HOP_BY_HOP: [HeaderName; 6] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
];

/// Sends a request through the door and gives its answer back as it arrives.
pub(crate) async fn forward(link: &Link, service: Service, mut request: Request) -> Answer<Response> {
    let upgrade = request.headers().get(header::UPGRADE).cloned();
    clean(request.headers_mut());
    let client = upgrade.is_some().then(|| hyper::upgrade::on(&mut request));
    if let Some(protocol) = &upgrade {
        request.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        request.headers_mut().insert(header::UPGRADE, protocol.clone());
    } else {
        request.headers_mut().remove(header::UPGRADE);
    }
    let request = request.map(|body| body.map_err(Into::into).boxed_unsync());
    let mut answer = link.send(service, request).await?;
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        let protocol = answer.headers().get(header::UPGRADE).cloned();
        let guest = hyper::upgrade::on(&mut answer);
        let (Some(client), Some(protocol)) = (client, protocol) else {
            return Err(Refusal(broken("the machine switched protocols unasked")));
        };
        tokio::spawn(async move {
            if let (Ok(client), Ok(guest)) = tokio::join!(client, guest) {
                // Either side may end a conversation at any time.
                let _ = alcove_door::splice(&mut TokioIo::new(client), &mut TokioIo::new(guest)).await;
            }
        });
        clean(answer.headers_mut());
        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        answer.headers_mut().insert(header::UPGRADE, protocol);
        return Ok(answer.map(|_| Body::empty()));
    }
    clean(answer.headers_mut());
    Ok(answer.map(Body::new))
}

/// Takes out what belongs to one connection, and what `Connection` names.
fn clean(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .filter(|name| *name != header::UPGRADE)
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// Takes out what signs a person in here: it is nobody's business behind the door.
fn strip_credentials(headers: &mut HeaderMap, port: u16) {
    headers.remove(header::AUTHORIZATION);
    headers.remove(identity::HEADER);
    let ours = crate::access::cookie_name(port);
    let kept: Vec<String> = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(';'))
        .map(str::trim)
        .filter(|pair| pair.split('=').next() != Some(ours.as_str()) && !pair.is_empty())
        .map(str::to_owned)
        .collect();
    headers.remove(header::COOKIE);
    if !kept.is_empty()
        && let Ok(value) = HeaderValue::from_str(&kept.join("; "))
    {
        headers.insert(header::COOKIE, value);
    }
}

/// The raw cluster API, as `alcove kubectl` uses it. It leads to whatever a pod serves, so it is for programs alone: to a
/// browser a pod's page would be one of ours.
pub(crate) async fn cluster(
    State(app): State<App>,
    Extension(channel): Extension<Channel>,
    mut request: Request,
) -> Answer<Response> {
    if channel == Channel::Cookie {
        return Err(Refusal(ApiError::new(
            ErrorCode::Forbidden,
            "The cluster's own API is not for browsers.",
            "Use `alcove kubectl`, or a program that sends the token of endpoint.json.",
        )));
    }
    let path = request.uri().path_and_query().map_or("/", |p| p.as_str());
    let rest = path.strip_prefix("/kubernetes").filter(|r| r.starts_with('/')).unwrap_or("/").to_owned();
    *request.uri_mut() = rest.parse().map_err(|_| Refusal(bad_path()))?;
    strip_credentials(request.headers_mut(), app.port);
    request.headers_mut().remove(header::ORIGIN);
    request.headers_mut().insert(header::HOST, HeaderValue::from_static("kubernetes.default.svc"));
    forward(&app.supervisor.link()?, Service::Kubernetes, request).await
}

/// Everything asked of `<name>.localhost`: the person is known here, vouched for, and let through to the gateway.
pub(crate) async fn gateway(State(app): State<App>, mut request: Request) -> Response {
    match through_gateway(&app, &mut request).await {
        Ok(response) => response,
        Err(refusal) if wants_page(request.headers()) => crate::explain::explain(&refusal.0, request.headers()),
        Err(refusal) => refusal.into_response(),
    }
}

async fn through_gateway(app: &App, request: &mut Request) -> Answer<Response> {
    let headers = request.headers();
    let host = headers.get(header::HOST).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    let given =
        headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok()).and_then(|v| v.strip_prefix("Bearer "));
    let signed_in = match given {
        Some(token) => app.sessions.is_token(token),
        None => app.sessions.signed_in(headers, app.port, Surface::Desktop),
    };
    if !signed_in {
        return Err(Refusal(ApiError::new(
            ErrorCode::Unauthenticated,
            "You are not signed in.",
            "Open the web desktop from Alcove, or run `alcove open desktop --print` for a link.",
        )));
    }
    // A cookie comes along by itself: what changes something, or opens a conversation, must come from this origin.
    let own = format!("http://{host}");
    let safe = matches!(request.method().as_str(), "GET" | "HEAD") && !headers.contains_key(header::UPGRADE);
    let origin = headers.get(header::ORIGIN).and_then(|v| v.to_str().ok());
    if given.is_none() && !safe && origin != Some(own.as_str()) {
        return Err(Refusal(ApiError::new(
            ErrorCode::Forbidden,
            "Another page tried to use this one.",
            "If that was you: open the page itself. If not: nothing was done.",
        )));
    }
    let link = app.supervisor.link()?;
    let settings = app.supervisor.settings().settings;
    let identity = app.identity.sign(app.supervisor.layout(), &link, &settings, &host).await?;
    strip_credentials(request.headers_mut(), app.port);
    if let Ok(value) = HeaderValue::from_str(&identity) {
        request.headers_mut().insert(identity::HEADER, value);
    }
    let request = std::mem::replace(request, Request::new(Body::empty()));
    forward(&link, Service::Gateway, request).await
}

/// Sends requests for `<name>.localhost` to the gateway, and all others on.
pub(crate) async fn by_host(State(app): State<App>, request: Request, next: axum::middleware::Next) -> Response {
    match surface_of_host(request.headers(), app.port) {
        Some(Surface::Desktop) if !request.uri().path().starts_with("/.alcove/") => gateway(State(app), request).await,
        _ => next.run(request).await,
    }
}

/// What answers of the API, the forwarded ones among them, say to a browser: they are no pages, and set no cookies under
/// the native pages' name, whoever wrote them.
pub(crate) async fn no_page(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.remove(header::SET_COOKIE);
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; sandbox"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn bad_path() -> ApiError {
    ApiError::new(ErrorCode::BadRequest, "That path can't be asked for.", "Check the address.")
}

fn broken(why: &str) -> ApiError {
    ApiError::new(ErrorCode::GuestUnreachable, format!("The conversation with the machine broke: {why}."), "Try again.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_one_connection_stays_there() {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONNECTION, "keep-alive, x-secret".parse().unwrap());
        headers.insert("x-secret", "1".parse().unwrap());
        headers.insert("x-kept", "1".parse().unwrap());
        headers.insert(header::TRANSFER_ENCODING, "chunked".parse().unwrap());
        clean(&mut headers);
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-kept"]);
    }

    #[test]
    fn our_cookie_and_token_and_a_forged_identity_go_no_further() {
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, "a=1; alcove_session_7=x; b=2".parse().unwrap());
        headers.insert(header::AUTHORIZATION, "Bearer t".parse().unwrap());
        headers.insert(identity::HEADER, "forged".parse().unwrap());
        strip_credentials(&mut headers, 7);
        assert_eq!(headers.get(header::COOKIE).unwrap(), "a=1; b=2");
        assert_eq!(headers.len(), 1);
    }
}
