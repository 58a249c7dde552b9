//! The limit that a ConcurrencyPolicy finds, in figures.

use super::owned::Rows;
use crate::names::{Family, *};
use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

const FAMILIES: [Family; 5] =
    [CONCURRENCY_LIMIT, CONCURRENCY_ACTIVE, CONCURRENCY_SHED, CONCURRENCY_MIN_RTT, CONCURRENCY_SAMPLE_RTT];

/// As it is now: limit, requests under way, requests that were shed; latency alone and of late.
pub type ConcurrencyFigures = ([u64; 3], [Duration; 2]);

/// Says how it is now.
type Figures = Box<dyn Fn() -> ConcurrencyFigures + Send + Sync>;

/// Metrics of the limit of one cluster, asked for when somebody reads: a request would have to write where others do.
#[derive(Default)]
pub struct ConcurrencyMetrics(Mutex<Option<Figures>>);

impl ConcurrencyMetrics {
    /// From now on, it is as `figures` says.
    pub fn read(&self, figures: impl Fn() -> ConcurrencyFigures + Send + Sync + 'static) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(figures));
    }

    pub(super) fn collect(&self, cluster: &str, rows: &mut Rows) {
        let figures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((counts, times)) = figures.as_ref().map(|figures| figures()) else { return };
        let values = counts.map(|count| count as f64).into_iter().chain(times.map(|time| time.as_secs_f64()));
        for (of, value) in FAMILIES.iter().zip(values) {
            rows.add(of, &[cluster], value);
        }
    }

    pub(super) fn families() -> impl Iterator<Item = &'static Family> {
        FAMILIES.iter()
    }
}
