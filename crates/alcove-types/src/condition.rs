//! Named conditions, in the manner of Kubernetes.

wire! {
/// Whether a condition holds.
#[derive(Copy, Eq)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// It can't be told.
    Unknown,
}

/// One observed condition with its reason.
pub struct Condition {
    /// Its name, such as `KubernetesReady`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// One word in CamelCase for programs.
    pub reason: String,
    /// What is seen, for people.
    pub message: String,
    /// What to do about it; empty when nothing needs doing.
    #[serde(default)]
    pub hint: String,
    /// When the status last changed, RFC 3339.
    pub since: String,
}
}

impl Condition {
    /// True when the condition holds.
    pub fn holds(&self) -> bool {
        self.status == ConditionStatus::True
    }
}

/// Finds a condition by its name.
pub fn find<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    conditions.iter().find(|c| c.kind == kind)
}

/// Sets a condition; `since` moves only when the status changes. Returns whether anything a person sees changed.
pub fn set(conditions: &mut Vec<Condition>, new: Condition) -> bool {
    match conditions.iter_mut().find(|c| c.kind == new.kind) {
        Some(old) => {
            let changed = old.status != new.status || old.reason != new.reason || old.message != new.message;
            let since = if old.status == new.status { old.since.clone() } else { new.since.clone() };
            *old = Condition { since, ..new };
            changed
        }
        None => {
            conditions.push(new);
            true
        }
    }
}
