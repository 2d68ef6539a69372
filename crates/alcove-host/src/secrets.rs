//! Where a machine's keys are kept, in words.

use alcove_machine::{
    MachineError,
    secrets::{Kept, Reason, Trouble},
};
use alcove_types::host::{Check, CheckStatus, HostFacts};

/// The facts with where the keys are kept.
#[must_use]
pub fn with_secrets(facts: HostFacts, kept: &Kept) -> HostFacts {
    let place = if kept.in_keychain { "keychain" } else { "file" };
    let why = match (&kept.trouble, &kept.reason) {
        (Some(trouble), _) | (None, Reason::Unusable(trouble)) => match trouble {
            Trouble::Absent(_) => "no_keychain",
            Trouble::Locked => "keychain_locked",
            Trouble::Slow(_) => "keychain_slow",
            Trouble::Failed(_) => "keychain_failed",
        },
        (None, Reason::KeychainRuns) => "keychain_runs",
        (None, Reason::Forced) => "forced",
        (None, Reason::NextStart) => "next_start",
    };
    HostFacts { secrets: place.into(), secrets_why: why.into(), ..facts }
}

/// Whether the keys can be read, and where they lie.
#[must_use]
pub fn secrets_check(kept: &Kept) -> Check {
    let files = "the machine's keys are kept in files that only you can read";
    let (status, message, hint) = match (&kept.trouble, &kept.reason) {
        (Some(trouble), _) => {
            let error = MachineError::Keychain(trouble.clone()).api();
            (CheckStatus::Warn, error.message, error.hint)
        }
        (None, Reason::KeychainRuns) => {
            (CheckStatus::Ok, "the machine's keys are kept in your keychain".to_owned(), String::new())
        }
        (None, Reason::Forced) => (CheckStatus::Ok, format!("{files}, as ALCOVE_SECRETS asks for"), String::new()),
        (None, Reason::NextStart) => {
            (CheckStatus::Ok, format!("{files}; they move into your keychain at the next start"), String::new())
        }
        (None, Reason::Unusable(trouble)) => (CheckStatus::Ok, format!("{files}: {trouble}"), String::new()),
    };
    Check { id: "secrets".to_owned(), title: "Secrets".to_owned(), status, message, hint }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn every_place_has_its_words_and_a_hint_exactly_when_something_needs_doing() {
        let absent = || Trouble::Absent("no bus".into());
        let locked = Some(Trouble::Locked);
        for (in_keychain, reason, trouble, why, words) in [
            (true, Reason::KeychainRuns, None, "keychain_runs", "in your keychain"),
            (true, Reason::KeychainRuns, locked, "keychain_locked", "locked"),
            (true, Reason::KeychainRuns, Some(absent()), "no_keychain", "no keychain runs"),
            (false, Reason::Forced, None, "forced", "ALCOVE_SECRETS"),
            (false, Reason::NextStart, None, "next_start", "next start"),
            (false, Reason::Unusable(absent()), None, "no_keychain", "no keychain runs"),
            (false, Reason::Unusable(Trouble::Locked), None, "keychain_locked", "locked"),
            (false, Reason::Unusable(Trouble::Slow(Duration::from_secs(5))), None, "keychain_slow", "5 s"),
            (false, Reason::Unusable(Trouble::Failed("x".into())), None, "keychain_failed", "could not be used"),
        ] {
            let kept = Kept { in_keychain, reason, trouble };
            let facts = with_secrets(crate::facts(std::path::Path::new("/tmp")), &kept);
            assert_eq!(facts.secrets, if in_keychain { "keychain" } else { "file" });
            assert_eq!(facts.secrets_why, why);
            let check = secrets_check(&kept);
            assert!(check.message.contains(words), "{check:?}");
            assert_eq!(check.status == CheckStatus::Ok, kept.trouble.is_none());
            assert_eq!(check.hint.is_empty(), check.status == CheckStatus::Ok);
        }
    }
}
