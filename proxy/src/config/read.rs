//! What the files say now: read, checked and lowered on a thread of its own.
//!
//! In:  the text that was seen last, and what runs.   Out: [`Read`].
//! Invariants: one thread for the life of the process, which keeps what it parsed of files that do not change, whose
//! allocations stay together, and which gives way to workers; what is equal to what runs is the same object. A panic is an answer, and forgets what was kept.
//! Not here: what to do about it (`reload`).

use super::{
    files::Named,
    input::{self, Input},
    lacks,
    reload::Overrides,
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
    sync::{Arc, mpsc},
    thread,
};
use tokio::sync::oneshot;

/// Of the thread: who has requests to serve goes first where cores are few, and a tenth of a busy one is left for a change.
const NICENESS: i32 = 10;

/// What is asked of the thread.
#[derive(Debug)]
pub(super) struct Ask {
    /// The hash of the text that needs no answer.
    pub seen: Option<u64>,
    /// The running configuration.
    pub running: Option<Arc<Ir>>,
}

/// What the files say now.
#[derive(Debug)]
pub(super) struct Read {
    /// Of the text.
    pub hash: u64,
    pub files: Vec<FileStatus>,
    /// `None` when there are errors.
    pub ir: Option<Ir>,
    pub diagnostics: Vec<Diagnostic>,
    /// Where files are named.
    pub named: Named,
}

/// What comes of it; `Ok(None)`: nothing new.
type Answer = Result<Option<Read>, String>;

/// The thread, from outside.
#[derive(Debug)]
pub(super) struct Reading {
    /// Until the thread runs.
    work: Option<Work>,
    asks: mpsc::Sender<(Ask, oneshot::Sender<Answer>)>,
}

impl Reading {
    pub fn new(input: Arc<Input>, node: Node, overrides: Overrides) -> Self {
        let (asks, asked) = mpsc::channel();
        Reading { work: Some(Work { input, node, overrides, loader: Loader::default(), asked }), asks }
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
        self.asks.send((ask, reply)).map_err(|_| gone())?;
        answer.await.unwrap_or_else(|_| Err(gone()))
    }
}

/// Lets others go first from now on: before the first configuration nobody has requests to serve. Without it these wait a little longer,
/// no more.
fn give_way() {
    // In Linux both are about the calling thread.
    let own = rustix::process::getpriority_process(None).unwrap_or(0);
    let _ = rustix::process::setpriority_process(None, own.max(NICENESS));
    way::give(way::TENTH);
}

/// The thread, from inside.
#[derive(Debug)]
struct Work {
    input: Arc<Input>,
    node: Node,
    overrides: Overrides,
    loader: Loader,
    asked: mpsc::Receiver<(Ask, oneshot::Sender<Answer>)>,
}

impl Work {
    fn run(mut self) {
        let mut is_first = true;
        while let Ok((ask, reply)) = self.asked.recv() {
            let answer = catch_unwind(AssertUnwindSafe(|| self.read(&ask))).map_err(|_| {
                self.loader = Loader::default();
                "the files could not be read: a defect in Sidle; its log says where".to_owned()
            });
            // The last one to let go of a large configuration takes it apart.
            drop(ask);
            // The asker may be ending.
            let _ = reply.send(answer);
            if std::mem::take(&mut is_first) {
                give_way();
            }
        }
    }

    /// Reads, checks and lowers; `None` when the text is what was seen already.
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
        let mut ir = loaded.ir;
        if let Some(ir) = &mut ir {
            self.overrides.apply(ir);
            if let Some(running) = &ask.running {
                ir.share(running);
            }
        }
        let files = loaded.texts.iter().zip(&loaded.resources).map(|(text, resources)| FileStatus {
            name: text.name.clone(),
            bytes: text.content.len(),
            resources: *resources,
        });
        let named = Named::of(&loaded.config);
        Some(Read { hash, files: files.collect(), ir, diagnostics: loaded.diagnostics, named })
    }
}
