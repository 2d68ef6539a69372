//! Alcove's command line: the same API, the same words and the same errors as the windows.

mod args;
mod commands;
mod consent;
mod exit;
mod follow;
mod output;
mod progress;
mod terminal;
mod words;

use std::io::Write as _;

use alcove_types::{ApiError, ErrorCode};
use clap::{Parser as _, error::ErrorKind};

use crate::{args::Arguments, exit::Failure, output::Output};

fn main() {
    let code = run();
    let _ = std::io::stdout().flush();
    // A thread may still be waiting for a key; it must not hold the process.
    std::process::exit(code);
}

fn run() -> i32 {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let help = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            if !help && std::env::args_os().take_while(|a| a != "--").any(|a| a == "--json") {
                Output::new(true, false).error(&misspelt(&error));
            } else {
                let _ = error.print();
            }
            return if help { exit::OK } else { exit::USAGE };
        }
    };
    let output = Output::new(arguments.common.json, arguments.common.quiet);
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output.error(&exit::internal(format!("the command can't start ({error})")));
            return exit::FAILED;
        }
    };
    let result = runtime.block_on(commands::run(&arguments, &output));
    runtime.shutdown_background();
    match result {
        Ok(()) => exit::OK,
        Err(Failure::Code(code)) => code,
        Err(Failure::Api(error)) => {
            output.error(&error);
            exit::code_of(error.code)
        }
    }
}

/// A command that is not understood, for programs.
fn misspelt(error: &clap::Error) -> ApiError {
    let text = error.to_string();
    let message = text.lines().next().unwrap_or_default();
    let message = message.strip_prefix("error: ").unwrap_or(message);
    ApiError::new(ErrorCode::BadRequest, message, "`alcove help` lists the commands and their options.")
}
