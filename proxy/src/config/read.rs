//! What the files say now: read, checked, lowered and built on a thread of its own.
//!
//! In:  the text that was seen last, and what runs.   Out: [`Read`].
//! Invariants: one thread for the life of the process, which keeps what it parsed of files that do not change, whose
//! allocations stay together, and which gives way to workers; what is equal to what runs is the same object. A panic is an answer, and
//! forgets what was kept. What was replaced or refused is taken apart here, too.
//! Not here: what to do about it (`reload`).

use super::{
    build::{BuildError, Builder, Built},
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
}

/// What the files say now.
pub(super) struct Read {
    /// Of the text.
    pub hash: u64,
    pub files: Vec<FileStatus>,
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
            match task {
                Task::Retire(snapshot) => self.retired.keep(snapshot),
                Task::Discard(built) => drop(built),
                Task::Read(ask, reply) => {
                    let answer = catch_unwind(AssertUnwindSafe(|| self.read(&ask))).map_err(|_| {
                        self.loader = Loader::default();
                        "the files could not be read: a defect in Sidle; its log says where".to_owned()
                    });
                    // The asker may be ending.
                    let _ = reply.send(answer);
                    if std::mem::take(&mut is_first) {
                        give_way();
                    }
                }
            }
        }
    }

    /// The next task; `None`: there will be none. Until it comes, what nobody uses any more is taken apart.
    fn next(&mut self) -> Option<Task> {
        loop {
            let Some(wait) = self.retired.look() else { return self.tasks.recv().ok() };
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
