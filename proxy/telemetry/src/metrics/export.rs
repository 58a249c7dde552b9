//! From cells to the `prometheus` crate's own shape, which its encoder writes.

use super::histogram::HistogramValue;
use crate::names::{BUCKETS, Family, Kind};
use prometheus::{
    core::Desc,
    proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType},
};
use std::collections::HashMap;

/// A family with its series.
pub(super) fn family(of: &Family, metrics: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(of.name.to_owned());
    family.set_help(of.help.to_owned());
    family.set_field_type(match of.kind {
        Kind::Counter => MetricType::COUNTER,
        Kind::Gauge => MetricType::GAUGE,
        Kind::Histogram => MetricType::HISTOGRAM,
    });
    family.set_metric(metrics);
    family
}

/// One number.
pub(super) fn number(of: &Family, labels: Vec<LabelPair>, value: f64) -> Metric {
    let mut metric = Metric::from_label(labels);
    if of.kind == Kind::Counter {
        let mut counter = Counter::default();
        counter.set_value(value);
        metric.set_counter(counter);
    } else {
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        metric.set_gauge(gauge);
    }
    metric
}

/// One histogram.
pub(super) fn histogram(labels: Vec<LabelPair>, value: &HistogramValue) -> Metric {
    let mut so_far = 0;
    let buckets = BUCKETS.iter().zip(&value.slots).map(|(bound, count)| {
        so_far += count;
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(*bound);
        bucket.set_cumulative_count(so_far);
        bucket
    });
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(value.count());
    histogram.set_sample_sum(value.sum);
    let mut metric = Metric::from_label(labels);
    metric.set_histogram(histogram);
    metric
}

/// What the registry wants to know of a family beforehand.
pub(super) fn desc(of: &Family) -> Desc {
    let labels = of.labels.iter().map(|label| (*label).to_owned()).collect();
    Desc::new(of.name.to_owned(), of.help.to_owned(), labels, HashMap::new())
        .expect("names are checked by a test")
}
