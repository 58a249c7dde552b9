//! From changed files to a published configuration, or to a status that says why not.
//!
//! In:  ticks of the [`FileSource`], SIGHUP, requests of admin.   Out: calls of [`Publish`], a [`ConfigStatus`].
//! Invariants: all or nothing: while one file has an error, what ran before goes on untouched; equal configuration is not
//! published again; a tick that comes during an attempt leads to another one.
//! Not here: watching (`source`), reading, parsing, lowering and building (`read`, `sidle-model`, `build`), swapping ([`Publish`]'s work).
//! Read: `run` -> `attempt` -> `publish`.

use super::{
    build::{BuildError, Builder, Built},
    input::Input,
    read::{Ask, Meaning, Reading},
    snapshot::Snapshot,
    source::{FileSource, WatchOptions},
    status::{Attempt, AttemptResult, Cause, ConfigStatus, FileStatus, StatusCell},
};
use sidle_model::{
    diagnostic::Severity,
    ir::{Ir, Node},
};
use std::{
    future::Future,
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Instant, SystemTime},
};
use tokio::{
    signal::unix::Signal,
    sync::{mpsc, oneshot},
};

/// What takes a new configuration and makes it run.
pub trait Publish: Send {
    /// Swaps `built` in. What runs from now on.
    ///
    /// # Errors
    /// Says why it cannot run. Then nothing may have changed.
    fn publish(&mut self, built: Box<Built>) -> impl Future<Output = Result<Arc<Snapshot>, Refused>> + Send;

    /// Hears that an attempt begins that somebody asked for, and whose end they may wait for.
    fn asked(&mut self) {}

    /// Hears of every attempt, for metrics.
    fn attempted(&mut self, status: &ConfigStatus);
}

/// Why a configuration that was read well does not run.
#[derive(Debug, thiserror::Error)]
pub enum NotPublished {
    /// It could not be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The machine does not let it run.
    #[error("{0}")]
    Machine(String),
}

/// A configuration that was built, and does not run.
pub struct Refused {
    /// Why.
    pub why: NotPublished,
    /// Itself, to be taken apart where nobody waits for that; `None`: nobody was served yet who could.
    pub built: Option<Box<Built>>,
}

/// What the command line decides over the files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `--admin`.
    pub admin: Option<SocketAddr>,
    /// `--workers`.
    pub workers: Option<u16>,
}

impl Overrides {
    pub(super) fn apply(&self, ir: &mut Ir) {
        if let Some(admin) = self.admin {
            ir.settings.admin = admin;
        }
        if self.workers.is_some() {
            ir.settings.workers = self.workers;
        }
    }
}

/// `POST /reload`: answered with the status after the attempt.
pub type ReloadRequest = oneshot::Sender<Arc<ConfigStatus>>;

/// The reload loop.
pub struct Reloader<P> {
    input: Arc<Input>,
    reading: Reading,
    publish: P,
    status: StatusCell,
    running: Option<Arc<Snapshot>>,
    /// Of the text of the last attempt, whatever came of it.
    seen: Option<u64>,
    /// The files of the last attempt that was not refused.
    accepted: Arc<[FileStatus]>,
}

impl<P: Publish> Reloader<P> {
    /// A loop that reads `paths` as `node`.
    pub fn new(paths: Vec<PathBuf>, node: Node, overrides: Overrides, builder: Builder, publish: P) -> Self {
        let status = StatusCell::default();
        status.store(ConfigStatus { paths: paths.clone(), ..ConfigStatus::default() });
        let input = Arc::new(Input::new(paths));
        Reloader {
            reading: Reading::new(input.clone(), node, overrides, builder),
            input,
            publish,
            status,
            running: None,
            seen: None,
            accepted: Arc::default(),
        }
    }

    /// Where the status can be read, now and later.
    pub fn status(&self) -> StatusCell {
        self.status.clone()
    }

    /// Watches the files. Do so before the first attempt, so that no change falls between the two.
    pub async fn watch(&self, options: WatchOptions) -> FileSource {
        FileSource::watch(self.input.paths().to_vec(), options).await
    }

    /// The running configuration; `None` until the first attempt that was applied.
    pub fn running(&self) -> Option<&Arc<Ir>> {
        self.running.as_ref().map(|snapshot| &snapshot.ir)
    }

    /// Attempts again at every change, SIGHUP and request, for ever; ends when `requests` is closed. `hangup` has been listened for since
    /// before anybody could know of the process, so that no signal is lost.
    pub async fn run(
        mut self,
        source: FileSource,
        mut hangup: Signal,
        mut requests: mpsc::Receiver<ReloadRequest>,
    ) {
        loop {
            tokio::select! {
                () = source.changed() => { self.attempt(Cause::Files).await; }
                _ = hangup.recv() => { self.attempt(Cause::Signal).await; }
                request = requests.recv() => {
                    let Some(reply) = request else { return };
                    let status = self.attempt(Cause::Request).await;
                    // The asker may have gone; the attempt was made all the same.
                    let _ = reply.send(status);
                }
            }
        }
    }

    /// Reads the files once and applies what they say, if it is good and new.
    ///
    /// When the files are the cause and turn out to hold the text of the last attempt, nothing was attempted.
    pub async fn attempt(&mut self, cause: Cause) -> Arc<ConfigStatus> {
        let began = Instant::now();
        if matches!(cause, Cause::Signal | Cause::Request) {
            self.publish.asked();
        }
        let seen = self.seen.filter(|_| cause == Cause::Files);
        let ask = Ask { seen, running: self.running.clone(), accepted: self.accepted.clone() };
        let read = self.reading.ask(ask).await;
        let mut status = (*self.status.load()).clone();
        let (result, diagnostics, failure) = match read {
            Ok(None) => return self.status.load(),
            Ok(Some(read)) => {
                self.seen = Some(read.hash);
                status.resources = read.files.iter().map(|file| file.resources).sum();
                status.files = read.files;
                let mut diagnostics = read.diagnostics;
                let (result, refusal) = match read.meaning {
                    Meaning::Wrong => (AttemptResult::Rejected, None),
                    Meaning::Same => (AttemptResult::Unchanged, None),
                    Meaning::New(built) => match self.publish(built, &mut status).await {
                        Ok(()) => (AttemptResult::Applied, None),
                        Err(why) => (AttemptResult::Rejected, Some(why)),
                    },
                };
                if let Some(NotPublished::Build(error)) = &refusal {
                    diagnostics.extend(read.named.refusal(error));
                }
                (result, diagnostics, refusal.map(|refusal| refusal.to_string()))
            }
            Err(error) => (AttemptResult::Rejected, Vec::new(), Some(error)),
        };
        match result {
            AttemptResult::Rejected => status.rejected += 1,
            AttemptResult::Applied | AttemptResult::Unchanged => {
                status.accepted += 1;
                self.accepted = status.files.clone();
            }
        }
        let at = SystemTime::now();
        let attempt = Attempt { at, duration: began.elapsed(), cause, result, diagnostics, failure };
        log(&attempt, &status);
        status.last_attempt = Some(attempt);
        self.status.store(status);
        let status = self.status.load();
        self.publish.attempted(&status);
        status
    }

    async fn publish(
        &mut self,
        built: Result<Box<Built>, BuildError>,
        status: &mut ConfigStatus,
    ) -> Result<(), NotPublished> {
        let built = built?;
        let version = built.version.clone();
        let snapshot = match self.publish.publish(built).await {
            Ok(snapshot) => snapshot,
            Err(Refused { why, built }) => {
                built.into_iter().for_each(|built| self.reading.discard(built));
                return Err(why);
            }
        };
        if let Some(before) = self.running.replace(snapshot) {
            self.reading.retire(before);
        }
        status.version = Some(version);
        status.applied_at = Some(SystemTime::now());
        Ok(())
    }
}

/// One line for each error and warning, one for the outcome.
fn log(attempt: &Attempt, status: &ConfigStatus) {
    for diagnostic in &attempt.diagnostics {
        let help = diagnostic.help.as_ref().map(|help| format!(" ({help})")).unwrap_or_default();
        match diagnostic.severity {
            Severity::Error => tracing::error!("{diagnostic}{help}"),
            Severity::Warning => tracing::warn!("{diagnostic}{help}"),
            Severity::Info => tracing::debug!("{diagnostic}{help}"),
        }
    }
    let version = status.version.as_ref().map(ToString::to_string);
    if status.resources == 0 && attempt.result == AttemptResult::Applied {
        tracing::warn!("the configuration holds 0 resources: were its files emptied or moved away?");
    }
    let took = format!("{:.1} ms", attempt.duration.as_secs_f64() * 1e3);
    match (attempt.result, &attempt.failure) {
        (AttemptResult::Applied, _) => tracing::info!(version, took, "configuration applied"),
        (AttemptResult::Unchanged, _) => tracing::info!(version, took, "configuration unchanged"),
        (AttemptResult::Rejected, Some(why)) => {
            tracing::error!(running = version, "configuration refused: {why}")
        }
        (AttemptResult::Rejected, None) => {
            let errors = attempt.diagnostics.iter().filter(|one| one.is_error()).count();
            tracing::error!(running = version, errors, "configuration refused");
        }
    }
}

#[cfg(test)]
#[path = "reload_tests.rs"]
mod tests;
