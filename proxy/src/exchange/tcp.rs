//! One TCP connection from its accept to its end: an exchange of bytes.

use super::{
    CUT, Moment, Record, Rule,
    body::relay_flags,
    destination::{self, Wish},
};
use crate::{
    codec::{
        Duplex, Stream,
        timer::Chore,
        tunnel::{self, Meter, Relayed},
    },
    config::TcpPlan,
    error::ProxyError,
    listener::{ActiveRequest, Connection},
    upstream::{Cluster, Target, Via},
    worker::Sides,
};
use sidle_balance::{ActiveConnection, Endpoint, Permit, Seen};
use sidle_telemetry::{ClusterMetrics, Overflow, ResponseFlags, TcpMetrics};
use smallvec::SmallVec;
use std::{
    future::{Future, poll_fn},
    rc::Rc,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

/// Endpoints that one connection tries.
const MAX_CONNECTS: usize = 3;
/// When the bytes of a connection that lasts are counted, from the first that are not: one that is idle does nothing.
const COUNT_AFTER: Duration = Duration::from_secs(5);

/// One TCP connection.
pub struct TcpExchange {
    /// What is known of it.
    pub record: Record,
    pub(super) connection: Rc<Connection>,
    metrics: Option<Arc<TcpMetrics>>,
    held: Option<CountedConnection>,
    meter: Rc<Meter>,
    finished: bool,
    _active: ActiveRequest,
}

impl TcpExchange {
    /// Begins.
    pub fn begin(connection: &Rc<Connection>, plan: &TcpPlan) -> Self {
        let snapshot = connection.worker.snapshot();
        TcpExchange {
            record: Record {
                rule: Some(Rule::Bytes(plan.route_name.clone(), plan.origin.clone())),
                ..Record::begin(snapshot, connection.downstream.clone())
            },
            connection: connection.clone(),
            metrics: None,
            held: None,
            meter: Rc::default(),
            finished: false,
            _active: connection.begin_request(),
        }
    }

    /// A uniform random number.
    pub fn random(&self) -> u64 {
        self.connection.worker.random()
    }

    /// Carries bytes until the connection ends, or is to be `cut` after so many of them.
    pub async fn carry(
        mut self,
        client: Stream,
        upstream: Stream,
        idle_timeout: Option<Duration>,
        cut: Option<u64>,
    ) {
        let (mut client, mut upstream) = (Duplex::Stream(client), Duplex::Stream(upstream));
        let meter = self.meter.clone();
        let relayed = {
            let relay = tunnel::relay(&mut client, &mut upstream, idle_timeout, &meter);
            let mut relayed = std::pin::pin!(until_cut(relay, cut, &meter));
            let mut count = Chore::default();
            poll_fn(|cx| {
                let relayed = relayed.as_mut().poll(cx);
                while relayed.is_pending() && count.poll(self.has_uncounted(), COUNT_AFTER, cx).is_ready() {
                    self.count_bytes();
                }
                relayed
            })
            .await
        };
        if relayed.is_none() {
            client.end_by_reset();
            upstream.end_by_reset();
        }
        self.finish(relayed.ok_or(ProxyError::FaultReset));
    }

    /// Ends; logs and counts.
    pub fn finish(mut self, end: Result<Relayed, ProxyError>) {
        match end {
            Ok(relayed) => self.record.flags |= relay_flags(relayed.end),
            Err(error) => {
                self.record.flags |= error.flags();
                match error {
                    ProxyError::Forbidden(_) => self.record.termination = error.details(),
                    ProxyError::Unauthorized(_) => {
                        (self.record.details, self.record.termination) = (error.details(), error.details());
                    }
                    _ => self.record.details = error.details(),
                }
                self.record.transport_failure = error.transport_failure().map(str::to_owned);
                tracing::debug!(peer = %self.connection.peer(), %error, "TCP connection refused");
            }
        }
        self.account();
    }

    /// Whether something was carried since the last time.
    fn has_uncounted(&self) -> bool {
        (self.meter.sent(), self.meter.received()) != (self.record.bytes_sent, self.record.bytes_received)
    }

    /// Counts what was carried since the last time.
    fn count_bytes(&mut self) {
        let (sent, received) = (self.meter.sent(), self.meter.received());
        if let Some(metrics) = &self.metrics {
            metrics.transferred(sent - self.record.bytes_sent, received - self.record.bytes_received);
        }
        (self.record.bytes_sent, self.record.bytes_received) = (sent, received);
    }

    fn account(&mut self) {
        if std::mem::replace(&mut self.finished, true) {
            return;
        }
        self.record.ended = Some(Instant::now());
        self.held = None;
        if self.metrics.is_none() {
            let direction = self.connection.direction;
            let sides = Sides::of(direction, &self.record.downstream, None);
            let metrics = self.connection.worker.tcp_metrics(&self.record.snapshot, direction, None, sides);
            metrics.opened();
            self.metrics = Some(metrics);
        }
        self.count_bytes();
        if let Some(metrics) = &self.metrics {
            metrics.closed(self.record.flags);
        }
        if let Some((log, _)) = &self.record.snapshot.access_log {
            log.write(&Moment { record: &self.record, request: None, response: None });
        }
    }
}

/// What `relay` comes to; `None`: it carried as many bytes to the client as it was to.
async fn until_cut(relay: impl Future<Output = Relayed>, cut: Option<u64>, meter: &Meter) -> Option<Relayed> {
    let mut relay = std::pin::pin!(relay);
    poll_fn(|cx| match relay.as_mut().poll(cx) {
        Poll::Ready(relayed) => Poll::Ready(Some(relayed)),
        Poll::Pending if cut.is_some_and(|cut| meter.sent() >= cut) => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    })
    .await
}

impl Drop for TcpExchange {
    fn drop(&mut self) {
        if !self.finished {
            if self.connection.worker.is_ending() {
                self.record.flags |= ResponseFlags::DT;
                self.record.details = CUT.into();
            } else {
                self.record.flags |= ResponseFlags::DC;
            }
            self.account();
        }
    }
}

/// Connects to an endpoint of `cluster`; tries others when one does not answer.
///
/// # Errors
/// The last failure.
pub async fn connect(exchange: &mut TcpExchange, cluster: &Arc<Cluster>) -> Result<Stream, ProxyError> {
    let worker = &exchange.connection.worker;
    exchange.record.cluster = Some(worker.hold_cluster(&exchange.record.snapshot, cluster));
    let mut tried: SmallVec<[Arc<Endpoint>; MAX_CONNECTS]> = SmallVec::new();
    let server_name = exchange.connection.downstream.server_name.clone();
    loop {
        let hash = exchange.connection.downstream.peer.map(|peer| source_hash(peer.ip()));
        let wish = Wish {
            authority: server_name.as_deref(),
            default_port: exchange.connection.port(),
            hash,
            tried: &tried,
            leave: &[],
        };
        let picked =
            destination::pick(&exchange.connection, &exchange.record.snapshot, cluster, &wish).await?;
        let endpoint = picked.shared();
        exchange.record.attempts += 1;
        exchange.record.upstream = Some(endpoint.address.clone());
        match open(cluster, endpoint, server_name.as_deref(), exchange.connection.via()).await {
            Ok((stream, held)) => {
                let destination = Some((cluster, Some(endpoint)));
                let direction = exchange.connection.direction;
                exchange.record.upstream_identity = cluster.connector.identity(endpoint, &stream);
                let record = &exchange.record;
                let sides = Sides::of(direction, &record.downstream, record.upstream_identity.as_deref());
                let metrics = exchange.connection.worker.tcp_metrics(
                    &exchange.record.snapshot,
                    direction,
                    destination,
                    sides,
                );
                metrics.opened();
                exchange.metrics = Some(metrics);
                exchange.record.upstream_local = stream.local_addr();
                exchange.held = Some(held);
                return Ok(stream);
            }
            Err(ProxyError::Overflow) => return Err(ProxyError::Overflow),
            Err(error) => {
                tried.push(endpoint.clone());
                if tried.len() == MAX_CONNECTS || tried.len() >= cluster.endpoints.load().endpoints().len() {
                    return Err(error);
                }
            }
        }
    }
}

/// A connection for bytes in its cluster's figures and limits, for as long as it stands.
pub struct CountedConnection {
    metrics: Arc<ClusterMetrics>,
    _active: ActiveConnection,
    _permit: Permit,
}

impl Drop for CountedConnection {
    fn drop(&mut self) {
        self.metrics.connection_closed();
    }
}

/// Opens a connection for bytes. `host` is the server that the client named; if it named none, it is the service.
///
/// # Errors
/// Why it cannot be opened.
pub async fn open(
    cluster: &Cluster,
    endpoint: &Arc<Endpoint>,
    host: Option<&str>,
    via: Option<Via>,
) -> Result<(Stream, CountedConnection), ProxyError> {
    let Some(permit) = cluster.usage.try_acquire_connection(&cluster.config.limits) else {
        cluster.metrics.overflowed(Overflow::Connections);
        return Err(ProxyError::Overflow);
    };
    let active = ActiveConnection::open(endpoint.clone());
    let host =
        host.map_or(&*cluster.config.service.host, |host| sidle_routing::host::split_host_port(host).0);
    match cluster.connector.connect(endpoint, host, Target::Bytes, via).await {
        Ok(stream) => {
            cluster.metrics.connection_opened();
            cluster.report(endpoint, Seen::Connected);
            Ok((
                stream,
                CountedConnection { metrics: cluster.metrics.clone(), _active: active, _permit: permit },
            ))
        }
        Err(error) => {
            endpoint.state.record_connect_failure();
            cluster.metrics.connect_failed();
            cluster.report(endpoint, Seen::Failure);
            Err(error)
        }
    }
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
