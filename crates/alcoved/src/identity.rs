//! Who the host vouches for: a short-lived, signed header that the platform's gateway checks.

use std::{
    sync::{Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use alcove_api::link::Link;
use alcove_machine::{credentials::Credentials, layout::Layout, spec::MachineSpec};
use alcove_types::{ApiError, ErrorCode, guest::Account, settings::Settings};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac};
use serde_json::{Value, json};
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
    /// The start of the machine that has this key: the next one may be that of another machine, or of one whose keys
    /// were lost.
    start: u64,
    key: Vec<u8>,
    account: Account,
}

impl IdentityKey {
    /// The header's value for a request of the owner to `host`, on the machine behind `link`.
    pub(crate) async fn sign(
        &self,
        layout: &Layout,
        link: &Link,
        settings: &Settings,
        host: &str,
    ) -> Result<String, ApiError> {
        let known = self.known(layout, link.start()).await?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        Ok(signed(&known.key, claims(&known.account, settings, host, now).to_string().as_bytes()))
    }

    async fn known(&self, layout: &Layout, start: u64) -> Result<Known, ApiError> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(known) = known.filter(|known| known.start == start) {
            return Ok(known);
        }
        // A keychain may take its time: nothing else may wait for it.
        let (Some(credentials), Some(spec)) =
            (Credentials::read(layout).await.map_err(|e| e.api())?, MachineSpec::load(layout).map_err(|e| e.api())?)
        else {
            return Err(ApiError::new(ErrorCode::MachineNotRunning, "There is no machine yet.", "Make it first."));
        };
        let key = hex::decode(&credentials.identity_key).map_err(|_| {
            ApiError::new(ErrorCode::FileCorrupt, "The identity key is damaged.", "Restore it from a backup.")
        })?;
        let known = Known { start, key, account: spec.account };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(known.clone());
        Ok(known)
    }
}

/// Who asks, and how they like the pages to be. The machine's own note of the name is that of its making.
fn claims(account: &Account, settings: &Settings, host: &str, now: u64) -> Value {
    let name = if settings.display_name.is_empty() { &account.display_name } else { &settings.display_name };
    let mut claims = json!({
        "sub": account.name,
        "name": name,
        "exp": now + LIFETIME_S,
        "host": host,
        "theme": settings.theme,
    });
    if let Some(language) = settings.language {
        claims["language"] = json!(language);
    }
    claims
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
    use alcove_types::settings::{Language, Theme};

    use super::*;

    #[test]
    fn a_signature_depends_on_key_and_claims() {
        let one = signed(b"key", b"{}");
        assert_eq!(one.split('.').count(), 2);
        assert_ne!(one, signed(b"yek", b"{}"));
        assert_ne!(one, signed(b"key", b"{ }"));
    }

    #[test]
    fn the_settings_say_name_language_and_theme() {
        let account = Account { name: "ada".into(), display_name: "Ada".into() };
        let mut settings = Settings::default();
        let plain = claims(&account, &settings, "desktop.localhost:7", 100);
        let expected =
            json!({ "sub": "ada", "name": "Ada", "exp": 220, "host": "desktop.localhost:7", "theme": "system" });
        assert_eq!(plain, expected);
        settings.display_name = "Countess".into();
        settings.language = Some(Language::Zh);
        settings.theme = Theme::Contrast;
        let chosen = claims(&account, &settings, "desktop.localhost:7", 100);
        assert_eq!(chosen["name"], "Countess");
        assert_eq!((&chosen["language"], &chosen["theme"]), (&json!("zh"), &json!("contrast")));
    }
}
