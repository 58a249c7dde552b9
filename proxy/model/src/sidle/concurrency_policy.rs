//! `kind: ConcurrencyPolicy`: how many requests a workload takes at once, found out from how long it takes.

use crate::{Duration, Map};
use schemars::JsonSchema;
use serde::Deserialize;

/// Limits how many requests a workload has at once, by the latency of its answers. Of several that select a port, one that has labels, then
/// one that has ports, then the oldest holds. Names and defaults are those of Envoy's gradient controller.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ConcurrencyPolicy {
    /// Labels of the workloads; empty: all of the namespace.
    pub selector: Map<String>,
    /// Ports of the workload; empty: all.
    #[schemars(inner(range(min = 1)))]
    pub ports: Vec<u16>,
    /// Which latency of a window stands for it, in percent; 50.
    #[schemars(range(min = 1, max = 100))]
    pub sample_aggregate_percentile: Option<u32>,
    /// The limit is never above; 1000.
    #[schemars(range(min = 1))]
    pub max_concurrency_limit: Option<u32>,
    /// How often the limit follows latency; 100 ms.
    pub concurrency_update_interval: Option<Duration>,
    /// The latency that nobody waits in.
    pub min_rtt: MinRtt,
    /// Paths that are never turned away, nor counted. `grpc.health.v1.Health` never is.
    pub health_check_paths: Vec<String>,
}

/// The latency that nobody waits in, measured now and then with few requests at once.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct MinRtt {
    /// How often; 60 s.
    pub interval: Option<Duration>,
    /// By how many requests; 50.
    #[schemars(range(min = 1))]
    pub request_count: Option<u32>,
    /// How much longer than the interval it may be until then, in percent; 15.
    #[schemars(range(max = 100))]
    pub jitter: Option<u32>,
    /// The limit meanwhile, and never below; 3.
    #[schemars(range(min = 1))]
    pub min_concurrency: Option<u32>,
    /// How much longer an answer may take before the limit shrinks, in percent; 25.
    #[schemars(range(max = 1000))]
    pub buffer: Option<u32>,
}
