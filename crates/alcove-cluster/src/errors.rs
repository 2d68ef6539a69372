//! The cluster's errors in the one shape that the whole product uses.

use alcove_types::{ApiError, ErrorCode};
use http::StatusCode;

use crate::object::Status;

/// No connection, or one that broke.
pub(crate) fn unreachable(reason: impl std::fmt::Display) -> ApiError {
    ApiError::new(
        ErrorCode::KubernetesUnreachable,
        format!("the cluster does not answer ({reason})"),
        "It may still be starting: see the machine's boot, or `alcove logs --source k3s`.",
    )
}

/// No answer before the deadline.
pub(crate) fn late(seconds: u64) -> ApiError {
    unreachable(format!("nothing came within {seconds} s"))
}

/// An answer that can't be read.
pub(crate) fn not_understood(path: &str, reason: impl std::fmt::Display) -> ApiError {
    ApiError::new(
        ErrorCode::Internal,
        format!("the cluster's answer to {path} is not understood ({reason})"),
        "The image may hold a version of Kubernetes that this version of Alcove does not know.",
    )
}

/// A list that has no end, or none that can be waited for.
pub(crate) fn too_much(path: &str) -> ApiError {
    ApiError::new(
        ErrorCode::Unsupported,
        format!("the cluster's list {path} is too long to be read whole"),
        "Look at it piece by piece: `alcove kubectl -- get` with a namespace or a selector.",
    )
}

/// A name that no object can have.
pub(crate) fn bad_name(name: &str) -> ApiError {
    ApiError::new(
        ErrorCode::BadRequest,
        format!("{name:?} is no name of a Kubernetes object"),
        "Names are made of lower-case letters, digits, `-` and `.`.",
    )
}

/// Turns a refusal into an error. Refused is not "none": every status but success ends here.
pub(crate) fn from_answer(status: StatusCode, body: &[u8]) -> ApiError {
    // The door answers by itself while the cluster is not up.
    if let Ok(error) = serde_json::from_slice::<ApiError>(body) {
        return error;
    }
    let said = serde_json::from_slice::<Status>(body).unwrap_or_default();
    let said = if said.message.is_empty() { format!("it answered {status}") } else { said.message };
    let (code, message, hint) = match status.as_u16() {
        400 | 422 => (ErrorCode::BadRequest, "the cluster can't do that", "Check the names and options."),
        401 => (
            ErrorCode::Unauthenticated,
            "the cluster does not know us",
            "The machine's certificates may have been replaced: restart the machine.",
        ),
        403 => (ErrorCode::Forbidden, "the cluster refuses to show this", "Ask the owner for the right to see it."),
        404 => {
            (ErrorCode::NotFound, "the cluster does not have it", "It may have been deleted: look at the list again.")
        }
        // 410: the list was compacted away between two pages.
        409 | 410 => (ErrorCode::Conflict, "it was changed meanwhile", "Try again."),
        429 | 500..=599 => {
            let hint = "It may still be starting: see the machine's boot, or `alcove logs --source k3s`.";
            (ErrorCode::KubernetesUnreachable, "the cluster is not ready", hint)
        }
        _ => (ErrorCode::Internal, "the cluster answered in an unexpected way", "See `alcove logs --source k3s`."),
    };
    ApiError::new(code, format!("{message} ({})", said.trim_end_matches('.')), hint)
}
