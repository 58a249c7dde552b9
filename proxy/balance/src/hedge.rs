//! When a request that takes long is sent to a second endpoint as well.
//!
//! In:  how long requests took.   Out: how long to wait for the first answer.
//! Invariants: no wait before enough is known; what is given is never shorter than the policy says. No clock: a window is so many
//! answers.
//! Not here: sending, and whether a request may be repeated (`proxy/src/exchange`), the retry budget (`limits`).

use crate::concurrency::latencies::Latencies;
use sidle_model::ir::Hedging;
use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// Answers after which the percentile is found out anew.
const WINDOW: u32 = 200;

/// When requests to a cluster are hedged.
#[derive(Debug)]
pub struct Hedge {
    policy: Hedging,
    latencies: Latencies,
    /// What the percentile was in the last window, in microseconds; 0: there was none yet.
    found: AtomicU64,
}

impl Hedge {
    /// By a policy.
    pub fn new(policy: Hedging) -> Self {
        Hedge { policy, latencies: Latencies::default(), found: AtomicU64::new(0) }
    }

    /// What it was made by.
    pub fn policy(&self) -> &Hedging {
        &self.policy
    }

    /// A request was answered so long after its try began; where it was sent twice, after the first of the two began, so that hedging does
    /// not make itself come sooner and sooner.
    pub fn answered(&self, took: Duration) {
        let Some(percent) = self.policy.percentile else { return };
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        if self.latencies.record(micros) == WINDOW
            && let Some(found) = self.latencies.take(percent.into())
        {
            self.found.store(found.max(1), Relaxed);
        }
    }

    /// How long to wait before a request is sent again; `None`: it is not. `per_try`: the time that the route gives one try.
    pub fn wait(&self, per_try: Option<Duration>) -> Option<Duration> {
        let least = self.policy.after;
        if self.policy.percentile.is_none() {
            return least.or(per_try);
        }
        let found = Some(self.found.load(Relaxed)).filter(|found| *found > 0)?;
        Some(Duration::from_micros(found).max(least.unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);

    fn hedge(after: Option<Duration>, percentile: Option<u8>) -> Hedge {
        Hedge::new(Hedging { after, percentile })
    }

    #[test]
    fn without_a_percentile_it_is_a_time() {
        assert_eq!(hedge(Some(MS), None).wait(Some(MS * 9)), Some(MS));
        assert_eq!(hedge(None, None).wait(Some(MS * 9)), Some(MS * 9));
        assert_eq!(hedge(None, None).wait(None), None);
    }

    #[test]
    fn nothing_is_hedged_before_enough_is_known() {
        let hedge = hedge(Some(MS * 2), Some(90));
        (1..WINDOW).for_each(|_| hedge.answered(MS));
        assert_eq!(hedge.wait(Some(MS * 9)), None);
        hedge.answered(MS);
        assert_eq!(hedge.wait(Some(MS * 9)), Some(MS * 2), "not before the time that was said");
    }

    proptest! {
        #[test]
        fn so_many_percent_are_answered_by_then(
            micros in prop::collection::vec(1..10_000_000_u64, WINDOW as usize), percent in 50..=99_u8,
        ) {
            let hedge = hedge(None, Some(percent));
            micros.iter().for_each(|took| hedge.answered(Duration::from_micros(*took)));
            let wait = hedge.wait(None).unwrap().as_micros() as f64;
            let sooner = micros.iter().filter(|took| **took as f64 <= wait * 1.04).count();
            let later = micros.iter().filter(|took| **took as f64 >= wait * 0.96).count();
            let share = micros.len() * usize::from(percent) / 100;
            prop_assert!(sooner >= share && later >= micros.len() - share - 1, "{sooner} and {later} at {wait}");
        }

        /// Windows follow one another: what was is forgotten.
        #[test]
        fn the_last_window_counts(first in 1..1_000_000_u64, second in 1..1_000_000_u64) {
            let hedge = hedge(None, Some(95));
            for took in [first, second] {
                (0..WINDOW).for_each(|_| hedge.answered(Duration::from_micros(took)));
                let wait = hedge.wait(None).unwrap().as_micros() as f64;
                prop_assert!((wait - took as f64).abs() <= 1.0 + took as f64 * 0.035, "{wait} for {took}");
            }
        }
    }
}
