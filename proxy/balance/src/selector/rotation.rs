//! Round robin: each endpoint in turn, as often as its weight says, spread as evenly as whole turns allow.
//!
//! Turns of unequal weights are laid out once, when the set is built; a shared cursor walks over them, so that all workers
//! together keep the order. After any number of turns in a cycle, an endpoint has had its exact share, up to less than one
//! turn. (Each turn is a unit job with a window: not before its share is due, not after the next one is. The windows can
//! always be met by taking the one that ends first.)
//!
//! Envoy gives each worker its own schedule, so its order over all workers is looser.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

/// Longest cycle laid out exactly; weights that need more are rounded to fit. 256 KiB.
const LONGEST_EXACT_CYCLE: u64 = 65_536;

/// Each endpoint in turn.
#[derive(Debug)]
pub(crate) struct Rotation {
    turns: Turns,
    /// Number of the next turn; 0: not started. Moves on when the set is replaced, so that a reload does not send everyone
    /// to the first endpoint.
    cursor: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Turns {
    /// All weights are equal: this many endpoints, in order.
    Equal(u64),
    /// Indices, in order of their turns.
    Weighted(Vec<u32>),
}

impl Rotation {
    pub fn new(weights: &[u32]) -> Self {
        Rotation { turns: Turns::new(weights), cursor: Arc::default() }
    }

    /// The rotation of the set that replaces this one's.
    pub fn succeed(&self, weights: &[u32]) -> Self {
        Rotation { turns: Turns::new(weights), cursor: self.cursor.clone() }
    }

    /// Whose turn it is. The first turn is drawn by chance: proxies that start together must not march in step.
    pub fn next(&self, random: &mut dyn FnMut() -> u64) -> usize {
        if self.cursor.load(Relaxed) == 0 {
            // Lost to another worker: it has drawn. Never 0, and far from overflow.
            let _ = self.cursor.compare_exchange(0, (random() >> 1) | 1, Relaxed, Relaxed);
        }
        let turn = self.cursor.fetch_add(1, Relaxed);
        match &self.turns {
            Turns::Equal(count) => (turn % count) as usize,
            Turns::Weighted(turns) => turns[(turn % turns.len() as u64) as usize] as usize,
        }
    }
}

impl Turns {
    fn new(weights: &[u32]) -> Self {
        if weights.windows(2).all(|pair| pair[0] == pair[1]) {
            Turns::Equal(weights.len() as u64)
        } else {
            Turns::Weighted(lay_out(&shorten(weights)))
        }
    }
}

/// The same proportions in smaller numbers; approximately, if the cycle would be too long.
fn shorten(weights: &[u32]) -> Vec<u64> {
    let divisor = weights.iter().fold(0, |divisor, &weight| greatest_common_divisor(divisor, weight));
    let exact: Vec<u64> = weights.iter().map(|&weight| u64::from(weight / divisor)).collect();
    let total: u64 = exact.iter().sum();
    let longest = LONGEST_EXACT_CYCLE.max(weights.len() as u64 * 16);
    if total <= longest {
        return exact;
    }
    let scale = |weight: u64| ((u128::from(weight) * u128::from(longest) / u128::from(total)) as u64).max(1);
    exact.into_iter().map(scale).collect()
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

/// One cycle of turns.
fn lay_out(weights: &[u64]) -> Vec<u32> {
    let total: u64 = weights.iter().sum();
    let mut had = vec![0u64; weights.len()];
    // Both hold (turn, endpoint), the earliest on top: when a next turn becomes due, and when it must be over.
    let mut waiting: BinaryHeap<_> = (0..weights.len()).map(|endpoint| Reverse((0, endpoint))).collect();
    let mut due = BinaryHeap::new();
    let mut turns = Vec::with_capacity(total as usize);
    for turn in 0..total {
        while let Some(&Reverse((release, endpoint))) = waiting.peek()
            && release <= turn
        {
            waiting.pop();
            let deadline = ((had[endpoint] + 1) * total).div_ceil(weights[endpoint]);
            due.push(Reverse((deadline, endpoint)));
        }
        // Never empty: shares that are due sum to more than the turns that were given.
        if let Some(Reverse((_, endpoint))) = due.pop() {
            turns.push(endpoint as u32);
            had[endpoint] += 1;
            waiting.push(Reverse((had[endpoint] * total / weights[endpoint], endpoint)));
        }
    }
    turns
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::set::tests::*;
    use proptest::prelude::*;
    use sidle_model::ir::LoadBalancer;

    proptest! {
        /// The property that makes it smooth: never a whole turn ahead or behind, at any point of the cycle.
        #[test]
        fn nobody_is_a_turn_ahead_or_behind(weights in prop::collection::vec(1..200u64, 1..30)) {
            let turns = lay_out(&weights);
            let total: u64 = weights.iter().sum();
            prop_assert_eq!(turns.len() as u64, total);
            let mut had = vec![0u64; weights.len()];
            for (turn, &endpoint) in turns.iter().enumerate() {
                had[endpoint as usize] += 1;
                for (&had, &weight) in had.iter().zip(&weights) {
                    let share = weight * (turn as u64 + 1);
                    prop_assert!((had * total).abs_diff(share) < total, "{had} turns of {share} / {total}");
                }
            }
        }

        #[test]
        fn any_weights_fit(weights in prop::collection::vec(1..=u32::MAX, 1..50)) {
            let short = shorten(&weights);
            let (total, short_total): (u64, u64) = (weights.iter().map(|&w| u64::from(w)).sum(), short.iter().sum());
            prop_assert!(short_total <= LONGEST_EXACT_CYCLE + 50 || short_total <= total);
            for (&weight, &short) in weights.iter().zip(&short) {
                let (exact, got) = (f64::from(weight) / total as f64, short as f64 / short_total as f64);
                prop_assert!(short >= 1 && (exact - got).abs() < 1e-3, "{got} for {exact}");
            }
        }
    }

    #[test]
    fn heavy_turns_are_spread() {
        assert_eq!(lay_out(&[5, 1, 1]), [0, 0, 0, 1, 0, 0, 2]);
        assert_eq!(lay_out(&[3, 2]), [0, 1, 0, 0, 1]);
    }

    #[test]
    fn each_cycle_is_fair_and_the_start_is_random() {
        for weights in [vec![1, 1, 1], vec![4, 2, 6]] {
            let set = set(LoadBalancer::RoundRobin, &weights);
            let cycle = weights.iter().sum::<u32>() / if weights[0] == 1 { 1 } else { 2 };
            let counts = picks(&set, cycle);
            let per_turn = if weights[0] == 1 { 1 } else { 2 };
            assert_eq!(counts, weights.iter().map(|w| w / per_turn).collect::<Vec<_>>());
        }
        let first = |seed| {
            let set = set(LoadBalancer::RoundRobin, &[1; 64]);
            set.pick(&mut context(&mut source(seed))).expect("not empty").address.clone()
        };
        assert!((0..10).any(|seed| first(seed) != first(99)));
    }

    #[test]
    fn a_new_set_goes_on_where_the_old_one_was() {
        let old = Rotation::new(&[1; 5]);
        let start = old.next(&mut || 10);
        let new = old.succeed(&[1; 5]);
        assert_eq!(new.next(&mut || 0), (start + 1) % 5);
        assert_eq!(old.next(&mut || 0), (start + 2) % 5);
    }
}
