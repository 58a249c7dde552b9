//! Metrics of one cluster.
//!
//! In:  events of the engine.   Out: `sidle_cluster_*`, and what stands under Envoy's names.
//! Invariant: a cluster without traffic shows only its endpoints (and their health), so that a thousand unused ones cost a thousand lines
//! and not fifteen thousand.

use super::{
    concurrency::ConcurrencyMetrics,
    health::{self, HealthCheckMetrics, MembershipMetrics},
    mirror::MirrorMetrics,
    outlier::OutlierMetrics,
    owned::{Cells, Rows},
    rate_limit::{RateLimitMetrics, RateLimitServiceMetrics},
    sharded::Sharded,
};
use crate::names::{Family, *};
use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering::Relaxed},
};

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

    pub(super) fn families() -> impl Iterator<Item = &'static Family> {
        CLUSTER
            .iter()
            .chain(&[CLUSTER_ENDPOINTS])
            .chain(OutlierMetrics::families())
            .chain(health::families())
            .chain(ConcurrencyMetrics::families())
            .chain(MirrorMetrics::families())
            .chain(RateLimitMetrics::families())
    }

    pub(super) fn collect(&self, name: &str, rows: &mut Rows) {
        rows.add(&CLUSTER_ENDPOINTS, &[name], self.endpoints.load(Relaxed) as f64);
        if let Some(outliers) = self.outliers.get() {
            outliers.collect(name, rows);
        }
        if let Some(concurrency) = self.concurrency.get() {
            concurrency.collect(name, rows);
        }
        if let Some(mirror) = self.mirror.get() {
            mirror.collect(name, rows);
        }
        if let Some(limits) = self.rate_limits.get() {
            limits.collect(name, rows);
        }
        if let Some(membership) = self.membership.get() {
            membership.collect(name, rows);
        }
        if let Some(checks) = self.health_checks.get() {
            checks.collect(name, rows);
        }
        if self.cells.is_untouched() {
            return;
        }
        let plain = CLUSTER.len() - 1;
        for (place, of) in CLUSTER[..plain].iter().enumerate() {
            rows.add(of, &[name], self.cells.sum(place));
        }
        for (place, limit) in OVERFLOWS.iter().enumerate() {
            rows.add(&CLUSTER_OVERFLOWS, &[name, limit], self.cells.sum(plain + place));
        }
    }
}
