//! Which RateLimitPolicies hold for the listeners that take connections from others.
//!
//! Invariants: those of the root namespace and of the proxy's own that select it, all together, the oldest first.

use super::registry::selects;
use crate::{
    config::{Config, Resource, age_order},
    ir::{Direction, HostPattern, Listener, NetworkFilter, Node, RateLimit, RateLimitKey, TokenBucket},
    sidle::{RateLimitPolicy, RateLimitSource},
};
use std::{sync::Arc, time::Duration};

/// Keys that have buckets at the same time, unless the policy says.
const MAX_KEYS: u32 = 10_000;

pub(super) fn apply(config: &Config, node: &Node, listeners: &mut [Listener]) {
    let mut policies: Vec<_> = (config.rate_limit_policies.iter())
        .filter(|policy| [&node.namespace, &node.root_namespace].contains(&&policy.metadata.namespace))
        .filter(|policy| selects(&policy.spec.selector, &node.labels))
        .collect();
    policies.sort_by(|a, b| age_order(a, b));
    let limits: Arc<[RateLimit]> = policies.into_iter().filter_map(lower).collect();
    for listener in listeners.iter_mut().filter(|listener| listener.direction != Direction::Outbound) {
        for chain in listener.filter_chains.iter_mut().chain(&mut listener.default_filter_chain) {
            if let NetworkFilter::Http(http) = &mut chain.filter {
                http.admission.rate_limits = limits.clone();
            }
        }
    }
}

/// `check` refuses what has no bucket.
fn lower(policy: &Resource<RateLimitPolicy>) -> Option<RateLimit> {
    let spec = &policy.spec;
    let key = match &spec.key {
        None => RateLimitKey::All,
        Some(key) => match (key.source, &key.header) {
            (Some(RateLimitSource::Principal), _) => RateLimitKey::Principal,
            (Some(RateLimitSource::Address), _) => RateLimitKey::Address,
            (None, header) => RateLimitKey::Header(header.as_ref()?.parse().ok()?),
        },
    };
    Some(RateLimit {
        name: format!("{}/{}", policy.metadata.namespace, policy.metadata.name).into(),
        hosts: spec.hosts.iter().filter_map(|host| HostPattern::new(host)).collect(),
        routes: spec.routes.iter().map(|name| name.as_str().into()).collect(),
        key,
        bucket: TokenBucket {
            max_tokens: spec.token_bucket.max_tokens?,
            tokens_per_fill: spec.token_bucket.tokens_per_fill.unwrap_or(1),
            fill_interval: spec.token_bucket.fill_interval?.0.max(Duration::from_millis(1)),
        },
        max_keys: spec.max_keys.unwrap_or(MAX_KEYS),
        response_headers: spec.enable_x_ratelimit_headers,
    })
}
