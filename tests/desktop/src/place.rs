//! A place of a test's own: home, runtime folder, programs, nothing of the person's.

use std::{
    env,
    ffi::OsString,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use alcove_client::Client;
use alcove_machine::{Home, InstanceName, Layout};
use anyhow::{Context, ensure};

/// Folders and environment of one test; gone with it.
#[derive(Debug)]
pub struct Place {
    root: tempfile::TempDir,
    instance: InstanceName,
    programs: PathBuf,
    real: Option<PathBuf>,
}

impl Place {
    /// A place whose supervisor is the stand-in.
    ///
    /// # Errors
    /// When a program was not built, or a folder can't be made.
    pub fn with_stand_in() -> anyhow::Result<Self> {
        let place = Self::new(None)?;
        // Programs find each other beside themselves, so the stand-in takes the supervisor's place there.
        link(&built("alcove-desktop")?, &place.programs.join("alcove-desktop"))?;
        link(&built("alcove-stand-in")?, &place.programs.join("alcoved"))?;
        Ok(place)
    }

    /// A place for the window of a real machine, which lives under `home`.
    ///
    /// # Errors
    /// When the programs are missing.
    pub fn with_machine(home: &Path, instance: &InstanceName) -> anyhow::Result<Self> {
        let mut place = Self::new(Some(home.to_owned()))?;
        place.instance = instance.clone();
        for name in ["alcove-desktop", "alcoved"] {
            link(&built(name)?, &place.programs.join(name))?;
        }
        Ok(place)
    }

    fn new(real: Option<PathBuf>) -> anyhow::Result<Self> {
        let root = tempfile::Builder::new().prefix("alcove-desktop-").tempdir().context("can't make a folder")?;
        let programs = root.path().join("bin");
        for folder in ["bin", "home", "run"] {
            fs::create_dir_all(root.path().join(folder))?;
        }
        fs::set_permissions(root.path().join("run"), fs::Permissions::from_mode(0o700))?;
        // What would open a browser notes the address instead.
        let opener = programs.join("xdg-open");
        fs::write(&opener, format!("#!/bin/sh\necho \"$1\" >> '{}'\n", root.path().join("opened").display()))?;
        fs::set_permissions(&opener, fs::Permissions::from_mode(0o755))?;
        Ok(Self { root, instance: InstanceName::default(), programs, real })
    }

    /// A program of this place.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }

    /// The home folder of the person in this test.
    #[must_use]
    pub fn home(&self) -> PathBuf {
        self.root.path().join("home")
    }

    /// The folder that `ALCOVE_HOME` names.
    #[must_use]
    pub fn alcove_home(&self) -> PathBuf {
        self.real.clone().unwrap_or_else(|| self.root.path().join("alcove"))
    }

    /// The instance.
    #[must_use]
    pub const fn instance(&self) -> &InstanceName {
        &self.instance
    }

    /// Addresses that were given to the person's browser.
    #[must_use]
    pub fn opened(&self) -> Vec<String> {
        lines(&self.root.path().join("opened"))
    }

    /// What the stand-in was asked, one request a line.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        lines(&self.alcove_home().join("asked"))
    }

    /// The supervisor, to be asked without the window.
    ///
    /// # Errors
    /// When its place can't be told.
    pub fn supervisor(&self) -> anyhow::Result<Client> {
        Ok(Client::at_socket(self.runtime(Layout::api_sock)?))
    }

    /// Holds the lock that QEMU holds while its machine is on, until it is dropped.
    ///
    /// # Errors
    /// When the lock can't be taken.
    pub fn machine_on(&self) -> anyhow::Result<fs::File> {
        let path = self.runtime(Layout::pidfile)?;
        let file = fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
        rustix::fs::fcntl_lock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive)
            .with_context(|| format!("{} can't be locked", path.display()))?;
        Ok(file)
    }

    /// A file of the runtime folder, which the programs find through an environment that is not ours.
    fn runtime(&self, file: fn(&Layout) -> PathBuf) -> anyhow::Result<PathBuf> {
        let home = Home::at(self.alcove_home()).map_err(|e| anyhow::anyhow!("{e}"))?;
        let ours = file(&Layout::new(home, self.instance.clone()));
        let names: Vec<_> = ours.iter().rev().take(2).collect();
        let [name, folder] = names[..] else { anyhow::bail!("{} is too short", ours.display()) };
        Ok(self.root.path().join("run/alcove").join(folder).join(name))
    }

    /// The environment in which the programs run. A supervisor and its client must agree on the runtime folder, so the
    /// real machine keeps the one that it was started with.
    #[must_use]
    pub fn environment(&self) -> Vec<(OsString, OsString)> {
        let root = self.root.path();
        let path = env::var_os("PATH").unwrap_or_default();
        let paths = env::join_paths([self.programs.clone()].into_iter().chain(env::split_paths(&path)));
        let mut set: Vec<(OsString, OsString)> = vec![
            ("PATH".into(), paths.unwrap_or(path)),
            ("HOME".into(), self.home().into()),
            ("ALCOVE_HOME".into(), self.alcove_home().into()),
            ("ALCOVE_INSTANCE".into(), self.instance.as_str().into()),
            ("XDG_CONFIG_HOME".into(), self.home().join(".config").into()),
            ("XDG_DATA_HOME".into(), self.home().join(".local/share").into()),
            ("XDG_CACHE_HOME".into(), self.home().join(".cache").into()),
            ("LANG".into(), "C.UTF-8".into()),
            // A test never touches the keychain of whoever runs it.
            ("ALCOVE_SECRETS".into(), "file".into()),
        ];
        if self.real.is_none() {
            set.push(("XDG_RUNTIME_DIR".into(), root.join("run").into()));
        }
        set
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // A supervisor outlives its window by design; that of a test must not outlive the test. The real machine's is
        // left as the test leaves it.
        if self.real.is_none() {
            end(&self.program("alcoved"));
        }
    }
}

/// Ends every process that runs this program.
pub fn end(program: &Path) {
    for process in running(program) {
        if let Some(process) = rustix::process::Pid::from_raw(process) {
            // It may have ended by itself in between.
            let _ = rustix::process::kill_process(process, rustix::process::Signal::KILL);
        }
    }
}

/// Processes that run this program.
#[must_use]
pub fn running(program: &Path) -> Vec<i32> {
    let Ok(processes) = fs::read_dir("/proc") else { return vec![] };
    processes
        .flatten()
        .filter_map(|entry| {
            let id = entry.file_name().to_str()?.parse().ok()?;
            // A process that has ended but was not waited for has no program any more.
            let runs = fs::read_link(entry.path().join("exe")).ok()?;
            (runs == program).then_some(id)
        })
        .collect()
}

fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// A second name for a program: a copy would be large, and a symbolic link would lead back to its neighbours.
fn link(from: &Path, to: &Path) -> anyhow::Result<()> {
    if fs::hard_link(from, to).is_err() {
        fs::copy(from, to).with_context(|| format!("can't copy {}", from.display()))?;
    }
    Ok(())
}

/// A program as built: in `ALCOVE_BIN_DIR`, or beside the tests.
fn built(name: &str) -> anyhow::Result<PathBuf> {
    let own = env::current_exe().context("the test has no path")?;
    let beside = own.ancestors().nth(2).context("the test lies nowhere")?.to_owned();
    let stand_in = name == "alcove-stand-in";
    let folder = env::var_os("ALCOVE_BIN_DIR").filter(|_| !stand_in).map_or(beside, PathBuf::from);
    let path = folder.join(name);
    ensure!(path.is_file(), "{} is missing; build it first (`cargo build -p {name}`)", path.display());
    Ok(path)
}
