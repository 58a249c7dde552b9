//! When which endpoint is checked: one thread for all clusters of the process.
//!
//! In:  clusters of the configuration in force.   Out: checks, one at a time for each endpoint.
//! Invariants: no request waits for a check; no more than [`MOST_AT_ONCE`] are under way, and who has waited the longest is next; an
//! endpoint that stays is checked when it was to be, whatever is reloaded around it.
//! Not here: what a check asks and what follows from it (`upstream::health_check`).

use crate::{
    config::Snapshot,
    upstream::{
        Cluster,
        health_check::{self, Failure, Streak},
    },
};
use arc_swap::ArcSwap;
use foldhash::{HashMap, HashMapExt};
use sidle_balance::{Endpoint, EndpointState};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    sync::mpsc,
    task::{LocalSet, spawn_local},
};

/// Checks under way.
const MOST_AT_ONCE: usize = 128;
/// Between two looks: checks that end one after the other are looked at together.
const BREATH: Duration = Duration::from_millis(5);
/// Endpoints that come are seen within this.
const LOOK: Duration = Duration::from_millis(500);

/// What is known of an endpoint that is checked.
struct Host {
    cluster: Arc<Cluster>,
    endpoint: Arc<Endpoint>,
    streak: Streak,
    /// `None`: a check is under way.
    next: Option<Instant>,
    /// At the last look.
    seen: u64,
}

/// An endpoint's place in memory, which its state keeps for as long as anybody knows it.
type Key = *const EndpointState;

/// Starts the thread.
///
/// # Errors
/// The system's, if there can be none.
pub fn start(snapshot: Arc<ArcSwap<Snapshot>>) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let run = move || LocalSet::new().block_on(&runtime, check(snapshot));
    std::thread::Builder::new().name("sidle-health".into()).spawn(run).map(drop)
}

/// Checks until the process ends.
async fn check(snapshot: Arc<ArcSwap<Snapshot>>) {
    let (done, mut results) = mpsc::unbounded_channel::<(Key, Result<(), Failure>)>();
    let mut hosts: HashMap<Key, Host> = HashMap::new();
    let (mut under_way, mut look, mut ended) = (0, 0, Vec::new());
    loop {
        let now = Instant::now();
        look += 1;
        see(&snapshot.load(), &mut hosts, look, now);
        for (key, result) in ended.drain(..) {
            end(&mut hosts, key, look, &result);
        }
        let mut next = now + LOOK;
        let waiting = hosts.iter().filter_map(|(key, host)| Some((host.next?, *key)));
        let (due, later) = turn(waiting, now, MOST_AT_ONCE - under_way);
        next = later.map_or(next, |at| next.min(at.max(now + BREATH)));
        for key in due {
            let Some(host) = hosts.get_mut(&key) else { continue };
            let Some(settings) = host.cluster.config.health_check.clone() else { continue };
            under_way += 1;
            host.next = None;
            let (cluster, endpoint) = (host.cluster.clone(), host.endpoint.clone());
            let done = done.clone();
            spawn_local(async move {
                let _ = done.send((key, health_check::ask(&cluster, &endpoint, &settings).await));
            });
        }
        tokio::time::sleep(BREATH).await;
        tokio::select! {
            () = tokio::time::sleep_until(next.into()) => {}
            result = results.recv() => ended.extend(result),
        }
        ended.extend(std::iter::from_fn(|| results.try_recv().ok()));
        under_way -= ended.len();
    }
}

/// Whose turn it is, of those that wait until a time each: who has been due for the longest, as many as there is room for; and when the
/// next of the others is due. When there is always somebody due, everybody still comes by in turn.
fn turn<K>(
    waiting: impl Iterator<Item = (Instant, K)>,
    now: Instant,
    room: usize,
) -> (Vec<K>, Option<Instant>) {
    let (mut due, mut later) = (Vec::new(), None::<Instant>);
    for (at, key) in waiting {
        if at <= now {
            due.push((at, key));
        } else {
            later = Some(later.map_or(at, |later| later.min(at)));
        }
    }
    due.sort_unstable_by_key(|(at, _)| *at);
    later = due.get(room).map(|(at, _)| *at).or(later);
    due.truncate(room);
    (due.into_iter().map(|(_, key)| key).collect(), later)
}

/// Brings what is known up to the configuration and the endpoints of now.
fn see(snapshot: &Snapshot, hosts: &mut HashMap<Key, Host>, look: u64, now: Instant) {
    for (_, cluster) in snapshot.clusters.values().filter(|(_, cluster)| cluster.is_checked()) {
        for endpoint in cluster.endpoints.load().endpoints() {
            let host = hosts.entry(Arc::as_ptr(&endpoint.state)).or_insert_with(|| Host {
                cluster: cluster.clone(),
                endpoint: endpoint.clone(),
                streak: Streak::default(),
                next: Some(now),
                seen: look,
            });
            host.seen = look;
            if !Arc::ptr_eq(&host.cluster, cluster) || !Arc::ptr_eq(&host.endpoint, endpoint) {
                (host.cluster, host.endpoint) = (cluster.clone(), endpoint.clone());
            }
        }
    }
    // What is under way keeps its place until it ends.
    hosts.retain(|_, host| host.seen == look || host.next.is_none());
}

/// Notes what came of a check, and when the next one is due. It means nothing where nobody is checked any more.
fn end(hosts: &mut HashMap<Key, Host>, key: Key, look: u64, result: &Result<(), Failure>) {
    let Some(host) = hosts.get_mut(&key).filter(|host| host.seen == look) else {
        hosts.remove(&key);
        return;
    };
    host.cluster.checked(&host.endpoint, &mut host.streak, result);
    if let Some(settings) = &host.cluster.config.health_check {
        let jitter = settings.interval_jitter.mul_f64(fastrand::f64());
        host.next = Some(Instant::now() + settings.interval + jitter);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// More than can be asked at once, and all of them always due: each is asked as often as any other.
    #[test]
    fn everybody_comes_by_in_turn() {
        let began = Instant::now();
        let mut next = vec![began; 1_000];
        let mut asked = vec![0_u32; next.len()];
        for round in 0..100 {
            let now = began + Duration::from_secs(round);
            let (due, later) = turn(next.iter().copied().zip(0..), now, MOST_AT_ONCE);
            assert_eq!(due.len(), MOST_AT_ONCE);
            assert!(later.is_some_and(|at| at <= now), "the others are due as well");
            for (place, host) in due.into_iter().enumerate() {
                asked[host] += 1;
                next[host] = now + Duration::from_micros(1 + place as u64);
            }
        }
        let (least, most) = (asked.iter().min(), asked.iter().max());
        assert!(most.zip(least).is_some_and(|(most, least)| most - least <= 1), "{least:?} {most:?}");
    }

    #[test]
    fn nobody_is_asked_before_its_time() {
        let now = Instant::now();
        let soon = now + Duration::from_secs(1);
        assert_eq!(turn([(soon, 1), (now, 2)].into_iter(), now, 9), (vec![2], Some(soon)));
        assert_eq!(turn([(now, 2)].into_iter(), now, 9), (vec![2], None));
        assert_eq!(turn([(now, 2)].into_iter(), now, 0), (vec![], Some(now)));
    }
}
