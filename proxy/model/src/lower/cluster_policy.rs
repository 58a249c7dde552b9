//! What a DestinationRule's blocks do to a cluster.
//!
//! In:  a [`Policy`], a `connectionPool`.   Out: fields of a [`Cluster`].
//! Invariants: an absent block leaves the cluster's defaults; zero means absent, as in protobuf, except where it means off.
//! Not here: which blocks hold (`destination_rules`), hash policies (`policies`: they belong to routes), TLS (`client_tls`).
//! Source: R15, R17, R21, R24.

use super::{destination_rules::Policy, protocol::Protocol};
use crate::{
    ir::{self, Cluster, LoadBalancer, UpstreamProtocol},
    istio::{self, SimpleLoadBalancer},
};
use std::time::Duration;

/// Puts a policy on a cluster.
pub(super) fn apply(cluster: &mut Cluster, policy: Policy<'_>, protocol: Protocol) {
    if let Some(settings) = policy.load_balancer {
        cluster.load_balancer = load_balancer(settings);
        cluster.slow_start = slow_start(settings, &cluster.load_balancer);
    }
    if let Some(pool) = policy.connection_pool {
        apply_pool(cluster, pool, protocol);
    }
    if let Some(budget) = policy.retry_budget {
        cluster.limits.retry_budget = Some(ir::RetryBudget {
            percent: budget.percent.unwrap_or(20.0),
            min_concurrency: budget.min_retry_concurrency.unwrap_or(3),
        });
        cluster.limits.earned_retries = false;
    }
    cluster.outlier_detection = policy.outlier_detection.map(outlier_detection);
}

fn load_balancer(settings: &istio::LoadBalancerSettings) -> LoadBalancer {
    if let Some(hash) = &settings.consistent_hash {
        if let Some(maglev) = &hash.maglev {
            return LoadBalancer::Maglev {
                table_size: maglev.table_size.filter(|n| *n > 0).unwrap_or(65_537),
            };
        }
        let ring = hash.ring_hash.as_ref().and_then(|ring| ring.minimum_ring_size).or(hash.minimum_ring_size);
        return LoadBalancer::RingHash { minimum_ring_size: ring.filter(|n| *n > 0).unwrap_or(1024) };
    }
    match settings.simple.unwrap_or_default() {
        SimpleLoadBalancer::RoundRobin => LoadBalancer::RoundRobin,
        SimpleLoadBalancer::Random => LoadBalancer::Random,
        SimpleLoadBalancer::Unspecified
        | SimpleLoadBalancer::LeastConn
        | SimpleLoadBalancer::LeastRequest
        | SimpleLoadBalancer::Passthrough => LoadBalancer::LeastRequest,
    }
}

/// Only balancers that can give an endpoint a part of its share have one.
fn slow_start(settings: &istio::LoadBalancerSettings, balancer: &LoadBalancer) -> Option<ir::SlowStart> {
    let passthrough = settings.simple == Some(SimpleLoadBalancer::Passthrough);
    if passthrough || !matches!(balancer, LoadBalancer::LeastRequest | LoadBalancer::RoundRobin) {
        return None;
    }
    let warmup = settings.warmup.as_ref();
    let window = warmup.and_then(|warmup| warmup.duration).or(settings.warmup_duration_secs)?.0;
    (!window.is_zero()).then(|| ir::SlowStart {
        window,
        minimum_percent: warmup.and_then(|warmup| warmup.minimum_percent).unwrap_or(10.0),
        aggression: warmup.and_then(|warmup| warmup.aggression).unwrap_or(1.0),
    })
}

/// Puts bounds on a cluster. Zero means absent, as in protobuf.
pub(super) fn apply_pool(cluster: &mut Cluster, pool: &istio::ConnectionPoolSettings, protocol: Protocol) {
    let given = |value: Option<u32>| value.filter(|n| *n > 0);
    if let Some(tcp) = &pool.tcp {
        cluster.limits.max_connections = given(tcp.max_connections).unwrap_or(cluster.limits.max_connections);
        cluster.connect_timeout = tcp.connect_timeout.map_or(cluster.connect_timeout, |timeout| timeout.0);
        cluster.max_connection_duration =
            tcp.max_connection_duration.map(|age| age.0).filter(|age| !age.is_zero());
        cluster.tcp_keepalive = tcp.tcp_keepalive.as_ref().map(|keepalive| ir::TcpKeepalive {
            probes: given(keepalive.probes),
            time: keepalive.time.map(|time| time.0),
            interval: keepalive.interval.map(|interval| interval.0),
        });
        if let Some(idle) = tcp.idle_timeout {
            let idle = Some(idle.0).filter(|idle| !idle.is_zero());
            (cluster.idle_timeout, cluster.tunnel_idle_timeout) = (idle, idle);
        }
    }
    let Some(http) = &pool.http else { return };
    let limits = &mut cluster.limits;
    limits.max_pending_requests =
        given(http.http1_max_pending_requests).unwrap_or(limits.max_pending_requests);
    limits.max_requests = given(http.http2_max_requests).unwrap_or(limits.max_requests);
    limits.max_requests_per_connection = http.max_requests_per_connection.unwrap_or_default();
    limits.max_concurrent_streams =
        given(http.max_concurrent_streams).unwrap_or(limits.max_concurrent_streams);
    if let Some(retries) = given(http.max_retries) {
        limits.max_retries = retries;
        limits.retry_budget = None;
        limits.earned_retries = false;
    }
    if let Some(idle) = http.idle_timeout {
        cluster.idle_timeout = Some(idle.0).filter(|idle| !idle.is_zero());
    }
    let upgradable = matches!(protocol, Protocol::Http | Protocol::Undeclared);
    if http.use_client_protocol {
        cluster.protocol = UpstreamProtocol::AsDownstream;
    } else if http.h2_upgrade_policy == istio::H2UpgradePolicy::Upgrade && upgradable {
        cluster.protocol = UpstreamProtocol::Http2;
    }
}

/// R15: a detector of 0 is off; other zeros mean the default.
pub(super) fn outlier_detection(settings: &istio::OutlierDetection) -> ir::OutlierDetection {
    let duration = |given: Option<crate::Duration>, default: u64| {
        given.map(|duration| duration.0).filter(|d| !d.is_zero()).unwrap_or(Duration::from_secs(default))
    };
    ir::OutlierDetection {
        consecutive_5xx: Some(settings.consecutive_5xx_errors.unwrap_or(5)).filter(|n| *n > 0),
        consecutive_gateway_errors: settings.consecutive_gateway_errors.filter(|n| *n > 0),
        consecutive_local_origin_failures: settings
            .split_external_local_origin_errors
            .then_some(settings.consecutive_local_origin_failures.unwrap_or(5))
            .filter(|n| *n > 0),
        split_external_local_origin_errors: settings.split_external_local_origin_errors,
        interval: duration(settings.interval, 10),
        base_ejection_time: duration(settings.base_ejection_time, 30),
        max_ejection_percent: settings.max_ejection_percent.filter(|n| *n > 0).unwrap_or(10),
        min_health_percent: settings.min_health_percent.unwrap_or(0),
        error_codes: settings.outlier_detection_http_error_codes.clone(),
        success_rate: None,
        failure_percentage: None,
        latency: None,
        probes: 0,
    }
}
