//! Idempotent requests: the same `Idempotency-Key` gets the same answer, and the work is done once.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use alcove_types::{ApiError, ErrorCode};
use axum::{
    body::{Body, to_bytes},
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{Method, StatusCode, header};
use sha2::{Digest, Sha256};
use tokio::sync::OnceCell;

use crate::{answer::Refusal, state::App};

const REMEMBER: Duration = Duration::from_secs(24 * 3600);
const MOST: usize = 1000;
/// A mutation's body is small; uploads don't come this way.
const LARGEST_BODY: usize = 1024 * 1024;

/// Answers that were given.
#[derive(Default)]
pub(crate) struct Replays(Mutex<HashMap<String, Entry>>);

#[derive(Clone)]
struct Entry {
    request: [u8; 32],
    at: Instant,
    answer: Arc<OnceCell<(StatusCode, Bytes)>>,
}

/// Answers a repeated mutation from memory; requests with the same key that come in at the same time wait for the one
/// that is being carried out.
pub(crate) async fn once(State(app): State<App>, request: Request, next: Next) -> Response {
    let key = request.headers().get("idempotency-key").and_then(|v| v.to_str().ok()).map(str::to_owned);
    let Some(key) = key.filter(|_| !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS)) else {
        return next.run(request).await;
    };
    if key.is_empty() || key.len() > 128 {
        return bad("An Idempotency-Key has between 1 and 128 characters.").into_response();
    }
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, LARGEST_BODY).await else {
        return bad("The request is too large.").into_response();
    };
    let mut hash = Sha256::new();
    hash.update(parts.method.as_str());
    hash.update([0]);
    hash.update(parts.uri.to_string());
    hash.update([0]);
    hash.update(&body);
    let digest: [u8; 32] = hash.finalize().into();
    let entry = app.replays.entry(key, digest);
    if entry.request != digest {
        return Refusal(ApiError::new(
            ErrorCode::Conflict,
            "This Idempotency-Key was used for another request.",
            "Use a new key for each request.",
        ))
        .into_response();
    }
    let (status, bytes) = entry
        .answer
        .get_or_init(|| async {
            let response = next.run(Request::from_parts(parts, Body::from(body))).await;
            let status = response.status();
            (status, to_bytes(response.into_body(), LARGEST_BODY).await.unwrap_or_default())
        })
        .await
        .clone();
    (status, [(header::CONTENT_TYPE, "application/json")], bytes).into_response()
}

impl Replays {
    fn entry(&self, key: String, request: [u8; 32]) -> Entry {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        entries.retain(|_, e| now.duration_since(e.at) < REMEMBER);
        if entries.len() >= MOST
            && !entries.contains_key(&key)
            && let Some(oldest) = entries.iter().min_by_key(|(_, e)| e.at).map(|(k, _)| k.clone())
        {
            entries.remove(&oldest);
        }
        entries.entry(key).or_insert_with(|| Entry { request, at: now, answer: Arc::default() }).clone()
    }
}

fn bad(message: &str) -> Refusal {
    Refusal(ApiError::new(ErrorCode::BadRequest, message, "Correct the request."))
}
