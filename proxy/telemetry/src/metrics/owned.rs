//! Metrics that belong to one name of the configuration: a listener, a cluster, an external authoriser, or a policy.
//!
//! In:  events of the engine.   Out: `sidle_listener_*`, and what the others have.
//! Invariant: a gauge is the sum of what went up and down on any thread.
//! Not here: the figures of one cluster (`cluster`).

use super::{
    authorization::Authorized,
    cluster::ClusterMetrics,
    export::{family, number},
    ext_authz::ExtAuthzMetrics,
    labels::pairs,
    rate_limit::RateLimitMetrics,
    sharded::Sharded,
    table::Table,
};
use crate::names::{Family, *};
use prometheus::proto::{Metric, MetricFamily};
use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering::Relaxed},
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
    HTTP2_REFUSED,
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

    /// A client opened streams beyond those that it may have, which were refused.
    pub fn http2_streams_refused(&self, streams: u32) {
        self.0.add(7, streams.into());
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
        LISTENER.iter().chain(ExtAuthzMetrics::families()).chain(ClusterMetrics::families())
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
        self.clusters.visit(|name, metrics| metrics.collect(name, &mut rows));
        rows.0.into_iter().map(|(of, metrics)| family(of, metrics)).collect()
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
