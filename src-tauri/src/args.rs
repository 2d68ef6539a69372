//! The command line.

use std::{
    collections::hash_map::DefaultHasher,
    hash::{Hash, Hasher},
};

use alcove_machine::InstanceName;

/// Alcove's window and tray.
#[derive(Debug, Clone, clap::Parser)]
#[command(name = "alcove-desktop", version, about)]
pub(crate) struct Args {
    /// The instance to show.
    #[arg(long, env = "ALCOVE_INSTANCE", default_value_t)]
    pub(crate) instance: InstanceName,
    /// Start in the tray, without a window.
    #[arg(long)]
    pub(crate) hidden: bool,
    /// A link to a page, such as alcove://open/cluster.
    pub(crate) link: Option<String>,
}

impl Args {
    /// The name that sets this instance apart from others: `base` for the usual one, else `base` with what differs.
    pub(crate) fn identifier(&self, base: &str) -> String {
        identifier(base, &self.instance, std::env::var_os("ALCOVE_HOME").as_deref())
    }

    /// The name of the entry that starts Alcove at login.
    pub(crate) fn autostart_name(&self) -> String {
        if self.is_default() { "alcove".to_owned() } else { format!("alcove-{}", self.instance) }
    }

    /// The arguments with which Alcove starts at login.
    pub(crate) fn autostart(&self) -> Vec<String> {
        let mut arguments = vec!["--hidden".to_owned()];
        if !self.is_default() {
            arguments.extend(["--instance".to_owned(), self.instance.to_string()]);
        }
        arguments
    }

    fn is_default(&self) -> bool {
        self.instance == InstanceName::default()
    }
}

fn identifier(base: &str, instance: &InstanceName, home: Option<&std::ffi::OsStr>) -> String {
    let mut identifier = base.to_owned();
    if *instance != InstanceName::default() {
        identifier.push_str(&format!(".i-{instance}"));
    }
    if let Some(home) = home {
        // Parts of a bus name may not start with a digit.
        let mut hasher = DefaultHasher::new();
        home.hash(&mut hasher);
        identifier.push_str(&format!(".h{:016x}", hasher.finish()));
    }
    identifier
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn parse(arguments: &[&str]) -> Result<Args, clap::Error> {
        Args::try_parse_from([&["alcove-desktop"], arguments].concat())
    }

    #[test]
    fn instances_are_told_apart() {
        let homes = [None, Some(std::ffi::OsStr::new("/a")), Some(std::ffi::OsStr::new("/b"))];
        let mut seen = std::collections::BTreeSet::new();
        for home in homes {
            for instance in ["default", "work", "h0"] {
                let name = instance.parse().unwrap();
                assert!(seen.insert(identifier("org.alcove.desktop", &name, home)), "{instance} {home:?}");
            }
        }
        assert_eq!(identifier("org.alcove.desktop", &InstanceName::default(), None), "org.alcove.desktop");
    }

    #[test]
    fn names_that_would_leave_their_folder_are_refused() {
        for name in ["", "..", "a/b", "A", "-a", "a b", "ü"] {
            assert!(parse(&[&format!("--instance={name}")]).is_err(), "{name:?}");
        }
        let args = parse(&["--instance", "work-2", "--hidden", "alcove://open/cluster"]).unwrap();
        assert_eq!((args.instance.as_str(), args.hidden), ("work-2", true));
        assert_eq!(args.autostart(), ["--hidden", "--instance", "work-2"]);
    }
}
