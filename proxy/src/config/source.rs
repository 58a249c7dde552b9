//! The configuration files, watched.
//!
//! In:  the paths of the command line.   Out: ticks: "something changed, read again".
//! Invariants: a change is never missed: the kernel is asked for events, and a poll looks anyway, for file systems without them.
//! A burst is one tick, and there is no tick while a file is still being written (for at most [`WatchOptions::at_most`]), so that a
//! half-written file is not taken for a short one.
//! Not here: reading and judging the files (`reload`).
//! Read: `changed` -> `Watch::run` -> `settle`.

use super::{
    settle::Settle,
    survey::{Identity, Survey},
    way,
};
use notify::{
    Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode, ModifyKind},
};
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};
use tokio::{sync::Notify, task::JoinHandle, time::MissedTickBehavior};

/// How files are watched.
#[derive(Debug, Clone, Copy)]
pub struct WatchOptions {
    /// Quiet time after the last event before a tick; 50 ms.
    pub quiet: Duration,
    /// From the first event to the tick at the latest; 1 s.
    pub at_most: Duration,
    /// Between looks at the files, whatever the events say; 5 s.
    pub poll: Duration,
    /// Whether the kernel is asked for events; if not, or if it refuses, polls are all there is.
    pub events: bool,
}

impl Default for WatchOptions {
    fn default() -> Self {
        WatchOptions {
            quiet: Duration::from_millis(50),
            at_most: Duration::from_secs(1),
            poll: Duration::from_secs(5),
            events: true,
        }
    }
}

/// Watched files. Dropping it ends the watch.
#[derive(Debug)]
pub struct FileSource {
    tick: Arc<Notify>,
    task: JoinHandle<()>,
}

impl FileSource {
    /// Begins to watch `paths` (files, folders, globs; `-` is passed over). Every change after this returned is
    /// ticked, so read the files for the first time afterwards.
    pub async fn watch(paths: Vec<PathBuf>, options: WatchOptions) -> FileSource {
        let tick = Arc::new(Notify::new());
        let mut watch = Watch::new(paths, options, tick.clone());
        watch.look().await;
        FileSource { tick, task: tokio::spawn(watch.run()) }
    }

    /// Waits until something changed. Cancel-safe; changes between two calls are one tick.
    pub async fn changed(&self) {
        self.tick.notified().await;
    }
}

impl Drop for FileSource {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What the event thread and the watching task share.
#[derive(Debug)]
struct Shared {
    settle: Mutex<(Settle, Survey)>,
    event: Notify,
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, (Settle, Survey)> {
        self.settle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes one event of the kernel, on the event thread.
    fn event(&self, event: notify::Result<Event>) {
        let now = Instant::now();
        let mut guard = self.lock();
        let (settle, survey) = &mut *guard;
        match event {
            Ok(event) if event.need_rescan() => settle.changed(now),
            Ok(event) => {
                let is_write = matches!(
                    event.kind,
                    EventKind::Modify(ModifyKind::Data(_))
                        | EventKind::Access(AccessKind::Close(AccessMode::Write))
                );
                let concerned = event.paths.iter().any(|path| match is_write {
                    true => survey.concerns_content(path), // a log beside the files is written to all the time
                    false => survey.concerns(path),
                });
                if !concerned {
                    return;
                }
                match event.kind {
                    EventKind::Access(AccessKind::Close(AccessMode::Write)) => {
                        settle.written(&event.paths, now)
                    }
                    // Our own reading; without this every look would cause the next.
                    EventKind::Access(_) => return,
                    EventKind::Modify(ModifyKind::Data(_)) => settle.writing(&event.paths, now),
                    EventKind::Remove(_) | EventKind::Modify(_) => settle.written(&event.paths, now),
                    _ => settle.changed(now),
                }
            }
            Err(error) => {
                tracing::debug!(%error, "the file watch reported an error; looking at the files");
                settle.changed(now);
            }
        }
        drop(guard);
        self.event.notify_one();
    }
}

/// The watching task.
struct Watch {
    paths: Vec<PathBuf>,
    options: WatchOptions,
    shared: Arc<Shared>,
    watcher: Option<RecommendedWatcher>,
    watched: BTreeMap<PathBuf, Identity>,
    /// `None` before the first look, and after one that a change may have raced with: the next look is then a tick.
    fingerprint: Option<u64>,
    tick: Arc<Notify>,
}

impl Watch {
    fn new(paths: Vec<PathBuf>, options: WatchOptions, tick: Arc<Notify>) -> Watch {
        let settle = Settle::new(options.quiet, options.at_most);
        let shared =
            Arc::new(Shared { settle: Mutex::new((settle, Survey::default())), event: Notify::new() });
        let events = shared.clone();
        let watcher = options.events.then(|| notify::recommended_watcher(move |event| events.event(event)));
        let watcher = watcher.and_then(|made| {
            made.inspect_err(|error| tracing::warn!(%error, "no file events from the kernel; polling only"))
                .ok()
        });
        let watched = BTreeMap::new();
        Watch { paths, options, shared, watcher, watched, fingerprint: None, tick }
    }

    async fn run(mut self) {
        let mut poll = tokio::time::interval(self.options.poll);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        poll.reset();
        loop {
            let due = self.shared.lock().0.due();
            let settled = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.shared.event.notified() => continue,
                () = settled => self.shared.lock().0.clear(),
                _ = poll.tick() => {}
            }
            if self.look().await {
                self.tick.notify_one();
            }
        }
    }

    /// Looks at the files, follows new folders, and says whether anything may have changed since the last look.
    async fn look(&mut self) -> bool {
        let mut fingerprint = None;
        // A new folder is looked at again once it is watched: something may have changed in it just before.
        for _ in 0..3 {
            let survey = self.survey().await;
            fingerprint = (!survey.racy).then_some(survey.fingerprint);
            let new = self.follow(survey);
            if !new {
                break;
            }
        }
        let changed = fingerprint.is_none() || self.fingerprint != fingerprint;
        self.fingerprint = fingerprint;
        changed
    }

    async fn survey(&self) -> Survey {
        let paths = self.paths.clone();
        // Fails only when the process is ending.
        let take = move || way::giving(|| Survey::take(&paths, SystemTime::now()));
        tokio::task::spawn_blocking(take).await.unwrap_or_default()
    }

    /// Watches exactly the folders of `survey`; says whether there was a new one.
    fn follow(&mut self, survey: Survey) -> bool {
        let folders = survey.folders.clone();
        // First: an event is judged by what it may concern, and the first may come at once.
        self.shared.lock().1 = survey;
        let Some(watcher) = &mut self.watcher else { return false };
        self.watched.retain(|path, identity| {
            let kept = folders.get(path) == Some(identity);
            if !kept {
                // The kernel has often dropped it already.
                let _ = watcher.unwatch(path);
            }
            kept
        });
        let mut new = false;
        for (path, identity) in folders {
            if self.watched.contains_key(&path) {
                continue;
            }
            match watcher.watch(&path, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.watched.insert(path, identity);
                    new = true;
                }
                Err(error) => {
                    tracing::debug!(path = %path.display(), %error, "folder is polled, not watched")
                }
            }
        }
        new
    }
}

#[cfg(test)]
#[path = "source_tests.rs"]
mod tests;
