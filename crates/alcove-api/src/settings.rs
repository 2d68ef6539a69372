//! Settings: the file keeps only what differs from the defaults, may be edited by hand, and is watched.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use alcove_types::{
    ApiError, ErrorCode,
    event::Event,
    machine::MachineSetup,
    settings::{Settings, SettingsView},
};
use notify::Watcher;
use serde_json::{Map, Value};

use crate::{durable, events::Events};

/// The version of the file that this supervisor writes; it refuses newer ones.
const SCHEMA: u64 = 1;
/// More than this is no settings file of ours.
const LARGEST: u64 = 256 * 1024;

/// The settings of one instance.
pub struct SettingsStore {
    path: PathBuf,
    events: Arc<Events>,
    state: Mutex<State>,
    watcher: Mutex<Option<notify::RecommendedWatcher>>,
}

#[derive(Debug, Clone)]
struct State {
    settings: Settings,
    problem: Option<ApiError>,
    /// Sizes that the running machine has; what differs waits for a restart.
    in_use: Option<MachineSetup>,
}

impl SettingsStore {
    /// Reads the file. One that can't be used is left as it is: the defaults apply, and the problem is told.
    pub fn open(path: &Path, events: Arc<Events>) -> Arc<Self> {
        let (settings, problem) = match read(path) {
            Ok(settings) => (settings, None),
            Err(error) => (Settings::default(), Some(error)),
        };
        if let Some(error) = &problem {
            tracing::warn!(%error, "the settings file can't be used");
        }
        Arc::new(Self {
            path: path.to_owned(),
            events,
            state: Mutex::new(State { settings, problem, in_use: None }),
            watcher: Mutex::new(None),
        })
    }

    /// Watches the file's folder: editors replace files rather than write into them.
    pub fn watch(self: &Arc<Self>) {
        let Some(folder) = self.path.parent() else { return };
        let store = Arc::downgrade(self);
        let path = self.path.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let Ok(event) = event else { return };
            if event.kind.is_access() || !event.paths.iter().any(|p| p.file_name() == path.file_name()) {
                return;
            }
            if let Some(store) = store.upgrade() {
                store.reload();
            }
        });
        let started = watcher.and_then(|mut watcher| {
            fs::create_dir_all(folder)?;
            watcher.watch(folder, notify::RecursiveMode::NonRecursive)?;
            Ok(watcher)
        });
        match started {
            Ok(watcher) => *self.watcher.lock().unwrap_or_else(PoisonError::into_inner) = Some(watcher),
            Err(error) => tracing::warn!(%error, "the settings file is not watched: changes by hand need a restart"),
        }
    }

    /// Present values.
    pub fn get(&self) -> Settings {
        self.lock().settings.clone()
    }

    /// Present values with what surrounds them.
    pub fn view(&self) -> SettingsView {
        view(&self.lock())
    }

    /// Notes the sizes that the running machine has.
    pub fn machine_runs_with(&self, setup: Option<MachineSetup>) {
        let mut state = self.lock();
        if state.in_use != setup {
            state.in_use = setup;
            let view = view(&state);
            drop(state);
            self.events.publish(Event::Settings(view));
        }
    }

    /// Applies a JSON merge patch (RFC 7396); `null` returns a key to its default.
    ///
    /// # Errors
    /// When the patch makes no valid settings, or the file is damaged or of a newer version: then nothing is changed.
    pub fn patch(&self, patch: &Value) -> Result<SettingsView, ApiError> {
        let mut state = self.lock();
        if let Some(problem) = &state.problem {
            return Err(problem.clone());
        }
        let mut document = to_value(&state.settings)?;
        let Value::Object(changes) = patch else {
            return Err(bad("Settings are changed with a JSON object."));
        };
        let defaults = to_value(&Settings::default())?;
        let known = defaults.as_object().cloned().unwrap_or_default();
        if let Some(unknown) = changes.keys().find(|key| !known.contains_key(*key)) {
            return Err(bad(format!("There is no setting {unknown:?}.")));
        }
        for (key, value) in changes {
            if value.is_null() {
                document[key] = known[key].clone();
            } else {
                merge(&mut document[key], value);
            }
        }
        let settings: Settings =
            serde_json::from_value(document.clone()).map_err(|e| bad(format!("That can't be a setting: {e}.")))?;
        check(&settings)?;
        let mut differences: Map<String, Value> = Map::new();
        differences.insert("schema".into(), SCHEMA.into());
        for (key, value) in document.as_object().into_iter().flatten() {
            if known.get(key) != Some(value) {
                differences.insert(key.clone(), value.clone());
            }
        }
        let mut bytes = serde_json::to_vec_pretty(&differences).map_err(|e| bad(e.to_string()))?;
        bytes.push(b'\n');
        durable::write(&self.path, &bytes).map_err(|error| unwritable(&self.path, &error))?;
        state.settings = settings;
        let view = view(&state);
        drop(state);
        self.events.publish(Event::Settings(view.clone()));
        Ok(view)
    }

    fn reload(&self) {
        // Read under the lock: what a patch writes meanwhile would be undone.
        let mut state = self.lock();
        let read = read(&self.path);
        let before = view(&state);
        match read {
            Ok(settings) => {
                state.settings = settings;
                state.problem = None;
            }
            // What was in force stays in force.
            Err(error) => state.problem = Some(error),
        }
        let after = view(&state);
        drop(state);
        if before != after {
            self.events.publish(Event::Settings(after));
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn view(state: &State) -> SettingsView {
    let mut restart_needed = Vec::new();
    if let (Some(wanted), Some(in_use)) = (&state.settings.machine, &state.in_use) {
        if wanted.memory_bytes != in_use.memory_bytes {
            restart_needed.push("machine.memory_bytes".to_owned());
        }
        if wanted.cpus != in_use.cpus {
            restart_needed.push("machine.cpus".to_owned());
        }
    }
    SettingsView {
        settings: state.settings.clone(),
        defaults: Settings::default(),
        restart_needed,
        problem: state.problem.clone(),
    }
}

fn read(path: &Path) -> Result<Settings, ApiError> {
    let bytes = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Settings::default()),
        Ok(meta) if meta.len() > LARGEST => return Err(corrupt(path, "it is too large to be ours")),
        _ => fs::read(path).map_err(|error| corrupt(path, &error.to_string()))?,
    };
    let mut differences: Map<String, Value> =
        serde_json::from_slice(&bytes).map_err(|error| corrupt(path, &error.to_string()))?;
    match differences.remove("schema").map(|v| v.as_u64()) {
        None | Some(Some(SCHEMA)) => {}
        Some(Some(newer)) if newer > SCHEMA => {
            return Err(ApiError::new(
                ErrorCode::TooNew,
                format!("The settings in {} were written by a newer Alcove (format {newer}).", path.display()),
                "Update Alcove. Until then the defaults apply, and the file is left untouched.",
            ));
        }
        Some(_) => return Err(corrupt(path, "its `schema` is not a version number")),
    }
    let mut document = to_value(&Settings::default())?;
    for (key, value) in differences {
        if document.get(&key).is_none() {
            return Err(corrupt(path, &format!("there is no setting {key:?}")));
        }
        merge(&mut document[&key], &value);
    }
    let settings = serde_json::from_value(document).map_err(|error| corrupt(path, &error.to_string()))?;
    check(&settings)?;
    Ok(settings)
}

fn check(settings: &Settings) -> Result<(), ApiError> {
    if let Some(machine) = &settings.machine {
        alcove_machine::spec::check_setup(machine).map_err(|e| e.api())?;
    }
    if settings.display_name.chars().count() > 60 || settings.display_name.chars().any(char::is_control) {
        return Err(bad("A name has at most 60 characters and no control characters."));
    }
    Ok(())
}

fn merge(target: &mut Value, patch: &Value) {
    match (target, patch) {
        (Value::Object(target), Value::Object(patch)) => {
            for (key, value) in patch {
                merge(target.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (target, patch) => *target = patch.clone(),
    }
}

fn to_value(settings: &Settings) -> Result<Value, ApiError> {
    serde_json::to_value(settings).map_err(|e| bad(e.to_string()))
}

fn bad(message: impl Into<String>) -> ApiError {
    ApiError::new(ErrorCode::BadRequest, message, "Nothing was changed. `alcove settings list` shows what there is.")
}

fn corrupt(path: &Path, why: &str) -> ApiError {
    ApiError::new(
        ErrorCode::FileCorrupt,
        format!("The settings in {} can't be read: {why}.", path.display()),
        "The values last read apply, and the file is left untouched. Mend it, or move it away to start from the defaults.",
    )
}

fn unwritable(path: &Path, error: &io::Error) -> ApiError {
    let code = if error.kind() == io::ErrorKind::StorageFull { ErrorCode::DiskFull } else { ErrorCode::Internal };
    ApiError::new(
        code,
        format!("The settings could not be written to {}: {error}.", path.display()),
        "Nothing was changed. Check the disk's free space and the folder's permissions.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn store(content: Option<&str>) -> (tempfile::TempDir, Arc<SettingsStore>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("default.json");
        if let Some(content) = content {
            fs::write(&path, content).unwrap();
        }
        let store = SettingsStore::open(&path, Arc::default());
        (folder, store)
    }

    #[test]
    fn only_differences_are_written_and_null_returns_to_the_default() {
        let (folder, store) = store(None);
        store.patch(&json!({"theme": "dark", "suspend_on_quit": false})).unwrap();
        let file: Value = serde_json::from_slice(&fs::read(folder.path().join("default.json")).unwrap()).unwrap();
        assert_eq!(file, json!({"schema": 1, "theme": "dark", "suspend_on_quit": false}));
        store.patch(&json!({"theme": null})).unwrap();
        let file: Value = serde_json::from_slice(&fs::read(folder.path().join("default.json")).unwrap()).unwrap();
        assert_eq!(file, json!({"schema": 1, "suspend_on_quit": false}));
    }

    #[test]
    fn a_file_of_a_newer_version_is_refused_and_left_alone() {
        let content = r#"{"schema": 9, "orbit": "low"}"#;
        let (folder, store) = store(Some(content));
        assert_eq!(store.view().problem.unwrap().code, ErrorCode::TooNew);
        assert_eq!(store.patch(&json!({"theme": "dark"})).unwrap_err().code, ErrorCode::TooNew);
        assert_eq!(fs::read_to_string(folder.path().join("default.json")).unwrap(), content);
    }

    #[test]
    fn a_damaged_file_gives_the_defaults_and_a_reason() {
        for content in [
            "",
            "{",
            "[]",
            r#"{"schema":"x"}"#,
            r#"{"theme":"pink"}"#,
            r#"{"nonsense":1}"#,
            r#"{"machine":{"memory_bytes":1,"cpus":1,"disk_bytes":1}}"#,
        ] {
            let (_folder, store) = store(Some(content));
            let view = store.view();
            assert_eq!(view.settings, Settings::default(), "{content}");
            assert!(view.problem.is_some(), "{content}");
        }
    }

    #[test]
    fn nonsense_changes_nothing() {
        let (folder, store) = store(None);
        for patch in [
            json!(3),
            json!({"theme": 4}),
            json!({"no_such": 1}),
            json!({"display_name": "a\u{7}b"}),
            json!({"machine": {"memory_bytes": 5}}),
        ] {
            assert_eq!(store.patch(&patch).unwrap_err().code, ErrorCode::BadRequest, "{patch}");
        }
        assert!(!folder.path().join("default.json").exists());
    }

    #[test]
    fn sizes_that_a_machine_would_refuse_are_no_settings() {
        let (folder, store) = store(None);
        let (mib, gib) = (1u64 << 20, 1u64 << 30);
        // In steps of 1 MiB, which the machine does not know.
        let odd = json!({"machine": {"memory_bytes": 2 * gib + mib, "cpus": 2, "disk_bytes": 20 * gib}});
        let error = store.patch(&odd).unwrap_err();
        assert_eq!(error.code, ErrorCode::BadRequest);
        assert!(error.hint.contains("2 MiB"), "{error:?}");
        assert!(!folder.path().join("default.json").exists());
    }

    #[test]
    fn a_change_is_not_undone_by_a_look_at_the_file_meanwhile() {
        let (_folder, store) = store(None);
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    store.reload();
                }
            });
            let kept = (0..300).all(|n| {
                let name = n.to_string();
                store.patch(&json!({ "display_name": name })).unwrap();
                store.get().display_name == name
            });
            done.store(true, std::sync::atomic::Ordering::Relaxed);
            assert!(kept, "a change was undone");
        });
    }

    #[test]
    fn sizes_that_the_running_machine_lacks_wait_for_a_restart() {
        let (_folder, store) = store(None);
        let gib = 1u64 << 30;
        store.patch(&json!({"machine": {"memory_bytes": 3 * gib, "cpus": 2, "disk_bytes": 20 * gib}})).unwrap();
        store.machine_runs_with(Some(MachineSetup { memory_bytes: 2 * gib, cpus: 2, disk_bytes: 20 * gib }));
        assert_eq!(store.view().restart_needed, ["machine.memory_bytes"]);
    }
}
