//! Maglev: a table in which every key has its slot, equal to Envoy's slot for slot.
//!
//! Each endpoint walks over the slots in an order of its own, from `xxHash64(address)` in steps of `xxHash64(address, 1)`, and
//! takes the next free one when its weight makes it its turn. Source: section 3.4 of the Maglev paper, Envoy's `maglev_lb.cc`.

use xxhash_rust::xxh64::xxh64;

/// Largest table that the API allows.
const LARGEST_TABLE: u64 = 5_000_011;
const FREE: u32 = u32::MAX;

/// The endpoint of each slot.
#[derive(Debug)]
pub(crate) struct Maglev {
    slots: Vec<u32>,
}

/// One endpoint while the table is filled.
struct Walker {
    endpoint: u32,
    offset: u64,
    step: u64,
    share: f64,
    target: f64,
    walked: u64,
}

impl Maglev {
    /// `keys` are addresses as text; weights are at least 1. Steps visit every slot only if the size is prime, so one that is
    /// not (Envoy refuses it) becomes the next that is.
    pub fn new(keys: &[String], weights: &[u32], table_size: u64) -> Self {
        let size = next_prime(table_size.clamp(2, LARGEST_TABLE));
        let mut walkers = Walker::line_up(keys, weights, size);
        let largest = walkers.iter().map(|walker| walker.share).fold(0.0, f64::max);
        let mut slots = vec![FREE; size as usize];
        let mut taken = 0;
        let mut round = 0u32;
        while taken < slots.len() && !walkers.is_empty() {
            round += 1;
            for walker in &mut walkers {
                // The heaviest has its turn in every round, one of a third of its weight in every third.
                if taken == slots.len() || f64::from(round) * walker.share < walker.target {
                    continue;
                }
                walker.target += largest;
                walker.take_next(&mut slots);
                taken += 1;
            }
        }
        Maglev { slots }
    }

    /// The endpoint of a key; each further attempt scatters it anew.
    pub fn lookup(&self, hash: u64, attempt: u32) -> usize {
        let hash = if attempt == 0 { hash } else { hash ^ u64::from(attempt).wrapping_neg() };
        self.slots[(hash % self.slots.len() as u64) as usize] as usize
    }
}

impl Walker {
    /// In the order of their addresses, so that the order of the list does not matter.
    fn line_up(keys: &[String], weights: &[u32], size: u64) -> Vec<Walker> {
        let sum = weights.iter().map(|&weight| f64::from(weight)).sum::<f64>();
        let mut order: Vec<usize> = (0..keys.len()).collect();
        order.sort_by(|&a, &b| keys[a].cmp(&keys[b]));
        let walker = |endpoint: usize| {
            let key = keys[endpoint].as_bytes();
            Walker {
                endpoint: endpoint as u32,
                offset: xxh64(key, 0) % size,
                step: xxh64(key, 1) % (size - 1) + 1,
                share: f64::from(weights[endpoint]) / sum,
                target: 0.0,
                walked: 0,
            }
        };
        order.into_iter().map(walker).collect()
    }

    fn take_next(&mut self, slots: &mut [u32]) {
        loop {
            let slot = (self.offset + self.step * self.walked) % slots.len() as u64;
            self.walked += 1;
            if slots[slot as usize] == FREE {
                slots[slot as usize] = self.endpoint;
                return;
            }
        }
    }
}

fn next_prime(from: u64) -> u64 {
    let is_prime = |n: u64| (2..).take_while(|d| d * d <= n).all(|d| !n.is_multiple_of(d));
    (from..).find(|&n| is_prime(n)).unwrap_or(from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn keys(ports: impl IntoIterator<Item = u16>) -> Vec<String> {
        ports.into_iter().map(|port| format!("127.0.0.1:{port}")).collect()
    }

    /// The table that Envoy's own test lists for 127.0.0.1:90 to :95 and a size of 7.
    #[test]
    fn the_table_is_envoys() {
        let table = Maglev::new(&keys(90..=95), &[1; 6], 7);
        assert_eq!(table.slots, [2, 4, 0, 1, 5, 0, 3]);
        assert_eq!(table.lookup(8, 0), 4);
        // The endpoints that Envoy looks at for the key 10 while those before were tried.
        assert_eq!([0, 1, 2].map(|attempt| table.lookup(10, attempt)), [1, 0, 5]);
    }

    /// Envoy's own test of weights 1 and 2 and a size of 17.
    #[test]
    fn a_weighted_table_is_envoys() {
        let table = Maglev::new(&keys(90..=91), &[1, 2], 17);
        assert_eq!(table.slots, [1, 0, 0, 1, 0, 1, 1, 0, 1, 1, 1, 1, 1, 0, 1, 0, 1]);
        // The light one comes first, and its second turn is due in round 2 exactly (2 * 1/3 is not below 2/3).
        let mut tiny = Maglev::new(&keys(90..=91), &[1, 2], 3).slots;
        tiny.sort_unstable();
        assert_eq!(tiny, [0, 0, 1]);
    }

    #[test]
    fn the_order_of_the_list_does_not_matter() {
        let forward = Maglev::new(&keys(90..=95), &[1, 2, 3, 4, 5, 6], 65_537);
        let backward = Maglev::new(&keys((90..=95).rev()), &[6, 5, 4, 3, 2, 1], 65_537);
        let mirrored: Vec<u32> = backward.slots.iter().map(|endpoint| 5 - endpoint).collect();
        assert_eq!(forward.slots, mirrored);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn slots_follow_the_weights(weights in prop::collection::vec(1..20u32, 1..30)) {
            let table = Maglev::new(&keys(1..=weights.len() as u16), &weights, 65_537);
            let total: u32 = weights.iter().sum();
            for (endpoint, &weight) in weights.iter().enumerate() {
                let slots = table.slots.iter().filter(|&&slot| slot as usize == endpoint).count();
                let share = f64::from(weight) / f64::from(total);
                // Everyone has a turn in the first round, so light ones may be ahead by one slot each.
                let allowed = 2.0 + weights.len() as f64 * share;
                prop_assert!((slots as f64 - 65_537.0 * share).abs() <= allowed, "{slots} for {share}");
            }
        }

        /// Nearly consistent, as the paper measures it: few keys of those who stay move.
        #[test]
        fn few_other_keys_move(count in 3..20u16, gone in 0..20u16) {
            let gone = gone % count;
            let all = keys(1000..1000 + count);
            let mut fewer = all.clone();
            fewer.remove(usize::from(gone));
            let before = Maglev::new(&all, &vec![1; all.len()], 65_537);
            let after = Maglev::new(&fewer, &vec![1; fewer.len()], 65_537);
            let moved = (0..65_537u64)
                .filter(|&hash| before.lookup(hash, 0) != usize::from(gone))
                .filter(|&hash| all[before.lookup(hash, 0)] != fewer[after.lookup(hash, 0)])
                .count();
            prop_assert!(moved < 65_537 * 12 / 100, "{moved} slots moved");
        }

        #[test]
        fn any_size_is_filled(size in 0..300u64, count in 1..400u16) {
            let table = Maglev::new(&keys(1..=count), &vec![1; usize::from(count)], size);
            prop_assert!(table.slots.iter().all(|&slot| slot < u32::from(count)));
        }
    }

    #[test]
    fn sizes_become_prime() {
        for (given, used) in [(2, 2), (8, 11), (65_537, 65_537), (65_538, 65_539), (5_000_011, 5_000_011)] {
            assert_eq!(next_prime(given), used);
        }
    }
}
