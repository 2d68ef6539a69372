//! `alcove task` and `alcove operations`.

use alcove_client::encode_component;
use alcove_types::{
    operation::OperationList,
    task::{Task, TaskList, TaskState},
};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::Context;
use crate::{
    args::TaskCommand,
    exit::Failure,
    follow::{Follower, Goal},
    output::table,
    words::{self, ago, plain},
};

pub(crate) async fn run(context: &Context<'_>, command: Option<&TaskCommand>) -> Result<(), Failure> {
    let client = context.connect_at_rest().await?;
    match command {
        None | Some(TaskCommand::List) => {
            let list: TaskList = client.get("/api/v1/tasks").await?;
            context.output.data(&list, || {
                let now = Timestamp::now();
                let rows: Vec<_> = list.tasks.iter().map(|t| row(t, now)).collect();
                if rows.is_empty() { "There are no tasks.".to_owned() } else { table(&rows) }
            });
        }
        Some(TaskCommand::Show { id }) => {
            let task = client.task(id).await?;
            context.output.data(&task, || show(&task));
        }
        Some(TaskCommand::Cancel { id }) => {
            let path = format!("/api/v1/tasks/{}/cancel", encode_component(id));
            let answer: Value = client.post(&path, &json!({})).await?;
            context.output.data(&answer, String::new);
            context.output.note("Cancelled.");
        }
        Some(TaskCommand::Wait { id, waiting }) => {
            let follower = Follower::open(&client, context.output).await?;
            let task = client.task(id).await?;
            let task = follower.wait(task, Goal::Task, *waiting).await?;
            context.output.data(&task, || show(&task));
        }
    }
    Ok(())
}

const fn state(state: TaskState) -> &'static str {
    match state {
        TaskState::Queued => "queued",
        TaskState::Running => "running",
        TaskState::Succeeded => "succeeded",
        TaskState::Failed => "failed",
        TaskState::Cancelled => "cancelled",
    }
}

fn row(task: &Task, now: Timestamp) -> Vec<String> {
    let said = task.error.as_ref().map_or_else(|| words::task(task), |e| plain(&e.message));
    vec![
        task.id.clone(),
        task.kind.clone(),
        state(task.state).to_owned(),
        format!("{} ago", ago(&task.created, now)),
        said,
    ]
}

fn show(task: &Task) -> String {
    let mut rows = vec![
        ("id", task.id.clone()),
        ("what", task.kind.clone()),
        ("state", state(task.state).to_owned()),
        ("message", words::task(task)),
        ("created", task.created.clone()),
    ];
    if let Some(progress) = task.progress {
        rows.push(("progress", format!("{:.0} %", progress * 100.0)));
    }
    rows.extend(task.ended.clone().map(|ended| ("ended", ended)));
    if let Some(error) = &task.error {
        rows.push(("error", plain(&error.message)));
        rows.push(("hint", plain(&error.hint)));
    }
    table(&rows.into_iter().filter(|(_, v)| !v.is_empty()).map(|(k, v)| vec![k.to_owned(), v]).collect::<Vec<_>>())
}

/// `alcove operations`.
pub(crate) async fn operations(context: &Context<'_>, limit: u32, before: Option<u64>) -> Result<(), Failure> {
    let client = context.connect_at_rest().await?;
    let before = before.map_or_else(String::new, |id| format!("&before={id}"));
    let list: OperationList = client.get(&format!("/api/v1/operations?limit={limit}{before}")).await?;
    context.output.data(&list, || {
        let rows: Vec<Vec<String>> = list
            .operations
            .iter()
            .map(|o| {
                vec![
                    o.id.to_string(),
                    o.at.clone(),
                    format!("{} ({})", o.who, o.via),
                    o.what.clone(),
                    o.result.clone(),
                    plain(&o.message),
                ]
            })
            .collect();
        if rows.is_empty() { "Nothing was done yet.".to_owned() } else { table(&rows) }
    });
    if let Some(next) = list.next_before {
        context.output.note(&format!("Older ones: `alcove operations --before {next}`."));
    }
    Ok(())
}
