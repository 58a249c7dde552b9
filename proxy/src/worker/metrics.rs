//! Which metrics a request or a connection of bytes counts in, and the handles of them that a worker keeps at hand.
//!
//! In:  direction, destination, who both sides proved to be.   Out: counts in Istio's standard metrics.
//! Invariants: labels are made once for each handle; a handle is found by addresses that its snapshot keeps alive, and none outlives that.

use super::Worker;
use crate::{config::Snapshot, exchange::Downstream, upstream::Cluster};
use sidle_balance::Endpoint;
use sidle_identity::{Peer, SpiffeId};
use sidle_model::ir;
use sidle_telemetry::{
    ConnectionSecurityPolicy, Reporter, RequestLabels, RequestProtocol, RequestRecord, TcpLabels, TcpMetrics,
    WorkloadLabels,
};
use std::sync::Arc;

/// Addresses of a cluster and a workload that the snapshot of `metrics_generation` keeps alive; whether gRPC; whether the other
/// side showed a certificate, and who it proved to be.
pub(super) type MetricsKey = (usize, usize, bool, bool, Option<SpiffeId>);

/// Handles of metrics that a worker keeps at hand: clients with identities of their own are many.
const MAX_METRICS: usize = 4096;

/// Who the two sides of a hop said and proved to be.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sides<'a> {
    /// We.
    pub own: Option<&'a SpiffeId>,
    /// The other side, if it showed a certificate.
    pub other: Option<&'a Peer>,
}

impl<'a> Sides<'a> {
    /// Towards the client for what comes in, towards the endpoint for what goes out.
    pub fn of(direction: ir::Direction, downstream: &'a Downstream, upstream: Option<&'a Peer>) -> Self {
        match direction {
            ir::Direction::Inbound => {
                Sides { own: downstream.own.as_ref(), other: downstream.identity.as_deref() }
            }
            ir::Direction::Outbound | ir::Direction::Gateway => Sides { own: None, other: upstream },
        }
    }
}

impl Worker {
    /// Counts a request of `direction` to an endpoint of a cluster, or to none.
    pub fn count_request(
        &self,
        snapshot: &Snapshot,
        direction: ir::Direction,
        destination: Option<(&Arc<Cluster>, Option<&Arc<Endpoint>>)>,
        grpc: bool,
        sides: Sides<'_>,
        request: &RequestRecord,
    ) {
        self.follow(snapshot);
        let key = key(direction, destination, grpc, sides);
        if let Some(metrics) = self.metrics.borrow().get(&key) {
            return metrics.record(request);
        }
        let (source, target, reporter) =
            ends(snapshot, direction, destination.and_then(|(_, endpoint)| endpoint), sides);
        let metrics = self.shared.telemetry.request_metrics(&RequestLabels {
            reporter,
            source,
            destination: target,
            service: service(destination),
            request_protocol: if grpc { RequestProtocol::Grpc } else { RequestProtocol::Http },
            connection_security_policy: security(direction, sides),
        });
        metrics.record(request);
        self.metrics.borrow_mut().insert(key, metrics);
    }

    /// The metrics of TCP connections, of `direction` to an endpoint of a cluster, or to none.
    pub fn tcp_metrics(
        &self,
        snapshot: &Snapshot,
        direction: ir::Direction,
        destination: Option<(&Arc<Cluster>, Option<&Arc<Endpoint>>)>,
        sides: Sides<'_>,
    ) -> Arc<TcpMetrics> {
        self.follow(snapshot);
        let key = key(direction, destination, false, sides);
        if let Some(metrics) = self.tcp_metrics.borrow().get(&key) {
            return metrics.clone();
        }
        let (source, target, reporter) =
            ends(snapshot, direction, destination.and_then(|(_, endpoint)| endpoint), sides);
        let metrics = self.shared.telemetry.tcp_metrics(&TcpLabels {
            reporter,
            source,
            destination: target,
            service: service(destination),
            connection_security_policy: security(direction, sides),
        });
        self.tcp_metrics.borrow_mut().insert(key, metrics.clone());
        metrics
    }

    /// Forgets handles of another snapshot: their addresses may come to mean something else.
    fn follow(&self, snapshot: &Snapshot) {
        let is_new = self.metrics_generation.replace(snapshot.generation) != snapshot.generation;
        if is_new || self.metrics.borrow().len() + self.tcp_metrics.borrow().len() >= MAX_METRICS {
            self.metrics.borrow_mut().clear();
            self.tcp_metrics.borrow_mut().clear();
        }
    }
}

fn key(
    direction: ir::Direction,
    destination: Option<(&Arc<Cluster>, Option<&Arc<Endpoint>>)>,
    grpc: bool,
    sides: Sides<'_>,
) -> MetricsKey {
    let cluster = destination.map_or(direction as usize, |(cluster, _)| Arc::as_ptr(cluster) as usize);
    let workload =
        destination.and_then(|(_, e)| e).map_or(0, |endpoint| Arc::as_ptr(&endpoint.workload) as usize);
    let id = sides.other.and_then(|peer| peer.spiffe_id.clone());
    (cluster, workload, grpc, sides.other.is_some(), id)
}

fn service(destination: Option<(&Arc<Cluster>, Option<&Arc<Endpoint>>)>) -> ir::ServiceIdentity {
    destination.map(|(cluster, _)| cluster.config.service.clone()).unwrap_or_default()
}

fn ends(
    snapshot: &Snapshot,
    direction: ir::Direction,
    endpoint: Option<&Arc<Endpoint>>,
    sides: Sides<'_>,
) -> (Arc<WorkloadLabels>, Arc<WorkloadLabels>, Reporter) {
    let id = sides.other.and_then(|peer| peer.spiffe_id.as_ref());
    let seen_as = |labels: WorkloadLabels, id: Option<&SpiffeId>| {
        Arc::new(labels.with_principal(id.map_or("", SpiffeId::as_str)))
    };
    match direction {
        ir::Direction::Outbound | ir::Direction::Gateway => {
            let target =
                endpoint.map_or_else(WorkloadLabels::unknown, |e| WorkloadLabels::of_workload(&e.workload));
            // Who is believed for a SPIFFE id asked for ours.
            let own = id.and_then(|_| snapshot.workload.current());
            let source = match &own {
                Some(own) => seen_as((*snapshot.node).clone(), Some(&own.id)),
                None => snapshot.node.clone(),
            };
            (source, seen_as(target, id), Reporter::Source)
        }
        ir::Direction::Inbound => {
            let target = match sides.own {
                Some(own) => seen_as((*snapshot.node).clone(), Some(own)),
                None => snapshot.node.clone(),
            };
            (seen_as(WorkloadLabels::unknown(), id), target, Reporter::Destination)
        }
    }
}

fn security(direction: ir::Direction, sides: Sides<'_>) -> ConnectionSecurityPolicy {
    match direction {
        // The client's side cannot know what the server's proxy made of the connection.
        ir::Direction::Outbound | ir::Direction::Gateway => ConnectionSecurityPolicy::Unknown,
        ir::Direction::Inbound if sides.other.is_some() => ConnectionSecurityPolicy::MutualTls,
        ir::Direction::Inbound => ConnectionSecurityPolicy::None,
    }
}
