//! Who is much slower than the others.
//!
//! Invariants: whoever has few answers is not judged; among those that are, half at least are as fast as what they are
//! compared with, so that never all are too slow.

use super::{OutlierDetector, Reason};
use crate::Endpoint;
use std::sync::Arc;

impl OutlierDetector {
    /// Ends an interval; gives whose answers took too long in the mean, the slowest first.
    pub(super) fn outliers_by_latency<'a>(
        &self,
        endpoints: &'a [Arc<Endpoint>],
    ) -> Vec<(&'a Arc<Endpoint>, Reason)> {
        let Some(settings) = &self.latency else { return Vec::new() };
        let mean = |endpoint: &'a Arc<Endpoint>| {
            let (answers, micros) = endpoint.state.health.take_times();
            let judged = answers >= settings.request_volume.max(1).into() && !endpoint.state.is_ejected();
            judged.then(|| (micros as f64 / answers as f64, endpoint))
        };
        let mut means: Vec<_> = endpoints.iter().filter_map(mean).collect();
        if means.len() < settings.minimum_hosts.max(2) as usize {
            return Vec::new();
        }
        means.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        let (median, _) = means[(means.len() - 1) / 2];
        let factor = f64::from(settings.factor) / 1000.0;
        let most = (median * factor).max(settings.minimum.as_micros() as f64);
        let slow = means.into_iter().rev().take_while(|(mean, _)| *mean > most);
        slow.map(|(_, endpoint)| (endpoint, Reason::Latency)).collect()
    }
}
