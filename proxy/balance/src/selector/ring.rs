//! Ring hash: a ketama ring, equal to Envoy's entry for entry, so that a key finds the same endpoint behind both.
//!
//! Each endpoint owns points on a circle of 64-bit hashes, in proportion to its weight; a key belongs to the first point at
//! or after it. Points are xxHash64 of `ADDRESS_0`, `ADDRESS_1`, …; how many there are follows from floating point sums, and
//! those must stay in Envoy's order of operations. Source: Envoy's `ring_hash_lb.cc`.

use std::fmt::Write;
use xxhash_rust::xxh64::xxh64;

/// Envoy's `maximum_ring_size` where none is set; Istio sets none.
const MAXIMUM_RING_SIZE: u64 = 8 << 20;

/// A circle of points, each owned by an endpoint.
#[derive(Debug)]
pub(crate) struct Ring {
    /// Ascending.
    points: Vec<u64>,
    /// The owner of each point.
    owners: Vec<u32>,
}

impl Ring {
    /// `keys` are addresses as text; weights are at least 1.
    pub fn new(keys: &[String], weights: &[u32], minimum_ring_size: u64) -> Self {
        Self::bounded(keys, weights, minimum_ring_size, MAXIMUM_RING_SIZE)
    }

    fn bounded(keys: &[String], weights: &[u32], minimum: u64, maximum: u64) -> Self {
        let mut ring = draw_points(keys, weights, minimum.clamp(1, maximum) as f64, maximum as f64);
        ring.sort_by_key(|&(point, _)| point);
        let (points, owners) = ring.into_iter().unzip();
        Ring { points, owners }
    }

    /// The owner of the first point at or after `hash`; each further attempt goes one point on.
    pub fn lookup(&self, hash: u64, attempt: u32) -> usize {
        let first = self.points.partition_point(|&point| point < hash);
        self.owners[(first % self.points.len() + attempt as usize) % self.points.len()] as usize
    }
}

/// The points of all endpoints, in the order of the list.
fn draw_points(keys: &[String], weights: &[u32], minimum: f64, maximum: f64) -> Vec<(u64, u32)> {
    let sum = weights.iter().map(|&weight| f64::from(weight)).sum::<f64>();
    let shares = || weights.iter().map(|&weight| f64::from(weight) / sum);
    let least = shares().fold(1.0, f64::min);
    // The lightest endpoint gets a whole number of points, unless that makes the ring too large.
    let scale = ((least * minimum).ceil() / least).min(maximum);

    let mut ring = Vec::with_capacity(scale.ceil() as usize);
    let mut text = String::new();
    let mut target = 0.0;
    for (owner, (key, share)) in keys.iter().zip(shares()).enumerate() {
        target += scale * share;
        let mut number = 0u64;
        while (ring.len() as f64) < target {
            text.clear();
            // Writing to a String cannot fail.
            let _ = write!(text, "{key}_{number}");
            ring.push((xxh64(text.as_bytes(), 0), owner as u32));
            number += 1;
        }
    }
    ring
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn keys(ports: impl IntoIterator<Item = u16>) -> Vec<String> {
        ports.into_iter().map(|port| format!("127.0.0.1:{port}")).collect()
    }

    /// The ring that Envoy's own test lists for 127.0.0.1:90 to :95 and a minimum of 12.
    #[test]
    fn the_ring_is_envoys() {
        let ring = Ring::new(&keys(90..=95), &[1; 6], 12);
        let expected = [
            (94, 833437586790550860),
            (92, 928266305478181108),
            (90, 1033482794131418490),
            (95, 3551244743356806947),
            (93, 3851675632748031481),
            (91, 5583722120771150861),
            (91, 6311230543546372928),
            (93, 7700377290971790572),
            (95, 13144177310400110813),
            (92, 13444792449719432967),
            (94, 15516499411664133160),
            (90, 16117243373044804889),
        ];
        let got: Vec<_> =
            ring.owners.iter().map(|owner| owner + 90).zip(ring.points.iter().copied()).collect();
        assert_eq!(got, expected);
        for (hash, attempt, port) in [
            (0, 0, 94),
            (u64::MAX, 0, 94),
            (3551244743356806947, 0, 95),
            (3551244743356806948, 0, 93),
            (16117243373044804880, 0, 90),
            (0, 1, 92),
            (16117243373044804880, 1, 94),
        ] {
            assert_eq!(ring.lookup(hash, attempt), port - 90, "{hash} attempt {attempt}");
        }
    }

    /// Envoy's own tests of weights 1, 2 and 3: exactly six points, and 6,000 keys over 6,144 points.
    #[test]
    fn a_weighted_ring_is_envoys() {
        let tiny = Ring::bounded(&keys(90..=92), &[1, 2, 3], 6, 6);
        for (point, owner) in [
            (928266305478181108, 2),
            (4443673547860492590, 2),
            (5583722120771150861, 1),
            (6311230543546372928, 1),
            (13444792449719432967, 2),
            (16117243373044804889, 0),
        ] {
            assert_eq!(tiny.lookup(point, 0), owner, "{point}");
        }
        let large = Ring::new(&keys(90..=92), &[1, 2, 3], 6144);
        let mut counts = [0; 3];
        (0..6000).for_each(|key| counts[large.lookup(key * (u64::MAX / 6000), 0)] += 1);
        assert_eq!(counts, [987, 1932, 3081]);
    }

    #[test]
    fn the_number_of_points_stays_in_bounds() {
        let counts = |weights: &[u32], minimum, maximum| {
            let ring = Ring::bounded(&keys(1..=weights.len() as u16), weights, minimum, maximum);
            let count = |owner| ring.owners.iter().filter(|&&o| o as usize == owner).count();
            (0..weights.len()).map(count).collect::<Vec<_>>()
        };
        assert_eq!(counts(&[1, 1], 3, 100), [2, 2], "rounded up to whole points");
        assert_eq!(counts(&[1, 1, 1, 1], 4, 6), [1, 1, 1, 1]);
        assert_eq!(counts(&[1, 1, 1, 1], 6, 6), [2, 1, 2, 1], "halves taken in turn");
        assert_eq!(counts(&[1, 999], 10, 500), [1, 499], "too heavy for the largest ring");
        assert_eq!(counts(&[1, 1], 0, 10), [1, 1], "never empty");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        /// Consistent: an endpoint that leaves only moves its own keys.
        #[test]
        fn only_the_keys_of_a_removed_endpoint_move(count in 2..20u16, gone in 0..20u16, seed: u64) {
            let gone = gone % count;
            let all = keys(1000..1000 + count);
            let mut fewer = all.clone();
            fewer.remove(usize::from(gone));
            // Whole points for every endpoint in both rings, so that none gains or loses any.
            let before = Ring::new(&all, &vec![1; all.len()], u64::from(count) * 50);
            let after = Ring::new(&fewer, &vec![1; fewer.len()], u64::from(count - 1) * 50);
            for key in 0..200u64 {
                let hash = xxh64(&key.to_le_bytes(), seed);
                let owner = &all[before.lookup(hash, 0)];
                if *owner != all[usize::from(gone)] {
                    prop_assert_eq!(owner, &fewer[after.lookup(hash, 0)]);
                }
            }
        }
    }
}
