//! Slow start: an endpoint that is new gets its share by and by, so that its caches fill before the load comes.
//!
//! Invariants: nobody gets more than its weight, and whoever is older than the window gets all of it. Shares only change when a set is
//! made or looked over again: a pick costs the same.
//! Source: Envoy's "Slow start mode".

use crate::Endpoint;
use sidle_model::ir::SlowStart;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// In how many steps a share grows.
const STEPS: u32 = 100;
/// Steps are not shorter: each makes a set anew.
const SHORTEST_STEP: Duration = Duration::from_millis(100);
/// Weights are parts of this while somebody warms up. Not finer: the turns of a round robin are laid out for each step.
const WHOLE: u32 = 100;

/// How long to wait between two steps of a share that grows.
pub(super) fn step(settings: &SlowStart) -> Duration {
    (settings.window / STEPS).max(SHORTEST_STEP)
}

/// Whether the endpoint is new at `now`.
pub(super) fn is_warming(settings: &SlowStart, endpoint: &Endpoint, now: Instant) -> bool {
    endpoint.state.age(now).is_some_and(|age| age < settings.window)
}

/// The weights that hold at `now`.
pub(super) fn weights(settings: Option<&SlowStart>, endpoints: &[Arc<Endpoint>], now: Instant) -> Vec<u32> {
    let plain = || endpoints.iter().map(|endpoint| endpoint.weight).collect();
    let Some(settings) = settings else { return plain() };
    let parts: Vec<_> = endpoints.iter().map(|endpoint| part(settings, endpoint, now)).collect();
    if parts.windows(2).all(|pair| pair[0] == pair[1]) {
        return plain(); // all of them are as new, or nobody is
    }
    let exact = |(endpoint, part): (&Arc<Endpoint>, &u32)| u64::from(endpoint.weight) * u64::from(*part);
    let weights: Vec<u64> = endpoints.iter().zip(&parts).map(exact).collect();
    let largest = weights.iter().copied().max().unwrap_or_default();
    let excess = (largest >> 32).checked_ilog2().map_or(0, |bits| bits + 1);
    weights.into_iter().map(|weight| ((weight >> excess) as u32).max(1)).collect()
}

/// What an endpoint gets of its weight, in percent.
fn part(settings: &SlowStart, endpoint: &Endpoint, now: Instant) -> u32 {
    match endpoint.state.age(now) {
        Some(age) if age < settings.window => {
            // Envoy counts the first second as a whole one.
            let passed = age.max(Duration::from_secs(1)).as_secs_f64() / settings.window.as_secs_f64();
            let grown = passed.min(1.0).powf(1.0 / settings.aggression);
            let part = grown.max(settings.minimum_percent / 100.0);
            ((part * f64::from(WHOLE)).round() as u32).clamp(1, WHOLE)
        }
        _ => WHOLE,
    }
}
