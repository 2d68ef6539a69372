//! `alcove status`.

use alcove_types::{Condition, ConditionStatus, machine::Phase, status::Status};
use jiff::Timestamp;

use super::Context;
use crate::{
    exit::Failure,
    output::{Output, Role, table},
    words,
};

pub(crate) async fn run(context: &Context<'_>) -> Result<(), Failure> {
    let status = context.connect_or_adopt().await?.status().await?;
    context.output.data(&status, || describe(context.output, &status, Timestamp::now()));
    Ok(())
}

fn describe(output: &Output, status: &Status, now: Timestamp) -> String {
    let phase = words::phase(status.phase);
    let wanted = words::desired(status.desired);
    let mut head = output.paint(Role::Strong, &format!("The machine is {phase}"));
    if status.phase == Phase::Absent {
        // Nothing is wanted of a machine that nobody has made; what a machine starts with is told by the contract alone.
        head.push_str(&format!("\n  {} Make it with `alcove setup`.", output.paint(Role::Hint, "hint:")));
    } else if phase != wanted {
        head.push_str(&format!(", wanted is {wanted}"));
    }
    let machine = &status.machine;
    let mut rows = Vec::new();
    if machine.memory_bytes > 0 {
        let memory = words::size(machine.memory_bytes);
        let image = machine.image.as_deref().map_or_else(String::new, |image| format!(", image {image}"));
        let how = words::acceleration(machine.acceleration);
        rows.push(("machine", format!("{memory} of memory, {} processors, {how}{image}", machine.cpus)));
    }
    if let Some(version) = &status.kubernetes.version {
        let kind = status.kubernetes.distribution.as_deref().unwrap_or("unknown");
        let node = if status.kubernetes.node_ready { "node ready" } else { "node not ready" };
        rows.push(("kubernetes", format!("{version} ({kind}), {node}")));
    }
    rows.push(("native", status.endpoints.native.clone()));
    rows.push(("desktop", status.endpoints.desktop.clone()));
    let rows: Vec<_> = rows.into_iter().map(|(name, value)| vec![format!("  {name}"), value]).collect();
    let mut text = format!("{head}\n{}", table(&rows));
    if !status.conditions.is_empty() {
        text.push('\n');
        for condition in &status.conditions {
            text.push_str(&line(output, condition, now));
        }
    }
    text
}

fn line(output: &Output, condition: &Condition, now: Timestamp) -> String {
    let (sign, role) = match condition.status {
        ConditionStatus::True => ("✓", Role::Good),
        ConditionStatus::False => ("✗", Role::Failed),
        ConditionStatus::Unknown => ("?", Role::Attention),
    };
    let since = words::ago(&condition.since, now);
    let message = words::plain(&condition.message);
    let mut text = format!("  {} {:<16} {message}", output.paint(role, sign), condition.kind);
    text = format!("{} {}\n", text.trim_end(), output.paint(Role::Quiet, &format!("({since})")));
    if !condition.hint.is_empty() {
        text.push_str(&format!("    {} {}\n", output.paint(Role::Hint, "hint:"), words::plain(&condition.hint)));
    }
    text
}
