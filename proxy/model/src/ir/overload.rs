//! What a service takes: how many requests at once.

use std::{sync::Arc, time::Duration};

/// How many requests a service takes at once, found out from latencies. Defaults are Envoy's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdaptiveConcurrency {
    /// Which latency of a window stands for it, in percent.
    pub percentile: u32,
    /// The limit is never above.
    pub max_concurrency: u32,
    /// How often the limit follows latency.
    pub update_interval: Duration,
    /// How often the latency is measured that nobody waits in.
    pub min_rtt_interval: Duration,
    /// By how many requests.
    pub request_count: u32,
    /// How much longer than the interval it may be until then, in percent.
    pub jitter: u32,
    /// The limit meanwhile, and never below.
    pub min_concurrency: u32,
    /// How much longer than that latency one may take before the limit shrinks, in percent.
    pub buffer: u32,
    /// Paths of health checks, which are neither counted nor turned away.
    pub health_check_paths: Arc<[String]>,
}

impl Default for AdaptiveConcurrency {
    fn default() -> Self {
        AdaptiveConcurrency {
            percentile: 50,
            max_concurrency: 1000,
            update_interval: Duration::from_millis(100),
            min_rtt_interval: Duration::from_secs(60),
            request_count: 50,
            jitter: 15,
            min_concurrency: 3,
            buffer: 25,
            health_check_paths: Arc::default(),
        }
    }
}
