//! Which RateLimitPolicies hold for the listeners that take connections from others.
//!
//! Invariants: those of the root namespace and of the proxy's own that select it, all together, the oldest first; those that this process
//! counts by itself before those that a service counts, so that nobody asks it about what is refused anyhow. A service that is not known
//! has a cluster without endpoints: it fails.

use super::{Plan, clusters::Clusters, extension_providers, matches, registry::selects, routes::Routes};
use crate::{
    config::{Resource, age_order},
    ir::{
        Direction, HostPattern, LocalRateLimit, NetworkFilter, Node, RateLimit, RateLimitAction, RateLimitBy,
        RateLimitHeader, RateLimitKey, RateLimitService, TokenBucket,
    },
    istio::HttpMatchRequest,
    sidle::{self, RateLimitPolicy, RateLimitSource},
};
use std::{sync::Arc, time::Duration};

/// Keys that have buckets at the same time, unless the policy says.
const MAX_KEYS: u32 = 10_000;
/// As Envoy waits for a service.
const TIMEOUT: Duration = Duration::from_millis(20);

pub(super) fn apply(routes: &mut Routes<'_>, plan: &mut Plan) {
    let node = &routes.mesh.node;
    let mut policies: Vec<_> = (routes.mesh.config.rate_limit_policies.iter())
        .filter(|policy| [&node.namespace, &node.root_namespace].contains(&&policy.metadata.namespace))
        .filter(|policy| selects(&policy.spec.selector, &node.labels))
        .collect();
    policies.sort_by(|a, b| age_order(a, b));
    let mut limits: Vec<_> =
        policies.into_iter().filter_map(|policy| lower(policy, node, &mut routes.clusters)).collect();
    limits.sort_by_key(|limit| matches!(limit.by, RateLimitBy::Service(_)));
    let limits: Arc<[RateLimit]> = limits.into();
    let listeners = plan.listeners.iter_mut();
    for listener in listeners.filter(|listener| listener.direction != Direction::Outbound) {
        for chain in listener.filter_chains.iter_mut().chain(&mut listener.default_filter_chain) {
            if let NetworkFilter::Http(http) = &mut chain.filter {
                http.admission.rate_limits = limits.clone();
            }
        }
    }
}

/// `check` refuses what nobody counts.
fn lower(policy: &Resource<RateLimitPolicy>, node: &Node, clusters: &mut Clusters<'_>) -> Option<RateLimit> {
    let spec = &policy.spec;
    let by = match (&spec.token_bucket, &spec.rate_limit_service) {
        (Some(bucket), _) => RateLimitBy::Local(local(spec, bucket)?),
        (None, service) => {
            RateLimitBy::Service(self::service(service.as_ref()?, &policy.metadata.namespace, node, clusters))
        }
    };
    Some(RateLimit {
        name: format!("{}/{}", policy.metadata.namespace, policy.metadata.name).into(),
        hosts: spec.hosts.iter().filter_map(|host| HostPattern::new(host)).collect(),
        routes: spec.routes.iter().map(|name| name.as_str().into()).collect(),
        response_headers: spec.enable_x_ratelimit_headers,
        by,
    })
}

fn local(spec: &RateLimitPolicy, bucket: &sidle::TokenBucket) -> Option<LocalRateLimit> {
    let key = match &spec.key {
        None => RateLimitKey::All,
        Some(key) => match (key.source, &key.header) {
            (Some(RateLimitSource::Principal), _) => RateLimitKey::Principal,
            (Some(RateLimitSource::Address), _) => RateLimitKey::Address,
            (None, header) => RateLimitKey::Header(header.as_ref()?.parse().ok()?),
        },
    };
    let bucket = TokenBucket {
        max_tokens: bucket.max_tokens?,
        tokens_per_fill: bucket.tokens_per_fill.unwrap_or(1),
        fill_interval: bucket.fill_interval?.0.max(Duration::from_millis(1)),
    };
    Some(LocalRateLimit { key, bucket, max_keys: spec.max_keys.unwrap_or(MAX_KEYS) })
}

fn service(
    asked: &sidle::RateLimitService,
    namespace: &str,
    node: &Node,
    clusters: &mut Clusters<'_>,
) -> RateLimitService {
    let (cluster, authority) = extension_providers::place(clusters, &asked.service, asked.port, namespace);
    let descriptor = |written: &sidle::RateLimitDescriptor| {
        written.actions.iter().map(|written| action(written, node)).collect::<Option<_>>()
    };
    RateLimitService {
        cluster,
        authority,
        domain: asked.domain.as_str().into(),
        timeout: asked.timeout.map_or(TIMEOUT, |timeout| timeout.0),
        failure_mode_deny: asked.failure_mode_deny,
        descriptors: asked.rate_limits.iter().filter_map(descriptor).collect(),
    }
}

/// `None`: `check` refuses it.
fn action(written: &sidle::RateLimitAction, node: &Node) -> Option<RateLimitAction> {
    let key = |key: &Option<String>, default: &str| key.as_deref().unwrap_or(default).into();
    Some(if written.source_cluster.is_some() {
        RateLimitAction::SourceCluster(format!("{}.{}", node.workload, node.namespace).into())
    } else if written.destination_cluster.is_some() {
        RateLimitAction::DestinationCluster
    } else if written.remote_address.is_some() {
        RateLimitAction::RemoteAddress
    } else if let Some(mask) = &written.masked_remote_address {
        RateLimitAction::MaskedRemoteAddress {
            v4: mask.v4_prefix_mask_len.unwrap_or(32),
            v6: mask.v6_prefix_mask_len.unwrap_or(128),
        }
    } else if let Some(header) = &written.request_headers {
        RateLimitAction::RequestHeader {
            header: RateLimitHeader::parse(&header.header_name)?,
            key: header.descriptor_key.as_str().into(),
            skip_if_absent: header.skip_if_absent,
        }
    } else if let Some(generic) = &written.generic_key {
        RateLimitAction::Generic {
            key: key(&generic.descriptor_key, "generic_key"),
            value: generic.descriptor_value.as_str().into(),
        }
    } else {
        let matched = written.header_value_match.as_ref()?;
        let condition = HttpMatchRequest { headers: matched.headers.clone(), ..HttpMatchRequest::default() };
        RateLimitAction::HeaderValueMatch {
            key: key(&matched.descriptor_key, "header_match"),
            value: matched.descriptor_value.as_str().into(),
            matches: matches::lower(&condition)?,
            expect: matched.expect_match.unwrap_or(true),
        }
    })
}
