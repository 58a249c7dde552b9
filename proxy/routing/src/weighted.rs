//! Choice by weight.
//!
//! In:  weights, then a random number for each choice.   Out: a position.
//! Invariants: a position with weight 0 is never chosen; the others are chosen in exact proportion, as far as 2^64 numbers can
//! be divided by the sum of the weights.
//! Not here: randomness; it comes in as an argument.

/// Positions with weights.
#[derive(Debug, Clone)]
pub struct WeightedIndex {
    /// Where each share ends, and its position; shares of nothing are left out.
    shares: Box<[(u64, u32)]>,
    total: u64,
}

impl WeightedIndex {
    /// `None` when the weights sum to 0.
    pub fn new(weights: impl IntoIterator<Item = u32>) -> Option<Self> {
        let mut total = 0u64;
        let mut shares = Vec::new();
        for (at, weight) in (0u32..).zip(weights) {
            if weight > 0 {
                total += u64::from(weight);
                shares.push((total, at));
            }
        }
        (total > 0).then(|| WeightedIndex { shares: shares.into(), total })
    }

    /// The position that `random` (uniform over all of `u64`) falls on.
    pub fn pick(&self, random: u64) -> usize {
        let share = match &*self.shares {
            [_] => 0,
            shares => {
                let point = ((u128::from(random) * u128::from(self.total)) >> 64) as u64;
                shares.partition_point(|(end, _)| *end <= point)
            }
        };
        self.shares[share].1 as usize
    }

    /// The share of traffic of a position, between 0 and 1.
    pub fn share(&self, position: usize) -> f64 {
        let Some(at) = self.shares.iter().position(|(_, share)| *share as usize == position) else {
            return 0.0;
        };
        let start = at.checked_sub(1).map_or(0, |before| self.shares[before].0);
        (self.shares[at].0 - start) as f64 / self.total as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_to_choose_from() {
        assert!(WeightedIndex::new([]).is_none());
        assert!(WeightedIndex::new([0, 0]).is_none());
    }

    #[test]
    fn one_entry_takes_all() {
        let index = WeightedIndex::new([0, 7, 0]).unwrap();
        assert_eq!([0, u64::MAX].map(|random| index.pick(random)), [1, 1]);
    }

    #[test]
    fn shares_are_fractions_of_the_sum() {
        let index = WeightedIndex::new([90, 0, 10]).unwrap();
        assert_eq!([0, 1, 2, 3].map(|at| index.share(at)), [0.9, 0.0, 0.1, 0.0]);
    }

    proptest! {
        /// Random numbers that are spread evenly fall on each position as often as its weight says.
        #[test]
        fn exact_proportion(weights in proptest::collection::vec(0u32..50, 1..8)) {
            prop_assume!(weights.iter().any(|&weight| weight > 0));
            let index = WeightedIndex::new(weights.iter().copied()).unwrap();
            let total: u64 = weights.iter().map(|&weight| u64::from(weight)).sum();
            let mut hits = vec![0u32; weights.len()];
            for nth in 0..total {
                // The middle of each of `total` equal parts of the range.
                let random = ((u128::from(nth) * 2 + 1) << 63) / u128::from(total);
                hits[index.pick(random as u64)] += 1;
            }
            prop_assert_eq!(hits, weights);
        }

        #[test]
        fn weight_zero_is_never_chosen(weights in proptest::collection::vec(0u32..=u32::MAX, 1..8), random: u64) {
            if let Some(index) = WeightedIndex::new(weights.iter().copied()) {
                prop_assert!(weights[index.pick(random)] > 0);
            }
        }
    }
}
