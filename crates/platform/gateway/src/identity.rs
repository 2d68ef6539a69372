//! Who is asking: claims signed by the host, as `base64url(claims).base64url(hmac-sha256(key, base64url(claims)))`.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac};
use serde::Deserialize;
use sha2::Sha256;

/// The header that carries the claims.
pub const HEADER: &str = "x-alcove-identity";
/// Claims longer than this are none of the host's.
const LONGEST: usize = 4096;

/// A person, as the host vouches for them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Identity {
    /// The account's short name.
    pub sub: String,
    /// The name to show.
    pub name: String,
    /// The language that they chose; an older host does not say.
    pub language: Option<String>,
    /// The look that they chose; an older host does not say.
    pub theme: Option<String>,
    /// Until when the claims hold, seconds since 1970.
    exp: u64,
    /// The host name that they were made for.
    host: String,
}

/// Claims that were not made by the host, or not for this, or not for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Untrusted;

/// The key that the host and the guest share.
pub struct IdentityKey(Vec<u8>);

impl std::fmt::Debug for IdentityKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IdentityKey").finish_non_exhaustive()
    }
}

impl IdentityKey {
    /// A key.
    #[must_use]
    pub const fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The person that the claims name, when the host made them for `host` and they hold at `now` (seconds since 1970).
    ///
    /// # Errors
    /// [`Untrusted`], which tells a forger nothing more.
    pub fn verify(&self, value: &str, host: &str, now: u64) -> Result<Identity, Untrusted> {
        if value.len() > LONGEST {
            return Err(Untrusted);
        }
        let (claims, signature) = value.split_once('.').ok_or(Untrusted)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| Untrusted)?;
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).map_err(|_| Untrusted)?;
        mac.update(claims.as_bytes());
        // Compares in constant time.
        mac.verify_slice(&signature).map_err(|_| Untrusted)?;
        let claims = URL_SAFE_NO_PAD.decode(claims).map_err(|_| Untrusted)?;
        let identity: Identity = serde_json::from_slice(&claims).map_err(|_| Untrusted)?;
        if identity.exp < now || identity.host != host || identity.sub.is_empty() {
            return Err(Untrusted);
        }
        Ok(identity)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const KEY: &[u8] = b"0123456789abcdef0123456789abcdef";

    pub(crate) fn signed(key: &[u8], claims: &str) -> String {
        let claims = URL_SAFE_NO_PAD.encode(claims);
        let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
        mac.update(claims.as_bytes());
        format!("{claims}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
    }

    #[test]
    fn what_was_chosen_is_known_and_a_host_of_another_version_is_understood() {
        let key = IdentityKey::new(KEY.to_vec());
        let says = |more: &str| {
            let claims = format!(r#"{{"sub":"ada","name":"Ada","exp":100,"host":"h:7"{more}}}"#);
            let identity = key.verify(&signed(KEY, &claims), "h:7", 99).unwrap();
            (identity.language, identity.theme)
        };
        assert_eq!(says(r#","language":"zh","theme":"dark""#), (Some("zh".into()), Some("dark".into())));
        assert_eq!(says(""), (None, None), "an older host");
        assert_eq!(says(r#","theme":"system","orbit":"low""#), (None, Some("system".into())), "a newer host");
    }

    #[test]
    fn the_hosts_word_is_taken_for_this_host_and_this_time_alone() {
        let key = IdentityKey::new(KEY.to_vec());
        let claims = r#"{"sub":"ada","name":"Ada","exp":100,"host":"desktop.localhost:7"}"#;
        let good = signed(KEY, claims);
        assert_eq!(key.verify(&good, "desktop.localhost:7", 99).unwrap().name, "Ada");
        assert_eq!(key.verify(&good, "desktop.localhost:7", 101), Err(Untrusted), "too late");
        assert_eq!(key.verify(&good, "files.localhost:7", 99), Err(Untrusted), "for another app");
        assert_eq!(key.verify(&signed(b"another", claims), "desktop.localhost:7", 99), Err(Untrusted), "another key");
        let tampered =
            format!("{}{}", URL_SAFE_NO_PAD.encode(claims.replace("ada", "eve")), &good[good.find('.').unwrap()..]);
        assert_eq!(key.verify(&tampered, "desktop.localhost:7", 99), Err(Untrusted), "changed claims");
        for nonsense in ["", ".", "a.b", "a", &"x".repeat(5000), &signed(KEY, "{}"), &signed(KEY, "[")] {
            assert_eq!(key.verify(nonsense, "desktop.localhost:7", 99), Err(Untrusted));
        }
    }
}
