//! `alcove snapshot`.

use alcove_client::encode_component;
use alcove_types::machine::{Snapshot, SnapshotRequest};
use serde_json::{Value, json};

use super::Context;
use crate::{
    args::{SnapshotCommand, Waiting},
    consent,
    exit::{Failure, internal},
    follow::{Follower, Goal, finish},
    output::table,
    words::{plain, size},
};

const PATH: &str = "/api/v1/machine/snapshots";

pub(crate) async fn run(context: &Context<'_>, command: Option<&SnapshotCommand>) -> Result<(), Failure> {
    match command {
        Some(SnapshotCommand::Restore { name, sure, .. }) => {
            let loss = format!(
                "This puts the machine back to {}: what came since is lost, its saved memory too.",
                plain(name)
            );
            consent::ask(context.output, *sure, &loss)?;
        }
        Some(SnapshotCommand::Delete { name, sure, .. }) => {
            consent::ask(context.output, *sure, &format!("This deletes the copy {}.", plain(name)))?;
        }
        _ => {}
    }
    let client = context.connect_at_rest().await?;
    let (outcome, follower, waiting, text) = match command {
        None | Some(SnapshotCommand::List) => {
            let answer: Value = client.get(PATH).await?;
            let list = read(&answer)?;
            context.output.data(&answer, || describe(&list));
            return Ok(());
        }
        Some(SnapshotCommand::Create { name, note, waiting }) => {
            let follower = Follower::open(&client, context.output).await?;
            let request = SnapshotRequest { name: name.clone(), note: note.clone() };
            (client.begin(PATH, &request).await?, follower, waiting, format!("Kept as {name}."))
        }
        Some(SnapshotCommand::Restore { name, waiting, .. }) => {
            let follower = Follower::open(&client, context.output).await?;
            let path = format!("{PATH}/{}/restore", encode_component(name));
            (client.begin(&path, &json!({})).await?, follower, waiting, format!("The machine is back at {name}."))
        }
        Some(SnapshotCommand::Delete { name, waiting, .. }) => {
            let follower = Follower::open(&client, context.output).await?;
            let path = format!("{PATH}/{}", encode_component(name));
            (client.begin_delete(&path).await?, follower, waiting, format!("{name} is deleted."))
        }
    };
    let waiting: Waiting = *waiting;
    let task = finish(follower, outcome, Goal::Task, waiting).await?;
    if context.output.json {
        context.output.data(&task, String::new);
    } else if !waiting.no_wait {
        context.output.note(&text);
    }
    Ok(())
}

/// The list itself, or the list inside an object.
fn read(answer: &Value) -> Result<Vec<Snapshot>, Failure> {
    let list = answer.get("snapshots").unwrap_or(answer);
    serde_json::from_value(list.clone())
        .map_err(|e| internal(format!("the supervisor's list of snapshots is not understood ({e})")).into())
}

fn describe(list: &[Snapshot]) -> String {
    if list.is_empty() {
        return "There are no snapshots.".to_owned();
    }
    let row = |s: &Snapshot| {
        let kind = if s.with_memory { format!("suspended, {}", size(s.state_bytes)) } else { "stopped".to_owned() };
        vec![s.name.clone(), s.created.clone(), kind, plain(&s.note)]
    };
    table(&list.iter().map(row).collect::<Vec<_>>())
}
