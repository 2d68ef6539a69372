//! Two supervisors of one machine, started where their environments differ: as by a session and by cron.
#![allow(clippy::unwrap_used)] // a test may fail that way

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use alcove_machine::{Home, Layout};

/// A supervisor that ends with its test.
struct Supervisor(Child);

impl Drop for Supervisor {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn supervise(home: &Path, runtime: &Path) -> Supervisor {
    std::fs::create_dir_all(runtime).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_alcoved"));
    command.env("ALCOVE_HOME", home).env("ALCOVE_INSTANCE", "test").env("ALCOVE_SECRETS", "file");
    command.env("XDG_RUNTIME_DIR", runtime).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Supervisor(command.spawn().unwrap())
}

#[test]
fn a_second_supervisor_of_the_same_machine_is_refused_and_says_where_the_first_is() {
    let home = tempfile::tempdir().unwrap();
    let layout = || Layout::new(Home::at(home.path()).unwrap(), "test".parse().unwrap());
    let first = home.path().join("session");
    let _first = supervise(home.path(), &first);
    // Whoever looks finds it, though this process has another environment.
    let until = Instant::now() + Duration::from_secs(30);
    while !layout().endpoint_json().exists() || !layout().runtime().starts_with(&first) {
        assert!(Instant::now() < until, "the supervisor is not found");
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut second = supervise(home.path(), &home.path().join("cron"));
    assert_eq!(second.0.wait().unwrap().code(), Some(3));
    let log = std::fs::read_to_string(layout().supervisor_log()).unwrap();
    let refused = log.lines().find(|l| l.contains("another supervisor") || l.contains("Another supervisor")).unwrap();
    assert!(refused.contains(&*first.to_string_lossy()), "{refused}");
}
