//! The gate before every route.

use alcove_api::operations::Caller;
use alcove_types::{ApiError, ErrorCode, session::Surface};
use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use crate::{answer::Refusal, state::App};

/// Through which way a request came, and as whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Channel {
    /// The Unix socket: the kernel says that it is the owner.
    Socket,
    /// Loopback with the token.
    Token,
    /// Loopback with a browser's cookie.
    Cookie,
}

/// The native pages' own name. Browsers keep cookies by name and give them to every port of it, so one that is kept for
/// `127.0.0.1` would be told to whatever else listens there.
pub(crate) const NATIVE: &str = "alcove.localhost";

/// Pages of the shell come from these; they hold the token, never a cookie.
const SHELL_ORIGINS: [&str; 3] = ["tauri://localhost", "http://tauri.localhost", "https://tauri.localhost"];

/// Who asks, for the operation log.
pub(crate) fn caller(channel: Channel, headers: &HeaderMap) -> Caller {
    let agent = headers.get(header::USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let via = match channel {
        Channel::Cookie => "browser",
        Channel::Token if from_shell(headers) => "window",
        Channel::Socket if agent.starts_with("alcove-desktop") => "window",
        Channel::Socket | Channel::Token => "cli",
    };
    Caller { who: "owner".into(), via: via.into() }
}

fn from_shell(headers: &HeaderMap) -> bool {
    origin(headers).is_some_and(|o| SHELL_ORIGINS.contains(&o))
}

fn origin(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::ORIGIN).and_then(|v| v.to_str().ok())
}

/// What the `Host` header names: the native pages or the web desktop. A name that is not ours is nobody's: a page that
/// points its own name at this computer (DNS rebinding) gets nothing.
pub(crate) fn surface_of_host(headers: &HeaderMap, port: u16) -> Option<Surface> {
    let host = headers.get(header::HOST)?.to_str().ok()?;
    let (name, given) = host.rsplit_once(':')?;
    if given.parse() != Ok(port) {
        return None;
    }
    match name {
        "127.0.0.1" | "localhost" | NATIVE => Some(Surface::Native),
        _ => {
            let app = name.strip_suffix(".localhost")?;
            let fine = !app.is_empty()
                && app.len() <= 63
                && app.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
            fine.then_some(Surface::Desktop)
        }
    }
}

/// Whether the `Host` header names the native pages' origin: the one place where their cookie counts.
pub(crate) fn is_native_origin(headers: &HeaderMap, port: u16) -> bool {
    headers.get(header::HOST).and_then(|v| v.to_str().ok()) == Some(format!("{NATIVE}:{port}").as_str())
}

pub(crate) fn unknown_host() -> ApiError {
    ApiError::new(
        ErrorCode::Forbidden,
        "This address is not one of Alcove's.",
        "Open Alcove from its window, or run `alcove open --print` for a link.",
    )
}

/// Lets a request to the API in, or says why not.
pub(crate) async fn api_gate(State(app): State<App>, mut request: Request, next: Next) -> Response {
    if request.extensions().get::<Channel>() == Some(&Channel::Socket) {
        return next.run(request).await;
    }
    let shell = origin(request.headers()).filter(|o| SHELL_ORIGINS.contains(o)).map(str::to_owned);
    if let Some(shell) = &shell
        && request.method() == Method::OPTIONS
    {
        return with_cors(StatusCode::NO_CONTENT.into_response(), shell);
    }
    let response = match enter(&app, &request) {
        Ok(channel) => {
            request.extensions_mut().insert(channel);
            next.run(request).await
        }
        Err(error) => Refusal(error).into_response(),
    };
    match &shell {
        Some(shell) => with_cors(response, shell),
        None => response,
    }
}

fn enter(app: &App, request: &Request) -> Result<Channel, ApiError> {
    let headers = request.headers();
    if surface_of_host(headers, app.port) != Some(Surface::Native) {
        return Err(unknown_host());
    }
    if let Some(given) = bearer(headers) {
        if !app.sessions.is_token(given) {
            return Err(ApiError::new(
                ErrorCode::Unauthenticated,
                "The token is wrong.",
                "The supervisor makes a new one each time it starts: read it anew from endpoint.json.",
            ));
        }
        // A page that somehow holds the token is still no page of ours.
        return match origin(headers) {
            Some(o) if !SHELL_ORIGINS.contains(&o) && !own_origin(o, app.port) => Err(other_origin()),
            _ => Ok(Channel::Token),
        };
    }
    if !is_native_origin(headers, app.port) || !app.sessions.signed_in(headers, app.port, Surface::Native) {
        return Err(ApiError::new(
            ErrorCode::Unauthenticated,
            "You are not signed in.",
            "Open Alcove from its window, or run `alcove open --print` for a link.",
        ));
    }
    // The browser sends the cookie by itself, so what asks must be a page of ours.
    let upgrade = headers.contains_key(header::UPGRADE);
    let safe = matches!(*request.method(), Method::GET | Method::HEAD) && !upgrade;
    match origin(headers) {
        Some(o) if !own_origin(o, app.port) => return Err(other_origin()),
        None if !safe => return Err(other_origin()),
        _ => {}
    }
    match headers.get("sec-fetch-site").and_then(|v| v.to_str().ok()) {
        None | Some("same-origin" | "none") => Ok(Channel::Cookie),
        Some(_) => Err(other_origin()),
    }
}

/// The token: in `Authorization`, or for a WebSocket of the shell's page, which can't set headers, in a subprotocol.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        return Some(value.to_str().ok().and_then(|v| v.strip_prefix("Bearer ")).unwrap_or_default());
    }
    headers
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .find_map(|p| p.trim().strip_prefix("alcove.bearer."))
}

fn own_origin(origin: &str, port: u16) -> bool {
    origin == format!("http://{NATIVE}:{port}")
}

fn other_origin() -> ApiError {
    ApiError::new(
        ErrorCode::Forbidden,
        "Another page tried to use Alcove.",
        "If that was you: open Alcove's own page. If not: nothing was done.",
    )
}

fn with_cors(mut response: Response, origin: &str) -> Response {
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(origin) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, value);
    }
    headers.insert(header::VARY, HeaderValue::from_static("Origin"));
    for (name, value) in [
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "authorization, content-type, idempotency-key, last-event-id"),
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, PATCH, PUT, DELETE"),
        (header::ACCESS_CONTROL_MAX_AGE, "600"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, value.parse().unwrap());
        headers
    }

    #[test]
    fn only_our_names_on_our_port_lead_anywhere() {
        for (name, surface) in [
            ("127.0.0.1:7", Some(Surface::Native)),
            ("alcove.localhost:7", Some(Surface::Native)),
            ("desktop.localhost:7", Some(Surface::Desktop)),
            ("127.0.0.1:8", None),
            ("127.0.0.1", None),
            ("evil.example:7", None),
            ("desktop.localhost.evil.example:7", None),
            (".localhost:7", None),
            ("a.b.localhost:7", None),
            ("UPPER.localhost:7", None),
        ] {
            assert_eq!(surface_of_host(&host(name), 7), surface, "{name}");
        }
        assert_eq!(surface_of_host(&HeaderMap::new(), 7), None);
    }
}
