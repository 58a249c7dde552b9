//! Shares of good answers in an interval: who is worse than the others, or simply too bad.
//!
//! Invariants: an endpoint with few requests is not judged; one is named once, the worst first, so that they go when not all may.
//! Source: Envoy's success rate and failure percentage detection.

use super::{OutlierDetector, Reason};
use crate::Endpoint;
use std::sync::Arc;

/// What an endpoint did in an interval.
struct Share<'a> {
    endpoint: &'a Arc<Endpoint>,
    answers: u32,
    /// Percent of its answers that were good.
    good: f64,
}

impl OutlierDetector {
    /// Ends an interval; gives whose shares of good answers in it are too small, and by which rule.
    pub(super) fn outliers_by_share<'a>(
        &self,
        endpoints: &'a [Arc<Endpoint>],
    ) -> Vec<(&'a Arc<Endpoint>, Reason)> {
        if self.success_rate.is_none() && self.failure_percentage.is_none() {
            return Vec::new();
        }
        let mut shares: Vec<_> = endpoints.iter().filter_map(Share::take).collect();
        shares.sort_by(|a, b| a.good.total_cmp(&b.good));
        let by_rate = self.least_success_rate(&shares);
        let by_percentage = self.least_percentage(&shares);
        let judge = |share: &Share<'a>| {
            let too_few = |least: Option<(f64, u32)>, or_equal: bool| {
                least.is_some_and(|(least, volume)| {
                    share.answers >= volume && (share.good < least || or_equal && share.good <= least)
                })
            };
            let reason = match (too_few(by_rate, false), too_few(by_percentage, true)) {
                (true, _) => Reason::SuccessRate,
                (false, true) => Reason::FailurePercentage,
                (false, false) => return None,
            };
            Some((share.endpoint, reason))
        };
        shares.iter().filter_map(judge).collect()
    }

    /// Below which share an endpoint is too far from the others, and how many answers it needs to be judged.
    fn least_success_rate(&self, shares: &[Share<'_>]) -> Option<(f64, u32)> {
        let settings = self.success_rate.as_ref()?;
        let judged = judged(shares, settings.request_volume, settings.minimum_hosts)?;
        let count = judged.len() as f64;
        let mean = judged.iter().sum::<f64>() / count;
        let variance = judged.iter().map(|good| (good - mean).powi(2)).sum::<f64>() / count;
        let factor = f64::from(settings.stdev_factor) / 1000.0;
        Some((mean - factor * variance.sqrt(), settings.request_volume))
    }

    /// Up to which share an endpoint is too bad.
    fn least_percentage(&self, shares: &[Share<'_>]) -> Option<(f64, u32)> {
        let settings = self.failure_percentage.as_ref()?;
        judged(shares, settings.request_volume, settings.minimum_hosts)?;
        Some((100.0 - f64::from(settings.threshold), settings.request_volume))
    }
}

impl<'a> Share<'a> {
    /// Of one that is in and has answered.
    fn take(endpoint: &'a Arc<Endpoint>) -> Option<Self> {
        let (answers, good) = endpoint.state.health.take_answers();
        (answers > 0 && !endpoint.state.is_ejected()).then(|| Share {
            endpoint,
            answers,
            good: f64::from(good) * 100.0 / f64::from(answers),
        })
    }
}

/// The shares of those with enough answers, if there are enough of them.
fn judged(shares: &[Share<'_>], volume: u32, minimum_hosts: u32) -> Option<Vec<f64>> {
    let judged: Vec<_> =
        shares.iter().filter(|share| share.answers >= volume).map(|share| share.good).collect();
    (!judged.is_empty() && judged.len() >= minimum_hosts as usize).then_some(judged)
}
