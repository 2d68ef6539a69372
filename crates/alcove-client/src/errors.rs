//! The errors of this side, in the one shape that the whole product uses.

use alcove_types::{ApiError, ErrorCode};
use http::StatusCode;

/// Nobody listens.
pub(crate) fn unreachable(reason: impl std::fmt::Display) -> ApiError {
    ApiError::new(
        ErrorCode::SupervisorUnreachable,
        format!("Alcove's supervisor is not running ({reason})"),
        "Start it with `alcove start`, or see `alcove logs --source alcoved` for why it ended.",
    )
}

/// The connection broke while an answer was due.
pub(crate) fn broken(reason: impl std::fmt::Display) -> ApiError {
    ApiError::new(
        ErrorCode::SupervisorUnreachable,
        format!("the connection to Alcove's supervisor broke ({reason})"),
        "Try again; if it happens again, see `alcove logs --source alcoved`.",
    )
}

/// An open terminal ended without a word. The supervisor hands on what the machine says, so mostly that is who is gone.
pub(crate) fn hung_up(reason: impl std::fmt::Display) -> ApiError {
    ApiError::new(
        ErrorCode::GuestUnreachable,
        format!("the machine has hung up ({reason})"),
        "Open the shell again; `alcove status` says how the machine is.",
    )
}

/// No answer before the deadline.
pub(crate) fn late(seconds: u64) -> ApiError {
    ApiError::new(
        ErrorCode::Timeout,
        format!("Alcove's supervisor did not answer within {seconds} s"),
        "The computer may be very busy; try again, or see `alcove logs --source alcoved`.",
    )
}

/// The answer is not what this version understands.
pub(crate) fn not_understood(path: &str, reason: impl std::fmt::Display) -> ApiError {
    ApiError::new(
        ErrorCode::Internal,
        format!("the supervisor's answer to {path} is not understood ({reason})"),
        "The command and the supervisor may be of different versions: run `alcove quit`, then `alcove start`.",
    )
}

/// Turns an answer that is not a success into its error: the supervisor's own words where it gave them.
pub(crate) fn from_answer(status: StatusCode, body: &[u8]) -> ApiError {
    if let Ok(error) = serde_json::from_slice::<ApiError>(body) {
        return error;
    }
    let code = match status.as_u16() {
        400 | 411..=415 | 422 => ErrorCode::BadRequest,
        401 => ErrorCode::Unauthenticated,
        403 => ErrorCode::Forbidden,
        404 | 405 => ErrorCode::NotFound,
        409 => ErrorCode::Conflict,
        502..=504 => ErrorCode::GuestUnreachable,
        _ => ErrorCode::Internal,
    };
    ApiError::new(
        code,
        format!("the supervisor answered {status}"),
        "The command and the supervisor may be of different versions: run `alcove quit`, then `alcove start`.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_supervisors_words_win() {
        let body = br#"{"code":"wrong_state","message":"the machine is suspended","hint":"Resume it."}"#;
        let error = from_answer(StatusCode::CONFLICT, body);
        assert_eq!((error.code, error.hint.as_str()), (ErrorCode::WrongState, "Resume it."));
    }

    #[test]
    fn answers_of_others_still_get_a_code() {
        assert_eq!(from_answer(StatusCode::UNAUTHORIZED, b"<html>").code, ErrorCode::Unauthenticated);
        assert_eq!(from_answer(StatusCode::BAD_GATEWAY, b"").code, ErrorCode::GuestUnreachable);
        assert_eq!(from_answer(StatusCode::IM_A_TEAPOT, b"").code, ErrorCode::Internal);
    }
}
