//! Long work: steps, progress, cancel, a durable result.

use crate::ApiError;

wire! {
/// State of a task.
#[derive(Copy, Eq)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    /// Accepted, waits for its turn.
    Queued,
    /// Under way.
    Running,
    /// Done.
    Succeeded,
    /// Failed; see its error.
    Failed,
    /// Cancelled, or replaced by a newer request.
    Cancelled,
}

/// A piece of long work.
pub struct Task {
    /// Unique.
    pub id: String,
    /// What it does, such as `machine.start`.
    pub kind: String,
    /// State.
    pub state: TaskState,
    /// What it does now, for people.
    pub message: String,
    /// 0 to 1 where it can be told.
    pub progress: Option<f64>,
    /// What has been brought, for a task that brings something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transfer: Option<Transfer>,
    /// Whether it can be cancelled now.
    pub cancellable: bool,
    /// When it was asked for, RFC 3339.
    pub created: String,
    /// When it ended, RFC 3339.
    pub ended: Option<String>,
    /// Why it failed.
    pub error: Option<ApiError>,
}

/// How far something that is brought has come.
#[derive(Copy, Eq)]
pub struct Transfer {
    /// Bytes that are here.
    pub bytes: u64,
    /// Bytes in all.
    pub total_bytes: u64,
    /// Bytes a second, over the last seconds; absent before that can be told.
    pub bytes_per_second: Option<u64>,
    /// Seconds until the last byte, at this speed.
    pub seconds_left: Option<u64>,
}

/// All tasks, newest first.
pub struct TaskList {
    /// The tasks.
    pub tasks: Vec<Task>,
}
}

impl TaskState {
    /// True when nothing more will happen.
    pub fn ended(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }
}
