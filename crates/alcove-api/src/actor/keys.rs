//! The keys of a machine that was on before this supervisor: a keychain may not give them at once.

use alcove_machine::{MachineError, credentials::Credentials};
use alcove_types::ConditionStatus;

use crate::shared::Shared;

/// Absent while all is well.
pub(super) const CONDITION: &str = "KeysReadable";

/// Whether the machine's keys can be read; when a keychain stands in the way, says so where the machine is shown. Asked
/// again at each look, so that the machine is taken over as soon as the keychain is open. Nobody is asked for a password:
/// nobody may be there, and the machine runs on in any case.
pub(super) async fn can_be_read(shared: &Shared) -> bool {
    match Credentials::read(&shared.layout).await {
        Err(error @ (MachineError::Keychain(_) | MachineError::KeysLost)) => {
            let reason = if matches!(error, MachineError::KeysLost) { "Lost" } else { "KeychainShut" };
            let error = error.api();
            let message = format!("The machine runs on, but can't be reached. {}", error.message);
            shared.change(|view| {
                view.set_condition(CONDITION, ConditionStatus::False, reason, &message, &error.hint);
            });
            false
        }
        // Other trouble with the keys is told by what needs them.
        _ => {
            shared.change(|view| view.drop_condition(CONDITION));
            true
        }
    }
}
