//! For how long an endpoint is kept out: longer each time, and less so while it behaves.
//!
//! An ejection takes the base time as many times as a count says that goes up by one with each ejection, as long as that is no
//! longer than the longest, and down by one at each sweep that finds the endpoint well for a whole interval.

use super::Health;
use std::time::{Duration, Instant};

/// What is remembered of ejections.
#[derive(Debug, Default)]
pub(super) struct Term {
    /// Base times that the current or the last ejection takes.
    multiplier: u32,
    /// Ejections so far.
    times: u32,
    began: Option<Instant>,
    ended: Option<Instant>,
}

impl Term {
    fn length(&self, base: Duration, longest: Duration) -> Duration {
        base.saturating_mul(self.multiplier).min(longest)
    }
}

impl Health {
    /// Keeps the endpoint out from `now` on; gives which time it is, and for how long.
    pub(super) fn eject(&self, now: Instant, base: Duration, longest: Duration) -> (u32, Duration) {
        let told = self.with_term(|term| {
            // Not beyond what makes a difference, so that it does not take as many sweeps to forget.
            if base.saturating_mul(term.multiplier) < longest {
                term.multiplier += 1;
            }
            term.times = term.times.saturating_add(1);
            (term.began, term.ended) = (Some(now), None);
            (term.times, term.length(base, longest))
        });
        self.set_ejected(true);
        told
    }

    /// Lets the endpoint back if its time is over; gives how long it was away.
    pub(super) fn return_in_time(
        &self,
        now: Instant,
        base: Duration,
        longest: Duration,
        probes: u32,
    ) -> Option<Duration> {
        let over = || self.with_term(|term| term.length(base, longest) <= since(term.began, now));
        (self.is_ejected() && over()).then(|| self.let_back(now, probes))
    }

    /// Lets the endpoint back, to be trusted after so many good answers; gives how long it was away. It begins with a clean slate, but
    /// for its next term.
    pub(super) fn let_back(&self, now: Instant, probes: u32) -> Duration {
        self.reset_all();
        self.set_probes(probes);
        let away = self.with_term(|term| {
            term.ended = Some(now);
            since(term.began, now)
        });
        self.set_ejected(false);
        away
    }

    /// Makes the next ejection shorter, if the endpoint has been in for a whole interval.
    pub(super) fn forget_a_little(&self, now: Instant, interval: Duration) {
        if !self.is_ejected() {
            self.with_term(|term| {
                if term.ended.is_some() && since(term.ended, now) >= interval {
                    term.multiplier = term.multiplier.saturating_sub(1);
                }
            });
        }
    }

    /// When the endpoint was kept out last.
    pub(super) fn ejected_at(&self) -> Option<Instant> {
        self.with_term(|term| term.began)
    }
}

fn since(then: Option<Instant>, now: Instant) -> Duration {
    then.map_or(Duration::ZERO, |then| now.saturating_duration_since(then))
}
