//! The token, tickets and browser sessions. All of it lives in memory: who restarts the supervisor signs in anew.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use alcove_types::{
    ApiError, ErrorCode,
    session::{Surface, Ticket},
};
use axum::{
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode, header};
use subtle::ConstantTimeEq;

use crate::{access::surface_of_host, answer::Refusal, state::App};

/// A ticket can be used for this long.
const TICKET: Duration = Duration::from_secs(120);
/// A browser stays signed in for this long.
const SESSION: Duration = Duration::from_secs(30 * 24 * 3600);
/// Tickets that wait to be used; more than this is an attack or a fault.
const MOST_TICKETS: usize = 256;
const MOST_SESSIONS: usize = 1024;

/// Who is signed in.
pub(crate) struct Sessions {
    token: String,
    tickets: Mutex<HashMap<String, (Surface, Instant)>>,
    sessions: Mutex<HashMap<String, (Surface, Instant)>>,
}

impl Sessions {
    /// No one is signed in; the token is new.
    pub(crate) fn new() -> Self {
        Self { token: secret(), tickets: Mutex::default(), sessions: Mutex::default() }
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
        let now = Instant::now();
        let (made_for, until) = self.tickets.lock().unwrap_or_else(PoisonError::into_inner).remove(ticket)?;
        if made_for != surface || until <= now {
            return None;
        }
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.retain(|_, (_, until)| *until > now);
        if sessions.len() >= MOST_SESSIONS {
            sessions.clear();
        }
        let session = secret();
        sessions.insert(session.clone(), (surface, now + SESSION));
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
            .any(|(_, value)| sessions.get(value).is_some_and(|(s, until)| *s == surface && *until > Instant::now()))
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
    match app.sessions.redeem(&ticket, surface) {
        Some(session) => {
            // No `Secure`: loopback is plain HTTP, and WebKit would not keep the cookie. Lax: a link may lead here.
            let cookie = format!(
                "{}={session}; Path=/; HttpOnly; SameSite=Lax; Max-Age={}",
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
        None => Refusal(ApiError::new(
            ErrorCode::Unauthenticated,
            "This link was used already, or it is too old.",
            "Open Alcove again, or run `alcove open --print` for a new link.",
        ))
        .into_response(),
    }
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
        let sessions = Sessions::new();
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

    #[test]
    fn tokens_differ_and_are_compared_whole() {
        let (one, two) = (Sessions::new(), Sessions::new());
        assert_ne!(one.token(), two.token());
        assert!(one.is_token(one.token()));
        assert!(!one.is_token(&one.token()[..60]));
        assert!(!one.is_token(""));
    }
}
