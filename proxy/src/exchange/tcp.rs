//! One TCP connection from its accept to its end: an exchange of bytes.

use super::{
    Moment, Record,
    destination::{self, Wish},
};
use crate::{
    codec::{Stream, tunnel::RelayEnd, tunnel::Relayed},
    config::{Snapshot, TcpPlan},
    error::ProxyError,
    listener::{ActiveRequest, Connection},
    upstream::{Cluster, Target},
};
use sidle_balance::{ActiveConnection, Endpoint, Permit};
use sidle_telemetry::{Overflow, ResponseFlags, TcpMetrics};
use smallvec::SmallVec;
use std::{rc::Rc, sync::Arc, time::Instant};

/// Endpoints that one connection tries.
const MAX_CONNECTS: usize = 3;

/// One TCP connection.
pub struct TcpExchange {
    record: Record,
    connection: Rc<Connection>,
    snapshot: Arc<Snapshot>,
    metrics: Option<Arc<TcpMetrics>>,
    held: Option<(Permit, ActiveConnection)>,
    finished: bool,
    _active: ActiveRequest,
}

impl TcpExchange {
    /// Begins.
    pub fn begin(connection: &Rc<Connection>, plan: &TcpPlan) -> Self {
        let snapshot = connection.worker.snapshot();
        TcpExchange {
            record: Record {
                route_name: Some(plan.route_name.clone()),
                origin: Some(plan.origin.clone()),
                ..Record::begin(snapshot.version.clone(), connection.downstream.clone())
            },
            connection: connection.clone(),
            snapshot,
            metrics: None,
            held: None,
            finished: false,
            _active: connection.begin_request(),
        }
    }

    /// Ends; logs and counts.
    pub fn finish(mut self, end: Result<Relayed, ProxyError>) {
        match end {
            Ok(relayed) => {
                self.record.bytes_received = relayed.received;
                self.record.bytes_sent = relayed.sent;
                self.record.flags |= match relayed.end {
                    Some(RelayEnd::Upstream) => ResponseFlags::UC,
                    Some(RelayEnd::Client) => ResponseFlags::DC,
                    Some(RelayEnd::Idle) => ResponseFlags::SI,
                    None => ResponseFlags::NONE,
                };
            }
            Err(error) => {
                self.record.flags |= error.flags();
                self.record.details = error.details();
                self.record.transport_failure = error.transport_failure().map(str::to_owned);
                tracing::debug!(peer = %self.connection.peer(), %error, "TCP connection refused");
            }
        }
        self.account();
    }

    fn account(&mut self) {
        if std::mem::replace(&mut self.finished, true) {
            return;
        }
        self.record.ended = Some(Instant::now());
        self.held = None;
        let metrics = self.metrics.take().unwrap_or_else(|| {
            let metrics = self.connection.worker.tcp_metrics(&self.snapshot, self.connection.direction, None);
            metrics.opened();
            metrics
        });
        metrics.transferred(self.record.bytes_sent, self.record.bytes_received);
        metrics.closed(self.record.flags);
        if let Some((log, _)) = &self.snapshot.access_log {
            log.write(&Moment { record: &self.record, request: None, response: None });
        }
    }
}

impl Drop for TcpExchange {
    fn drop(&mut self) {
        if !self.finished {
            self.record.flags |= ResponseFlags::DC;
            self.account();
        }
    }
}

/// Connects to an endpoint of `cluster`; tries others when one does not answer.
///
/// # Errors
/// The last failure.
pub async fn connect(exchange: &mut TcpExchange, cluster: &Arc<Cluster>) -> Result<Stream, ProxyError> {
    exchange.record.cluster = Some(cluster.config.name.clone());
    let mut tried: SmallVec<[Arc<Endpoint>; MAX_CONNECTS]> = SmallVec::new();
    let server_name = exchange.connection.downstream.server_name.clone();
    loop {
        let hash = exchange.connection.downstream.peer.map(|peer| source_hash(peer.ip()));
        let wish = Wish {
            authority: server_name.as_deref(),
            default_port: exchange.connection.port(),
            hash,
            tried: &tried,
        };
        let endpoint = destination::pick(&exchange.connection, &exchange.snapshot, cluster, &wish).await?;
        exchange.record.attempts += 1;
        exchange.record.upstream = Some(endpoint.address.clone());
        let limits = &cluster.config.limits;
        let Some(permit) = cluster.usage.try_acquire_connection(limits) else {
            cluster.metrics.overflowed(Overflow::Connections);
            return Err(ProxyError::Overflow);
        };
        match open(cluster, &endpoint, server_name.as_deref()).await {
            Ok(stream) => {
                let destination = Some((cluster, Some(&endpoint)));
                let metrics = exchange.connection.worker.tcp_metrics(
                    &exchange.snapshot,
                    exchange.connection.direction,
                    destination,
                );
                metrics.opened();
                exchange.metrics = Some(metrics);
                exchange.record.upstream_local = stream.local_addr();
                exchange.held = Some((permit, ActiveConnection::open(endpoint)));
                return Ok(stream);
            }
            Err(error) => {
                tried.push(endpoint);
                if tried.len() == MAX_CONNECTS || tried.len() >= cluster.endpoints.load().endpoints().len() {
                    return Err(error);
                }
            }
        }
    }
}

/// Opens a connection for bytes.
///
/// # Errors
/// Why it cannot be opened.
pub async fn open(cluster: &Cluster, endpoint: &Endpoint, host: Option<&str>) -> Result<Stream, ProxyError> {
    let host = host.map_or("", |host| sidle_routing::host::split_host_port(host).0);
    let connected = cluster.connector.connect(&endpoint.address, host, Target::Bytes).await;
    if connected.is_err() {
        endpoint.state.record_connect_failure();
        cluster.metrics.connect_failed();
    }
    connected
}

/// As consistent hashing by source address has it, for clusters whose policy hashes.
fn source_hash(ip: std::net::IpAddr) -> u64 {
    struct Source(std::net::IpAddr);
    impl sidle_balance::HashFacts for Source {
        fn header_values(&self, _: &http::HeaderName) -> impl Iterator<Item = &[u8]> {
            std::iter::empty()
        }
        fn query(&self) -> Option<&str> {
            None
        }
        fn source_ip(&self) -> Option<std::net::IpAddr> {
            Some(self.0)
        }
    }
    let policies = [sidle_model::ir::HashPolicy::SourceIp];
    sidle_balance::hash(&policies, &Source(ip), &mut || 0).hash.unwrap_or_default()
}
