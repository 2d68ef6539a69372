//! The commands.

mod about;
mod doctor;
mod images;
mod kubectl;
mod logs;
mod open;
mod power;
mod settings;
mod setup;
mod shell;
mod snapshots;
mod status;
mod tasks;

use std::time::Duration;

use alcove_client::Client;
use alcove_machine::Layout;
use alcove_types::{ApiError, ErrorCode};

use crate::{
    args::{Arguments, Command},
    exit::Failure,
    output::Output,
};

/// How long a supervisor may take from its start to its first answer.
const START: Duration = Duration::from_secs(30);

/// What every command needs.
pub(crate) struct Context<'a> {
    pub(crate) arguments: &'a Arguments,
    pub(crate) output: &'a Output,
}

impl Context<'_> {
    /// The supervisor, which must be running.
    pub(crate) async fn connect(&self) -> Result<Client, ApiError> {
        Ok(named(Client::connect(&self.arguments.common.instance).await?))
    }

    /// The supervisor, started when it is not running.
    pub(crate) async fn connect_or_start(&self) -> Result<Client, ApiError> {
        Ok(named(Client::connect_or_start(&self.arguments.common.instance, START).await?))
    }

    /// The supervisor, for what needs no machine that is on: one that is started for it leaves the machine as it is.
    pub(crate) async fn connect_at_rest(&self) -> Result<Client, ApiError> {
        Ok(named(Client::connect_or_start_at_rest(&self.arguments.common.instance, START).await?))
    }

    /// The supervisor; started only when a machine runs without one, as after its crash.
    pub(crate) async fn connect_or_adopt(&self) -> Result<Client, ApiError> {
        match self.connect().await {
            Err(e) if e.code == ErrorCode::SupervisorUnreachable => {
                let alive = alcove_machine::liveness::holder(&self.layout()?.pidfile()).is_ok_and(|h| h.is_some());
                if alive { self.connect_or_start().await } else { Err(e) }
            }
            other => other,
        }
    }

    /// Where this instance's files are.
    pub(crate) fn layout(&self) -> Result<Layout, ApiError> {
        let home = alcove_machine::Home::from_env().map_err(|e| e.api())?;
        Ok(Layout::new(home, self.arguments.common.instance.clone()))
    }
}

fn named(client: Client) -> Client {
    client.named(concat!("alcove-cli/", env!("CARGO_PKG_VERSION")))
}

/// Runs the command.
pub(crate) async fn run(arguments: &Arguments, output: &Output) -> Result<(), Failure> {
    let context = Context { arguments, output };
    let context = &context;
    match &arguments.command {
        Command::Start { rescue, waiting } => power::start(context, *rescue, *waiting).await,
        Command::Stop { waiting } => power::down(context, "stop", *waiting).await,
        Command::Suspend { waiting } => power::down(context, "suspend", *waiting).await,
        Command::Kill { sure, waiting } => power::kill(context, *sure, *waiting).await,
        Command::Resume { waiting } => power::up(context, "resume", *waiting).await,
        Command::Restart { waiting } => power::up(context, "restart", *waiting).await,
        Command::Reset { confirm, waiting } => power::reset(context, confirm.as_deref(), *waiting).await,
        Command::Quit { keep, waiting } => power::quit(context, *keep, *waiting).await,
        Command::Status => status::run(context).await,
        Command::Logs { source, follow, lines } => logs::run(context, *source, *follow, *lines).await,
        Command::Shell { rescue, command } => shell::run(context, *rescue, command).await,
        Command::Open { surface, print, browser } => open::run(context, *surface, *print, *browser).await,
        Command::Doctor => doctor::run(context).await,
        Command::Settings { command } => settings::run(context, command.as_ref()).await,
        Command::Task { command } => tasks::run(context, command.as_ref()).await,
        Command::Operations { limit, before } => tasks::operations(context, *limit, *before).await,
        Command::Snapshot { command } => snapshots::run(context, command.as_ref()).await,
        Command::Image { command } => images::run(context, command.as_ref()).await,
        Command::Kubectl { arguments } => kubectl::run(context, arguments).await,
        Command::Setup { memory, cpus, disk, waiting } => {
            setup::run(context, setup::Wishes { memory: *memory, cpus: *cpus, disk: *disk }, *waiting).await
        }
        Command::Completions { shell } => about::completions(context, *shell),
        Command::Man { folder } => about::man(context, folder),
        Command::Version => about::version(context).await,
        Command::Help { topic } => about::help(context, topic),
    }
}
