//! Retries that have to be earned: where hardly anything goes well, to send it again is only more load, and through several tiers
//! a multiple of it.
//!
//! In:  what came of tries.   Out: whether one more may be.
//! Invariants: retries that fail are never more than [`Earned::MOST`] and a fifth of the tries that went well; one that goes well
//! costs nothing. While nothing goes well the load is the load that is offered, whatever the tiers in between do.
//! Not here: how many retries run at once (`limits`), whether the outcome of a try calls for another (`retry`).

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// What a retry costs; a try that goes well earns one.
const COST: u32 = 5;

/// Retries that may still fail, in fifths.
#[derive(Debug)]
pub struct Earned(AtomicU32);

impl Default for Earned {
    fn default() -> Self {
        Earned(AtomicU32::new(Self::MOST * COST))
    }
}

impl Earned {
    /// Retries that may fail in a row, with nothing going well in between.
    pub const MOST: u32 = 50;

    /// A retry; `false`: none is left.
    pub fn spend(&self) -> bool {
        self.0.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(COST)).is_ok()
    }

    /// A try went well; a retry is given back what it cost. One read where nothing is missing.
    pub fn earn(&self, is_retry: bool) {
        if self.0.load(Relaxed) < Self::MOST * COST {
            let earned = if is_retry { COST + 1 } else { 1 };
            let add = |left: u32| (left < Self::MOST * COST).then(|| (left + earned).min(Self::MOST * COST));
            let _ = self.0.fetch_update(Relaxed, Relaxed, add);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn retries_that_fail_are_paid_for(tries in prop::collection::vec((any::<bool>(), any::<bool>()), 0..2_000)) {
            let earned = Earned::default();
            let (mut well, mut failed) = (0, 0);
            for (goes_well, is_retry) in tries {
                if is_retry && !earned.spend() {
                    continue;
                }
                if goes_well {
                    earned.earn(is_retry);
                    well += 1;
                } else if is_retry {
                    failed += 1;
                }
                prop_assert!(failed <= Earned::MOST + well / COST, "{failed} failed, {well} went well");
            }
        }

        /// Whatever had failed before: who goes well often enough can be retried again.
        #[test]
        fn all_of_it_comes_back(failures in 0..200u32) {
            let earned = Earned::default();
            (0..failures).for_each(|_| { earned.spend(); });
            (0..Earned::MOST * COST).for_each(|_| earned.earn(false));
            prop_assert_eq!((0..1_000).filter(|_| earned.spend()).count() as u32, Earned::MOST);
        }
    }

    #[test]
    fn a_retry_that_goes_well_is_free() {
        let earned = Earned::default();
        for _ in 0..10_000 {
            assert!(earned.spend());
            earned.earn(true);
        }
    }

    #[test]
    fn while_nothing_goes_well_there_is_an_end() {
        let earned = Earned::default();
        assert_eq!((0..10_000).filter(|_| earned.spend()).count() as u32, Earned::MOST);
    }
}
