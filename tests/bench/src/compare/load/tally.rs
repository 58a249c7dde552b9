//! What came back.

use serde::{Deserialize, Serialize};
use std::cell::{Cell, RefCell};
use tokio::time::Instant;

/// Counts answers, and keeps how long those took that are asked for in time.
pub struct Tally {
    /// Questions of this moment and later are counted,
    pub begin: Instant,
    /// until this one.
    pub end: Instant,
    clusters: [Cell<u64>; 2],
    microseconds: RefCell<Vec<u32>>,
    stopped: Cell<bool>,
}

/// How long answers took, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Half of them at most.
    pub p50: f64,
    /// 99 of 100.
    pub p99: f64,
    /// 999 of 1,000.
    pub p999: f64,
    /// The slowest.
    pub max: f64,
}

impl Tally {
    /// Of what is asked in a time.
    pub fn new(begin: Instant, end: Instant) -> Self {
        Tally {
            begin,
            end,
            clusters: Default::default(),
            microseconds: RefCell::default(),
            stopped: Cell::new(false),
        }
    }

    /// Takes the answer of a cluster to what was to be asked at `intended`, if that was planned.
    pub fn answered(&self, cluster: usize, intended: Option<Instant>) {
        let count = &self.clusters[cluster];
        count.set(count.get() + 1);
        if let Some(intended) = intended.filter(|intended| (self.begin..self.end).contains(intended)) {
            let took = intended.elapsed().as_micros();
            self.microseconds.borrow_mut().push(u32::try_from(took).unwrap_or(u32::MAX));
        }
    }

    /// Answers so far, by cluster.
    pub fn clusters(&self) -> [u64; 2] {
        [self.clusters[0].get(), self.clusters[1].get()]
    }

    /// No more is to be asked.
    pub fn stop(&self) {
        self.stopped.set(true);
    }

    /// Whether no more is to be asked.
    pub fn stopped(&self) -> bool {
        self.stopped.get()
    }

    /// How long answers took; `None` if there were none.
    pub fn latency(&self) -> Option<Latency> {
        let mut all = self.microseconds.take();
        all.sort_unstable();
        let last = all.len().checked_sub(1)?;
        // The smallest that so many parts of all do not exceed.
        let at =
            |part: f64| f64::from(all[((all.len() as f64 * part).ceil() as usize).clamp(1, last + 1) - 1]);
        Some(Latency { p50: at(0.5), p99: at(0.99), p999: at(0.999), max: at(1.0) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn percentiles_are_of_what_was_asked_in_time() {
        let now = Instant::now();
        let tally = Tally::new(now, now + Duration::from_secs(1));
        assert_eq!(tally.latency(), None);
        *tally.microseconds.borrow_mut() = (1..=1000).rev().collect();
        let expected = Latency { p50: 500.0, p99: 990.0, p999: 999.0, max: 1000.0 };
        assert_eq!(tally.latency(), Some(expected));
        tally.answered(0, Some(now - Duration::from_secs(1)));
        tally.answered(1, None);
        assert_eq!((tally.latency(), tally.clusters()), (None, [1, 1]));
        tally.answered(1, Some(now));
        assert!(tally.latency().is_some());
    }
}
