//! What outlier detection found in a cluster and did about it: under Envoy's names.
//!
//! Source: the statistics of Envoy's outlier detection.

use super::owned::Rows;
use crate::names::{Family, *};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Without a reason; then what was detected and what was enforced, each in the order of [`Outlier`].
const FAMILIES: [Family; 3 + 2 * Outlier::COUNT] = [
    EJECTIONS_ACTIVE,
    EJECTIONS_ENFORCED,
    EJECTIONS_OVERFLOW,
    DETECTED_CONSECUTIVE_5XX,
    DETECTED_CONSECUTIVE_GATEWAY_FAILURE,
    DETECTED_CONSECUTIVE_LOCAL_ORIGIN_FAILURE,
    DETECTED_SUCCESS_RATE,
    DETECTED_FAILURE_PERCENTAGE,
    ENFORCED_CONSECUTIVE_5XX,
    ENFORCED_CONSECUTIVE_GATEWAY_FAILURE,
    ENFORCED_CONSECUTIVE_LOCAL_ORIGIN_FAILURE,
    ENFORCED_SUCCESS_RATE,
    ENFORCED_FAILURE_PERCENTAGE,
];

/// Why an endpoint is to be ejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outlier {
    /// 5xx in a row.
    Consecutive5xx,
    /// 502, 503, 504 in a row.
    ConsecutiveGatewayFailure,
    /// Failures on the way there in a row.
    ConsecutiveLocalOriginFailure,
    /// Fewer good answers than others.
    SuccessRate,
    /// Too many bad answers.
    FailurePercentage,
}

impl Outlier {
    const COUNT: usize = 5;
}

/// Metrics of outlier detection in one cluster. Written by one thread, and seldom.
#[derive(Default)]
pub struct OutlierMetrics([AtomicU64; FAMILIES.len()]);

impl OutlierMetrics {
    /// So many endpoints are kept out.
    pub fn set_active(&self, ejected: usize) {
        self.0[0].store(ejected as u64, Relaxed);
    }

    /// There was reason to eject an endpoint, one that Envoy has a name for or another; whether it was done.
    pub fn detected(&self, why: Option<Outlier>, enforced: bool) {
        self.add(if enforced { 1 } else { 2 });
        if let Some(why) = why {
            self.add(3 + why as usize);
            if enforced {
                self.add(3 + Outlier::COUNT + why as usize);
            }
        }
    }

    fn add(&self, place: usize) {
        self.0[place].fetch_add(1, Relaxed);
    }

    pub(super) fn collect(&self, cluster: &str, rows: &mut Rows) {
        for (of, number) in FAMILIES.iter().zip(&self.0) {
            rows.add(of, &[cluster], number.load(Relaxed) as f64);
        }
    }

    pub(super) fn families() -> impl Iterator<Item = &'static Family> {
        FAMILIES.iter()
    }
}
