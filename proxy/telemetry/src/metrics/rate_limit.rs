//! What RateLimitPolicies decided: under Envoy's names, those of buckets by policy, those of services by cluster.

use super::owned::{Cells, Rows};
use super::sharded::Sharded;
use crate::names::{Family, *};
use std::sync::{Mutex, PoisonError};

/// The last is not a sum.
const FAMILIES: [Family; 3] = [RATE_LIMIT_OK, RATE_LIMITED, RATE_LIMIT_KEYS];

/// In the order of [`RateLimitOutcome`].
const OF_SERVICES: [Family; RateLimitOutcome::COUNT] = [
    RATE_LIMIT_SERVICE_OK,
    RATE_LIMIT_SERVICE_OVER_LIMIT,
    RATE_LIMIT_SERVICE_ERROR,
    RATE_LIMIT_SERVICE_FAILURE_MODE_ALLOWED,
];

/// Counts when it is asked.
type Count = Box<dyn Fn() -> usize + Send + Sync>;

/// Metrics of one policy.
#[derive(Default)]
pub struct RateLimitMetrics {
    decisions: Sharded<Cells<2>>,
    /// Asked when somebody reads: a request would have to write where others do.
    keys: Mutex<Option<Count>>,
}

impl RateLimitMetrics {
    /// There was a token for a request, or none.
    pub fn judged(&self, allowed: bool) {
        self.decisions.add(usize::from(!allowed), 1);
    }

    /// From now on, so many keys have buckets.
    pub fn count_keys(&self, count: impl Fn() -> usize + Send + Sync + 'static) {
        *self.keys.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(count));
    }

    pub(super) fn collect(&self, policy: &str, rows: &mut Rows) {
        let keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let keys = keys.as_ref().map_or(0, |count| count()) as f64;
        for (of, value) in FAMILIES.iter().zip([self.decisions.sum(0), self.decisions.sum(1), keys]) {
            rows.add(of, &[policy], value);
        }
    }

    pub(super) fn families() -> impl Iterator<Item = &'static Family> {
        FAMILIES.iter().chain(&OF_SERVICES)
    }
}

/// What came of asking a rate limit service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RateLimitOutcome {
    /// It let through.
    Ok,
    /// It said that it is one too many.
    OverLimit,
    /// It gave no answer that could be understood, for whatever reason.
    Error,
    /// Besides [`RateLimitOutcome::Error`]: the request passed all the same.
    FailureModeAllowed,
}

impl RateLimitOutcome {
    const COUNT: usize = 4;
}

/// What services said of requests to one cluster.
#[derive(Default)]
pub struct RateLimitServiceMetrics(Sharded<Cells<{ RateLimitOutcome::COUNT }>>);

impl RateLimitServiceMetrics {
    /// A request was judged.
    pub fn judged(&self, what: RateLimitOutcome) {
        self.0.add(what as usize, 1);
    }

    pub(super) fn collect(&self, cluster: &str, rows: &mut Rows) {
        for (place, of) in OF_SERVICES.iter().enumerate() {
            rows.add(of, &[cluster], self.0.sum(place));
        }
    }
}
