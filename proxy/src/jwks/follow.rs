//! When keys are fetched: at the start, every so often, and when a token names one that is not known.

use super::{REFRESH, Source, fetch, source::Left};
use crate::upstream::dns::Dns;
use std::{
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

/// Between the first tries and, doubled each time, later ones at an issuer that is away.
const FIRST_TRY: Duration = Duration::from_secs(1);
const LAST_TRY: Duration = Duration::from_secs(60);

/// Keeps the keys of a place fresh for as long as it is in use.
pub async fn follow(source: Weak<Source>, dns: Dns) {
    let mut failures = 0;
    let mut wait = match source.upgrade() {
        Some(source) => due(&source),
        None => return,
    };
    loop {
        let Some(wanted) = source.upgrade().map(|source| source.wanted.clone()) else { return };
        let _ = tokio::time::timeout(wait, wanted.notified()).await;
        let Some(source) = source.upgrade() else { return };
        source.begin();
        let result = fetch::keys(&source, &dns).await;
        failures = if result.is_ok() { 0 } else { failures + 1 };
        tell(&source, result.as_ref().err());
        source.end(result.map_err(|error| error.to_string()));
        wait = match failures {
            0 => REFRESH.mul_f64(1.0 - 0.1 * fastrand::f64()),
            tries => {
                (FIRST_TRY * (1 << (tries - 1).min(6))).min(LAST_TRY).mul_f64(1.0 - 0.1 * fastrand::f64())
            }
        };
    }
}

/// When keys that were taken over are to be fetched again.
fn due(source: &Source) -> Duration {
    source.keys().map_or(Duration::ZERO, |held| REFRESH.saturating_sub(held.since.0.elapsed()))
}

fn tell(source: &Arc<Source>, failure: Option<&fetch::FetchError>) {
    let place = source.location.text();
    let Some(why) = failure else { return tracing::info!(place, "keys fetched") };
    match source.after_failure(Instant::now()) {
        Left::Never => {
            tracing::warn!(place, "keys cannot be fetched, tokens of this issuer are refused: {why}")
        }
        Left::TooOld => tracing::error!(
            place,
            "keys could not be fetched for too long, tokens of this issuer are refused: {why}"
        ),
        Left::Good => {
            tracing::warn!(place, "keys cannot be fetched, those that were good stay in use: {why}");
        }
    }
}
