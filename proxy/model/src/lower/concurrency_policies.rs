//! Which ConcurrencyPolicy holds for a port of the workload.

use super::registry::selects;
use crate::{
    config::{Config, age_order},
    ir::{AdaptiveConcurrency, Node},
    sidle::ConcurrencyPolicy,
};
use std::sync::Arc;

/// The policy of a port: of the workload's namespace, else of the root namespace; there one that has labels, then one that has
/// ports, then the oldest.
pub(super) fn of_port(config: &Config, node: &Node, port: u16) -> Option<Arc<AdaptiveConcurrency>> {
    let mut found: Vec<_> = (config.concurrency_policies.iter())
        .filter(|policy| [&node.namespace, &node.root_namespace].contains(&&policy.metadata.namespace))
        .filter(|policy| selects(&policy.spec.selector, &node.labels))
        .filter(|policy| policy.spec.ports.is_empty() || policy.spec.ports.contains(&port))
        .collect();
    found.sort_by(|a, b| age_order(a, b));
    let rank = |spec: &ConcurrencyPolicy| (spec.selector.is_empty(), spec.ports.is_empty());
    let first = found.into_iter().min_by_key(|a| (a.metadata.namespace != node.namespace, rank(&a.spec)))?;
    Some(Arc::new(lower(&first.spec)))
}

fn lower(policy: &ConcurrencyPolicy) -> AdaptiveConcurrency {
    let defaults = AdaptiveConcurrency::default();
    let min_rtt = &policy.min_rtt;
    let min_concurrency = min_rtt.min_concurrency.unwrap_or(defaults.min_concurrency);
    AdaptiveConcurrency {
        percentile: policy.sample_aggregate_percentile.unwrap_or(defaults.percentile),
        max_concurrency: policy
            .max_concurrency_limit
            .unwrap_or(defaults.max_concurrency)
            .max(min_concurrency),
        update_interval: policy.concurrency_update_interval.map_or(defaults.update_interval, |time| time.0),
        min_rtt_interval: min_rtt.interval.map_or(defaults.min_rtt_interval, |time| time.0),
        request_count: min_rtt.request_count.unwrap_or(defaults.request_count),
        jitter: min_rtt.jitter.unwrap_or(defaults.jitter),
        min_concurrency,
        buffer: min_rtt.buffer.unwrap_or(defaults.buffer),
        health_check_paths: policy.health_check_paths.as_slice().into(),
    }
}
