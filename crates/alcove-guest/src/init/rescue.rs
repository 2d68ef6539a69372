//! A shell for a guest that does not come up. Only the host's owner can reach the serial console.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, Write},
    path::Path,
    process::Command,
};

use alcove_guest::sys;
use rustix::system::RebootCommand;

const CONSOLE: &str = "/dev/ttyS0";
const HELP: &str = "commands: dmesg, mounts, ls PATH, cat PATH, sync, reboot, poweroff";

/// Serves the console until the machine is switched off: with the root's own shell when there is a root, else with a
/// few commands of its own. PID 1 must not end.
pub(crate) fn shell(root: &Path) -> ! {
    loop {
        let outcome = match fs::metadata(root.join("usr/bin/bash")) {
            Ok(_) => root_shell(root),
            Err(_) => own_shell(),
        };
        if outcome.is_err() {
            // Without a console nobody can look at the machine, and a panic is at least told to the host.
            std::process::exit(1);
        }
    }
}

fn console() -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(CONSOLE)
}

fn root_shell(root: &Path) -> io::Result<()> {
    let mut console = console()?;
    console.write_all(
        b"\r\nalcove: a shell in the image's root; \"exit\" starts it anew, \"reboot -f\" restarts the machine\r\n",
    )?;
    for place in ["dev", "proc", "sys", "run"] {
        let there = root.join(place);
        if fs::read_dir(&there).is_ok_and(|mut entries| entries.next().is_none()) {
            rustix::mount::mount_bind_recursive(Path::new("/").join(place), &there)?;
        }
    }
    let root = std::ffi::CString::new(root.to_string_lossy().as_bytes()).unwrap_or_default();
    let mut bash = Command::new("/usr/bin/bash");
    bash.args(["--noprofile", "--norc", "-i"]).env_clear();
    bash.envs([("PATH", "/usr/sbin:/usr/bin"), ("HOME", "/root"), ("TERM", "vt100"), ("PS1", "rescue# ")]);
    bash.stdin(console.try_clone()?).stdout(console.try_clone()?).stderr(console);
    sys::inside_root(sys::on_own_terminal(&mut bash), &root).status().map(drop)
}

fn own_shell() -> io::Result<()> {
    let mut console = console()?;
    write!(console, "\r\nalcove: the image's root can't be reached; {HELP}\r\n")?;
    let mut lines = BufReader::new(console.try_clone()?).lines();
    loop {
        console.write_all(b"rescue> ")?;
        let Some(line) = lines.next() else { return Err(io::ErrorKind::UnexpectedEof.into()) };
        let line = line?;
        let (command, argument) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
        let answer = run(command, argument.trim()).unwrap_or_else(|error| format!("{error}\n"));
        console.write_all(answer.replace('\n', "\r\n").as_bytes())?;
    }
}

fn run(command: &str, argument: &str) -> io::Result<String> {
    match command {
        "" => Ok(String::new()),
        "dmesg" => kernel_messages(),
        "mounts" => fs::read_to_string("/proc/mounts"),
        "cat" => fs::read(argument).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
        "ls" => {
            let mut names: Vec<String> = fs::read_dir(if argument.is_empty() { "/" } else { argument })?
                .flatten()
                .map(|entry| entry.file_name().to_string_lossy().into_owned())
                .collect();
            names.sort();
            Ok(names.join("\n") + "\n")
        }
        "sync" => {
            rustix::fs::sync();
            Ok(String::new())
        }
        "reboot" => restart(RebootCommand::Restart),
        "poweroff" => restart(RebootCommand::PowerOff),
        _ => Ok(format!("{HELP}\n")),
    }
}

fn restart(how: RebootCommand) -> io::Result<String> {
    rustix::fs::sync();
    rustix::system::reboot(how)?;
    Ok(String::new())
}

/// What the kernel has said so far.
fn kernel_messages() -> io::Result<String> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut log = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open("/dev/kmsg")?;
    let mut text = String::new();
    let mut record = [0; 8192];
    loop {
        match io::Read::read(&mut log, &mut record) {
            Ok(0) => return Ok(text),
            Ok(length) => {
                // priority,sequence,microseconds,flags;message
                let record = String::from_utf8_lossy(&record[..length]);
                let message = record.split_once(';').map_or(&*record, |(_, message)| message);
                text.push_str(message.lines().next().unwrap_or_default());
                text.push('\n');
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(text),
            // The ring went on under us: what was lost is lost.
            Err(error) if error.raw_os_error() == Some(libc::EPIPE) => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_small_shell_answers() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("b"), "text").unwrap();
        fs::write(folder.path().join("a"), "").unwrap();
        assert_eq!(run("ls", &folder.path().to_string_lossy()).unwrap(), "a\nb\n");
        assert_eq!(run("cat", &folder.path().join("b").to_string_lossy()).unwrap(), "text");
        assert!(run("mounts", "").unwrap().contains("proc"));
        assert!(run("rm", "-rf").unwrap().contains("commands:"));
        assert!(run("cat", "/no/such/file").is_err());
    }
}
