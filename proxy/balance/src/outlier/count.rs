//! Failures of one endpoint in a row, counted by every worker at once.
//!
//! Invariants: errors and the gateway errors among them share a word, so that an answer changes both or neither. Where all is
//! well, counting reads one word (two where failures are counted apart) and writes nothing, but for additions where shares of
//! good answers, or times, are looked at.

use super::{Reason, term::Term};
use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

/// What is known about the health of one endpoint.
#[derive(Debug, Default)]
pub(crate) struct Health {
    /// Errors in a row below, and those gateway errors in a row that they end with above.
    errors: AtomicU64,
    local_failures: AtomicU32,
    /// Answers since the last sweep below, and the good ones among them above. Only where shares are looked at.
    answers: AtomicU64,
    /// Answers whose time was taken since the last sweep, and their time in microseconds. Only where time is looked at.
    timed: [AtomicU64; 2],
    /// Good answers that the endpoint owes before it is trusted again; 0: it is.
    probes: AtomicU32,
    /// A bit for each [`Reason`] that has come up and was not looked at.
    suspicions: AtomicU8,
    ejected: AtomicBool,
    /// Only for the one who decides; never on a request's way.
    term: Mutex<Term>,
}

/// A gateway error is an error too.
const GATEWAY_ERROR: u64 = 1 << 32;
/// A good answer is an answer too.
const GOOD_ANSWER: u64 = 1 << 32;

impl Health {
    /// Counts an error; gives those in a row, and the gateway errors in a row.
    pub fn failed(&self, gateway: bool) -> (u32, u32) {
        let next = |word: u64| {
            let (errors, gateway_errors) = split(word);
            let gateway_errors = if gateway { gateway_errors.saturating_add(1) } else { 0 };
            u64::from(errors.saturating_add(1)) | (u64::from(gateway_errors) * GATEWAY_ERROR)
        };
        let before = self.errors.fetch_update(Relaxed, Relaxed, |word| Some(next(word)));
        split(next(before.unwrap_or_else(|word| word)))
    }

    /// Ends what was in a row.
    pub fn succeeded(&self) {
        if self.errors.load(Relaxed) != 0 {
            self.errors.store(0, Relaxed);
        }
    }

    /// Counts an answer for the endpoint's share of good ones.
    pub fn answered(&self, good: bool) {
        self.answers.fetch_add(1 + if good { GOOD_ANSWER } else { 0 }, Relaxed);
    }

    /// Answers since the last time, and how many were good.
    pub fn take_answers(&self) -> (u32, u32) {
        split(self.answers.swap(0, Relaxed))
    }

    /// Adds up how long an answer took.
    pub fn timed(&self, took: Duration) {
        self.timed[0].fetch_add(1, Relaxed);
        self.timed[1].fetch_add(took.as_micros() as u64, Relaxed);
    }

    /// Answers whose time was taken since the last time, and their time in microseconds.
    pub fn take_times(&self) -> (u64, u64) {
        (self.timed[0].swap(0, Relaxed), self.timed[1].swap(0, Relaxed))
    }

    /// Whether the endpoint has come back and is not trusted yet.
    pub fn is_probed(&self) -> bool {
        self.probes.load(Relaxed) != 0
    }

    /// Counts a good answer of one that is not trusted yet.
    pub fn passed(&self) {
        let _ = self.probes.fetch_update(Relaxed, Relaxed, |owed| owed.checked_sub(1));
    }

    /// Has it owe so many good answers.
    pub(super) fn set_probes(&self, owed: u32) {
        self.probes.store(owed, Relaxed);
    }

    /// Counts a failure apart from answers; gives those in a row.
    pub fn local_failed(&self) -> u32 {
        let before = self.local_failures.fetch_update(Relaxed, Relaxed, |count| count.checked_add(1));
        before.map_or(u32::MAX, |before| before + 1)
    }

    /// Ends those in a row.
    pub fn local_succeeded(&self) {
        if self.local_failures.load(Relaxed) != 0 {
            self.local_failures.store(0, Relaxed);
        }
    }

    /// Notes that there is reason to keep the endpoint out; whether that is news.
    pub fn suspect(&self, reason: Reason) -> bool {
        !self.is_ejected() && self.suspicions.fetch_or(bit(reason), Relaxed) & bit(reason) == 0
    }

    /// The reasons that have come up since the last time.
    pub fn take_suspicions(&self) -> impl Iterator<Item = Reason> + use<> {
        let bits = if self.suspicions.load(Relaxed) == 0 { 0 } else { self.suspicions.swap(0, Relaxed) };
        Reason::AT_ONCE.into_iter().filter(move |&reason| bits & bit(reason) != 0)
    }

    /// Begins to count for a reason anew.
    pub fn reset(&self, reason: Reason) {
        let keep = match reason {
            Reason::ConsecutiveLocalOriginFailure => return self.local_failures.store(0, Relaxed),
            Reason::Consecutive5xx => !(GATEWAY_ERROR - 1),
            Reason::ConsecutiveGatewayFailure => GATEWAY_ERROR - 1,
            // Each interval, and each return, begins anew.
            Reason::SuccessRate | Reason::FailurePercentage | Reason::Latency | Reason::Probe => return,
        };
        self.errors.fetch_and(keep, Relaxed);
    }

    /// Begins to count anew.
    pub fn reset_all(&self) {
        self.errors.store(0, Relaxed);
        self.local_failures.store(0, Relaxed);
        self.answers.store(0, Relaxed);
        self.take_times();
        self.set_probes(0);
        self.suspicions.store(0, Relaxed);
    }

    /// Whether the endpoint is kept out.
    pub fn is_ejected(&self) -> bool {
        self.ejected.load(Relaxed)
    }

    pub(crate) fn set_ejected(&self, ejected: bool) {
        self.ejected.store(ejected, Relaxed);
    }

    pub(super) fn with_term<T>(&self, work: impl FnOnce(&mut Term) -> T) -> T {
        work(&mut self.term.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Forgets everything: nobody looks after the endpoint any more.
    pub fn forget(&self) {
        self.reset_all();
        self.with_term(|term| *term = Term::default());
        self.set_ejected(false);
    }
}

fn split(word: u64) -> (u32, u32) {
    (word as u32, (word >> 32) as u32)
}

fn bit(reason: Reason) -> u8 {
    1 << reason as u8
}
