//! Errors as HTTP answers.

use alcove_types::{ApiError, ErrorCode};
use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::StatusCode;

/// What a route gives back.
pub(crate) type Answer<T> = Result<T, Refusal>;

/// An error on its way to a client.
#[derive(Debug)]
pub(crate) struct Refusal(pub(crate) ApiError);

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Self(error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (status(self.0.code), Json(self.0)).into_response()
    }
}

/// The HTTP status that stands for a code.
pub(crate) fn status(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::BadRequest | ErrorCode::TooNew => StatusCode::BAD_REQUEST,
        ErrorCode::Unauthenticated => StatusCode::UNAUTHORIZED,
        ErrorCode::Forbidden => StatusCode::FORBIDDEN,
        ErrorCode::NotFound => StatusCode::NOT_FOUND,
        ErrorCode::Conflict | ErrorCode::WrongState | ErrorCode::Cancelled | ErrorCode::StateInvalid => {
            StatusCode::CONFLICT
        }
        ErrorCode::Timeout => StatusCode::GATEWAY_TIMEOUT,
        ErrorCode::SupervisorUnreachable
        | ErrorCode::MachineNotRunning
        | ErrorCode::GuestUnreachable
        | ErrorCode::KubernetesUnreachable => StatusCode::SERVICE_UNAVAILABLE,
        ErrorCode::SourceUnreachable => StatusCode::BAD_GATEWAY,
        ErrorCode::DiskFull => StatusCode::INSUFFICIENT_STORAGE,
        ErrorCode::Unsupported => StatusCode::NOT_IMPLEMENTED,
        ErrorCode::HypervisorMissing
        | ErrorCode::HypervisorFailed
        | ErrorCode::ImageInvalid
        | ErrorCode::FileCorrupt
        | ErrorCode::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
