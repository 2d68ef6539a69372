//! Making the machine.

use alcove_client::Client;
use alcove_types::{
    ApiError, ErrorCode,
    host::CheckStatus,
    machine::{MachineProposal, MachineSetup},
};

use super::{Context, images};
use crate::{
    args::Waiting,
    exit::{Failure, usage},
    follow::{Follower, Goal, finish},
    words::size,
};

/// Sizes that the person asks for; the proposal fills the rest.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wishes {
    pub(crate) memory: Option<u64>,
    pub(crate) cpus: Option<u32>,
    pub(crate) disk: Option<u64>,
}

/// `alcove setup`.
pub(crate) async fn run(context: &Context<'_>, wishes: Wishes, waiting: Waiting) -> Result<(), Failure> {
    let client = context.connect_or_start().await?;
    if let Some(setup) = client.machine().await?.setup {
        return Err(ApiError::new(
            ErrorCode::Conflict,
            format!("there is a machine already, with {}", describe(&setup)),
            "Change it with `alcove settings set machine.memory_bytes 4GB` and the like, or delete it with `alcove \
             reset`.",
        )
        .into());
    }
    let setup = make(context, &client, wishes, waiting).await?;
    let made = if waiting.no_wait { "It is being made." } else { "Made." };
    context.output.data(&setup, || format!("{made} `alcove start` brings it up."));
    Ok(())
}

/// Makes the machine and says so.
pub(crate) async fn make(
    context: &Context<'_>,
    client: &Client,
    wishes: Wishes,
    waiting: Waiting,
) -> Result<MachineSetup, Failure> {
    let proposal: MachineProposal = client.get("/api/v1/machine/proposal").await?;
    let setup = choose(&proposal, wishes)?;
    if let Some(check) = proposal.checks.iter().find(|c| c.status == CheckStatus::Fail) {
        let error = ApiError::new(ErrorCode::Unsupported, check.message.clone(), check.hint.clone());
        return Err(error.into());
    }
    images::bring_first(context, client, waiting).await?;
    let follower = Follower::open(client, context.output).await?;
    // Somebody else may be making one at this moment.
    let outcome = client.begin("/api/v1/machine", &setup).await?;
    context.output.note(&format!("Making a machine in {} with {}.", proposal.folder, describe(&setup)));
    finish(follower, outcome, Goal::Task, waiting).await?;
    Ok(setup)
}

fn choose(proposal: &MachineProposal, wishes: Wishes) -> Result<MachineSetup, Failure> {
    let (least, most) = (&proposal.least, &proposal.most);
    let within = |what: &str, value: u64, least: u64, most: u64, words: fn(u64) -> String| {
        if (least..=most).contains(&value) {
            return Ok(value);
        }
        Err(usage(
            format!("{} {what} can't be had on this computer", words(value)),
            format!("Choose from {} to {}.", words(least), words(most)),
        ))
    };
    let setup = &proposal.setup;
    let count = |n: u64| n.to_string();
    let cpus = wishes.cpus.unwrap_or(setup.cpus);
    within("processors", cpus.into(), least.cpus.into(), most.cpus.into(), count)?;
    let memory = wishes.memory.unwrap_or(setup.memory_bytes);
    let disk = wishes.disk.unwrap_or(setup.disk_bytes);
    Ok(MachineSetup {
        memory_bytes: within("of memory", memory, least.memory_bytes, most.memory_bytes, size)?,
        cpus,
        disk_bytes: within("of disk", disk, least.disk_bytes, most.disk_bytes, size)?,
    })
}

/// Sizes in words.
pub(crate) fn describe(setup: &MachineSetup) -> String {
    let processors = if setup.cpus == 1 { "1 processor".to_owned() } else { format!("{} processors", setup.cpus) };
    format!("{} of memory, {processors} and a disk of up to {}", size(setup.memory_bytes), size(setup.disk_bytes))
}
