//! The one task that decides which endpoints are picked from: who is ejected, who comes back, whose share grows.
//!
//! In:  clusters of the configuration in force, and an [`Alarm`].   Out: their endpoints, swapped.
//! Invariants: nobody else decides; a cluster that was replaced is not looked at any more, what is known of its endpoints is.
//! Not here: the rules (`sidle_balance`), health checks (`health_checks`).

use crate::{
    config::Snapshot,
    upstream::{Alarm, Cluster},
};
use arc_swap::ArcSwap;
use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

/// Between two looks: whatever fails how often, deciding takes little of the processor.
const BREATH: Duration = Duration::from_millis(5);
/// How long nothing is looked at when nobody calls and no cluster is to be looked over.
const IDLE: Duration = Duration::from_secs(3600);

/// A cluster whose endpoints are looked over, and when they were last: all, and those whose share grows.
struct Watched {
    cluster: Arc<Cluster>,
    swept: Instant,
    grown: Instant,
}

/// Decides until the process ends.
pub async fn decide(snapshot: Arc<ArcSwap<Snapshot>>, alarm: Alarm) {
    let mut watched: Vec<Watched> = Vec::new();
    let mut generation = 0;
    loop {
        let now = Instant::now();
        let renewed = {
            let current = snapshot.load();
            let renewed = std::mem::replace(&mut generation, current.generation) != current.generation;
            if renewed {
                watched = watch(&current, &watched, now);
            }
            renewed
        };
        let mut next = now + IDLE;
        for Watched { cluster, swept, grown } in &mut watched {
            let interval = cluster.outliers.as_ref().map_or(IDLE, |outliers| outliers.interval());
            let sweep = now - *swept >= interval;
            if sweep {
                *swept = now;
            }
            let step = || cluster.endpoints.load().next_review();
            let due = step().is_some_and(|step| now - *grown >= step);
            if due {
                *grown = now;
            }
            cluster.decide(now, sweep, due || renewed);
            next = next.min(*swept + interval);
            if let Some(step) = step() {
                next = next.min(*grown + step);
            }
        }
        tokio::time::sleep(BREATH).await;
        tokio::select! {
            () = alarm.raised() => {}
            () = tokio::time::sleep_until(next.into()) => {}
        }
    }
}

/// The clusters of a snapshot that are to be looked at. Those that were there before are swept when they were to be.
fn watch(snapshot: &Snapshot, before: &[Watched], now: Instant) -> Vec<Watched> {
    let known: HashMap<_, _> =
        before.iter().map(|one| (&one.cluster.config.name, (one.swept, one.grown))).collect();
    let clusters = snapshot.clusters.values().map(|(_, cluster)| cluster);
    let watch = |cluster: &Arc<Cluster>| {
        let (swept, grown) = known.get(&cluster.config.name).copied().unwrap_or((now, now));
        Watched { cluster: cluster.clone(), swept, grown }
    };
    clusters.filter(|cluster| cluster.is_watched()).map(watch).collect()
}
