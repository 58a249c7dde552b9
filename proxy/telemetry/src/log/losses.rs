//! Lines of the access log that are lost: counted each, and told of in the proxy's own log now and then.
//!
//! Invariants: at most two lines an [`INTERVAL`], one that lines are lost and one that they are written again, however many are lost; the
//! second says how many it were, if the first could not be said;
//! never waits.

use prometheus::IntCounter;
use std::{
    fmt::Display,
    path::PathBuf,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

/// Between two lines that say the same.
const INTERVAL: Duration = Duration::from_secs(60);

pub(super) struct Losses {
    path: PathBuf,
    dropped: IntCounter,
    began: Instant,
    /// Lines lost since all was well.
    lost: AtomicU64,
    /// The log says that lines are lost, and not yet that they are written again.
    told: AtomicBool,
    /// When the next line is due, in milliseconds since `began`.
    due: AtomicU64,
}

impl Losses {
    /// Of the file at `path`; `dropped` counts them.
    pub(super) fn new(path: PathBuf, dropped: IntCounter) -> Self {
        let (lost, told, due) = Default::default();
        Losses { path, dropped, began: Instant::now(), lost, told, due }
    }

    /// So many lines could not be written.
    pub(super) fn lose(&self, lines: u64, error: &dyn Display) {
        self.dropped.inc_by(lines);
        let lost = self.lost.fetch_add(lines, Relaxed) + lines;
        if self.is_due() {
            self.told.store(true, Relaxed);
            tracing::warn!(path = %self.path.display(), %error, lost, "access log lines are lost");
        }
    }

    /// All lines could be written.
    pub(super) fn end(&self) {
        if self.lost.load(Relaxed) == 0 {
            return;
        }
        let path = self.path.display();
        if self.told.swap(false, Relaxed) {
            let lost = self.lost.swap(0, Relaxed);
            tracing::info!(%path, lost, "the access log is written again");
        } else if self.is_due() {
            let lost = self.lost.swap(0, Relaxed);
            tracing::warn!(%path, lost, "access log lines were lost; it is written again");
        }
    }

    /// Whether it is time for a line; then it is not for a while.
    fn is_due(&self) -> bool {
        let now = self.began.elapsed().as_millis() as u64;
        let due = self.due.load(Relaxed);
        now >= due
            && self.due.compare_exchange(due, now + INTERVAL.as_millis() as u64, Relaxed, Relaxed).is_ok()
    }
}
