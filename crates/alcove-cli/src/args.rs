//! The command line's grammar.

use std::{path::PathBuf, time::Duration};

use alcove_machine::InstanceName;
use clap::{Args, Parser, Subcommand, ValueEnum};

use tokio::time::Instant;

use crate::words::parse_size;

/// Alcove: a personal cloud on your own computer.
#[derive(Debug, Parser)]
#[command(
    name = "alcove",
    version,
    disable_help_subcommand = true,
    after_help = "`alcove help COMMAND` says more; `alcove help exit-codes` lists what the exit codes mean."
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Args)]
pub(crate) struct Common {
    /// Print JSON: data on stdout, errors as one object on stderr
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Say nothing but results and errors
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
    /// Which machine, where there are several
    #[arg(long, global = true, value_name = "NAME", env = "ALCOVE_INSTANCE", default_value = "default")]
    pub(crate) instance: InstanceName,
}

#[derive(Debug, Args, Clone, Copy)]
pub(crate) struct Waiting {
    /// Come back when it is done (the default)
    #[arg(long, overrides_with = "no_wait")]
    pub(crate) wait: bool,
    /// Come back at once; it goes on by itself
    #[arg(long, overrides_with = "wait")]
    pub(crate) no_wait: bool,
    /// Give up waiting after so many seconds; it goes on by itself
    #[arg(long, value_name = "SECONDS", default_value = "600", value_parser = seconds)]
    pub(crate) timeout: Duration,
    /// When the command began: all that it waits for has one deadline together
    #[arg(skip = Instant::now())]
    pub(crate) began: Instant,
}

impl Waiting {
    /// When waiting is given up.
    pub(crate) fn deadline(&self) -> Instant {
        self.began + self.timeout
    }
}

#[derive(Debug, Args, Clone, Copy)]
pub(crate) struct Sure {
    /// Do it without asking
    #[arg(long, short)]
    pub(crate) yes: bool,
}

fn seconds(text: &str) -> Result<Duration, String> {
    text.parse::<f64>()
        .ok()
        .and_then(|s| Duration::try_from_secs_f64(s).ok())
        .filter(|d| *d <= Duration::from_secs(7 * 24 * 3600))
        .ok_or_else(|| "a number of seconds is needed, at most a week".to_owned())
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Bring the machine up; makes it first when there is none
    ///
    /// Comes back when the web desktop answers. A suspended machine is resumed.
    Start {
        /// Bring up a shell on the serial console instead of the system (see `alcove shell --rescue`)
        #[arg(long)]
        rescue: bool,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Shut the machine down in order
    Stop {
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Save the machine to disk; it uses no memory then and is back in seconds
    Suspend {
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Bring a suspended machine back
    Resume {
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Shut the machine down and bring it up again
    Restart {
        #[command(flatten)]
        waiting: Waiting,
    },
    /// End the machine at once, as if its power were cut
    Kill {
        #[command(flatten)]
        sure: Sure,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Show what is wanted and what is
    Status,
    /// Show logs
    Logs {
        /// Whose log
        #[arg(long, short, value_enum, default_value = "all")]
        source: LogSource,
        /// Go on as lines are written, until Ctrl-C
        #[arg(long, short)]
        follow: bool,
        /// How many of the last lines
        #[arg(long, short = 'n', value_name = "N", default_value_t = 200)]
        lines: u32,
    },
    /// Open a shell in the machine, or run a command there
    Shell {
        /// Use the serial console, which works when nothing else does; Ctrl-] leaves it
        #[arg(long, conflicts_with = "command")]
        rescue: bool,
        /// The command; its exit code becomes ours
        #[arg(last = true, value_name = "CMD")]
        command: Vec<String>,
    },
    /// Open the native pages or the web desktop, signed in
    Open {
        /// Which
        #[arg(value_enum, default_value = "native")]
        surface: OpenSurface,
        /// Print the link instead; it can be used once
        #[arg(long)]
        print: bool,
        /// Use the browser although the desktop application is there
        #[arg(long)]
        browser: bool,
    },
    /// Check whether this computer can run a machine
    Doctor,
    /// Delete the machine and everything in it
    Reset {
        /// The instance's name, instead of being asked for it
        #[arg(long, value_name = "NAME")]
        confirm: Option<String>,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Show and change settings
    Settings {
        #[command(subcommand)]
        command: Option<SettingsCommand>,
    },
    /// Show, cancel and wait for tasks
    Task {
        #[command(subcommand)]
        command: Option<TaskCommand>,
    },
    /// Keep copies of the stopped or suspended machine
    Snapshot {
        #[command(subcommand)]
        command: Option<SnapshotCommand>,
    },
    /// Show, bring and remove guest images
    Image {
        #[command(subcommand)]
        command: Option<ImageCommand>,
    },
    /// Run kubectl against the machine's cluster
    ///
    /// Takes the kubectl that ALCOVE_KUBECTL names, the one beside this command, the one of the machine's image, or one
    /// on PATH.
    Kubectl {
        /// What kubectl gets
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
        arguments: Vec<String>,
    },
    /// Suspend the machine and end the supervisor
    Quit {
        /// Leave the machine as it is
        #[arg(long)]
        keep: bool,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Make the machine with sizes of your choice
    Setup {
        /// Memory, such as 4GB
        #[arg(long, value_name = "SIZE", value_parser = parse_size)]
        memory: Option<u64>,
        /// Processors
        #[arg(long, value_name = "N")]
        cpus: Option<u32>,
        /// Largest size of the data disk, such as 64GB
        #[arg(long, value_name = "SIZE", value_parser = parse_size)]
        disk: Option<u64>,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Show who did what, newest first
    Operations {
        /// How many
        #[arg(long, value_name = "N", default_value_t = 50)]
        limit: u32,
        /// Only those before this one
        #[arg(long, value_name = "ID")]
        before: Option<u64>,
    },
    /// Print completions for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Write the manual pages into a folder
    Man {
        /// The folder
        folder: PathBuf,
    },
    /// Show the versions of this command and of the supervisor
    Version,
    /// Show help for a command or a topic (exit-codes)
    Help {
        /// Commands, or a topic
        #[arg(value_name = "TOPIC")]
        topic: Vec<String>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogSource {
    /// The serial console
    Serial,
    /// QEMU
    Qemu,
    /// Kubernetes
    K3s,
    /// The guest's daemon
    AlcoveGuest,
    /// The guest's kernel
    Kernel,
    /// Everything in the guest's journal
    All,
    /// The supervisor
    Alcoved,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OpenSurface {
    /// The native pages: machine, cluster, settings
    Native,
    /// The web desktop
    Desktop,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SettingsCommand {
    /// Show all settings
    List,
    /// Show one setting
    Get {
        /// Its name, such as machine.memory_bytes
        key: String,
    },
    /// Change a setting
    Set {
        /// Its name
        key: String,
        /// Its value; sizes may be written as 4GB
        value: String,
    },
    /// Put a setting back to its default
    Unset {
        /// Its name
        key: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum TaskCommand {
    /// List tasks, newest first
    List,
    /// Show one task
    Show {
        /// Its id
        id: String,
    },
    /// Cancel a task
    Cancel {
        /// Its id
        id: String,
    },
    /// Wait for a task; fails when it fails
    Wait {
        /// Its id
        id: String,
        #[command(flatten)]
        waiting: Waiting,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum SnapshotCommand {
    /// List copies
    List,
    /// Keep a copy of the stopped or suspended machine
    Create {
        /// Its name: letters, digits, `-` and `_`
        name: String,
        /// What it is for
        #[arg(long, default_value = "")]
        note: String,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Put the machine back to a copy; what came since is lost
    Restore {
        /// Its name
        name: String,
        #[command(flatten)]
        sure: Sure,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Delete a copy
    Delete {
        /// Its name
        name: String,
        #[command(flatten)]
        sure: Sure,
        #[command(flatten)]
        waiting: Waiting,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// List the images of this computer, newest first
    List,
    /// Bring an image from a folder or an address
    ///
    /// What was brought before a break, a cancel or a crash is not brought again. A newer image goes on trial at the
    /// machine's next start, and is kept when the machine comes up with it.
    Fetch {
        /// A folder, or an address that begins with https:// or http://, which holds manifest.json; the package's own
        /// source when left out
        source: Option<String>,
        /// What manifest.json must have as its SHA-256; needed for http://, which proves nothing of where it comes from
        #[arg(long, value_name = "HEX")]
        sha256: Option<String>,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Delete an image that no machine needs, or what is here of an unfinished one
    Remove {
        /// Its version
        version: String,
        #[command(flatten)]
        sure: Sure,
    },
}
