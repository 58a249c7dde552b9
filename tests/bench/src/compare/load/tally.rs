//! What came back.

use crate::statistics::Spread;
use serde::{Deserialize, Serialize};
use std::cell::{Cell, RefCell};
use tokio::{sync::Notify, time::Instant};

/// Answers in a row whose slowest are looked at by themselves.
const RUN: usize = 200;

/// Counts answers, and keeps how long those took that are asked for in time.
#[derive(Default)]
pub struct Tally {
    clusters: [Cell<u64>; 2],
    microseconds: RefCell<Vec<u32>>,
    gate: Cell<Gate>,
    opened: Notify,
    /// Of those that came when the gate was shut.
    last: Cell<Option<Instant>>,
}

/// Whether more is to be asked by those who ask when they have an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Gate {
    /// Not now.
    #[default]
    Shut,
    /// As fast as it goes.
    Open,
    /// Never again.
    Over,
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
    /// 99 of 100 of [`RUN`] answers in a row, in the middle one of such runs. What the machine does to some moments hits a few runs, and
    /// leaves this as it is, where it decides what [`Latency::p99`] is.
    pub p99_of_run: f64,
    /// The slowest.
    pub max: f64,
}

impl Tally {
    /// Takes the answer of a cluster to what was to be asked at `intended`, if that was planned and counts.
    pub fn answered(&self, cluster: usize, intended: Option<Instant>) {
        let count = &self.clusters[cluster];
        count.set(count.get() + 1);
        if self.gate.get() == Gate::Shut {
            self.last.set(Some(Instant::now()));
        }
        if let Some(intended) = intended {
            let took = intended.elapsed().as_micros();
            self.microseconds.borrow_mut().push(u32::try_from(took).unwrap_or(u32::MAX));
        }
    }

    /// Answers so far, by cluster.
    pub fn clusters(&self) -> [u64; 2] {
        [self.clusters[0].get(), self.clusters[1].get()]
    }

    /// Tells those who ask when they have an answer.
    pub fn set(&self, gate: Gate) {
        self.gate.set(gate);
        self.last.set(None);
        self.opened.notify_waiters();
    }

    /// What they are told.
    pub fn gate(&self) -> Gate {
        self.gate.get()
    }

    /// Waits until they are told something else than to wait.
    pub async fn passed(&self) -> Gate {
        loop {
            // Before the look, so that nothing is missed between the two.
            let opened = self.opened.notified();
            match self.gate.get() {
                Gate::Shut => opened.await,
                gate => return gate,
            }
        }
    }

    /// When the last answer came since the gate was shut.
    pub fn last(&self) -> Option<Instant> {
        self.last.get()
    }

    /// How long answers took; `None` if there were none.
    pub fn latency(&self) -> Option<Latency> {
        let mut all = self.microseconds.take();
        // Those that are left over at the end make no run, unless there are no others.
        let runs = all.chunks(RUN).filter(|run| run.len() == RUN.min(all.len()));
        let p99_of_run = Spread::of(runs.filter_map(|run| {
            let mut run = run.to_vec();
            run.sort_unstable();
            percentile(&run, 0.99)
        }))?
        .median;
        all.sort_unstable();
        let at = |part| percentile(&all, part);
        Some(Latency { p50: at(0.5)?, p99: at(0.99)?, p999: at(0.999)?, p99_of_run, max: at(1.0)? })
    }
}

/// The smallest figure that so many parts of all do not exceed.
fn percentile(sorted: &[u32], part: f64) -> Option<f64> {
    let at = ((sorted.len() as f64 * part).ceil() as usize).max(1) - 1;
    sorted.get(at).copied().map(f64::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_what_was_planned() {
        let tally = Tally::default();
        assert_eq!(tally.latency(), None);
        *tally.microseconds.borrow_mut() = (1..=1000).rev().collect();
        // Of 1000..=801, 800..=601 and so on, each run's second slowest but one.
        let expected = Latency { p50: 500.0, p99: 990.0, p999: 999.0, p99_of_run: 598.0, max: 1000.0 };
        assert_eq!(tally.latency(), Some(expected));
        tally.answered(0, None);
        tally.answered(1, None);
        assert_eq!((tally.latency(), tally.clusters()), (None, [1, 1]));
        tally.answered(1, Some(Instant::now()));
        assert!(tally.latency().is_some());
    }

    #[test]
    fn a_moment_of_the_machine_hits_a_run_and_not_all() {
        let tally = Tally::default();
        // 50 answers in a row, of 1,000, that waited for the machine; and a rest that makes no run.
        let calm = [vec![100; 98], vec![200; 2]].concat().repeat(10);
        let stalled = [&calm[..500], &[9000; 50], &calm[550..], &[7000; 10]].concat();
        *tally.microseconds.borrow_mut() = stalled;
        let latency = tally.latency().unwrap();
        assert_eq!((latency.p99, latency.p99_of_run), (9000.0, 200.0));
        *tally.microseconds.borrow_mut() = vec![7, 8];
        assert_eq!(tally.latency().unwrap().p99_of_run, 8.0, "few are one run");
    }

    #[tokio::test]
    async fn who_asks_when_it_has_an_answer_waits_at_the_gate() {
        let tally = Tally::default();
        let opened = async {
            tokio::task::yield_now().await;
            assert_eq!(tally.last(), None);
            tally.answered(0, None);
            assert!(tally.last().is_some());
            tally.set(Gate::Open);
        };
        assert_eq!(tokio::join!(tally.passed(), opened).0, Gate::Open);
        tally.answered(0, None);
        assert_eq!(tally.last(), None, "of those only that come when it is shut");
        tally.set(Gate::Over);
        assert_eq!(tally.passed().await, Gate::Over);
    }
}
