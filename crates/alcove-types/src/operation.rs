//! The operation log: who did what, when, with what result.

wire! {
/// One line of the operation log.
pub struct Operation {
    /// Counts up without gaps.
    pub id: u64,
    /// When, RFC 3339.
    pub at: String,
    /// Who, such as `owner` or `supervisor`.
    pub who: String,
    /// Through what: `cli`, `window`, `browser`, `supervisor`.
    pub via: String,
    /// What, such as `machine.suspend`.
    pub what: String,
    /// About what, such as the instance's name.
    pub subject: String,
    /// `accepted`, `succeeded`, `failed`, `cancelled`.
    pub result: String,
    /// More, for people.
    pub message: String,
    /// The task that carries it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
}

/// A page of the operation log, newest first.
pub struct OperationList {
    /// The lines.
    pub operations: Vec<Operation>,
    /// Pass as `before` to get older ones.
    pub next_before: Option<u64>,
}
}
