//! Running other programs, and saying what is being done.

use std::{
    io::{BufRead, BufReader, Read, Write},
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::Instant,
};

use anyhow::{Context, Result, bail};

/// How many lines of a program's output are told when it fails.
const LAST_LINES: usize = 25;

/// Who is told what is being done.
pub(crate) trait Progress {
    /// A new step begins.
    fn step(&mut self, title: &str);
    /// Something happens within the step.
    fn line(&mut self, line: &str);
}

/// Tells it on standard error, with the seconds since the start.
#[derive(Debug)]
pub(crate) struct TerminalProgress {
    started: Instant,
}

impl TerminalProgress {
    /// The clock starts now.
    #[must_use]
    pub(crate) fn new() -> Self {
        Self { started: Instant::now() }
    }

    fn write(&self, mark: &str, text: &str) {
        let _ = writeln!(std::io::stderr(), "{:>6.1} s {mark} {text}", self.started.elapsed().as_secs_f64());
    }
}

impl Default for TerminalProgress {
    fn default() -> Self {
        Self::new()
    }
}

impl Progress for TerminalProgress {
    fn step(&mut self, title: &str) {
        self.write("==>", title);
    }

    fn line(&mut self, line: &str) {
        self.write("   ", line);
    }
}

/// Runs a program and passes on each line that it writes. Its last lines are in the error when it fails.
pub(super) fn run(command: &mut Command, progress: &mut dyn Progress) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("{name} can't be started (is it installed?)"))?;
    let (lines, heard) = mpsc::channel::<String>();
    let readers: Vec<_> = [
        child.stdout.take().map(|out| Box::new(out) as Box<dyn Read + Send>),
        child.stderr.take().map(|err| Box::new(err) as Box<dyn Read + Send>),
    ]
    .into_iter()
    .flatten()
    .map(|output| {
        let lines = lines.clone();
        thread::spawn(move || {
            for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                let _ = lines.send(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
        })
    })
    .collect();
    drop(lines);
    let mut last = std::collections::VecDeque::new();
    for line in heard {
        progress.line(&line);
        if last.len() == LAST_LINES {
            last.pop_front();
        }
        last.push_back(line);
    }
    for reader in readers {
        let _ = reader.join();
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("{name} failed ({status}):\n{}", Vec::from(last).join("\n"));
    }
    Ok(())
}

/// Runs a program that says nothing worth passing on, and returns what it wrote.
pub(super) fn output(command: &mut Command) -> Result<Vec<u8>> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("{name} can't be started (is it installed?)"))?;
    if !output.status.success() {
        bail!("{name} failed ({}):\n{}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Lines(Vec<String>);

    impl Progress for Lines {
        fn step(&mut self, title: &str) {
            self.0.push(title.to_owned());
        }
        fn line(&mut self, line: &str) {
            self.0.push(line.to_owned());
        }
    }

    #[test]
    fn a_failing_program_is_quoted() {
        let mut lines = Lines::default();
        let error =
            run(Command::new("sh").args(["-c", "echo begun; echo broken >&2; exit 3"]), &mut lines).unwrap_err();
        assert!(error.to_string().contains("broken"), "{error}");
        assert_eq!(lines.0.len(), 2);
        let error = run(&mut Command::new("no-such-program"), &mut lines).unwrap_err();
        assert!(error.to_string().contains("is it installed"), "{error}");
    }

    #[test]
    fn a_programs_answer_is_returned() {
        assert_eq!(output(Command::new("sh").args(["-c", "printf yes"])).unwrap(), b"yes");
        assert!(output(&mut Command::new("false")).is_err());
    }
}
