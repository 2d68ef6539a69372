//! Who the host vouches for: a short-lived, signed header that the platform's gateway checks.

use std::{
    sync::{Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use alcove_machine::{credentials::Credentials, layout::Layout, spec::MachineSpec};
use alcove_types::{ApiError, ErrorCode};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac};
use serde_json::json;
use sha2::Sha256;

/// The header's name.
pub(crate) const HEADER: &str = "x-alcove-identity";
/// How long the gateway may take it for true. Long enough for clocks that differ a little.
const LIFETIME_S: u64 = 120;

/// The key that the host and the guest share. Read when it is first needed: it is made with the machine.
#[derive(Default)]
pub(crate) struct IdentityKey(Mutex<Option<Known>>);

#[derive(Clone)]
struct Known {
    key: Vec<u8>,
    name: String,
    display_name: String,
}

impl IdentityKey {
    /// Forgets the key: the machine was made anew.
    pub(crate) fn forget(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The header's value for a request of the owner to `host`.
    pub(crate) fn sign(&self, layout: &Layout, host: &str) -> Result<String, ApiError> {
        let known = self.known(layout)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        let claims = json!({
            "sub": known.name,
            "name": known.display_name,
            "exp": now + LIFETIME_S,
            "host": host,
        });
        Ok(signed(&known.key, claims.to_string().as_bytes()))
    }

    fn known(&self, layout: &Layout) -> Result<Known, ApiError> {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = &*slot {
            return Ok(known.clone());
        }
        let (Some(credentials), Some(spec)) =
            (Credentials::load(layout).map_err(|e| e.api())?, MachineSpec::load(layout).map_err(|e| e.api())?)
        else {
            return Err(ApiError::new(ErrorCode::MachineNotRunning, "There is no machine yet.", "Make it first."));
        };
        let key = hex::decode(&credentials.identity_key).map_err(|_| {
            ApiError::new(ErrorCode::FileCorrupt, "The identity key is damaged.", "Restore it from a backup.")
        })?;
        let known = Known { key, name: spec.account.name, display_name: spec.account.display_name };
        *slot = Some(known.clone());
        Ok(known)
    }
}

/// `base64url(claims).base64url(hmac-sha256(key, base64url(claims)))`, after JWS's signing input (RFC 7515 §5.1).
fn signed(key: &[u8], claims: &[u8]) -> String {
    let claims = URL_SAFE_NO_PAD.encode(claims);
    // HMAC takes keys of any length.
    let mac = Hmac::<Sha256>::new_from_slice(key).map(|mut mac| {
        mac.update(claims.as_bytes());
        mac.finalize().into_bytes()
    });
    format!("{claims}.{}", URL_SAFE_NO_PAD.encode(mac.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_depends_on_key_and_claims() {
        let one = signed(b"key", b"{}");
        assert_eq!(one.split('.').count(), 2);
        assert_ne!(one, signed(b"yek", b"{}"));
        assert_ne!(one, signed(b"key", b"{ }"));
    }
}
