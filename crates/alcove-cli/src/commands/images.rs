//! `alcove image`.

use alcove_client::{Client, encode_component};
use alcove_types::{
    image::{ImageEntry, ImageFetch, ImageList, ImageRole},
    task::Task,
};

use super::Context;
use crate::{
    args::{ImageCommand, Waiting},
    consent,
    exit::{Failure, internal},
    follow::{Follower, Goal, finish},
    output::table,
    words::{plain, size},
};

const PATH: &str = "/api/v1/images";

pub(crate) async fn run(context: &Context<'_>, command: Option<&ImageCommand>) -> Result<(), Failure> {
    if let Some(ImageCommand::Remove { version, sure }) = command {
        consent::ask(context.output, *sure, &format!("This deletes the image {}.", plain(version)))?;
    }
    let client = context.connect_at_rest().await?;
    match command {
        None | Some(ImageCommand::List) => {
            let list: ImageList = client.get(PATH).await?;
            context.output.data(&list, || describe(&list));
        }
        Some(ImageCommand::Fetch { source, sha256, waiting }) => {
            let source = source.as_deref().map(whole).transpose()?;
            let request = ImageFetch { source, sha256: sha256.clone() };
            let task = fetch(context, &client, &request, *waiting).await?;
            if context.output.json {
                context.output.data(&task, String::new);
            } else if !waiting.no_wait {
                context.output.note("The image is here. `alcove image` lists it.");
            }
        }
        Some(ImageCommand::Remove { version, .. }) => {
            let list: ImageList = client.delete(&format!("{PATH}/{}", encode_component(version))).await?;
            context.output.data(&list, String::new);
            context.output.note(&format!("{version} is deleted."));
        }
    }
    Ok(())
}

/// Brings the image that a new machine needs, when there is none and the package says where one is.
pub(crate) async fn bring_first(context: &Context<'_>, client: &Client, waiting: Waiting) -> Result<(), Failure> {
    // A supervisor that can't tell will say what is missing when the machine is made.
    let list: ImageList = client.get(PATH).await.unwrap_or_default();
    let Some(source) = list.source.filter(|_| list.images.is_empty()) else { return Ok(()) };
    let bytes = source.manifest.files.iter().fold(0_u64, |sum, f| sum.saturating_add(f.bytes));
    context.output.note(&format!("Bringing the guest image ({}) from {}.", size(bytes), plain(&source.from)));
    let waiting = Waiting { no_wait: false, ..waiting };
    match list.task {
        // It is on its way already.
        Some(id) => {
            let follower = Follower::open(client, context.output).await?;
            let task = client.task(&id).await?;
            follower.wait(task, Goal::Task, waiting).await.map(drop)
        }
        None => fetch(context, client, &ImageFetch::default(), waiting).await.map(drop),
    }
}

async fn fetch(
    context: &Context<'_>,
    client: &Client,
    request: &ImageFetch,
    waiting: Waiting,
) -> Result<Option<Task>, Failure> {
    let follower = Follower::open(client, context.output).await?;
    let outcome = client.begin(&format!("{PATH}/fetch"), request).await?;
    finish(follower, outcome, Goal::Task, waiting).await
}

/// The supervisor works in another folder than we do.
fn whole(source: &str) -> Result<String, Failure> {
    if source.contains("://") || source.starts_with("~/") {
        return Ok(source.to_owned());
    }
    let path = std::path::absolute(source).map_err(|e| internal(format!("{source} can't be found ({e})")))?;
    Ok(path.display().to_string())
}

fn describe(list: &ImageList) -> String {
    let mut rows: Vec<Vec<String>> = list.images.iter().map(row).collect();
    for unfinished in &list.unfinished {
        let here = format!("{} of {}", size(unfinished.bytes), size(unfinished.total_bytes));
        rows.push(vec![plain(&unfinished.version), "unfinished".into(), String::new(), String::new(), here]);
    }
    for damaged in &list.damaged {
        rows.push(vec![plain(&damaged.folder), "damaged".into(), plain(&damaged.reason)]);
    }
    if rows.is_empty() {
        return match &list.source {
            Some(source) => {
                format!("There is no guest image. `alcove image fetch` brings one from {}.", plain(&source.from))
            }
            None => "There is no guest image. `alcove image fetch SOURCE` brings one.".to_owned(),
        };
    }
    table(&rows)
}

fn row(entry: &ImageEntry) -> Vec<String> {
    let manifest = &entry.manifest;
    let kubernetes = match manifest.kubernetes.distribution.as_str() {
        "none" => "no Kubernetes".to_owned(),
        distribution => format!("Kubernetes {} ({distribution})", manifest.kubernetes.version),
    };
    vec![
        plain(&manifest.version),
        role(entry).to_owned(),
        plain(&manifest.created),
        plain(&format!("Linux {}, {kubernetes}, {} packages", manifest.kernel_version, manifest.packages.len())),
        size(entry.bytes),
    ]
}

fn role(entry: &ImageEntry) -> &'static str {
    match entry.role {
        ImageRole::Active => "in use",
        ImageRole::Trial => "on trial",
        ImageRole::Fallback => "to return to",
        ImageRole::Next => "next start",
        ImageRole::Refused => "failed its trial",
        ImageRole::Unused if entry.used_by.is_empty() => "not used",
        ImageRole::Unused => "used elsewhere",
    }
}
