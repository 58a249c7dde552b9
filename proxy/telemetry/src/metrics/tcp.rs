//! Metrics of TCP connections.
//!
//! In:  opened, bytes, closed.   Out: `istio_tcp_*`.
//! Invariant: a long connection shows its bytes while it lasts: the engine reports what was added, from time to time.

use super::{
    TcpLabels,
    export::{family, number},
    labels::{REPORTERS, with_outcome},
    series::{Budget, Outcome, Series},
    table::Table,
};
use crate::{
    ResponseFlags,
    names::{self, TCP_CLOSED, TCP_LABELS, TCP_OPENED, TCP_RECEIVED_BYTES, TCP_SENT_BYTES},
};
use prometheus::proto::{Metric, MetricFamily};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// Families of this file.
pub(super) const FAMILIES: &[names::Family] = &[TCP_SENT_BYTES, TCP_RECEIVED_BYTES, TCP_OPENED, TCP_CLOSED];

/// Metrics of the TCP connections between two workloads.
pub struct TcpMetrics {
    series: Arc<Series<Cells>>,
}

/// In the order of [`FAMILIES`].
#[derive(Default)]
struct Cells([AtomicU64; 4]);

impl TcpMetrics {
    /// A connection was accepted and its route chosen.
    pub fn opened(&self) {
        self.add(ResponseFlags::NONE, 2, 1);
    }

    /// So many more bytes went to the client and came from it.
    pub fn transferred(&self, sent: u64, received: u64) {
        self.add(ResponseFlags::NONE, 0, sent);
        self.add(ResponseFlags::NONE, 1, received);
    }

    /// The connection ended, and how.
    pub fn closed(&self, flags: ResponseFlags) {
        self.add(flags, 3, 1);
    }

    fn add(&self, flags: ResponseFlags, family: usize, amount: u64) {
        self.series.cells(Outcome { code: 0, flags, grpc: None }).0[family].fetch_add(amount, Relaxed);
    }
}

/// All of them.
pub(super) struct Tcp {
    table: Table<TcpLabels, TcpMetrics>,
    budget: Arc<Budget>,
    /// For what is beyond the budget, by reporter.
    other: [Arc<Series<Cells>>; 2],
}

impl Tcp {
    pub(super) fn new(budget: Arc<Budget>) -> Self {
        let other = std::array::from_fn(|_| Series::other(Arc::clone(&budget)));
        Tcp { table: Table::default(), budget, other }
    }

    pub(super) fn take(&self, labels: &TcpLabels) -> Arc<TcpMetrics> {
        let other = &self.other[labels.reporter as usize];
        let make = || TcpMetrics { series: Arc::new(Series::new(FAMILIES.len(), Arc::clone(other))) };
        let kept = self.table.take(labels, || (!self.budget.is_exhausted()).then(make));
        kept.unwrap_or_else(|| Arc::new(TcpMetrics { series: Arc::clone(other) }))
    }

    pub(super) fn sweep(&self, now: std::time::Instant) {
        self.table.sweep(now);
    }

    pub(super) fn collect(&self) -> Vec<MetricFamily> {
        let mut rows: [Vec<Metric>; 4] = Default::default();
        self.table.visit(|labels, metrics| collect_series(&labels.values(), &metrics.series, &mut rows));
        for (reporter, series) in REPORTERS.iter().zip(&self.other) {
            collect_series(&[reporter.name()], series, &mut rows);
        }
        FAMILIES.iter().zip(rows).map(|(of, rows)| family(of, rows)).collect()
    }
}

fn collect_series(values: &[&str], series: &Series<Cells>, rows: &mut [Vec<Metric>; 4]) {
    series.visit(|outcome, cells| {
        let labels = with_outcome(TCP_LABELS, values, outcome.map(|outcome| [outcome.flags.to_string()]));
        for (place, of) in FAMILIES.iter().enumerate() {
            let sum: u64 = cells.iter().map(|cells| cells.0[place].load(Relaxed)).sum();
            rows[place].push(number(of, labels.clone(), sum as f64));
        }
    });
}
