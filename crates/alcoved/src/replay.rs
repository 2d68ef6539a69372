//! Idempotent requests: the same `Idempotency-Key` gets the same answer, and the work is done once, whether or not the
//! supervisor was killed in between.
//!
//! Each key has a file of its own. It is written before the work is begun, without an answer, and again with it. A
//! supervisor that finds a file without an answer looks for the task that the request began and answers with that task's
//! record. Where there is none, the request had not got that far, or it was one that may be done again (settings are
//! set, a task is cancelled): it is then carried out. Links that sign a browser in are not written down: they are
//! secrets, and another one does no harm.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use alcove_api::{durable, tasks};
use alcove_types::{ApiError, ErrorCode};
use axum::{
    body::{Body, to_bytes},
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{Method, StatusCode, header};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::sync::OnceCell;

use crate::{answer::Refusal, state::App};

const REMEMBER: Duration = Duration::from_secs(24 * 3600);
const MOST: usize = 1000;
/// A mutation's body is small; uploads don't come this way.
const LARGEST_BODY: usize = 1024 * 1024;
/// A larger answer is remembered as long as the process lives; its task is found all the same.
const LARGEST_KEPT: usize = 64 * 1024;
const SCHEMA: u32 = 1;

/// Answers that were given.
pub(crate) struct Replays {
    folder: PathBuf,
    entries: Mutex<HashMap<String, Entry>>,
}

#[derive(Clone)]
struct Entry {
    request: String,
    /// Seconds since 1970.
    at: u64,
    answer: Arc<OnceCell<Answer>>,
}

/// What lies on the disk for a key.
#[derive(Serialize, Deserialize)]
struct Record {
    schema: u32,
    request: String,
    at: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    answer: Option<Answer>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Answer {
    status: u16,
    body: String,
}

/// Answers a repeated mutation with what was answered before; requests with the same key that come in at the same time
/// wait for the one that is being carried out.
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
    let digest = hex::encode(hash.finalize());
    // A key is whatever a client made up; its hash is a file's name.
    let name = hex::encode(Sha256::digest(&key));
    let written = !parts.uri.path().ends_with("/tickets");
    let entry = app.replays.entry(&name, &digest);
    if entry.request != digest {
        return Refusal(ApiError::new(
            ErrorCode::Conflict,
            "This Idempotency-Key was used for another request.",
            "Use a new key for each request.",
        ))
        .into_response();
    }
    let answer = entry
        .answer
        .get_or_init(|| async {
            // Begun by a supervisor that was killed, or by a request whose client went away.
            if let Some(task) = app.supervisor.tasks().of_request(&name) {
                let body = serde_json::to_string(&task).unwrap_or_default();
                return app.replays.keep(
                    &name,
                    &entry,
                    Answer { status: StatusCode::ACCEPTED.as_u16(), body },
                    written,
                );
            }
            if written {
                app.replays.write(&name, &entry, None);
            }
            let work = next.run(Request::from_parts(parts, Body::from(body)));
            let response = tasks::asked_as(name.clone(), work).await;
            let status = response.status().as_u16();
            let body = to_bytes(response.into_body(), LARGEST_BODY).await.unwrap_or_default();
            let body = String::from_utf8_lossy(&body).into_owned();
            app.replays.keep(&name, &entry, Answer { status, body }, written)
        })
        .await
        .clone();
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, [(header::CONTENT_TYPE, "application/json")], Bytes::from(answer.body)).into_response()
}

impl Replays {
    /// Reads what earlier supervisors answered. A file that can't be read is removed: it can say nothing.
    pub(crate) fn open(folder: &Path) -> Self {
        let mut entries = HashMap::new();
        for file in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = file.path();
            let name = path.file_stem().and_then(|n| n.to_str()).unwrap_or_default().to_owned();
            let record = fs::read(&path).ok().and_then(|bytes| serde_json::from_slice::<Record>(&bytes).ok());
            match record {
                Some(record) if record.schema > SCHEMA => {}
                Some(Record { request, at, answer, .. }) => {
                    let answer = Arc::new(answer.map_or_else(OnceCell::new, |a| OnceCell::new_with(Some(a))));
                    entries.insert(name, Entry { request, at, answer });
                }
                None => {
                    tracing::warn!(file = %path.display(), "a remembered request can't be read");
                    // What is left is read, and warned of, again.
                    let _ = fs::remove_file(&path);
                }
            }
        }
        let replays = Self { folder: folder.to_owned(), entries: Mutex::new(entries) };
        replays.forget_old(&mut replays.lock());
        replays
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn entry(&self, name: &str, request: &str) -> Entry {
        let mut entries = self.lock();
        if let Some(there) = entries.get(name).filter(|e| e.age() < REMEMBER) {
            return there.clone();
        }
        let entry = Entry { request: request.to_owned(), at: now(), answer: Arc::default() };
        entries.insert(name.to_owned(), entry.clone());
        self.forget_old(&mut entries);
        entry
    }

    /// Keeps the number and the age of what is remembered in bounds.
    fn forget_old(&self, entries: &mut HashMap<String, Entry>) {
        let mut by_age: Vec<(u64, String)> = entries.iter().map(|(name, e)| (e.at, name.clone())).collect();
        by_age.sort_unstable();
        let surplus = by_age.len().saturating_sub(MOST);
        for (place, (_, name)) in by_age.into_iter().enumerate() {
            if place < surplus || entries.get(&name).is_some_and(|e| e.age() >= REMEMBER) {
                entries.remove(&name);
                // Never written, or removed by hand.
                let _ = fs::remove_file(self.path(&name));
            }
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.json"))
    }

    fn keep(&self, name: &str, entry: &Entry, answer: Answer, written: bool) -> Answer {
        if written && answer.body.len() <= LARGEST_KEPT {
            self.write(name, entry, Some(&answer));
        }
        answer
    }

    /// A full disk must not keep anybody from stopping the machine: what can't be written is remembered by this process
    /// alone.
    fn write(&self, name: &str, entry: &Entry, answer: Option<&Answer>) {
        let record = Record { schema: SCHEMA, request: entry.request.clone(), at: entry.at, answer: answer.cloned() };
        let written = serde_json::to_vec(&record)
            .map_err(std::io::Error::other)
            .and_then(|bytes| durable::write(&self.path(name), &bytes));
        if let Err(error) = written {
            tracing::warn!(%error, "a request can't be remembered beyond this supervisor's life");
        }
    }
}

impl Entry {
    fn age(&self) -> Duration {
        Duration::from_secs(now().saturating_sub(self.at))
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

fn bad(message: &str) -> Refusal {
    Refusal(ApiError::new(ErrorCode::BadRequest, message, "Correct the request."))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn answer(body: &str) -> Answer {
        Answer { status: 202, body: body.into() }
    }

    #[test]
    fn answers_outlive_the_process_and_are_the_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let replays = Replays::open(folder.path());
        let entry = replays.entry("k", "r");
        replays.write("k", &entry, None);
        let again = Replays::open(folder.path()).entry("k", "r");
        assert!(again.answer.get().is_none(), "begun, and not answered");
        replays.keep("k", &entry, answer("yes"), true);
        let replays = Replays::open(folder.path());
        let again = replays.entry("k", "other");
        assert_eq!(again.request, "r");
        assert_eq!(again.answer.get().map(|a| (a.status, a.body.as_str())), Some((202, "yes")));
        let mode = fs::metadata(replays.path("k")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn what_is_remembered_has_bounds() {
        let folder = tempfile::tempdir().unwrap();
        let replays = Replays::open(folder.path());
        let write = |name: &str, at: u64| {
            let record = Record { schema: SCHEMA, request: "r".into(), at, answer: Some(answer("")) };
            fs::write(replays.path(name), serde_json::to_vec(&record).unwrap()).unwrap();
        };
        write("old", now() - REMEMBER.as_secs() - 1);
        for n in 0..MOST + 2 {
            write(&format!("n{n}"), now() - 5000 + u64::try_from(n).unwrap());
        }
        fs::write(folder.path().join("torn.json"), "{\"sche").unwrap();
        fs::write(folder.path().join("newer.json"), r#"{"schema":9,"request":"r","at":0}"#).unwrap();
        let replays = Replays::open(folder.path());
        assert_eq!(replays.lock().len(), MOST);
        assert!(!replays.lock().contains_key("n1") && replays.lock().contains_key("n2"));
        replays.entry("new", "r");
        assert!(replays.lock().len() == MOST && !replays.lock().contains_key("n2"));
        let left = fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(left, MOST, "their files are gone, too; one of a newer version is left alone");
    }
}
