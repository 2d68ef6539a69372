//! Runs programs step by step, shows what they say, and keeps their closing lines for the end.

use std::{
    io::{BufRead, BufReader, Read, Write},
    path::Path,
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

/// A step that says nothing for this long is said to be still at work.
const QUIET: Duration = Duration::from_secs(20);

/// The steps of one invocation.
pub(crate) struct Steps {
    began: Instant,
    done: Vec<(String, Duration)>,
    closing: Vec<String>,
}

impl Steps {
    pub(crate) fn new() -> Self {
        Self { began: Instant::now(), done: Vec::new(), closing: Vec::new() }
    }

    /// Says what begins now.
    pub(crate) fn say(&self, title: &str) {
        let _ = writeln!(std::io::stderr(), "{:>6.1} s ==> {title}", self.began.elapsed().as_secs_f64());
    }

    /// Does a step that is not a program.
    pub(crate) fn act<T>(&mut self, title: &str, act: impl FnOnce() -> Result<T>) -> Result<T> {
        self.say(title);
        let began = Instant::now();
        let result = act().with_context(|| title.to_owned())?;
        self.done.push((title.to_owned(), began.elapsed()));
        Ok(result)
    }

    /// Runs a program, passing on what it says.
    pub(crate) fn run(&mut self, title: &str, command: &mut Command) -> Result<()> {
        self.say(title);
        let began = Instant::now();
        let name = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            // Closing lines are read by programs, too.
            .env("NO_COLOR", "1")
            .env("CARGO_TERM_COLOR", "never")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("{title}: {name} can't be started (is it installed?)"))?;
        let (lines, heard) = mpsc::channel::<String>();
        let outputs = [
            child.stdout.take().map(|out| Box::new(out) as Box<dyn Read + Send>),
            child.stderr.take().map(|err| Box::new(err) as Box<dyn Read + Send>),
        ];
        for output in outputs.into_iter().flatten() {
            let lines = lines.clone();
            thread::spawn(move || {
                for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                    if lines.send(String::from_utf8_lossy(&line).trim_end().to_owned()).is_err() {
                        return;
                    }
                }
            });
        }
        drop(lines);
        loop {
            match heard.recv_timeout(QUIET) {
                Ok(line) => {
                    let _ = writeln!(std::io::stderr(), "{line}");
                    self.keep(title, &line);
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    self.say(&format!("{title}: still at work, {} s so far", began.elapsed().as_secs()));
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
            }
        }
        let status = child.wait()?;
        self.done.push((title.to_owned(), began.elapsed()));
        if !status.success() {
            bail!("{title} failed: {name} ended with {status}");
        }
        Ok(())
    }

    /// Keeps what a step says when it is a closing line.
    fn keep(&mut self, title: &str, line: &str) {
        if closes(line) {
            self.closing.push(format!("{title}: {}", line.trim()));
        }
    }

    /// Times of all steps, and the runners' own closing lines.
    pub(crate) fn summary(&self) {
        let mut out = std::io::stderr();
        let _ = writeln!(out, "\nSteps:");
        for (title, took) in &self.done {
            let _ = writeln!(out, "  {:>7.1} s  {title}", took.as_secs_f64());
        }
        let _ = writeln!(out, "  {:>7.1} s  in all\n", self.began.elapsed().as_secs_f64());
        let mut out = std::io::stdout();
        for line in &self.closing {
            let _ = writeln!(out, "{line}");
        }
    }

    /// The sum of all runners, in the form that every CI reads.
    pub(crate) fn totals(&self) -> (u64, u64) {
        let mut totals = (0, 0);
        for line in &self.closing {
            totals.0 += number_before(line, "passed").unwrap_or(0);
            totals.1 += number_before(line, "failed").unwrap_or(0);
        }
        totals
    }
}

/// Whether a line is a runner's closing line: cargo test, go test, vitest, our browser tests.
fn closes(line: &str) -> bool {
    let line = line.trim();
    line.starts_with("test result:")
        || line.starts_with("ok  \t")
        || line.starts_with("FAIL\t")
        || line.starts_with("Tests ") && line.contains(" passed")
        // vitest counts its files in a line of its own.
        || line.contains(" passed") && line.contains(" failed") && !line.starts_with("Test Files ")
}

fn number_before(line: &str, word: &str) -> Option<u64> {
    let before = line.split(word).next().filter(|b| b.len() < line.len())?;
    before.split_whitespace().next_back()?.parse().ok()
}

/// A program to be run in a folder.
pub(crate) fn program(name: impl AsRef<std::ffi::OsStr>, folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(name);
    command.current_dir(folder).args(arguments);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_are_kept_and_added_up() {
        // Not said by a program: whoever runs this test listens for such lines as well.
        let mut steps = Steps::new();
        let lines = ["test result: ok. 3 passed; 1 failed; 0 ignored", "noise", " Test Files  1 failed | 2 passed (3)"];
        for line in lines.into_iter().chain(["      Tests  4 passed (4)"]) {
            steps.keep("two runners", line);
        }
        assert_eq!(steps.closing.len(), 2);
        assert_eq!(steps.totals(), (7, 1));
    }

    #[test]
    fn a_program_that_fails_ends_the_work() {
        let error = Steps::new().run("step", &mut program("false", Path::new("/"), &[])).unwrap_err();
        assert!(error.to_string().contains("step failed"), "{error}");
    }
}
