//! Pages that the supervisor serves itself: the native pages, and a plain one that explains an error to a browser.

use alcove_types::ApiError;
use axum::{
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use rust_embed::RustEmbed;

use crate::{access::surface_of_host, answer, state::App};

#[derive(RustEmbed)]
#[folder = "../../ui/apps/native/dist"]
struct Native;

const CSP: &str = "default-src 'self'; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; \
                   connect-src 'self'; object-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'";

/// The native pages. They hold no data of their own, so they need no sign-in; what they ask for does.
pub(crate) async fn native(State(app): State<App>, request: Request) -> Response {
    if surface_of_host(request.headers(), app.port).is_none() {
        return answer::Refusal(crate::access::unknown_host()).into_response();
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

/// An error as a page, for somebody who opened an address in a browser.
pub(crate) fn explain(error: &ApiError) -> Response {
    let page = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
         <meta http-equiv=refresh content=5><title>Alcove</title><style>:root{{color-scheme:light dark}}\
         body{{font:15px/1.5 system-ui;display:grid;place-content:center;min-height:90vh;max-width:34rem;margin:auto;\
         padding:0 24px;background:light-dark(#fbfaf8,#26231f);color:light-dark(#3a342d,#e8e3dc)}}\
         h1{{font-size:18px;font-weight:600;margin:0 0 8px}}p{{margin:0;opacity:.8}}</style>\
         <h1>{}</h1><p>{}</p></html>",
        escape(&error.message),
        escape(&error.hint)
    );
    (
        answer::status(error.code),
        [
            (header::CONTENT_TYPE, "text/html; charset=utf-8"),
            (header::CACHE_CONTROL, "no-store"),
            (header::CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'"),
        ],
        page,
    )
        .into_response()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
