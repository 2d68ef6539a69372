//! Start, stop, suspend, resume, restart, kill, reset, quit.

use std::io::IsTerminal as _;

use alcove_client::{Client, Outcome};
use alcove_types::{
    ApiError, ErrorCode,
    machine::{QuitRequest, ResetRequest, StartRequest},
    task::Task,
};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{Context, setup};
use crate::{
    args::{Sure, Waiting},
    consent,
    exit::{Failure, usage},
    follow::{Follower, Goal, finish},
};

/// `alcove start`.
pub(crate) async fn start(context: &Context<'_>, rescue: bool, waiting: Waiting) -> Result<(), Failure> {
    let began = Instant::now();
    let client = context.connect_or_start().await?;
    if client.machine().await?.setup.is_none() {
        let waiting = Waiting { no_wait: false, ..waiting };
        match setup::make(context, &client, setup::Wishes::default(), waiting).await {
            // Somebody else makes it at this moment: that one is started.
            Err(Failure::Api(error)) if error.code == ErrorCode::Conflict => {}
            Err(other) => return Err(other),
            Ok(_) => {}
        }
        if Instant::now() >= waiting.deadline() {
            return Err(ApiError::new(
                ErrorCode::Timeout,
                "the machine is made, and no time is left to start it",
                "Run `alcove start` again: it goes on from here.",
            )
            .into());
        }
    }
    let follower = Follower::open(&client, context.output).await?;
    let outcome = client.begin("/api/v1/machine/start", &StartRequest { rescue }).await?;
    let goal = if rescue { Goal::Task } else { Goal::Desktop };
    let task = finish(follower, outcome, goal, waiting).await?;
    let text = if rescue { "The machine is up for rescue; `alcove shell --rescue` opens its console." } else { "" };
    done(context, &client, task.as_ref(), waiting, began, if rescue { text } else { "The web desktop answers" }).await
}

/// `alcove resume` and `alcove restart`.
pub(crate) async fn up(context: &Context<'_>, verb: &str, waiting: Waiting) -> Result<(), Failure> {
    let began = Instant::now();
    let client = context.connect_or_start().await?;
    let follower = Follower::open(&client, context.output).await?;
    let outcome = client.begin(&format!("/api/v1/machine/{verb}"), &json!({})).await?;
    let task = finish(follower, outcome, Goal::Desktop, waiting).await?;
    done(context, &client, task.as_ref(), waiting, began, "The web desktop answers").await
}

/// `alcove stop`, `alcove suspend` and `alcove kill`.
pub(crate) async fn down(context: &Context<'_>, verb: &str, waiting: Waiting) -> Result<(), Failure> {
    let began = Instant::now();
    let client = context.connect_or_adopt().await?;
    let follower = Follower::open(&client, context.output).await?;
    let outcome = client.begin(&format!("/api/v1/machine/{verb}"), &json!({})).await?;
    let task = finish(follower, outcome, Goal::Task, waiting).await?;
    let text = match verb {
        "suspend" => "The machine is suspended",
        "kill" => "The machine was ended",
        _ => "The machine is stopped",
    };
    done(context, &client, task.as_ref(), waiting, began, text).await
}

async fn done(
    context: &Context<'_>,
    client: &Client,
    task: Option<&Task>,
    waiting: Waiting,
    began: Instant,
    text: &str,
) -> Result<(), Failure> {
    if context.output.json {
        match task {
            Some(task) => context.output.data(task, String::new),
            None => context.output.data(&client.status().await?, String::new),
        }
    } else if !waiting.no_wait {
        let took = crate::words::duration(began.elapsed());
        let end = if text.ends_with('.') { String::new() } else { format!(" ({took}).") };
        context.output.note(&format!("{text}{end}"));
    }
    Ok(())
}

/// `alcove reset`.
pub(crate) async fn reset(context: &Context<'_>, confirm: Option<&str>, waiting: Waiting) -> Result<(), Failure> {
    let instance = context.arguments.common.instance.as_str();
    let typed = match confirm {
        Some(name) => name.to_owned(),
        None => ask(instance)?,
    };
    if typed != instance {
        return Err(usage(
            format!("{typed:?} is not the name of this instance, so nothing was deleted"),
            format!("Its name is {instance:?}."),
        ));
    }
    let began = Instant::now();
    let client = context.connect_at_rest().await?;
    let follower = Follower::open(&client, context.output).await?;
    let outcome = client.begin("/api/v1/machine/reset", &ResetRequest { confirm: typed }).await?;
    let task = finish(follower, outcome, Goal::Task, waiting).await?;
    done(context, &client, task.as_ref(), waiting, began, "The machine and everything in it is deleted").await
}

fn ask(instance: &str) -> Result<String, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(usage(
            "this deletes the machine and everything in it, so its name is needed",
            format!("Run `alcove reset --confirm {instance}`."),
        ));
    }
    let question = "This deletes the machine and everything in it: files, apps, snapshots. It can't be undone.\n";
    consent::line(&format!("{question}Type the instance's name ({instance}) to go on: "))
}

/// `alcove kill`.
pub(crate) async fn kill(context: &Context<'_>, sure: Sure, waiting: Waiting) -> Result<(), Failure> {
    let loss = "This ends the machine as if its power were cut: what its programs have not written to disk is lost.";
    consent::ask(context.output, sure, loss)?;
    down(context, "kill", waiting).await
}

/// `alcove quit`.
pub(crate) async fn quit(context: &Context<'_>, keep: bool, waiting: Waiting) -> Result<(), Failure> {
    let client = match context.connect_or_adopt().await {
        Err(e) if e.code == ErrorCode::SupervisorUnreachable => {
            if context.output.json {
                context.output.data(&serde_json::Value::Null, String::new);
            }
            context.output.note("Alcove is not running.");
            return Ok(());
        }
        other => other?,
    };
    let began = Instant::now();
    let follower = Follower::open(&client, context.output).await?;
    let outcome = client.begin("/api/v1/quit", &QuitRequest { suspend: !keep }).await?;
    let task = match &outcome {
        Outcome::Task(task) => Some(task.as_ref().clone()),
        Outcome::Done(_) => None,
    };
    // The supervisor may be gone before it could say that the task has ended: that is the goal itself.
    let task = match finish(follower, outcome, Goal::Task, waiting).await {
        Err(Failure::Api(e)) if e.code == ErrorCode::SupervisorUnreachable => task,
        other => other?,
    };
    if !waiting.no_wait {
        gone(context, waiting, began).await?;
    }
    match task {
        Some(task) if context.output.json => context.output.data(&task, String::new),
        _ if !waiting.no_wait => context.output.note("Alcove has quit."),
        _ => {}
    }
    Ok(())
}

/// Waits until nobody answers any more.
async fn gone(context: &Context<'_>, waiting: Waiting, began: Instant) -> Result<(), ApiError> {
    while context.connect().await.is_ok() {
        if began.elapsed() >= waiting.timeout {
            return Err(ApiError::new(
                ErrorCode::Timeout,
                "the supervisor has not ended yet",
                "See `alcove logs --source alcoved`.",
            ));
        }
        sleep(std::time::Duration::from_millis(100)).await;
    }
    Ok(())
}
