//! What HealthPolicies add to the outlier detection of clusters.
//!
//! In:  HealthPolicies, a cluster.   Out: its [`ir::OutlierDetection`], with more detectors.
//! Invariants: one policy holds for a host: of the client's namespace, else of the service's, else of the root namespace; there the most
//! specific host, and of equal ones the oldest.
//! Not here: what stands in DestinationRules (`cluster_policy`).

use super::{
    cluster_policy::outlier_detection,
    names::{self, HostIndex},
};
use crate::{
    config::{Config, age_order},
    ir::{self, Cluster, Node},
    istio,
    sidle::HealthPolicy,
};
use std::{collections::HashMap, time::Duration};

/// All of them that may hold, by namespace and host.
#[derive(Debug)]
pub(super) struct HealthPolicies<'a> {
    by_namespace: HashMap<&'a str, HostIndex<Option<&'a HealthPolicy>>>,
    stops: [String; 2],
}

impl<'a> HealthPolicies<'a> {
    pub fn new(config: &'a Config, node: &Node) -> Self {
        let mut by_namespace = HashMap::<&str, HostIndex<Option<&HealthPolicy>>>::new();
        let mut resources: Vec<_> = config.health_policies.iter().collect();
        resources.sort_by(|a, b| age_order(a, b));
        for resource in resources {
            let namespace = &*resource.metadata.namespace;
            let host = names::complete(&resource.spec.host, namespace, &node.domain);
            by_namespace.entry(namespace).or_default().entry(&host).get_or_insert(&*resource.spec);
        }
        HealthPolicies { by_namespace, stops: [node.namespace.clone(), node.root_namespace.clone()] }
    }

    /// Adds what holds for a host to its cluster.
    pub fn apply(&self, cluster: &mut Cluster, host: &str, service_namespace: Option<&str>) {
        let [client, root] = &self.stops;
        let mut stops = [Some(&**client), service_namespace, Some(root)].into_iter().flatten();
        let found = stops.find_map(|stop| *self.by_namespace.get(stop)?.most_specific(host)?);
        let Some(policy) = found.filter(|policy| says_something(policy)) else { return };
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
}

/// Whether anything but the host is written.
fn says_something(policy: &HealthPolicy) -> bool {
    *policy != HealthPolicy { host: policy.host.clone(), ..HealthPolicy::default() }
}
