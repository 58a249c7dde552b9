//! Tokens, and keys of issuers that are fetched.

use super::{counters, gauges};
use crate::names;
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry};
use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

/// Metrics of tokens that requests bring.
#[derive(Clone)]
pub struct TokenMetrics {
    believed: IntCounter,
    refused: IntCounter,
}

impl TokenMetrics {
    pub(super) fn new(registry: &Registry) -> Self {
        let results = counters(registry, &names::TOKENS);
        let [believed, refused] = ["believed", "refused"].map(|result| results.with_label_values(&[result]));
        TokenMetrics { believed, refused }
    }

    /// A token was judged.
    pub fn judged(&self, believed: bool) {
        if believed { self.believed.inc() } else { self.refused.inc() }
    }
}

/// Families of the process.
pub(super) struct Families {
    fetches: IntCounterVec,
    success_time: IntGaugeVec,
}

/// Metrics of one place that keys are fetched from. They go with their last clone.
#[derive(Clone)]
pub struct JwksMetrics(Arc<Series>);

struct Series {
    uri: String,
    families: (IntCounterVec, IntGaugeVec),
    succeeded: IntCounter,
    failed: IntCounter,
    success_time: IntGauge,
}

impl Families {
    pub(super) fn new(registry: &Registry) -> Self {
        Families {
            fetches: counters(registry, &names::JWKS_FETCHES),
            success_time: gauges(registry, &names::JWKS_SUCCESS_TIME),
        }
    }

    pub(super) fn of(&self, uri: &str) -> JwksMetrics {
        JwksMetrics(Arc::new(Series {
            uri: uri.to_owned(),
            succeeded: self.fetches.with_label_values(&[uri, "success"]),
            failed: self.fetches.with_label_values(&[uri, "failure"]),
            success_time: self.success_time.with_label_values(&[uri]),
            families: (self.fetches.clone(), self.success_time.clone()),
        }))
    }
}

impl JwksMetrics {
    /// A fetch has ended.
    pub fn fetched(&self, success: bool) {
        if !success {
            return self.0.failed.inc();
        }
        self.0.succeeded.inc();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.0.success_time.set(now.as_secs() as i64);
    }
}

impl Drop for Series {
    fn drop(&mut self) {
        // Nothing is left to remove if two had the same name; the metrics are then those of the one that stays.
        let (fetches, success_time) = &self.families;
        let _ = fetches.remove_label_values(&[self.uri.as_str(), "success"]);
        let _ = fetches.remove_label_values(&[self.uri.as_str(), "failure"]);
        let _ = success_time.remove_label_values(&[self.uri.as_str()]);
    }
}
