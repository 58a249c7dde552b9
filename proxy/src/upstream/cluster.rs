//! A cluster at run time: its policy, its endpoints now, and what is in use.

use super::Connector;
use arc_swap::ArcSwap;
use sidle_balance::{ClusterUsage, EndpointSet, EndpointSpec};
use sidle_model::ir;
use sidle_telemetry::{ClusterMetrics, Telemetry};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};
use tokio::sync::Notify;

/// A cluster at run time. Replaced as a whole when its policy changes; its endpoints are swapped within it.
pub struct Cluster {
    /// Its policy. The endpoints in [`ir::Cluster::discovery`] are those of its making; see [`Self::endpoints`].
    pub config: Arc<ir::Cluster>,
    /// Where it is now.
    pub endpoints: ArcSwap<EndpointSet>,
    /// What this process uses of it. Outlives changes of policy.
    pub usage: Arc<ClusterUsage>,
    /// How to connect. Outlives changes that do not concern connections, and the pools with it.
    pub connector: Arc<Connector>,
    /// Its own figures.
    pub metrics: Arc<ClusterMetrics>,
    resolved: AtomicBool,
    resolved_first: Notify,
}

impl Cluster {
    /// Makes the cluster that follows `previous`, with its endpoints' state, its usage and, where it can, its connector.
    ///
    /// # Errors
    /// TLS files that cannot be used.
    pub fn build(
        config: Arc<ir::Cluster>,
        previous: Option<&Cluster>,
        telemetry: &Arc<Telemetry>,
    ) -> Result<Self, sidle_identity::TlsError> {
        let connector = match previous.filter(|cluster| cluster.connector.fits(&config)) {
            Some(cluster) => cluster.connector.clone(),
            None => Arc::new(Connector::build(&config)?),
        };
        let before = previous.map(|cluster| cluster.endpoints.load_full());
        let same_names = previous.is_some_and(|cluster| cluster.config.discovery == config.discovery);
        let specs = match (&before, literal_endpoints(&config)) {
            // Names that were resolved stay resolved until the next refresh.
            (Some(before), None) if same_names => before.endpoints().iter().map(|e| spec_of(e)).collect(),
            (_, specs) => specs.unwrap_or_default(),
        };
        let set = EndpointSet::build(&config.load_balancer, specs, before.as_deref());
        let resolved = literal_endpoints(&config).is_some() || (same_names && !set.endpoints().is_empty());
        Ok(Cluster {
            endpoints: ArcSwap::from_pointee(set),
            usage: previous.map(|cluster| cluster.usage.clone()).unwrap_or_default(),
            connector,
            metrics: telemetry.cluster_metrics(&config.name),
            resolved: AtomicBool::new(resolved),
            resolved_first: Notify::new(),
            config,
        })
    }

    /// Swaps in new endpoints.
    pub fn update_endpoints(&self, specs: Vec<EndpointSpec>) {
        let before = self.endpoints.load();
        let set = EndpointSet::build(&self.config.load_balancer, specs, Some(&before));
        self.endpoints.store(Arc::new(set));
        self.count_endpoints();
        self.mark_resolved();
    }

    /// Tells the metrics how many endpoints there are.
    pub fn count_endpoints(&self) {
        self.metrics.set_endpoints(self.endpoints.load().endpoints().len());
    }

    /// Says that names have been looked up once, whatever came of it.
    pub fn mark_resolved(&self) {
        self.resolved.store(true, Ordering::Release);
        self.resolved_first.notify_waiters();
    }

    /// Waits for the first look-up of names; at once for clusters without any.
    pub async fn resolved(&self) {
        let notified = self.resolved_first.notified();
        if !self.resolved.load(Ordering::Acquire) {
            notified.await;
        }
    }

    /// Whether [`Self::resolved`] would not wait.
    pub fn is_resolved(&self) -> bool {
        self.resolved.load(Ordering::Acquire)
    }
}

/// The endpoints that need no look-up; `None` if the cluster's have to be looked up.
fn literal_endpoints(config: &ir::Cluster) -> Option<Vec<EndpointSpec>> {
    match &config.discovery {
        ir::Discovery::Static(endpoints) | ir::Discovery::StrictDns(endpoints) => {
            endpoints.iter().map(EndpointSpec::literal).collect()
        }
        ir::Discovery::LogicalDns(endpoint) => EndpointSpec::literal(endpoint).map(|spec| vec![spec]),
        ir::Discovery::OriginalDestination | ir::Discovery::DynamicForwardProxy | ir::Discovery::None => {
            Some(Vec::new())
        }
    }
}

fn spec_of(endpoint: &sidle_balance::Endpoint) -> EndpointSpec {
    EndpointSpec {
        address: endpoint.address.clone(),
        hostname: endpoint.hostname.clone(),
        weight: endpoint.weight,
        workload: endpoint.workload.clone(),
        locality: endpoint.locality.clone(),
    }
}
