//! The limit that a ConcurrencyPolicy finds, in figures.

use super::owned::Rows;
use crate::names::{Family, *};
use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

const FAMILIES: [Family; 5] =
    [CONCURRENCY_LIMIT, CONCURRENCY_ACTIVE, CONCURRENCY_SHED, CONCURRENCY_MIN_RTT, CONCURRENCY_SAMPLE_RTT];

/// Where the times begin, which are in microseconds.
const TIMES: usize = 3;

/// Metrics of the limit of one cluster.
#[derive(Default)]
pub struct ConcurrencyMetrics([AtomicU64; FAMILIES.len()]);

impl ConcurrencyMetrics {
    /// As it is now: limit, requests under way, requests that were shed; latency alone and of late.
    pub fn set(&self, [limit, active, shed]: [u64; TIMES], rtt: [Duration; 2]) {
        let [min, sample] = rtt.map(|rtt| u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX));
        for (cell, value) in self.0.iter().zip([limit, active, shed, min, sample]) {
            cell.store(value, Relaxed);
        }
    }

    pub(super) fn collect(&self, cluster: &str, rows: &mut Rows) {
        for (place, (of, cell)) in FAMILIES.iter().zip(&self.0).enumerate() {
            let value = cell.load(Relaxed) as f64;
            rows.add(of, &[cluster], if place < TIMES { value } else { value / 1e6 });
        }
    }

    pub(super) fn families() -> impl Iterator<Item = &'static Family> {
        FAMILIES.iter()
    }
}
