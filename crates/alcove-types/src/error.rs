//! The one error shape of the whole product.

wire! {
/// What went wrong, as people and programs get to see it.
pub struct ApiError {
    /// One of a closed list; programs branch on this alone.
    pub code: ErrorCode,
    /// What happened, for people: no final full stop missing, no jargon.
    pub message: String,
    /// What to do next.
    pub hint: String,
    /// Facts for a bug report or for a program; never secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<serde_json::Value>,
}

/// The closed list of error codes.
#[derive(Copy, Eq, Hash)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The request could not be understood or breaks a rule.
    BadRequest,
    /// No credentials, or wrong ones.
    Unauthenticated,
    /// Credentials without the right to do this.
    Forbidden,
    /// The named thing does not exist.
    NotFound,
    /// The thing exists already, or another operation holds it.
    Conflict,
    /// The present state does not allow it.
    WrongState,
    /// It did not happen before its deadline.
    Timeout,
    /// The person or a newer request cancelled it.
    Cancelled,
    /// The supervisor is not running or not reachable.
    SupervisorUnreachable,
    /// The machine is not up.
    MachineNotRunning,
    /// The guest does not answer.
    GuestUnreachable,
    /// Kubernetes does not answer yet.
    KubernetesUnreachable,
    /// QEMU is missing or too old.
    HypervisorMissing,
    /// QEMU refused to start or died.
    HypervisorFailed,
    /// Where something is brought from does not answer.
    SourceUnreachable,
    /// There is no guest image, or it is damaged.
    ImageInvalid,
    /// A suspended state can't be used.
    StateInvalid,
    /// A file of ours is damaged.
    FileCorrupt,
    /// A file was written by a newer version.
    TooNew,
    /// No space left on the host or in the guest.
    DiskFull,
    /// The host can't do this.
    Unsupported,
    /// A fault in Alcove itself.
    Internal,
}
}

impl ApiError {
    /// An error with its message and the hint that says what to do next.
    pub fn new(code: ErrorCode, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: hint.into(), details: None }
    }

    /// The same error with facts for a bug report.
    #[must_use]
    pub fn with_details(mut self, details: serde_json::Value) -> Self {
        self.details = Some(details);
        self
    }
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ApiError {}
