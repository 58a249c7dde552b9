//! Metrics that belong to one name of the configuration: a cluster, a listener, or an external authoriser.
//!
//! In:  events of the engine.   Out: `sidle_cluster_*`, `sidle_listener_*`, and what stands under Envoy's names.
//! Invariants: a gauge is the sum of what went up and down on any thread; a cluster without traffic shows only its
//! endpoints (and their health), so that a thousand unused ones cost a thousand lines and not fifteen thousand.

use super::{
    authorization::Authorized,
    concurrency::ConcurrencyMetrics,
    export::{family, number},
    ext_authz::ExtAuthzMetrics,
    health::{self, HealthCheckMetrics, MembershipMetrics},
    labels::pairs,
    mirror::MirrorMetrics,
    outlier::OutlierMetrics,
    rate_limit::{RateLimitMetrics, RateLimitServiceMetrics},
    sharded::Sharded,
    table::Table,
};
use crate::names::{Family, *};
use prometheus::proto::{Metric, MetricFamily};
use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
};

/// Families of listeners, in the order of their cells. The last three have a cell for each
/// [`Doorkeeper`], each [`Http2Flood`] and each [`Authorized`].
const LISTENER: &[Family] = &[
    LISTENER_ACTIVE,
    LISTENER_ACCEPTED,
    PROXY_FAILURES,
    DETECT_TIMEOUTS,
    TLS_FAILURES,
    PROTOCOL_ERRORS,
    NO_CHAIN,
    LISTENER_REFUSED,
    HTTP2_FLOODS,
    AUTHORIZATIONS,
];

/// Families with one cell each.
const LISTENER_PLAIN: usize = LISTENER.len() - 3;
/// Where the cells of decisions begin.
const LISTENER_DECISIONS: usize = LISTENER_PLAIN + DOORKEEPERS.len() + Http2Flood::ALL.len();

const DOORKEEPERS: [&str; 4] = ["connections", "source", "descriptors", "memory"];

/// What kept a connection out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doorkeeper {
    /// `maxConnections`.
    Connections,
    /// `maxConnectionsPerSource`.
    Source,
    /// The process has no descriptor left.
    Descriptors,
    /// The process has hardly any memory left.
    Memory,
}

/// Families of clusters, in the order of their cells. [`CLUSTER_OVERFLOWS`] comes last, once for each [`Overflow`].
const CLUSTER: &[Family] = &[
    CLUSTER_ACTIVE,
    CLUSTER_CONNECTIONS,
    CLUSTER_CONNECT_FAILURES,
    CLUSTER_REQUESTS_ACTIVE,
    CLUSTER_REQUESTS,
    CLUSTER_RETRIES,
    CLUSTER_PENDING,
    CLUSTER_TIMEOUTS,
    CLUSTER_HEDGES,
    CLUSTER_HEDGES_WON,
    CLUSTER_OVERFLOWS,
];

/// A kind of HTTP/2 frames that came too often, or that never came whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Http2Flood {
    /// Streams that end by reset, whoever reset them.
    Resets,
    /// DATA with nothing in it.
    Data,
    /// HEADERS that nobody waits for: interim responses.
    Headers,
    /// PRIORITY.
    Priority,
    /// SETTINGS.
    Settings,
    /// PUSH_PROMISE.
    Push,
    /// PING.
    Ping,
    /// WINDOW_UPDATE out of proportion to the data sent.
    WindowUpdate,
    /// CONTINUATION.
    Continuation,
    /// GOAWAY, and types that nobody knows.
    Other,
    /// A frame, or a block of headers, that was begun and not finished in time.
    Stalled,
}

impl Http2Flood {
    /// All, in the order of their cells.
    pub const ALL: [Http2Flood; 11] = [
        Http2Flood::Resets,
        Http2Flood::Data,
        Http2Flood::Headers,
        Http2Flood::Priority,
        Http2Flood::Settings,
        Http2Flood::Push,
        Http2Flood::Ping,
        Http2Flood::WindowUpdate,
        Http2Flood::Continuation,
        Http2Flood::Other,
        Http2Flood::Stalled,
    ];

    /// Its label.
    pub fn as_str(self) -> &'static str {
        match self {
            Http2Flood::Resets => "resets",
            Http2Flood::Data => "data",
            Http2Flood::Headers => "headers",
            Http2Flood::Priority => "priority",
            Http2Flood::Settings => "settings",
            Http2Flood::Push => "push",
            Http2Flood::Ping => "ping",
            Http2Flood::WindowUpdate => "window_update",
            Http2Flood::Continuation => "continuation",
            Http2Flood::Other => "other",
            Http2Flood::Stalled => "stalled",
        }
    }
}

const OVERFLOWS: [&str; 4] = ["connections", "pending", "requests", "retries"];

/// A limit of a cluster that was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overflow {
    /// `maxConnections`.
    Connections,
    /// `http1MaxPendingRequests`.
    Pending,
    /// `http2MaxRequests`.
    Requests,
    /// `maxRetries`, or the retry budget.
    Retries,
}

/// Numbers in the order of a list of families.
pub(super) struct Cells<const N: usize>([AtomicI64; N]);

impl<const N: usize> Default for Cells<N> {
    fn default() -> Self {
        Cells(std::array::from_fn(|_| AtomicI64::new(0)))
    }
}

impl<const N: usize> Sharded<Cells<N>> {
    pub(super) fn add(&self, place: usize, amount: i64) {
        self.own().0[place].fetch_add(amount, Relaxed);
    }

    pub(super) fn sum(&self, place: usize) -> f64 {
        self.iter().map(|cells| cells.0[place].load(Relaxed)).sum::<i64>().max(0) as f64
    }
}

/// Metrics of one listener.
#[derive(Default)]
pub struct ListenerMetrics(Sharded<Cells<{ LISTENER_DECISIONS + Authorized::ALL.len() }>>);

impl ListenerMetrics {
    /// A connection was accepted.
    pub fn connection_opened(&self) {
        self.0.add(0, 1);
        self.0.add(1, 1);
    }

    /// It ended.
    pub fn connection_closed(&self) {
        self.0.add(0, -1);
    }

    /// A connection was kept out.
    pub fn connection_refused(&self, by: Doorkeeper) {
        self.0.add(LISTENER_PLAIN + by as usize, 1);
    }

    /// A connection did not begin with the PROXY protocol header that it must have.
    pub fn proxy_protocol_failed(&self) {
        self.0.add(2, 1);
    }

    /// A connection did not tell its protocol in time.
    pub fn detection_timed_out(&self) {
        self.0.add(3, 1);
    }

    /// A TLS handshake failed or timed out.
    pub fn tls_handshake_failed(&self) {
        self.0.add(4, 1);
    }

    /// A client broke its protocol, and its connection ended.
    pub fn protocol_error(&self) {
        self.0.add(5, 1);
    }

    /// A connection was none that the port takes, and was closed.
    pub fn no_chain(&self) {
        self.0.add(6, 1);
    }

    /// A client sent too much of what costs it nothing, and its connection ended.
    pub fn http2_flood(&self, flood: Http2Flood) {
        self.0.add(LISTENER_PLAIN + DOORKEEPERS.len() + flood as usize, 1);
    }

    /// Authorization policies decided.
    pub fn authorized(&self, how: Authorized) {
        self.0.add(LISTENER_DECISIONS + how as usize, 1);
    }

    /// Connections that are open.
    pub fn active(&self) -> u64 {
        self.0.sum(0) as u64
    }
}

/// Metrics of one cluster.
#[derive(Default)]
pub struct ClusterMetrics {
    cells: Sharded<Cells<{ CLUSTER.len() - 1 + OVERFLOWS.len() }>>,
    endpoints: AtomicU64,
    outliers: OnceLock<OutlierMetrics>,
    concurrency: OnceLock<ConcurrencyMetrics>,
    mirror: OnceLock<MirrorMetrics>,
    rate_limits: OnceLock<RateLimitServiceMetrics>,
    membership: OnceLock<MembershipMetrics>,
    health_checks: OnceLock<HealthCheckMetrics>,
}

impl ClusterMetrics {
    /// A connection stands, TLS included.
    pub fn connection_opened(&self) {
        self.cells.add(0, 1);
        self.cells.add(1, 1);
    }

    /// It ended.
    pub fn connection_closed(&self) {
        self.cells.add(0, -1);
    }

    /// A connection could not be opened.
    pub fn connect_failed(&self) {
        self.cells.add(2, 1);
    }

    /// A try is sent.
    pub fn request_started(&self) {
        self.cells.add(3, 1);
        self.cells.add(4, 1);
    }

    /// It ended, however it did.
    pub fn request_ended(&self) {
        self.cells.add(3, -1);
    }

    /// The try is not the first.
    pub fn retried(&self) {
        self.cells.add(5, 1);
    }

    /// A request begins to wait for a connection.
    pub fn pending_started(&self) {
        self.cells.add(6, 1);
    }

    /// It has one, or gave up.
    pub fn pending_ended(&self) {
        self.cells.add(6, -1);
    }

    /// The route's timeout, or a try's, ran out.
    pub fn timed_out(&self) {
        self.cells.add(7, 1);
    }

    /// A request went to a second endpoint as well.
    pub fn hedged(&self) {
        self.cells.add(8, 1);
    }

    /// That one's answer counted.
    pub fn hedge_won(&self) {
        self.cells.add(9, 1);
    }

    /// A limit refused a request.
    pub fn overflowed(&self, limit: Overflow) {
        self.cells.add(CLUSTER.len() - 1 + limit as usize, 1);
    }

    /// How many endpoints there are.
    pub fn set_endpoints(&self, known: usize) {
        self.endpoints.store(known as u64, Relaxed);
    }

    /// Those of a limit by latency, shown from the first call on.
    pub fn concurrency(&self) -> &ConcurrencyMetrics {
        self.concurrency.get_or_init(ConcurrencyMetrics::default)
    }

    /// Comparisons of answers to copies, shown from the first call on.
    pub fn mirror(&self) -> &MirrorMetrics {
        self.mirror.get_or_init(MirrorMetrics::default)
    }

    /// Those of services that count requests, shown from the first call on.
    pub fn rate_limits(&self) -> &RateLimitServiceMetrics {
        self.rate_limits.get_or_init(RateLimitServiceMetrics::default)
    }

    /// Those of outlier detection, shown from the first call on.
    pub fn outliers(&self) -> &OutlierMetrics {
        self.outliers.get_or_init(OutlierMetrics::default)
    }

    /// How many endpoints are well, shown from the first call on.
    pub fn membership(&self) -> &MembershipMetrics {
        self.membership.get_or_init(MembershipMetrics::default)
    }

    /// Those of health checks, shown from the first call on.
    pub fn health_checks(&self) -> &HealthCheckMetrics {
        self.health_checks.get_or_init(HealthCheckMetrics::default)
    }
}

/// All clusters, listeners and providers.
#[derive(Default)]
pub(super) struct Owned {
    clusters: Table<Arc<str>, ClusterMetrics>,
    listeners: Table<Arc<str>, ListenerMetrics>,
    providers: Table<Arc<str>, ExtAuthzMetrics>,
    rate_limits: Table<Arc<str>, RateLimitMetrics>,
}

impl Owned {
    pub(super) fn cluster(&self, name: &Arc<str>) -> Arc<ClusterMetrics> {
        self.clusters.take(name, || Some(ClusterMetrics::default())).expect("made if missing")
    }

    pub(super) fn listener(&self, name: &Arc<str>) -> Arc<ListenerMetrics> {
        self.listeners.take(name, || Some(ListenerMetrics::default())).expect("made if missing")
    }

    pub(super) fn provider(&self, name: &Arc<str>) -> Arc<ExtAuthzMetrics> {
        self.providers.take(name, || Some(ExtAuthzMetrics::default())).expect("made if missing")
    }

    pub(super) fn rate_limit(&self, name: &Arc<str>) -> Arc<RateLimitMetrics> {
        self.rate_limits.take(name, || Some(RateLimitMetrics::default())).expect("made if missing")
    }

    pub(super) fn sweep(&self, now: std::time::Instant) {
        self.clusters.sweep(now);
        self.listeners.sweep(now);
        self.providers.sweep(now);
        self.rate_limits.sweep(now);
    }

    pub(super) fn families() -> impl Iterator<Item = &'static Family> {
        let of_clusters = CLUSTER
            .iter()
            .chain(&[CLUSTER_ENDPOINTS])
            .chain(OutlierMetrics::families())
            .chain(health::families())
            .chain(ConcurrencyMetrics::families())
            .chain(MirrorMetrics::families())
            .chain(RateLimitMetrics::families());
        LISTENER.iter().chain(ExtAuthzMetrics::families()).chain(of_clusters)
    }

    pub(super) fn collect(&self) -> Vec<MetricFamily> {
        let mut rows = Rows::default();
        self.listeners.visit(|name, metrics| {
            let plain = LISTENER_PLAIN;
            for (place, of) in LISTENER[..plain].iter().enumerate() {
                rows.add(of, &[name], metrics.0.sum(place));
            }
            for (place, by) in DOORKEEPERS.iter().enumerate() {
                rows.add(&LISTENER_REFUSED, &[name, by], metrics.0.sum(plain + place));
            }
            for (place, kind) in Http2Flood::ALL.iter().enumerate() {
                // Only what was seen: eleven zeros for each listener tell nobody anything.
                let count = metrics.0.sum(plain + DOORKEEPERS.len() + place);
                if count > 0.0 {
                    rows.add(&HTTP2_FLOODS, &[name, kind.as_str()], count);
                }
            }
            for (place, result) in Authorized::ALL.iter().enumerate() {
                let count = metrics.0.sum(LISTENER_DECISIONS + place);
                if count > 0.0 {
                    rows.add(&AUTHORIZATIONS, &[name, result.as_str()], count);
                }
            }
        });
        self.providers.visit(|name, metrics| metrics.collect(name, &mut rows));
        self.rate_limits.visit(|name, metrics| metrics.collect(name, &mut rows));
        self.clusters.visit(|name, metrics| collect_cluster(name, metrics, &mut rows));
        rows.0.into_iter().map(|(of, metrics)| family(of, metrics)).collect()
    }
}

fn collect_cluster(name: &str, metrics: &ClusterMetrics, rows: &mut Rows) {
    rows.add(&CLUSTER_ENDPOINTS, &[name], metrics.endpoints.load(Relaxed) as f64);
    if let Some(outliers) = metrics.outliers.get() {
        outliers.collect(name, rows);
    }
    if let Some(concurrency) = metrics.concurrency.get() {
        concurrency.collect(name, rows);
    }
    if let Some(mirror) = metrics.mirror.get() {
        mirror.collect(name, rows);
    }
    if let Some(limits) = metrics.rate_limits.get() {
        limits.collect(name, rows);
    }
    if let Some(membership) = metrics.membership.get() {
        membership.collect(name, rows);
    }
    if let Some(checks) = metrics.health_checks.get() {
        checks.collect(name, rows);
    }
    if metrics.cells.is_untouched() {
        return;
    }
    let plain = CLUSTER.len() - 1;
    for (place, of) in CLUSTER[..plain].iter().enumerate() {
        rows.add(of, &[name], metrics.cells.sum(place));
    }
    for (place, limit) in OVERFLOWS.iter().enumerate() {
        rows.add(&CLUSTER_OVERFLOWS, &[name, limit], metrics.cells.sum(plain + place));
    }
}

/// Series so far, by family.
#[derive(Default)]
pub(super) struct Rows(Vec<(&'static Family, Vec<Metric>)>);

impl Rows {
    pub(super) fn add(&mut self, of: &'static Family, values: &[&str], value: f64) {
        let metric = number(of, pairs(of.labels, values.iter().copied()), value);
        match self.0.iter_mut().find(|(known, _)| known.name == of.name) {
            Some((_, metrics)) => metrics.push(metric),
            None => self.0.push((of, vec![metric])),
        }
    }
}
