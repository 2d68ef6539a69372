//! The native pages, which the supervisor serves itself.

use alcove_types::session::Surface;
use axum::{
    extract::{Request, State},
    response::{IntoResponse, Redirect, Response},
};
use http::{HeaderValue, StatusCode, header};
use rust_embed::RustEmbed;

use crate::{
    access::{self, is_native_origin, surface_of_host},
    answer::Refusal,
    explain::{explain, wants_page},
    state::App,
};

#[derive(RustEmbed)]
#[folder = "../../ui/apps/native/dist"]
struct Native;

const CSP: &str = "default-src 'self'; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; \
                   connect-src 'self'; object-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'";

/// The native pages. They hold no data of their own, so they need no sign-in; what they ask for does.
pub(crate) async fn native(State(app): State<App>, request: Request) -> Response {
    let headers = request.headers();
    if surface_of_host(headers, app.port).is_none() {
        let error = access::unknown_host();
        return if wants_page(headers) { explain(&error, headers) } else { Refusal(error).into_response() };
    }
    // Under the address one could look at the pages, but never be signed in.
    if wants_page(headers) && !is_native_origin(headers, app.port) {
        let path = request.uri().path_and_query().map_or("/", |p| p.as_str());
        return Redirect::temporary(&format!("{}{path}", app.origin(Surface::Native))).into_response();
    }
    let path = request.uri().path().trim_start_matches('/');
    let path = if path.is_empty() { "index.html" } else { path };
    let Some(file) = Native::get(path) else {
        return (StatusCode::NOT_FOUND, "There is no such page.\n").into_response();
    };
    // Vite names what it builds after its content.
    let cache = if path.starts_with("assets/") { "public, max-age=31536000, immutable" } else { "no-cache" };
    let mut response = file.data.into_owned().into_response();
    let headers = response.headers_mut();
    if let Ok(kind) = HeaderValue::from_str(file.metadata.mimetype()) {
        headers.insert(header::CONTENT_TYPE, kind);
    }
    for (name, value) in [
        (header::CACHE_CONTROL, cache),
        (header::CONTENT_SECURITY_POLICY, CSP),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
