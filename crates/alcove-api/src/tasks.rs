//! Long work. A task's end is written to disk, so that a face that comes back later still learns how it ended.

use std::{
    collections::BTreeMap,
    fs,
    future::Future,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use alcove_types::{
    ApiError, ErrorCode,
    event::Event,
    task::{Task, TaskState, Transfer},
};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::{
    clock, durable,
    events::Events,
    operations::{Caller, Operations},
};

/// Ended tasks kept.
const KEPT: usize = 100;

tokio::task_local! {
    static REQUEST: String;
}

/// Carries out a request that has a name of its own: a task that it begins is found by that name, after this
/// supervisor's death, too.
pub async fn asked_as<F: Future>(request: String, work: F) -> F::Output {
    REQUEST.scope(request, work).await
}

/// A task as it lies on the disk.
#[derive(Serialize, Deserialize)]
struct Record {
    #[serde(flatten)]
    task: Task,
    /// The request that began it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    request: Option<String>,
}

/// All tasks of one instance.
#[derive(Debug)]
pub struct Tasks {
    folder: PathBuf,
    events: Arc<Events>,
    operations: Arc<Operations>,
    state: Mutex<BTreeMap<String, Entry>>,
}

#[derive(Debug)]
struct Entry {
    task: Task,
    request: Option<String>,
    caller: Caller,
    subject: String,
    cancel: CancellationToken,
}

impl Tasks {
    /// Reads the tasks that ended earlier. One that had not ended when the last supervisor died is closed as failed:
    /// the machine itself goes on to what is wanted.
    ///
    /// # Errors
    /// When the folder can be neither read nor made.
    pub fn open(folder: &Path, events: Arc<Events>, operations: Arc<Operations>) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let mut state = BTreeMap::new();
        for file in fs::read_dir(folder)?.flatten() {
            let read = fs::read(file.path()).ok().and_then(|bytes| serde_json::from_slice::<Record>(&bytes).ok());
            let Some(Record { mut task, request }) = read else { continue };
            if !task.state.ended() {
                task.state = TaskState::Failed;
                task.cancellable = false;
                task.ended = Some(clock::now());
                let hint = if task.kind == crate::images::FETCH {
                    "What was brought is kept: ask again, and it goes on where it stopped."
                } else {
                    "The machine goes on towards what was asked for; look at its page."
                };
                task.error =
                    Some(ApiError::new(ErrorCode::Internal, "The supervisor ended before this was done.", hint));
            }
            state.insert(
                task.id.clone(),
                Entry {
                    task,
                    request,
                    caller: Caller::supervisor(),
                    subject: String::new(),
                    cancel: CancellationToken::new(),
                },
            );
        }
        Ok(Self { folder: folder.to_owned(), events, operations, state: Mutex::new(state) })
    }

    /// Accepts work.
    pub fn begin(&self, kind: &str, subject: &str, caller: &Caller, cancellable: bool) -> (Task, CancellationToken) {
        // Version 7 ids sort by time, which keeps the newest at the end.
        let id = format!("{:013x}-{}", clock::unix_ns() / 1_000_000, &uuid::Uuid::new_v4().simple().to_string()[..8]);
        let task = Task {
            id: id.clone(),
            kind: kind.to_owned(),
            state: TaskState::Queued,
            message: String::new(),
            progress: None,
            transfer: None,
            cancellable,
            created: clock::now(),
            ended: None,
            error: None,
        };
        let cancel = CancellationToken::new();
        let request = REQUEST.try_with(Clone::clone).ok();
        let entry = Entry {
            task: task.clone(),
            request: request.clone(),
            caller: caller.clone(),
            subject: subject.to_owned(),
            cancel: cancel.clone(),
        };
        self.lock().insert(id.clone(), entry);
        self.save(&task, request);
        self.operations.record(caller, kind, subject, "accepted", "", Some(&id));
        self.events.publish(Event::Task(task.clone()));
        (task, cancel)
    }

    /// Says what the task does now.
    pub fn progress(&self, id: &str, message: &str, progress: Option<f64>) {
        self.running(id, message, progress, None);
    }

    /// Says how far what the task brings has come.
    pub fn transfer(&self, id: &str, message: &str, transfer: Transfer) {
        #[expect(clippy::cast_precision_loss, reason = "a share needs no more than 52 bits")]
        let share = (transfer.total_bytes > 0).then(|| transfer.bytes as f64 / transfer.total_bytes as f64);
        self.running(id, message, share, Some(transfer));
    }

    fn running(&self, id: &str, message: &str, progress: Option<f64>, transfer: Option<Transfer>) {
        let mut state = self.lock();
        let Some(entry) = state.get_mut(id).filter(|e| !e.task.state.ended()) else { return };
        let task = &mut entry.task;
        let same = task.message == message && task.progress == progress && task.transfer == transfer;
        if task.state == TaskState::Running && same {
            return;
        }
        task.state = TaskState::Running;
        message.clone_into(&mut task.message);
        task.progress = progress;
        task.transfer = transfer;
        let task = entry.task.clone();
        drop(state);
        self.events.publish(Event::Task(task));
    }

    /// Ends the task; the first end counts.
    pub fn end(&self, id: &str, result: Result<(), ApiError>) {
        let mut state = self.lock();
        let Some(entry) = state.get_mut(id).filter(|e| !e.task.state.ended()) else { return };
        let (new, word, message) = match &result {
            Ok(()) => (TaskState::Succeeded, "succeeded", String::new()),
            Err(error) if error.code == ErrorCode::Cancelled => {
                (TaskState::Cancelled, "cancelled", error.message.clone())
            }
            Err(error) => (TaskState::Failed, "failed", error.message.clone()),
        };
        entry.task.state = new;
        entry.task.cancellable = false;
        entry.task.ended = Some(clock::now());
        entry.task.error = result.err();
        if new == TaskState::Succeeded {
            entry.task.progress = Some(1.0);
        }
        let (task, request) = (entry.task.clone(), entry.request.clone());
        let (caller, subject) = (entry.caller.clone(), entry.subject.clone());
        self.forget_old(&mut state);
        drop(state);
        self.save(&task, request);
        self.operations.record(&caller, &task.kind, &subject, word, &message, Some(id));
        self.events.publish(Event::Task(task));
    }

    /// Asks a task to end early.
    ///
    /// # Errors
    /// When there is no such task, or it can't be cancelled now.
    pub fn cancel(&self, id: &str) -> Result<Task, ApiError> {
        let state = self.lock();
        let entry = state.get(id).ok_or_else(|| not_found(id))?;
        if !entry.task.cancellable || entry.task.state.ended() {
            return Err(ApiError::new(
                ErrorCode::WrongState,
                "This task can't be cancelled now.",
                "Wait for its end, or ask for the opposite.",
            ));
        }
        entry.cancel.cancel();
        Ok(entry.task.clone())
    }

    /// One task.
    ///
    /// # Errors
    /// When there is none of that id.
    pub fn get(&self, id: &str) -> Result<Task, ApiError> {
        self.lock().get(id).map(|e| e.task.clone()).ok_or_else(|| not_found(id))
    }

    /// The task that a request began; see [`asked_as`].
    pub fn of_request(&self, request: &str) -> Option<Task> {
        self.lock().values().find(|e| e.request.as_deref() == Some(request)).map(|e| e.task.clone())
    }

    /// All tasks, newest first.
    pub fn list(&self) -> Vec<Task> {
        self.lock().values().rev().map(|e| e.task.clone()).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Entry>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn save(&self, task: &Task, request: Option<String>) {
        let path = self.folder.join(format!("{}.json", task.id));
        let saved = serde_json::to_vec(&Record { task: task.clone(), request })
            .map_err(io::Error::other)
            .and_then(|bytes| durable::write(&path, &bytes));
        if let Err(error) = saved {
            tracing::warn!(%error, id = task.id, "a task's state can't be written");
        }
    }

    fn forget_old(&self, state: &mut BTreeMap<String, Entry>) {
        let ended: Vec<String> = state.iter().filter(|(_, e)| e.task.state.ended()).map(|(id, _)| id.clone()).collect();
        for id in ended.iter().take(ended.len().saturating_sub(KEPT)) {
            state.remove(id);
            // A leftover is read and forgotten again at the next start.
            let _ = fs::remove_file(self.folder.join(format!("{id}.json")));
        }
    }
}

fn not_found(id: &str) -> ApiError {
    ApiError::new(ErrorCode::NotFound, format!("There is no task {id:?}."), "List the tasks to see which there are.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(folder: &Path) -> Tasks {
        let events = Arc::<Events>::default();
        let operations = Arc::new(Operations::open(&folder.join("operations.jsonl"), events.clone()).unwrap());
        Tasks::open(&folder.join("tasks"), events, operations).unwrap()
    }

    #[test]
    fn an_end_survives_the_supervisor_and_an_unfinished_task_is_closed() {
        let folder = tempfile::tempdir().unwrap();
        let tasks = open(folder.path());
        let (done, _) = tasks.begin("machine.start", "default", &Caller::supervisor(), true);
        let (open_one, _) = tasks.begin("machine.stop", "default", &Caller::supervisor(), true);
        tasks.end(&done.id, Ok(()));
        drop(tasks);
        let tasks = open(folder.path());
        assert_eq!(tasks.get(&done.id).unwrap().state, TaskState::Succeeded);
        assert_eq!(tasks.get(&open_one.id).unwrap().state, TaskState::Failed);
    }

    #[tokio::test]
    async fn a_task_is_found_by_the_request_that_began_it() {
        let folder = tempfile::tempdir().unwrap();
        let tasks = open(folder.path());
        let begin = async { tasks.begin("machine.start", "default", &Caller::supervisor(), true).0 };
        let task = asked_as("one".into(), begin).await;
        tasks.begin("machine.stop", "default", &Caller::supervisor(), true);
        tasks.end(&task.id, Ok(()));
        drop(tasks);
        let tasks = open(folder.path());
        assert_eq!(tasks.of_request("one").map(|t| (t.id, t.state)), Some((task.id, TaskState::Succeeded)));
        assert_eq!(tasks.of_request("two"), None);
    }

    #[test]
    fn only_the_first_end_counts_and_an_ended_task_is_not_cancelled() {
        let folder = tempfile::tempdir().unwrap();
        let tasks = open(folder.path());
        let (task, cancel) = tasks.begin("machine.start", "default", &Caller::supervisor(), true);
        tasks.end(&task.id, Err(ApiError::new(ErrorCode::Cancelled, "Replaced.", "")));
        tasks.end(&task.id, Ok(()));
        assert_eq!(tasks.get(&task.id).unwrap().state, TaskState::Cancelled);
        assert!(tasks.cancel(&task.id).is_err());
        assert!(!cancel.is_cancelled());
        assert_eq!(tasks.cancel("nope").unwrap_err().code, ErrorCode::NotFound);
    }
}
