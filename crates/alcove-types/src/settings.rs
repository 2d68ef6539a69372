//! The owner's settings. The file keeps only differences from the defaults.

wire! {
/// All settings with their values.
pub struct Settings {
    /// The machine's sizes; absent until the machine is made.
    pub machine: Option<crate::machine::MachineSetup>,
    /// What happens when the supervisor starts.
    pub start: StartPolicy,
    /// Start Alcove when the person logs in.
    pub start_at_login: bool,
    /// Quitting suspends the machine; otherwise it is shut down.
    pub suspend_on_quit: bool,
    /// Look of the windows.
    pub theme: Theme,
    /// Language of the windows; absent follows the system.
    pub language: Option<Language>,
    /// The owner's name as shown on the web desktop.
    pub display_name: String,
}

/// What happens to the machine when the supervisor starts.
#[derive(Copy, Eq)]
#[serde(rename_all = "snake_case")]
pub enum StartPolicy {
    /// Bring it up.
    Running,
    /// Leave it as it is.
    Keep,
}

/// Look of the windows.
#[derive(Copy, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Theme {
    /// As the system says.
    System,
    /// Light.
    Light,
    /// Dark.
    Dark,
    /// High contrast.
    Contrast,
}

/// A language that the catalogues have.
#[derive(Copy, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Language {
    /// English.
    En,
    /// Chinese, simplified.
    Zh,
}

/// Answer of the settings resource.
pub struct SettingsView {
    /// Present values.
    pub settings: Settings,
    /// What they would be if nothing were changed.
    pub defaults: Settings,
    /// Keys whose new value waits for a restart of the machine.
    pub restart_needed: Vec<String>,
    /// Why the settings file could not be used, when it could not.
    pub problem: Option<crate::ApiError>,
}
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            machine: None,
            start: StartPolicy::Running,
            start_at_login: false,
            suspend_on_quit: true,
            theme: Theme::System,
            language: None,
            display_name: String::new(),
        }
    }
}
