//! Asking before something is lost.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use crate::{
    args::Sure,
    exit::{self, Failure, internal, usage},
    output::Output,
};

/// Goes on when the person means it: `loss` says what is lost, as a sentence. Programs say so with `--yes`.
pub(crate) fn ask(output: &Output, sure: Sure, loss: &str) -> Result<(), Failure> {
    if sure.yes {
        return Ok(());
    }
    if output.json || !io::stdin().is_terminal() {
        return Err(usage(loss.trim_end_matches('.'), "Add `--yes` if that is what you want. Nothing was done."));
    }
    match line(&format!("{loss}\nGo on? [y/N] "))?.to_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => {
            output.err_line("Nothing was done.");
            Err(Failure::Code(exit::CANCELLED))
        }
    }
}

/// Asks on the terminal, and reads a line.
pub(crate) fn line(question: &str) -> Result<String, Failure> {
    let mut err = io::stderr().lock();
    let _ = write!(err, "{question}").and_then(|()| err.flush());
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).map_err(|e| internal(format!("your answer can't be read ({e})")))?;
    Ok(line.trim().to_owned())
}
