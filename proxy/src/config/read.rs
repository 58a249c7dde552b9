//! What the files say now: read, checked, lowered and built on a thread of its own.
//!
//! In:  the text that was seen last, and what runs.   Out: [`Read`].
//! Invariants: one thread for the life of the process, which keeps what it parsed of files that do not change, whose
//! allocations stay together, and which gives way to workers; what is equal to what runs is the same object. A panic is an answer, and
//! forgets what was kept; none ends the thread. What was replaced or refused is taken apart here, too.
//! Not here: what to do about it (`reload`).

use super::{
    build::{BuildError, Builder, Built},
    emptied,
    files::Named,
    input::{self, Input},
    lacks,
    reload::Overrides,
    retired::Retired,
    snapshot::Snapshot,
    status::FileStatus,
    way,
};
use sidle_model::{
    Loader,
    diagnostic::{self, Diagnostic},
    ir::{Ir, Node},
};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        mpsc::{self, RecvTimeoutError},
    },
    thread,
};
use tokio::sync::oneshot;

/// Of the thread: who has requests to serve goes first where cores are few, and a tenth of a busy one is left for a change.
const NICENESS: i32 = 10;

/// The answer to a panic.
const DEFECT: &str = "no configuration could be made of the files: a defect in Sidle; its log says where";

/// What the thread is to do.
enum Task {
    /// Say what the files say.
    Read(Ask, oneshot::Sender<Answer>),
    /// Take apart what no longer runs.
    Retire(Arc<Snapshot>),
    /// Take apart what never ran.
    Discard(Box<Built>),
}

/// What is asked of the thread.
pub(super) struct Ask {
    /// The hash of the text that needs no answer.
    pub seen: Option<u64>,
    /// What runs.
    pub running: Option<Arc<Snapshot>>,
    /// The files of the last attempt that was not refused.
    pub accepted: Arc<[FileStatus]>,
}

/// What the files say now.
pub(super) struct Read {
    /// Of the text.
    pub hash: u64,
    pub files: Arc<[FileStatus]>,
    pub diagnostics: Vec<Diagnostic>,
    /// Where files are named.
    pub named: Named,
    pub meaning: Meaning,
}

/// What the files come to.
pub(super) enum Meaning {
    /// There are errors.
    Wrong,
    /// What runs.
    Same,
    /// Something else.
    New(Result<Box<Built>, BuildError>),
}

/// What comes of it; `Ok(None)`: nothing new.
type Answer = Result<Option<Read>, String>;

/// The thread, from outside.
pub(super) struct Reading {
    /// Until the thread runs.
    work: Option<Work>,
    tasks: mpsc::Sender<Task>,
}

impl Reading {
    pub fn new(input: Arc<Input>, node: Node, overrides: Overrides, builder: Builder) -> Self {
        let (tasks, given) = mpsc::channel();
        let (loader, retired) = (Loader::default(), Retired::default());
        let work = Work { input, node, overrides, builder, loader, retired, tasks: given };
        Reading { work: Some(work), tasks }
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// Says what kept the thread from answering. A panic in the parser is a defect, yet no reason to stop serving.
    pub async fn ask(&mut self, ask: Ask) -> Answer {
        if let Some(work) = self.work.take() {
            let spawned = thread::Builder::new().name("sidle-config".into()).spawn(|| work.run());
            spawned.map_err(|error| format!("the files could not be read: no thread: {error}"))?;
        }
        let (reply, answer) = oneshot::channel();
        let gone = || "the files could not be read: their thread has ended".to_owned();
        self.tasks.send(Task::Read(ask, reply)).map_err(|_| gone())?;
        answer.await.unwrap_or_else(|_| Err(gone()))
    }

    /// Has what no longer runs taken apart, once nobody uses it.
    pub fn retire(&self, snapshot: Arc<Snapshot>) {
        // Without the thread it goes here.
        let _ = self.tasks.send(Task::Retire(snapshot));
    }

    /// Has what never ran taken apart.
    pub fn discard(&self, built: Box<Built>) {
        let _ = self.tasks.send(Task::Discard(built)); // as above
    }
}

/// Lets others go first from now on: before the first configuration nobody has requests to serve. Without it these wait a little longer,
/// no more.
fn give_way() {
    // In Linux both are about the calling thread.
    let own = rustix::process::getpriority_process(None).unwrap_or(0);
    let _ = rustix::process::setpriority_process(None, own.max(NICENESS));
    way::give();
}

/// Does `work`; `None`: it panicked, which the log says.
fn whatever_comes<T>(work: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(work)).ok()
}

/// The thread, from inside.
struct Work {
    input: Arc<Input>,
    node: Node,
    overrides: Overrides,
    builder: Builder,
    loader: Loader,
    retired: Retired,
    tasks: mpsc::Receiver<Task>,
}

impl Work {
    fn run(mut self) {
        let mut is_first = true;
        while let Some(task) = self.next() {
            let answers = matches!(task, Task::Read(..));
            whatever_comes(|| self.perform(task));
            if answers && std::mem::take(&mut is_first) {
                give_way();
            }
        }
    }

    fn perform(&mut self, task: Task) {
        match task {
            Task::Retire(snapshot) => self.retired.keep(snapshot),
            Task::Discard(built) => drop(built),
            Task::Read(ask, reply) => {
                let read = whatever_comes(|| self.read(&ask));
                let is_defect = read.is_none();
                // The asker may be ending.
                let _ = reply.send(read.ok_or_else(|| DEFECT.to_owned()));
                if is_defect {
                    self.loader = Loader::default();
                }
            }
        }
    }

    /// The next task; `None`: there will be none. Until it comes, what nobody uses any more is taken apart.
    fn next(&mut self) -> Option<Task> {
        loop {
            // What panics has gone all the same.
            let Some(look) = whatever_comes(|| self.retired.look()) else { continue };
            let Some(wait) = look else { return self.tasks.recv().ok() };
            match self.tasks.recv_timeout(wait) {
                Err(RecvTimeoutError::Timeout) => {}
                task => return task.ok(),
            }
        }
    }

    /// Reads, checks, lowers and builds; `None` when the text is what was seen already.
    fn read(&mut self, ask: &Ask) -> Option<Read> {
        let (texts, unreadable) = self.input.read();
        // What cannot be read is part of what was seen: a file that becomes readable is a change.
        let hash = input::hash(&texts) ^ unreadable.len() as u64;
        if ask.seen == Some(hash) {
            return None;
        }
        let mut loaded = self.loader.load(texts, &self.node);
        lacks::judge(&mut loaded);
        emptied::judge(&mut loaded, &ask.accepted);
        if !unreadable.is_empty() {
            loaded.ir = None;
            loaded.diagnostics.extend(unreadable);
            diagnostic::sort(&mut loaded.diagnostics);
        }
        let files = loaded.texts.iter().zip(&loaded.resources).map(|(text, resources)| FileStatus {
            name: text.name.clone(),
            bytes: text.content.len(),
            resources: *resources,
        });
        let files = files.collect();
        let named = Named::of(&loaded.config);
        let running = ask.running.as_deref();
        let meaning = loaded.ir.map_or(Meaning::Wrong, |ir| self.meaning(ir, hash, running));
        Some(Read { hash, files, diagnostics: loaded.diagnostics, named, meaning })
    }

    fn meaning(&self, mut ir: Ir, hash: u64, running: Option<&Snapshot>) -> Meaning {
        self.overrides.apply(&mut ir);
        if let Some(running) = running {
            ir.share(&running.ir);
            if ir == *running.ir {
                return Meaning::Same;
            }
        }
        Meaning::New(self.builder.build(ir, hash, running).map(Box::new))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sidle_model::pause;
    use std::{fs, path::PathBuf};

    fn panic_unless_it_does() {
        if !thread::panicking() {
            panic!("a defect");
        }
    }

    /// The thread; until it has answered once, it does so wherever it may pause.
    fn started(paths: Vec<PathBuf>, does: Option<fn()>) -> Reading {
        let input = Arc::new(Input::new(paths));
        let mut reading = Reading::new(input, Node::default(), Overrides::default(), Builder::alone());
        let work = reading.work.take().unwrap();
        thread::spawn(move || {
            pause::at_each(does);
            work.run();
        });
        reading
    }

    async fn read(reading: &mut Reading) -> Result<Box<Built>, String> {
        let read = reading.ask(Ask { seen: None, running: None, accepted: Arc::default() }).await?.unwrap();
        match read.meaning {
            Meaning::New(built) => built.map_err(|error| error.to_string()),
            Meaning::Wrong | Meaning::Same => panic!(),
        }
    }

    #[tokio::test]
    async fn a_panic_is_an_answer_or_none_and_the_thread_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(
            dir.path().join("a.yaml"),
            "apiVersion: v1\nkind: Service\nmetadata: { name: s }\nspec: { ports: [{ name: http, port: 80 }] }\n",
        )
        .unwrap();
        let paths = vec![dir.path().to_path_buf()];
        let built = || async { read(&mut started(paths.clone(), None)).await.unwrap() };
        // Where what never ran is taken apart, where what was replaced is, and where a configuration is made.
        let (refused, replaced) = (built().await, built().await);
        let mut reading = started(paths.clone(), Some(panic_unless_it_does));
        reading.discard(refused);
        reading.retire(Arc::new(replaced.snapshot));
        assert_eq!(read(&mut reading).await.err().as_deref(), Some(DEFECT));
        assert!(read(&mut reading).await.is_ok());
    }
}
