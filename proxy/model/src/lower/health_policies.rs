//! What HealthPolicies add to clusters: detectors of outliers, and health checks.
//!
//! In:  a HealthPolicy, a cluster.   Out: its [`ir::OutlierDetection`], with more detectors; its [`ir::HealthCheck`].
//! Not here: which one holds (`host_policies`), what stands in DestinationRules (`cluster_policy`).

use super::cluster_policy::outlier_detection;
use crate::{
    ir::{self, Cluster},
    istio,
    sidle::{HealthCheck, HealthPolicy},
};
use std::time::Duration;

/// Adds what a policy says of a host to its cluster.
pub(super) fn apply(cluster: &mut Cluster, policy: &HealthPolicy, host: &str) {
    cluster.health_check = policy.health_check.as_ref().map(|check| health_check(check, host));
    if !detects(policy) {
        return;
    }
    let detection = cluster.outlier_detection.get_or_insert_with(|| ir::OutlierDetection {
        consecutive_5xx: None,
        ..outlier_detection(&istio::OutlierDetection::default())
    });
    detection.success_rate = policy.success_rate.as_ref().map(|rate| ir::SuccessRate {
        minimum_hosts: rate.minimum_hosts.unwrap_or(5),
        request_volume: rate.request_volume.unwrap_or(100),
        stdev_factor: (rate.stdev_factor.unwrap_or(1.9) * 1000.0).round() as u32,
    });
    detection.failure_percentage =
        policy.failure_percentage.as_ref().map(|percentage| ir::FailurePercentage {
            threshold: percentage.threshold.unwrap_or(85),
            minimum_hosts: percentage.minimum_hosts.unwrap_or(5),
            request_volume: percentage.request_volume.unwrap_or(50),
        });
    detection.latency = policy.latency.as_ref().map(|latency| ir::Latency {
        factor: (latency.factor.unwrap_or(3.0) * 1000.0).round() as u32,
        minimum: latency.minimum.map_or(Duration::from_millis(50), |minimum| minimum.0),
        minimum_hosts: latency.minimum_hosts.unwrap_or(3),
        request_volume: latency.request_volume.unwrap_or(50),
    });
    detection.probes = policy.probing.as_ref().map_or(0, |probing| probing.requests.unwrap_or(3));
}

/// Whether anything is written of outlier detection.
fn detects(policy: &HealthPolicy) -> bool {
    policy.success_rate.is_some()
        || policy.failure_percentage.is_some()
        || policy.latency.is_some()
        || policy.probing.is_some()
}

fn health_check(check: &HealthCheck, host: &str) -> ir::HealthCheck {
    let or_host = |text: &Option<String>| text.as_deref().unwrap_or(host).into();
    let ask = match (&check.http, &check.grpc) {
        (Some(http), _) => ir::HealthAsk::Http {
            path: http.path.as_deref().unwrap_or("/").into(),
            host: or_host(&http.host),
            expected_statuses: match http.expected_statuses.as_slice() {
                [] => vec![(200, 200)],
                statuses => statuses.iter().map(|status| (*status, *status)).collect(),
            },
        },
        (None, Some(grpc)) => ir::HealthAsk::Grpc {
            service: grpc.service.as_deref().unwrap_or_default().into(),
            authority: or_host(&grpc.authority),
        },
        (None, None) => ir::HealthAsk::Tcp,
    };
    let duration = |given: Option<crate::Duration>, default: u64| {
        given.map_or(Duration::from_secs(default), |duration| duration.0)
    };
    ir::HealthCheck {
        ask,
        port: check.port,
        interval: duration(check.interval, 10),
        interval_jitter: duration(check.interval_jitter, 1),
        timeout: duration(check.timeout, 3),
        unhealthy_threshold: check.unhealthy_threshold.unwrap_or(3),
        healthy_threshold: check.healthy_threshold.unwrap_or(2),
    }
}
