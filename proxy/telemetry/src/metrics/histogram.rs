//! Histograms on whole numbers: two relaxed additions an observation.
//!
//! Invariant: a value equal to a bound counts in that bound's bucket (`le` is inclusive). Source: Prometheus "Histograms".

use crate::names::BUCKETS;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Buckets, and the one above the last bound.
pub(super) const SLOTS: usize = BUCKETS.len() + 1;

/// How the whole numbers of a histogram relate to the unit of [`BUCKETS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// Observed in nanoseconds, summed in microseconds, shown in milliseconds.
    Milliseconds,
    /// Observed, summed and shown as it is.
    Bytes,
}

/// The bounds as whole numbers, rounded down: for whole `v`, `v <= bound` and `v <= floor(bound)` say the same.
const fn bounds(scale: f64) -> [u64; BUCKETS.len()] {
    let mut bounds = [0; BUCKETS.len()];
    let mut at = 0;
    while at < bounds.len() {
        bounds[at] = (BUCKETS[at] * scale) as u64;
        at += 1;
    }
    bounds
}

const NANOSECONDS: [u64; BUCKETS.len()] = bounds(1e6);
const BYTES: [u64; BUCKETS.len()] = bounds(1.0);

impl Unit {
    /// The bucket that counts `value`.
    fn slot(self, value: u64) -> usize {
        let bounds = match self {
            Unit::Milliseconds => &NANOSECONDS,
            Unit::Bytes => &BYTES,
        };
        bounds.partition_point(|bound| *bound < value)
    }

    /// What is added to the sum. Nanoseconds would run over within some hundred thousand hours of open streams.
    fn addend(self, value: u64) -> u64 {
        match self {
            Unit::Milliseconds => value / 1000,
            Unit::Bytes => value,
        }
    }

    /// The sum in the unit of the metric.
    fn shown(self, sum: u64) -> f64 {
        match self {
            Unit::Milliseconds => sum as f64 / 1000.0,
            Unit::Bytes => sum as f64,
        }
    }
}

/// Cells that one thread writes.
#[derive(Default)]
pub(super) struct Histogram {
    slots: [AtomicU64; SLOTS],
    sum: AtomicU64,
}

impl Histogram {
    pub(super) fn observe(&self, unit: Unit, value: u64) {
        self.slots[unit.slot(value)].fetch_add(1, Relaxed);
        self.sum.fetch_add(unit.addend(value), Relaxed);
    }
}

/// The sum over threads.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct HistogramValue {
    /// Not cumulative.
    pub(super) slots: [u64; SLOTS],
    /// In the unit of the metric.
    pub(super) sum: f64,
}

impl HistogramValue {
    pub(super) fn of<'a>(unit: Unit, cells: impl Iterator<Item = &'a Histogram>) -> Self {
        let (mut value, mut sum) = (HistogramValue::default(), 0u64);
        for cell in cells {
            for (total, slot) in value.slots.iter_mut().zip(&cell.slots) {
                *total += slot.load(Relaxed);
            }
            sum = sum.saturating_add(cell.sum.load(Relaxed));
        }
        value.sum = unit.shown(sum);
        value
    }

    pub(super) fn count(&self) -> u64 {
        self.slots.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn slot_of(unit: Unit, value: u64) -> usize {
        let histogram = Histogram::default();
        histogram.observe(unit, value);
        let value = HistogramValue::of(unit, std::iter::once(&histogram));
        value.slots.iter().position(|n| *n == 1).unwrap()
    }

    #[test]
    fn bounds_are_inclusive() {
        assert_eq!(slot_of(Unit::Milliseconds, 500_000), 0, "0.5 ms is in le 0.5");
        assert_eq!(slot_of(Unit::Milliseconds, 500_001), 1);
        assert_eq!(slot_of(Unit::Milliseconds, 3_600_000 * 1_000_000), SLOTS - 2);
        assert_eq!(slot_of(Unit::Milliseconds, 3_600_000 * 1_000_000 + 1), SLOTS - 1);
        assert_eq!(slot_of(Unit::Bytes, 0), 0);
        assert_eq!(slot_of(Unit::Bytes, 1), 1, "1 byte is above 0.5 and in le 1");
        assert_eq!(slot_of(Unit::Bytes, 1000), 9);
    }

    #[test]
    fn sums_are_in_the_unit_of_the_metric() {
        let histogram = Histogram::default();
        histogram.observe(Unit::Milliseconds, 1_500_000);
        histogram.observe(Unit::Milliseconds, 2_000_000);
        let value = HistogramValue::of(Unit::Milliseconds, std::iter::once(&histogram));
        assert_eq!((value.sum, value.count()), (3.5, 2));
    }

    proptest! {
        #[test]
        fn a_bucket_is_the_first_bound_not_below(value in 0u64..5_000_000) {
            let expected = BUCKETS.iter().position(|bound| value as f64 <= *bound).unwrap_or(SLOTS - 1);
            prop_assert_eq!(slot_of(Unit::Bytes, value), expected);
        }
    }
}
