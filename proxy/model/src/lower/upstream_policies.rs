//! What UpstreamPolicies add to clusters.
//!
//! In:  an UpstreamPolicy, a cluster.   Out: its [`LoadBalancer`], its [`ir::Hedging`], what is done with copies.
//! Not here: which one holds (`host_policies`), what stands in DestinationRules (`cluster_policy`).

use crate::{
    ir::{self, Cluster, LoadBalancer},
    sidle::UpstreamPolicy,
};
use std::time::Duration;

/// Adds what a policy says. Another balancer than `LEAST_REQUEST` was asked for by name, and stays.
pub(super) fn apply(cluster: &mut Cluster, policy: &UpstreamPolicy) {
    if let (Some(ewma), LoadBalancer::LeastRequest) = (&policy.peak_ewma, &cluster.load_balancer) {
        let decay = ewma.decay.map_or(Duration::from_secs(10), |decay| decay.0);
        cluster.load_balancer = LoadBalancer::PeakEwma { decay };
    }
    cluster.compares_mirrored = policy.mirror_comparison.is_some();
    cluster.hedging = policy.hedging.as_ref().map(|hedging| ir::Hedging {
        after: hedging.after.map(|after| after.0),
        percentile: hedging.percentile,
    });
}
