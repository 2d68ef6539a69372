//! A stand-in for `qemu-system-x86_64` and `qemu-img` that behaves as documented and runs no guest.
//!
//! It is reached through links with the names of the real ones. A file `script` in the links' folder changes what it
//! does, a word a line: see [`Script`]. Its "guest" counts; the count is its memory, its serial console and, each time
//! it is let go, a byte more on its disk. Behind the forwarded port it answers like the guest's daemon of an image
//! without Kubernetes.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it plays programs that print")]

mod disk_tool;
mod guest;
mod machine;

use std::{
    env, fs,
    path::{Path, PathBuf},
};

/// What was asked of it in the file `script`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Script {
    words: Vec<String>,
    file: PathBuf,
}

impl Script {
    fn beside(program: &Path) -> Self {
        let file = program.with_file_name("script");
        Self { words: words(&file), file }
    }

    /// Comes to a point at which a test may want to do something to the machine or to who runs it. When the script has
    /// `hold=POINT` at this moment, the file `held` is written beside it, and nothing goes on until the line is gone.
    pub(crate) fn pass(&self, point: &str) {
        let line = format!("hold={point}");
        let mut told = false;
        while words(&self.file).contains(&line) {
            if !told {
                told = fs::write(self.file.with_file_name("held"), point).is_ok();
            }
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    }

    /// Whether a word stands there.
    pub(crate) fn says(&self, word: &str) -> bool {
        self.words.iter().any(|l| l == word)
    }

    /// The value of a word with `=`.
    pub(crate) fn value(&self, key: &str) -> Option<&str> {
        self.words.iter().find_map(|l| l.strip_prefix(key)?.strip_prefix('='))
    }
}

fn words(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().map(|l| l.trim().to_owned()).filter(|l| !l.is_empty()).collect()
}

fn main() {
    let mut arguments = env::args();
    let program = PathBuf::from(arguments.next().unwrap_or_default());
    let arguments: Vec<String> = arguments.collect();
    let script = Script::beside(&program);
    let name = program.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let code =
        if name == "qemu-img" { disk_tool::run(&script, &arguments) } else { qemu(&script, &program, &arguments) };
    std::process::exit(code);
}

fn qemu(script: &Script, program: &Path, arguments: &[String]) -> i32 {
    match arguments.first().map(String::as_str) {
        Some("--version") => {
            println!("QEMU emulator version {} (stand-in)", script.value("version").unwrap_or("10.0.2"));
            0
        }
        Some("-machine") if arguments.get(1).map(String::as_str) == Some("help") => {
            println!("Supported machines are:");
            for machine in script.value("machines").unwrap_or("pc-q35-9.2 pc-q35-10.0").split(' ') {
                println!("{machine} Standard PC (Q35 + ICH9, 2009)");
            }
            0
        }
        _ => machine::run(script, program, arguments),
    }
}
