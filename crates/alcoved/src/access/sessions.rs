//! The token, tickets and browser sessions. Sessions outlive the supervisor, as hashes from which no cookie can be made;
//! token and tickets are new with each supervisor, so a ticket that was used stays used.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path as FilePath, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use alcove_types::{
    ApiError, ErrorCode,
    session::{Surface, Ticket},
};
use axum::{
    extract::{Path, State},
    response::{IntoResponse, Redirect, Response},
};
use http::{HeaderMap, StatusCode, header};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::{
    access::{is_native_origin, surface_of_host},
    answer::Refusal,
    explain::{explain_in, wants_page},
    state::App,
};

/// A ticket can be used for this long.
const TICKET: Duration = Duration::from_secs(120);
/// A browser stays signed in for this long.
const SESSION: Duration = Duration::from_secs(30 * 24 * 3600);
/// Tickets that wait to be used; more than this is an attack or a fault.
const MOST_TICKETS: usize = 256;
const MOST_SESSIONS: usize = 1024;

/// Cookies of the first one went to every port of `127.0.0.1`: they count no more.
const SCHEMA: u32 = 2;

/// Who is signed in.
pub(crate) struct Sessions {
    token: String,
    tickets: Mutex<HashMap<String, (Surface, Instant)>>,
    path: PathBuf,
    /// By the SHA-256 of their cookie's value.
    sessions: Mutex<HashMap<String, Session>>,
}

/// One browser at one of the surfaces.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Session {
    surface: Surface,
    /// Seconds since 1970.
    until: u64,
}

/// What lies on the disk.
#[derive(Serialize, Deserialize)]
struct Record {
    schema: u32,
    sessions: HashMap<String, Session>,
}

impl Sessions {
    /// Whoever was signed in stays so; the token is new. A file that can't be read signs everybody out.
    pub(crate) fn open(path: &FilePath) -> Self {
        let read = fs::read(path).and_then(|bytes| serde_json::from_slice::<Record>(&bytes).map_err(io::Error::from));
        let mut sessions = match read {
            Ok(record) if record.schema == SCHEMA => record.sessions,
            Ok(record) => {
                tracing::warn!(schema = record.schema, "the signed-in browsers were noted by another version");
                HashMap::new()
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => HashMap::new(),
            Err(error) => {
                tracing::warn!(%error, "the signed-in browsers can't be read; they have to sign in anew");
                HashMap::new()
            }
        };
        sessions.retain(|_, session| session.until > now());
        Self { token: secret(), tickets: Mutex::default(), path: path.to_owned(), sessions: Mutex::new(sessions) }
    }

    /// The token that programs on this host use, which can read a file of the owner's.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// Whether this is the token.
    pub(crate) fn is_token(&self, given: &str) -> bool {
        given.as_bytes().ct_eq(self.token.as_bytes()).into()
    }

    /// A link that signs a browser in, once.
    pub(crate) fn ticket(&self, surface: Surface, origin: &str) -> Result<Ticket, ApiError> {
        let mut tickets = self.tickets.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        tickets.retain(|_, (_, until)| *until > now);
        if tickets.len() >= MOST_TICKETS {
            return Err(ApiError::new(
                ErrorCode::Conflict,
                "Too many links wait to be used.",
                "Use one of them, or wait two minutes.",
            ));
        }
        let ticket = secret();
        let url = format!("{origin}/.alcove/ticket/{ticket}");
        tickets.insert(ticket, (surface, now + TICKET));
        Ok(Ticket { url, expires_at: alcove_api::clock::rfc3339(SystemTime::now() + TICKET) })
    }

    /// Turns a ticket into a session's cookie value. A ticket works once, in time, and only where it was made for.
    fn redeem(&self, ticket: &str, surface: Surface) -> Option<String> {
        let (now, unix_now) = (Instant::now(), now());
        let (made_for, until) = self.tickets.lock().unwrap_or_else(PoisonError::into_inner).remove(ticket)?;
        if made_for != surface || until <= now {
            return None;
        }
        let session = secret();
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.retain(|_, session| session.until > unix_now);
        if sessions.len() >= MOST_SESSIONS
            && let Some(first) = sessions.iter().min_by_key(|(_, s)| s.until).map(|(hash, _)| hash.clone())
        {
            sessions.remove(&first);
        }
        sessions.insert(hash(&session), Session { surface, until: unix_now + SESSION.as_secs() });
        let record = Record { schema: SCHEMA, sessions: sessions.clone() };
        let written = serde_json::to_vec(&record)
            .map_err(io::Error::from)
            .and_then(|bytes| alcove_api::durable::write(&self.path, &bytes));
        if let Err(error) = written {
            tracing::warn!(%error, "a browser's session can't be noted: it ends with this supervisor");
        }
        Some(session)
    }

    /// Whether the cookies hold a session for this surface.
    pub(crate) fn signed_in(&self, headers: &HeaderMap, port: u16, surface: Surface) -> bool {
        let name = cookie_name(port);
        let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        headers
            .get_all(header::COOKIE)
            .iter()
            .filter_map(|v| v.to_str().ok())
            .flat_map(|v| v.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .filter(|(key, _)| *key == name)
            .any(|(_, value)| sessions.get(&hash(value)).is_some_and(|s| s.surface == surface && s.until > now()))
    }
}

/// Cookies know no ports, so that of another instance must have another name.
pub(crate) fn cookie_name(port: u16) -> String {
    format!("alcove_session_{port}")
}

/// `GET /.alcove/ticket/{ticket}`: signs the browser in at the origin that was asked, and goes to its first page.
pub(crate) async fn redeem(State(app): State<App>, Path(ticket): Path<String>, headers: HeaderMap) -> Response {
    let Some(surface) = surface_of_host(&headers, app.port) else {
        return Refusal(super::gate::unknown_host()).into_response();
    };
    if surface == Surface::Native && !is_native_origin(&headers, app.port) {
        // A cookie that is set here would be told to every port of this address.
        let there = format!("{}/.alcove/ticket/{ticket}", app.origin(surface));
        return ([(header::REFERRER_POLICY, "no-referrer")], Redirect::temporary(&there)).into_response();
    }
    match app.sessions.redeem(&ticket, surface) {
        Some(session) => {
            // The native pages need no cookie before they ask for something themselves. The web desktop does: a link
            // from them, or from wherever the person keeps it, leads to its first page.
            let same_site = match surface {
                Surface::Native => "Strict",
                Surface::Desktop => "Lax",
            };
            // No `Domain`: it is for this name alone. No `Secure`: loopback is plain HTTP, and WebKit would not keep it.
            let cookie = format!(
                "{}={session}; Path=/; HttpOnly; SameSite={same_site}; Max-Age={}",
                cookie_name(app.port),
                SESSION.as_secs()
            );
            (
                StatusCode::SEE_OTHER,
                [
                    (header::SET_COOKIE, cookie),
                    (header::LOCATION, "/".to_owned()),
                    (header::CACHE_CONTROL, "no-store".to_owned()),
                    (header::REFERRER_POLICY, "no-referrer".to_owned()),
                ],
            )
                .into_response()
        }
        None => used(surface, &headers),
    }
}

/// What somebody is told whose link does not work (any more).
fn used(surface: Surface, headers: &HeaderMap) -> Response {
    let (hint, chinese) = match surface {
        Surface::Native => (
            "Open Alcove again, or run `alcove open --print` for a new link.",
            "请重新打开 Alcove，或运行 alcove open --print 获取新链接。",
        ),
        Surface::Desktop => (
            "Open the web desktop from Alcove, or run `alcove open desktop --print` for a new link.",
            "请从 Alcove 打开网页桌面，或运行 alcove open desktop --print 获取新链接。",
        ),
    };
    let error =
        ApiError::new(ErrorCode::Unauthenticated, "This link has been used, or it is older than two minutes.", hint);
    if wants_page(headers) {
        return explain_in(&error, Some(("此链接已被使用，或已超过两分钟。", chinese)), headers);
    }
    Refusal(error).into_response()
}

/// Cookies are 256 random bits: nobody finds one that has a given hash.
fn hash(cookie: &str) -> String {
    hex::encode(Sha256::digest(cookie))
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

fn secret() -> String {
    hex::encode(rand::random::<[u8; 32]>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cookie(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, format!("a=b; alcove_session_7={value}").parse().unwrap());
        headers
    }

    #[test]
    fn a_ticket_works_once_and_only_where_it_was_made_for() {
        let folder = tempfile::tempdir().unwrap();
        let sessions = Sessions::open(&folder.path().join("sessions.json"));
        let url = sessions.ticket(Surface::Desktop, "").unwrap().url;
        let ticket = url.rsplit('/').next().unwrap().to_owned();
        assert_eq!(sessions.redeem(&ticket, Surface::Native), None);
        assert_eq!(sessions.redeem(&ticket, Surface::Desktop), None, "a misused ticket is spent");

        let url = sessions.ticket(Surface::Native, "").unwrap().url;
        let ticket = url.rsplit('/').next().unwrap().to_owned();
        let session = sessions.redeem(&ticket, Surface::Native).unwrap();
        assert_eq!(sessions.redeem(&ticket, Surface::Native), None, "a ticket replayed");
        assert!(sessions.signed_in(&cookie(&session), 7, Surface::Native));
        assert!(!sessions.signed_in(&cookie(&session), 8, Surface::Native));
        assert!(!sessions.signed_in(&cookie(&session), 7, Surface::Desktop));
        assert!(!sessions.signed_in(&cookie("guess"), 7, Surface::Native));
    }

    fn sign_in(sessions: &Sessions) -> (String, String) {
        let url = sessions.ticket(Surface::Native, "").unwrap().url;
        let ticket = url.rsplit('/').next().unwrap().to_owned();
        let session = sessions.redeem(&ticket, Surface::Native).unwrap();
        (ticket, session)
    }

    #[test]
    fn a_browser_stays_signed_in_over_a_restart_and_a_ticket_stays_used() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sessions.json");
        let sessions = Sessions::open(&path);
        let (used, session) = sign_in(&sessions);
        let unused = sessions.ticket(Surface::Native, "").unwrap().url;
        drop(sessions);
        let text = fs::read_to_string(&path).unwrap();
        assert!(!text.contains(&session), "a cookie can be made from what is on the disk");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let sessions = Sessions::open(&path);
        assert!(sessions.signed_in(&cookie(&session), 7, Surface::Native));
        assert!(!sessions.signed_in(&cookie(&hash(&session)), 7, Surface::Native), "a hash is no cookie");
        assert_eq!(sessions.redeem(&used, Surface::Native), None, "a ticket replayed");
        assert_eq!(sessions.redeem(unused.rsplit('/').next().unwrap(), Surface::Native), None);
    }

    #[test]
    fn sessions_end_and_a_file_that_is_not_ours_signs_nobody_in() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sessions.json");
        let record = |schema, until| {
            let session = Session { surface: Surface::Native, until };
            let record = Record { schema, sessions: HashMap::from([(hash("x"), session)]) };
            fs::write(&path, serde_json::to_vec(&record).unwrap()).unwrap();
            Sessions::open(&path).signed_in(&cookie("x"), 7, Surface::Native)
        };
        assert!(record(SCHEMA, now() + 60));
        assert!(!record(SCHEMA, now()));
        assert!(!record(SCHEMA + 1, now() + 60));
        fs::write(&path, "{\"sche").unwrap();
        assert!(!Sessions::open(&path).signed_in(&cookie("x"), 7, Surface::Native));
        // More of them than is sane: the one that would end first goes.
        let sessions = Sessions::open(&path);
        let (_, first) = sign_in(&sessions);
        sessions.sessions.lock().unwrap().values_mut().for_each(|s| s.until -= 1);
        for _ in 0..MOST_SESSIONS - 1 {
            sessions
                .sessions
                .lock()
                .unwrap()
                .insert(secret(), Session { surface: Surface::Native, until: now() + 9_999_999 });
        }
        let (_, last) = sign_in(&sessions);
        assert!(!sessions.signed_in(&cookie(&first), 7, Surface::Native));
        assert!(sessions.signed_in(&cookie(&last), 7, Surface::Native));
    }

    #[test]
    fn tokens_differ_and_are_compared_whole() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Sessions::open(&folder.path().join("sessions.json"));
        let (one, two) = (open(), open());
        assert_ne!(one.token(), two.token());
        assert!(one.is_token(one.token()));
        assert!(!one.is_token(&one.token()[..60]));
        assert!(!one.is_token(""));
    }
}
