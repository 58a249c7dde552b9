//! Latencies of a window: counts by size, sixteen sizes to an octave, so that a percentile is right to 3 %.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Sizes in an octave, as a power of two.
const FINENESS: u32 = 4;
/// Up to 2^36 µs, 19 hours.
const SIZES: usize = ((36 - FINENESS as usize) + 1) << FINENESS;

/// Latencies in microseconds.
#[derive(Debug)]
pub(crate) struct Latencies {
    sizes: Box<[AtomicU32]>,
    count: AtomicU32,
}

impl Default for Latencies {
    fn default() -> Self {
        Latencies { sizes: (0..SIZES).map(|_| AtomicU32::new(0)).collect(), count: AtomicU32::new(0) }
    }
}

impl Latencies {
    /// Adds one; how many there are then.
    pub fn record(&self, micros: u64) -> u32 {
        self.sizes[place(micros)].fetch_add(1, Relaxed);
        self.count.fetch_add(1, Relaxed) + 1
    }

    /// The latency that so many percent do not exceed, and an empty window; `None`: it was empty. What is recorded meanwhile is in this
    /// window or in the next.
    pub fn take(&self, percent: u32) -> Option<u64> {
        self.count.store(0, Relaxed);
        let counts: Vec<u32> = self.sizes.iter().map(|size| size.swap(0, Relaxed)).collect();
        let all: u64 = counts.iter().map(|count| u64::from(*count)).sum();
        let wanted = (all * u64::from(percent)).div_ceil(100).max(1);
        let mut seen = 0;
        for (place, count) in counts.iter().enumerate() {
            seen += u64::from(*count);
            if seen >= wanted {
                return Some(middle(place));
            }
        }
        None
    }
}

fn place(micros: u64) -> usize {
    let octave = micros.max(1).ilog2().saturating_sub(FINENESS);
    let place = ((octave as usize) << FINENESS) + (micros >> octave) as usize;
    place.min(SIZES - 1)
}

/// What stands for all of a size.
fn middle(place: usize) -> u64 {
    let octave = (place >> FINENESS).saturating_sub(1);
    let low = ((place - (octave << FINENESS)) as u64) << octave;
    (low + ((1_u64 << octave) >> 1)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_percentile_is_near_the_exact_one(
            mut values in prop::collection::vec(1_u64..1 << 35, 1..200), percent in 1_u32..=100,
        ) {
            let latencies = Latencies::default();
            for (at, value) in values.iter().enumerate() {
                prop_assert_eq!(latencies.record(*value) as usize, at + 1);
            }
            values.sort_unstable();
            let exact = values[(values.len() * percent as usize).div_ceil(100) - 1] as f64;
            let found = latencies.take(percent).unwrap() as f64;
            prop_assert!((found - exact).abs() <= 1.0 + exact * 0.035, "{found} is not {exact}");
            prop_assert_eq!(latencies.take(percent), None);
        }
    }

    #[test]
    fn whatever_takes_for_ever_has_a_place() {
        let latencies = Latencies::default();
        latencies.record(u64::MAX);
        assert!(latencies.take(50).unwrap() > 1 << 35);
        latencies.record(0);
        assert_eq!(latencies.take(50), Some(1));
    }
}
