//! The shell on a real terminal: raw while it lasts, put back afterwards, window size passed on.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    os::fd::{AsFd as _, OwnedFd},
    process::Stdio,
    sync::mpsc,
    time::Duration,
};

use crate::support::{Ran, Reply, Supervisor, machine, task};
use rustix::{
    fs::{Mode, OFlags, open},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize},
};
use serde_json::json;
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(20);

fn size(cols: u16, rows: u16) -> Winsize {
    Winsize { ws_col: cols, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 }
}

/// Both ends of a terminal.
fn terminal() -> (OwnedFd, OwnedFd) {
    let person = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&person).unwrap();
    unlockpt(&person).unwrap();
    let name = ptsname(&person, Vec::new()).unwrap();
    let program = open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
    (person, program)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_terminal_is_raw_and_put_back() {
    let supervisor = Supervisor::listening();
    supervisor.route("GET /api/v1/machine/shell", Reply::Terminal("$ ", 7));
    let (person, program) = terminal();
    tcsetwinsize(&program, size(100, 30)).unwrap();
    let before = tcgetattr(&program).unwrap();
    let end = |fd: &OwnedFd| Stdio::from(fd.as_fd().try_clone_to_owned().unwrap());
    let mut command = supervisor.command(&["shell"]);
    command.stdin(end(&program)).stdout(end(&program)).stderr(end(&program));
    let mut child = command.spawn().unwrap();

    let mut keys = File::from(person.try_clone().unwrap());
    let mut screen = File::from(person.try_clone().unwrap());
    let (shown, on_screen) = mpsc::channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 256];
        while let Ok(n @ 1..) = screen.read(&mut buffer) {
            if shown.send(String::from_utf8_lossy(&buffer[..n]).into_owned()).is_err() {
                return;
            }
        }
    });
    assert_eq!(on_screen.recv_timeout(SOON).unwrap(), "$ ");
    assert!(!tcgetattr(&program).unwrap().local_modes.contains(LocalModes::ICANON));
    // Ctrl-C is a key like any other: it goes to the machine.
    keys.write_all(b"\x03ls").unwrap();
    let mut answer = String::new();
    while answer.len() < 3 {
        answer.push_str(&on_screen.recv_timeout(SOON).unwrap());
    }
    assert_eq!(answer, "\x03LS");

    tcsetwinsize(&program, size(120, 40)).unwrap();
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::WINCH).unwrap();
    timeout(SOON, async {
        while supervisor.resized().is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .unwrap();
    assert_eq!(supervisor.resized(), [json!({"cols": 120, "rows": 40})]);
    assert!(supervisor.seen().last().unwrap().path.ends_with("?cols=100&rows=30"));

    keys.write_all(b"q").unwrap();
    let status = timeout(SOON, child.wait()).await.unwrap().unwrap();
    assert_eq!(status.code(), Some(7));
    let after = tcgetattr(&program).unwrap();
    assert_eq!((after.local_modes, after.input_modes), (before.local_modes, before.input_modes));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_is_asked_before_something_is_lost() {
    let supervisor = Supervisor::listening();
    supervisor
        .route("GET /api/v1/machine", Reply::Json(200, machine("stopped", false)))
        .route("POST /api/v1/machine/kill", Reply::Json(202, task("succeeded")));
    for (answer, code, asked) in [("n", 6, 0), ("", 6, 0), ("y", 0, 1)] {
        let (person, program) = terminal();
        let mut command = supervisor.command(&["kill", "-q"]);
        command.stdin(Stdio::from(program.as_fd().try_clone_to_owned().unwrap()));
        let child = command.spawn().unwrap();
        // It lies in the terminal until it is read.
        File::from(person.try_clone().unwrap()).write_all(format!("{answer}\n").as_bytes()).unwrap();
        let ran = Ran::from(timeout(SOON, child.wait_with_output()).await.unwrap().unwrap());
        assert_eq!(ran.code, code, "{answer:?}: {ran:?}");
        assert!(ran.err.contains("Go on? [y/N]"), "{ran:?}");
        assert_eq!(supervisor.seen().iter().filter(|s| s.method == "POST").count(), asked, "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminated_shell_puts_the_terminal_back() {
    let supervisor = Supervisor::listening();
    supervisor.route("GET /api/v1/machine/console/attach", Reply::Terminal("login: ", 0));
    let (_person, program) = terminal();
    let before = tcgetattr(&program).unwrap();
    let end = |fd: &OwnedFd| Stdio::from(fd.as_fd().try_clone_to_owned().unwrap());
    let mut command = supervisor.command(&["shell", "--rescue"]);
    command.stdin(end(&program)).stdout(end(&program)).stderr(end(&program));
    let mut child = command.spawn().unwrap();
    timeout(SOON, async {
        while tcgetattr(&program).unwrap().local_modes.contains(LocalModes::ICANON) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .unwrap();
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let status = timeout(SOON, child.wait()).await.unwrap().unwrap();
    assert_eq!(status.code(), Some(143));
    assert_eq!(tcgetattr(&program).unwrap().local_modes, before.local_modes);
}
