//! The platform's gateway. Every request enters here; who asks is told by a signed header that the host adds.

mod identity;
mod pages;

use std::sync::Arc;

use alcove_types::{ApiError, ErrorCode, guest::Account};
use axum::{
    Extension, Json, Router,
    extract::{Request, State},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

pub use identity::{HEADER, Identity, IdentityKey, Untrusted};

/// What the gateway knows of the place where it runs.
#[derive(Debug, Clone, Default)]
pub struct Place {
    /// The node that the pod runs on.
    pub node: String,
    /// The pod.
    pub pod: String,
    /// Version of Kubernetes, when it is known.
    pub kubernetes_version: Option<String>,
}

#[derive(Clone)]
struct App {
    key: Arc<IdentityKey>,
    place: Arc<Place>,
}

/// Who asks, and what answers.
#[derive(Debug, Serialize)]
struct Me {
    account: Account,
    node: String,
    pod: String,
    version: &'static str,
    kubernetes_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    language: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    theme: Option<String>,
}

/// Everything that the gateway serves.
pub fn routes(key: IdentityKey, place: Place) -> Router {
    let app = App { key: Arc::new(key), place: Arc::new(place) };
    Router::new()
        .route("/api/v1/me", get(me))
        .route("/api/{*rest}", axum::routing::any(nothing_there))
        .fallback(pages::page)
        .layer(middleware::from_fn_with_state(app.clone(), known))
        // The probe of the node and of the host's door: it tells nothing and needs no name.
        .route("/healthz", get(|| async { "ok\n" }))
        .layer(middleware::map_response(careful))
        .with_state(app)
}

async fn me(State(app): State<App>, Extension(identity): Extension<Identity>) -> Json<Me> {
    Json(Me {
        account: Account { name: identity.sub, display_name: identity.name },
        node: app.place.node.clone(),
        pod: app.place.pod.clone(),
        version: env!("CARGO_PKG_VERSION"),
        kubernetes_version: app.place.kubernetes_version.clone(),
        language: identity.language,
        theme: identity.theme,
    })
}

async fn nothing_there() -> Response {
    refuse(StatusCode::NOT_FOUND, &ApiError::new(ErrorCode::NotFound, "There is nothing here.", "Check the address."))
}

/// Lets in whom the host vouches for, and nobody else: pods reach this address too.
async fn known(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    let given = request.headers_mut().remove(HEADER);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let identity =
        given.as_ref().and_then(|v| v.to_str().ok()).ok_or(Untrusted).and_then(|v| app.key.verify(v, &host, now));
    match identity {
        Ok(identity) => {
            request.extensions_mut().insert(identity);
            next.run(request).await
        }
        Err(Untrusted) => refuse(
            StatusCode::UNAUTHORIZED,
            &ApiError::new(ErrorCode::Unauthenticated, "You are not signed in.", "Open the web desktop from Alcove."),
        ),
    }
}

fn refuse(status: StatusCode, error: &ApiError) -> Response {
    (status, Json(error)).into_response()
}

/// What every answer says to the browser.
async fn careful(mut response: Response) -> Response {
    const CSP: &str = "default-src 'self'; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; \
                       connect-src 'self'; object-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'";
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, CSP),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use tower::ServiceExt;

    async fn ask(path: &str, identity: Option<&str>) -> StatusCode {
        let key = IdentityKey::new(b"0123456789abcdef0123456789abcdef".to_vec());
        let mut request = Request::builder().uri(path).header(header::HOST, "desktop.localhost:7");
        if let Some(identity) = identity {
            request = request.header(HEADER, identity);
        }
        routes(key, Place::default()).oneshot(request.body(Body::empty()).unwrap()).await.unwrap().status()
    }

    #[tokio::test]
    async fn without_the_hosts_word_only_the_probe_answers() {
        assert_eq!(ask("/healthz", None).await, StatusCode::OK);
        for path in ["/", "/api/v1/me", "/assets/x.js", "/nonsense"] {
            assert_eq!(ask(path, None).await, StatusCode::UNAUTHORIZED, "{path}");
            assert_eq!(ask(path, Some("forged.forged")).await, StatusCode::UNAUTHORIZED, "{path}");
        }
    }

    #[tokio::test]
    async fn the_page_is_told_who_asks_and_how_they_like_it() {
        let me = async |more: &str| {
            let claims =
                format!(r#"{{"sub":"ada","name":"Ada","exp":99999999999,"host":"desktop.localhost:7"{more}}}"#);
            let request = Request::builder()
                .uri("/api/v1/me")
                .header(header::HOST, "desktop.localhost:7")
                .header(HEADER, identity::tests::signed(identity::tests::KEY, &claims))
                .body(Body::empty())
                .unwrap();
            let key = IdentityKey::new(identity::tests::KEY.to_vec());
            let answer = routes(key, Place::default()).oneshot(request).await.unwrap();
            let bytes = axum::body::to_bytes(answer.into_body(), 4096).await.unwrap();
            serde_json::from_slice::<serde_json::Value>(&bytes).unwrap()
        };
        let chosen = me(r#","language":"zh","theme":"dark""#).await;
        assert_eq!((&chosen["account"]["display_name"], &chosen["language"]), (&"Ada".into(), &"zh".into()));
        assert_eq!(chosen["theme"], "dark");
        let silent = me("").await;
        assert!(silent.get("language").is_none() && silent.get("theme").is_none(), "{silent}");
    }
}
