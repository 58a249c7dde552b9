//! How long to wait before a retry.
//!
//! In:  the base of the policy, random numbers.   Out: a duration for each retry.
//! Invariants: full jitter: uniform from zero up to, for the n-th retry, `(2^n - 1)` times the base, and never more than ten
//! times the base.
//! Not here: the timer.

use std::time::Duration;

/// The waits before the retries of one request.
#[derive(Debug, Clone)]
pub struct BackOff {
    base: Duration,
    /// Of the next wait, in bases.
    bound: u32,
}

impl BackOff {
    /// Longest wait, in bases. Source: Envoy's default for `max_interval`.
    const LONGEST: u32 = 10;

    /// For the first retry of a request.
    pub fn new(base: Duration) -> Self {
        BackOff { base, bound: 1 }
    }

    /// The next wait, from a uniform random number.
    pub fn next(&mut self, random: u64) -> Duration {
        let longest = self.base.saturating_mul(self.bound).as_nanos();
        self.bound = (self.bound * 2 + 1).min(Self::LONGEST);
        // Below `longest`, which the multiplication keeps it; a Duration of u64 nanoseconds reaches 584 years.
        let longest = u64::try_from(longest).unwrap_or(u64::MAX);
        Duration::from_nanos(((u128::from(random) * u128::from(longest)) >> 64) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BASE: Duration = Duration::from_millis(25);

    #[test]
    fn bounds_grow_to_ten_bases() {
        let mut longest = BackOff::new(BASE);
        let mut shortest = BackOff::new(BASE);
        for milliseconds in [25, 75, 175, 250, 250, 250] {
            let bound = Duration::from_millis(milliseconds);
            let wait = longest.next(u64::MAX);
            assert!(wait < bound && wait > bound - Duration::from_micros(1), "{wait:?} for {bound:?}");
            assert_eq!(shortest.next(0), Duration::ZERO);
        }
    }

    proptest! {
        #[test]
        fn any_base_and_chance_stay_in_bounds(base: u32, seconds in 0..u64::MAX, randoms in prop::collection::vec(any::<u64>(), 1..20)) {
            for base in [Duration::from_micros(u64::from(base)), Duration::from_secs(seconds)] {
                let mut back_off = BackOff::new(base);
                for &random in &randoms {
                    prop_assert!(back_off.next(random) <= base.saturating_mul(BackOff::LONGEST));
                }
            }
        }
    }
}
