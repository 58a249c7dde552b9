//! When a burst of file events is over.
//!
//! In:  events with their times.   Out: the moment to look.
//! Invariants: never earlier than the quiet time after the last event, nor while a file is open for writing; never later than
//! `at_most` after the first event.
//! Not here: a clock; the events themselves (`source`).

use std::{
    collections::HashSet,
    path::PathBuf,
    time::{Duration, Instant},
};

/// A burst of events, or none.
#[derive(Debug)]
pub(super) struct Settle {
    quiet: Duration,
    at_most: Duration,
    burst: Option<Burst>,
}

#[derive(Debug)]
struct Burst {
    first: Instant,
    last: Instant,
    /// Files that were written to and not closed yet.
    open: HashSet<PathBuf>,
}

impl Settle {
    pub fn new(quiet: Duration, at_most: Duration) -> Self {
        Settle { quiet, at_most, burst: None }
    }

    /// Something happened.
    pub fn changed(&mut self, now: Instant) {
        self.burst(now);
    }

    /// Files are being written.
    pub fn writing(&mut self, paths: &[PathBuf], now: Instant) {
        self.burst(now).open.extend(paths.iter().cloned());
    }

    /// Files were closed, moved or removed: nothing more will be written to them under these names.
    pub fn written(&mut self, paths: &[PathBuf], now: Instant) {
        let burst = self.burst(now);
        for path in paths {
            burst.open.remove(path);
        }
    }

    /// When to look; `None` when nothing happened.
    pub fn due(&self) -> Option<Instant> {
        let burst = self.burst.as_ref()?;
        let latest = burst.first + self.at_most;
        Some(if burst.open.is_empty() { latest.min(burst.last + self.quiet) } else { latest })
    }

    /// Ends the burst.
    pub fn clear(&mut self) {
        self.burst = None;
    }

    fn burst(&mut self, now: Instant) -> &mut Burst {
        let burst = self.burst.get_or_insert_with(|| Burst { first: now, last: now, open: HashSet::new() });
        burst.last = now;
        burst
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_burst_is_looked_at_once_it_is_quiet_but_not_for_ever() {
        let start = Instant::now();
        let mut settle = Settle::new(50 * MS, 1000 * MS);
        assert_eq!(settle.due(), None);
        settle.changed(start);
        assert_eq!(settle.due(), Some(start + 50 * MS));
        for step in 1..=40 {
            settle.changed(start + step * 40 * MS);
        }
        assert_eq!(settle.due(), Some(start + 1000 * MS));
        settle.clear();
        assert_eq!(settle.due(), None);
    }

    #[test]
    fn a_file_that_is_being_written_is_waited_for() {
        let start = Instant::now();
        let mut settle = Settle::new(50 * MS, 1000 * MS);
        let files = [PathBuf::from("a.yaml")];
        settle.writing(&files, start);
        assert_eq!(settle.due(), Some(start + 1000 * MS));
        settle.written(&files, start + 300 * MS);
        assert_eq!(settle.due(), Some(start + 350 * MS));
    }
}
