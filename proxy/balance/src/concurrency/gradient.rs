//! The limit, from latencies: as many requests at once as do not make each other wait.
//!
//! Now and then the limit is held at its least, and latencies measured that nobody waits in: `minRTT`. In between, every interval,
//!
//! ```text
//! gradient = minRTT * (1 + buffer) / latency of the interval, between 0.5 and 2
//! limit    = limit * gradient + sqrt(limit * gradient)
//! ```
//!
//! so that the limit grows while latency stays what it was, and shrinks when requests begin to wait. What is added by the root lets it
//! find out whether there is room. A limit at its least five times in a row means that `minRTT` is no longer true.

use super::latencies::Latencies;
use sidle_model::ir::AdaptiveConcurrency;
use std::time::Duration;

/// Times in a row that the limit may be at its least.
const AT_LEAST: u32 = 5;

/// All times in microseconds.
#[derive(Debug)]
pub(super) struct Gradient {
    policy: AdaptiveConcurrency,
    limit: u32,
    min_rtt: u64,
    sample_rtt: u64,
    at_least: u32,
    phase: Phase,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    /// The limit is at its least, and what begins since then is measured.
    Measuring { since: u64, then: u32 },
    /// The limit follows latency.
    Following { next: u64, measure: u64 },
}

impl Gradient {
    /// It begins by measuring.
    pub fn new(policy: AdaptiveConcurrency) -> Self {
        let limit = policy.min_concurrency;
        let phase = Phase::Measuring { since: 0, then: limit };
        Gradient { policy, limit, min_rtt: 0, sample_rtt: 0, at_least: 0, phase }
    }

    pub fn limit(&self) -> u32 {
        self.limit
    }

    pub fn min_rtt(&self) -> u64 {
        self.min_rtt
    }

    pub fn sample_rtt(&self) -> u64 {
        self.sample_rtt
    }

    /// When there is something to do.
    pub fn due_at(&self) -> u64 {
        match self.phase {
            Phase::Measuring { .. } => u64::MAX,
            Phase::Following { next, .. } => next,
        }
    }

    /// After how many measurements there is.
    pub fn due_after(&self) -> u32 {
        match self.phase {
            Phase::Measuring { .. } => self.policy.request_count,
            Phase::Following { .. } => u32::MAX,
        }
    }

    /// What began before does not count.
    pub fn counts_from(&self) -> u64 {
        match self.phase {
            Phase::Measuring { since, .. } => since,
            Phase::Following { .. } => 0,
        }
    }

    /// Does what is due; whether there was something. The caller may come late, or where another was quicker.
    pub fn turn(&mut self, now: u64, random: u64, latencies: &Latencies) -> bool {
        match self.phase {
            Phase::Measuring { then, .. } => {
                let Some(rtt) = latencies.take(self.policy.percentile) else { return false };
                self.min_rtt = rtt;
                self.limit = then;
                self.phase = Phase::Following {
                    next: now.saturating_add(micros(self.policy.update_interval)),
                    measure: now.saturating_add(self.until_measuring(random)),
                };
            }
            Phase::Following { next, .. } if now < next => return false,
            Phase::Following { measure, .. } if now >= measure => self.measure(now, latencies),
            Phase::Following { measure, .. } => {
                if let Some(rtt) = latencies.take(self.policy.percentile) {
                    self.follow(rtt);
                }
                let next = now.saturating_add(micros(self.policy.update_interval));
                self.phase = Phase::Following { next, measure };
                if self.at_least >= AT_LEAST {
                    self.measure(now, latencies);
                }
            }
        }
        true
    }

    fn measure(&mut self, now: u64, latencies: &Latencies) {
        latencies.take(self.policy.percentile);
        self.at_least = 0;
        self.phase = Phase::Measuring { since: now, then: self.limit };
        self.limit = self.policy.min_concurrency;
    }

    fn follow(&mut self, rtt: u64) {
        self.sample_rtt = rtt;
        let allowed = self.min_rtt as f64 * (1.0 + f64::from(self.policy.buffer) / 100.0);
        let gradient = (allowed / rtt.max(1) as f64).clamp(0.5, 2.0);
        let fitting = f64::from(self.limit) * gradient;
        let limit = (fitting + fitting.sqrt()) as u32;
        self.limit = limit.clamp(self.policy.min_concurrency, self.policy.max_concurrency);
        self.at_least = if self.limit == self.policy.min_concurrency { self.at_least + 1 } else { 0 };
    }

    /// Longer by a random part, so that the proxies of a service do not all measure at once.
    fn until_measuring(&self, random: u64) -> u64 {
        let interval = micros(self.policy.min_rtt_interval);
        let most = u128::from(interval) * u128::from(self.policy.jitter) / 100;
        let jitter = (u128::from(random) * most) >> 64;
        interval.saturating_add(u64::try_from(jitter).unwrap_or(u64::MAX))
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
