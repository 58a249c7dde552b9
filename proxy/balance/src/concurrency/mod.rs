//! How many requests a service takes at once, found out from how long it takes.
//!
//! In:  when requests come and end.   Out: permits, or none.
//! Invariants: the limit stays between the policy's bounds; a permit is counted until it goes; who asks waits for nobody: of several
//! workers that find the limit due, one sets it.
//! Not here: which requests are limited, and what the others are told (`proxy/src/exchange`).
//! Source: Envoy's adaptive concurrency filter, the gradient controller.
//! Read: here -> `gradient` (the limit) -> `latencies`.

mod gradient;
pub(crate) mod latencies;
#[cfg(test)]
mod tests;

use gradient::Gradient;
use latencies::Latencies;
use sidle_model::ir::AdaptiveConcurrency;
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// The limit of one service, shared by all workers.
#[derive(Debug)]
pub struct ConcurrencyLimiter {
    origin: Instant,
    gradient: Mutex<Gradient>,
    latencies: Latencies,
    under_way: AtomicU32,
    limit: AtomicU32,
    shed: AtomicU64,
    /// When the limit is to be set again, in microseconds since `origin`.
    due_at: AtomicU64,
    /// Or after so many measurements, whichever comes first.
    due_after: AtomicU32,
    /// What began before is not measured: it met another limit.
    counts_from: AtomicU64,
    min_rtt: AtomicU64,
    sample_rtt: AtomicU64,
}

/// The limit in figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConcurrencyCounts {
    /// Requests that may be under way.
    pub limit: u32,
    /// Requests that are.
    pub under_way: u32,
    /// Requests that were turned away so far.
    pub shed: u64,
    /// How long an answer takes when few are under way; zero before it was measured.
    pub min_rtt: Duration,
    /// How long it took of late.
    pub sample_rtt: Duration,
}

impl ConcurrencyLimiter {
    /// One that has measured nothing.
    pub fn new(policy: AdaptiveConcurrency, now: Instant) -> Self {
        let gradient = Gradient::new(policy);
        ConcurrencyLimiter {
            origin: now,
            latencies: Latencies::default(),
            under_way: AtomicU32::new(0),
            limit: AtomicU32::new(gradient.limit()),
            shed: AtomicU64::new(0),
            due_at: AtomicU64::new(gradient.due_at()),
            due_after: AtomicU32::new(gradient.due_after()),
            counts_from: AtomicU64::new(gradient.counts_from()),
            min_rtt: AtomicU64::new(0),
            sample_rtt: AtomicU64::new(0),
            gradient: Mutex::new(gradient),
        }
    }

    /// Counts a request for as long as the permit lives; `None`: there are as many as there may be.
    pub fn admit(self: &Arc<Self>, now: Instant, random: u64) -> Option<ConcurrencyPermit> {
        let at = self.since_origin(now);
        if at >= self.due_at.load(Relaxed) {
            self.turn(at, random);
        }
        if self.under_way.fetch_add(1, Relaxed) >= self.limit.load(Relaxed) {
            self.under_way.fetch_sub(1, Relaxed);
            self.shed.fetch_add(1, Relaxed);
            return None;
        }
        Some(ConcurrencyPermit { limiter: self.clone(), began: at })
    }

    /// As of now.
    pub fn counts(&self) -> ConcurrencyCounts {
        ConcurrencyCounts {
            limit: self.limit.load(Relaxed),
            under_way: self.under_way.load(Relaxed),
            shed: self.shed.load(Relaxed),
            min_rtt: Duration::from_micros(self.min_rtt.load(Relaxed)),
            sample_rtt: Duration::from_micros(self.sample_rtt.load(Relaxed)),
        }
    }

    fn measured(&self, began: u64, ended: u64, random: u64) {
        if began < self.counts_from.load(Relaxed) {
            return;
        }
        if self.latencies.record(ended.saturating_sub(began)) >= self.due_after.load(Relaxed) {
            self.turn(ended, random);
        }
    }

    /// Sets the limit, unless somebody is about it.
    fn turn(&self, now: u64, random: u64) {
        let Ok(mut gradient) = self.gradient.try_lock() else { return };
        if gradient.turn(now, random, &self.latencies) {
            self.show(&gradient);
        }
    }

    fn show(&self, gradient: &Gradient) {
        self.limit.store(gradient.limit(), Relaxed);
        self.due_at.store(gradient.due_at(), Relaxed);
        self.due_after.store(gradient.due_after(), Relaxed);
        self.counts_from.store(gradient.counts_from(), Relaxed);
        self.min_rtt.store(gradient.min_rtt(), Relaxed);
        self.sample_rtt.store(gradient.sample_rtt(), Relaxed);
    }

    fn since_origin(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.origin).as_micros()).unwrap_or(u64::MAX)
    }
}

/// One request under way. One that goes without [`Self::answered`] tells nothing of the service.
#[derive(Debug)]
pub struct ConcurrencyPermit {
    limiter: Arc<ConcurrencyLimiter>,
    began: u64,
}

impl ConcurrencyPermit {
    /// The answer is whole, or took too long.
    pub fn answered(self, now: Instant, random: u64) {
        let ended = self.limiter.since_origin(now);
        self.limiter.measured(self.began, ended, random);
    }
}

impl Drop for ConcurrencyPermit {
    fn drop(&mut self) {
        self.limiter.under_way.fetch_sub(1, Relaxed);
    }
}
