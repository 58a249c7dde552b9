//! What RateLimitPolicies decided: under Envoy's names, by policy.

use super::owned::{Cells, Rows};
use super::sharded::Sharded;
use crate::names::{Family, *};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The last is not a sum.
const FAMILIES: [Family; 3] = [RATE_LIMIT_OK, RATE_LIMITED, RATE_LIMIT_KEYS];

/// Metrics of one policy.
#[derive(Default)]
pub struct RateLimitMetrics {
    decisions: Sharded<Cells<2>>,
    keys: AtomicU64,
}

impl RateLimitMetrics {
    /// There was a token for a request, or none.
    pub fn judged(&self, allowed: bool) {
        self.decisions.add(usize::from(!allowed), 1);
    }

    /// So many keys have buckets.
    pub fn set_keys(&self, keys: usize) {
        self.keys.store(keys as u64, Relaxed);
    }

    pub(super) fn collect(&self, policy: &str, rows: &mut Rows) {
        let keys = self.keys.load(Relaxed) as f64;
        for (of, value) in FAMILIES.iter().zip([self.decisions.sum(0), self.decisions.sum(1), keys]) {
            rows.add(of, &[policy], value);
        }
    }

    pub(super) fn families() -> impl Iterator<Item = &'static Family> {
        FAMILIES.iter()
    }
}
