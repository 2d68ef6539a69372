//! Version, help, completions, manual.

use std::{fs, io::Write as _, path::Path};

use alcove_types::{ErrorCode, session::VersionInfo};
use clap::CommandFactory as _;
use clap_mangen::roff::{Roff, roman};
use serde_json::json;

use super::Context;
use crate::{
    args::Arguments,
    exit::{self, Failure, internal, usage},
};

const ENVIRONMENT: &[(&str, &str)] = &[
    ("ALCOVE_INSTANCE", "Which machine, where there are several; as --instance."),
    ("ALCOVE_HOME", "A folder that holds everything, instead of the usual places."),
    ("ALCOVE_IMAGES", "A further folder in which guest images are looked for."),
    ("ALCOVE_SECRETS", "Where the supervisor keeps the machine's keys: auto (the keychain, where one runs) or file."),
    ("ALCOVE_KUBECTL", "The kubectl that `alcove kubectl` runs."),
    ("ALCOVE_QEMU", "The QEMU executable to use."),
    ("ALCOVE_LOG", "How much the supervisor logs, such as debug."),
    ("NO_COLOR", "When set, nothing is coloured."),
];

/// `alcove version`.
pub(crate) async fn version(context: &Context<'_>) -> Result<(), Failure> {
    let own = env!("CARGO_PKG_VERSION");
    let supervisor: Option<VersionInfo> = match context.connect().await {
        Ok(client) => Some(client.version().await?),
        Err(e) if e.code == ErrorCode::SupervisorUnreachable => None,
        Err(e) => return Err(e.into()),
    };
    context.output.data(&json!({ "alcove": own, "supervisor": supervisor }), || match &supervisor {
        Some(s) => format!("alcove {own}\nsupervisor {} (API {}, process {})", s.alcove, s.api, s.pid),
        None => format!("alcove {own}\nsupervisor not running"),
    });
    Ok(())
}

/// `alcove help`.
pub(crate) fn help(context: &Context<'_>, topic: &[String]) -> Result<(), Failure> {
    if topic == ["exit-codes"] {
        let codes: Vec<_> = exit::TABLE.iter().map(|(code, text)| json!({ "code": code, "meaning": text })).collect();
        context.output.data(&codes, || format!("Exit codes of alcove:\n\n{}", exit::table()));
        return Ok(());
    }
    let mut command = Arguments::command();
    command.build();
    for name in topic {
        command = command.find_subcommand(name).cloned().ok_or_else(|| {
            usage(
                format!("there is no command or topic {name:?}"),
                "`alcove help` lists them; `exit-codes` is a topic.",
            )
        })?;
    }
    let text = command.render_long_help().to_string();
    context.output.data(&json!({ "topic": topic, "help": text }), || text.clone());
    Ok(())
}

/// `alcove completions`.
pub(crate) fn completions(context: &Context<'_>, shell: clap_complete::Shell) -> Result<(), Failure> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "alcove", &mut text);
    let text = String::from_utf8_lossy(&text);
    context.output.data(&json!({ "completions": text }), || text.to_string());
    Ok(())
}

/// `alcove man`.
pub(crate) fn man(context: &Context<'_>, folder: &Path) -> Result<(), Failure> {
    let mut written = Vec::new();
    let failed = |e: std::io::Error| internal(format!("{} can't be written ({e})", folder.display()));
    fs::create_dir_all(folder).map_err(failed)?;
    let mut root = Arguments::command();
    root.build();
    page(&root, folder, true, &mut written).map_err(failed)?;
    context.output.data(&written, || written.join("\n"));
    Ok(())
}

/// Writes the page of a command and those of its subcommands.
fn page(command: &clap::Command, folder: &Path, root: bool, written: &mut Vec<String>) -> std::io::Result<()> {
    // Built commands carry their whole name, such as `alcove-task-wait`.
    let name = command.get_display_name().unwrap_or(command.get_name()).to_owned();
    let man = clap_mangen::Man::new(command.clone());
    let mut text = Vec::new();
    man.render(&mut text)?;
    if root {
        let mut more = Roff::new();
        more.control("SH", ["EXIT STATUS"]);
        for (code, meaning) in exit::TABLE {
            more.control("TP", []).text([roman(code.to_string())]).text([roman(*meaning)]);
        }
        more.control("SH", ["ENVIRONMENT"]);
        for (name, meaning) in ENVIRONMENT {
            more.control("TP", []).text([roman(*name)]).text([roman(*meaning)]);
        }
        more.to_writer(&mut text)?;
    }
    let file = folder.join(format!("{name}.1"));
    fs::File::create(&file)?.write_all(&text)?;
    written.push(file.display().to_string());
    for sub in command.get_subcommands().filter(|c| !c.is_hide_set()) {
        page(sub, folder, false, written)?;
    }
    Ok(())
}
