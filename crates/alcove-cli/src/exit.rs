//! Exit codes, a contract that scripts rely on.

use alcove_types::{ApiError, ErrorCode};

pub(crate) const OK: i32 = 0;
pub(crate) const FAILED: i32 = 1;
pub(crate) const USAGE: i32 = 2;
pub(crate) const REFUSED: i32 = 3;
pub(crate) const TIMEOUT: i32 = 4;
pub(crate) const UNREACHABLE: i32 = 5;
pub(crate) const CANCELLED: i32 = 6;
pub(crate) const HOST: i32 = 7;
pub(crate) const DETACHED: i32 = 130;

/// Every code with its meaning, for help and manual.
pub(crate) const TABLE: &[(i32, &str)] = &[
    (OK, "It was done."),
    (FAILED, "It failed."),
    (USAGE, "The command or a value in it is not understood."),
    (REFUSED, "Refused: the present state does not allow it, it does not exist, or it is not permitted."),
    (TIMEOUT, "It did not happen before the deadline (--timeout). What was begun goes on."),
    (UNREACHABLE, "The supervisor, the machine, the cluster or an image's source does not answer."),
    (CANCELLED, "It was cancelled, or replaced by a newer request."),
    (HOST, "This computer lacks something: QEMU, the guest image, disk space, a capability."),
    (DETACHED, "Interrupted (Ctrl-C). What was begun goes on."),
];

/// Why a command ends without success.
#[derive(Debug)]
pub(crate) enum Failure {
    /// An error to show.
    Api(ApiError),
    /// Everything was said already; end with this code.
    Code(i32),
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self::Api(error)
    }
}

/// The exit code of an error.
pub(crate) const fn code_of(code: ErrorCode) -> i32 {
    match code {
        ErrorCode::BadRequest => USAGE,
        ErrorCode::Unauthenticated
        | ErrorCode::Forbidden
        | ErrorCode::NotFound
        | ErrorCode::Conflict
        | ErrorCode::WrongState
        | ErrorCode::MachineNotRunning => REFUSED,
        ErrorCode::Timeout => TIMEOUT,
        ErrorCode::SupervisorUnreachable
        | ErrorCode::GuestUnreachable
        | ErrorCode::KubernetesUnreachable
        | ErrorCode::SourceUnreachable => UNREACHABLE,
        ErrorCode::Cancelled => CANCELLED,
        ErrorCode::HypervisorMissing | ErrorCode::ImageInvalid | ErrorCode::DiskFull | ErrorCode::Unsupported => HOST,
        ErrorCode::HypervisorFailed
        | ErrorCode::StateInvalid
        | ErrorCode::FileCorrupt
        | ErrorCode::TooNew
        | ErrorCode::Internal => FAILED,
    }
}

/// A value that was given is not understood.
pub(crate) fn usage(message: impl Into<String>, hint: impl Into<String>) -> Failure {
    Failure::Api(ApiError::new(ErrorCode::BadRequest, message, hint))
}

/// A fault of this program or of what it runs on.
pub(crate) fn internal(message: impl Into<String>) -> ApiError {
    ApiError::new(ErrorCode::Internal, message, "Try again; if it happens again, report it with what you did.")
}

/// The table as text.
pub(crate) fn table() -> String {
    TABLE.iter().map(|(code, meaning)| format!("{code:>5}  {meaning}\n")).collect()
}
