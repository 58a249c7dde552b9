//! Metrics of HTTP and gRPC requests.
//!
//! In:  a [`RequestRecord`] for each request that has ended.   Out: `istio_requests_total` and its histograms.
//! Invariant: once an outcome was seen, recording formats nothing, allocates nothing and takes no lock.

use super::{
    RequestLabels, RequestProtocol,
    export::{family, histogram, number},
    histogram::{Histogram, HistogramValue, Unit},
    labels::{REPORTERS, with_outcome},
    series::{Budget, Outcome, Series},
    sharded::Sharded,
    table::Table,
};
use crate::{
    ResponseFlags,
    names::{
        self, REQUEST_BYTES, REQUEST_DURATION, REQUEST_LABELS, REQUEST_MESSAGES, REQUESTS, RESPONSE_BYTES,
        RESPONSE_MESSAGES,
    },
};
use prometheus::proto::{Metric, MetricFamily};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

/// Families of this file: requests, duration, two sizes, two message counts.
pub(super) const FAMILIES: &[names::Family] =
    &[REQUESTS, REQUEST_DURATION, REQUEST_BYTES, RESPONSE_BYTES, REQUEST_MESSAGES, RESPONSE_MESSAGES];

/// What is counted of one request.
#[derive(Debug, Clone, Copy, Default)]
pub struct RequestRecord {
    /// Status sent to the client; 0 if the client left before there was one.
    pub response_code: u16,
    /// From the trailers, or the headers of a response without a body.
    pub grpc_status: Option<u8>,
    /// What went wrong.
    pub flags: ResponseFlags,
    /// From the first byte of the request to the last byte of the response.
    pub duration: Duration,
    /// Of the body.
    pub request_bytes: u64,
    /// Of the body.
    pub response_bytes: u64,
    /// gRPC messages from the client.
    pub request_messages: u64,
    /// gRPC messages from the server.
    pub response_messages: u64,
}

/// Metrics of the requests between two workloads.
pub struct RequestMetrics {
    series: Arc<Series<Cells>>,
}

/// The number of requests is not here: it is the count of each histogram.
#[derive(Default)]
struct Cells {
    duration: Histogram,
    request_bytes: Histogram,
    response_bytes: Histogram,
    request_messages: AtomicU64,
    response_messages: AtomicU64,
}

impl RequestMetrics {
    /// Counts one request; call it once, at its end.
    pub fn record(&self, record: &RequestRecord) {
        let outcome = Outcome { code: record.response_code, flags: record.flags, grpc: record.grpc_status };
        let cells = self.series.cells(outcome);
        let nanoseconds = u64::try_from(record.duration.as_nanos()).unwrap_or(u64::MAX);
        cells.duration.observe(Unit::Milliseconds, nanoseconds);
        cells.request_bytes.observe(Unit::Bytes, record.request_bytes);
        cells.response_bytes.observe(Unit::Bytes, record.response_bytes);
        if record.request_messages | record.response_messages != 0 {
            cells.request_messages.fetch_add(record.request_messages, Relaxed);
            cells.response_messages.fetch_add(record.response_messages, Relaxed);
        }
    }
}

/// All of them.
pub(super) struct Requests {
    table: Table<RequestLabels, RequestMetrics>,
    budget: Arc<Budget>,
    /// For what is beyond the budget, by reporter.
    other: [Arc<Series<Cells>>; 2],
}

impl Requests {
    pub(super) fn new(budget: Arc<Budget>) -> Self {
        let other = std::array::from_fn(|_| Series::other(Arc::clone(&budget)));
        Requests { table: Table::default(), budget, other }
    }

    pub(super) fn take(&self, labels: &RequestLabels) -> Arc<RequestMetrics> {
        let other = &self.other[labels.reporter as usize];
        let families = match labels.request_protocol {
            RequestProtocol::Http => FAMILIES.len() - 2,
            RequestProtocol::Grpc => FAMILIES.len(),
        };
        let make = || RequestMetrics { series: Arc::new(Series::new(families, Arc::clone(other))) };
        let kept = self.table.take(labels, || (!self.budget.is_exhausted()).then(make));
        kept.unwrap_or_else(|| Arc::new(RequestMetrics { series: Arc::clone(other) }))
    }

    pub(super) fn sweep(&self, now: std::time::Instant) {
        self.table.sweep(now);
    }

    pub(super) fn collect(&self) -> Vec<MetricFamily> {
        let mut rows: [Vec<Metric>; 6] = Default::default();
        self.table.visit(|labels, metrics| collect_series(&labels.values(), &metrics.series, &mut rows));
        for (reporter, series) in REPORTERS.iter().zip(&self.other) {
            collect_series(&[reporter.name()], series, &mut rows);
        }
        FAMILIES.iter().zip(rows).map(|(of, rows)| family(of, rows)).collect()
    }
}

/// `values` are those of the owner; what is missing of `other` is `other`.
fn collect_series(values: &[&str], series: &Series<Cells>, rows: &mut [Vec<Metric>; 6]) {
    series.visit(|outcome, cells| {
        let labels = with_outcome(
            REQUEST_LABELS,
            values,
            outcome.map(|outcome| {
                let grpc = outcome.grpc.map(|status| status.to_string()).unwrap_or_default();
                [outcome.flags.to_string(), outcome.code.to_string(), grpc]
            }),
        );
        let of = |unit, pick: fn(&Cells) -> &Histogram| HistogramValue::of(unit, cells.iter().map(pick));
        let duration = of(Unit::Milliseconds, |cells| &cells.duration);
        let messages =
            [sum(cells, |cells| &cells.request_messages), sum(cells, |cells| &cells.response_messages)];
        rows[0].push(number(&REQUESTS, labels.clone(), duration.count() as f64));
        rows[1].push(histogram(labels.clone(), &duration));
        rows[2].push(histogram(labels.clone(), &of(Unit::Bytes, |cells| &cells.request_bytes)));
        rows[3].push(histogram(labels.clone(), &of(Unit::Bytes, |cells| &cells.response_bytes)));
        if messages != [0, 0] {
            rows[4].push(number(&REQUEST_MESSAGES, labels.clone(), messages[0] as f64));
            rows[5].push(number(&RESPONSE_MESSAGES, labels, messages[1] as f64));
        }
    });
}

/// A counter over all threads.
fn sum(cells: &Sharded<Cells>, pick: fn(&Cells) -> &AtomicU64) -> u64 {
    cells.iter().map(|cells| pick(cells).load(Relaxed)).sum()
}
