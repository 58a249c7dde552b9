//! What happens at an endpoint now: counters that every worker shares.
//!
//! In:  guards, and results.   Out: load for the balancers, figures for admin.
//! Invariants: a guard gives back exactly what it took. All counters are relaxed: they inform, they do not order anything.
//! Not here: metrics by cluster (`sidle-telemetry`).

use crate::{Endpoint, PeakEwma, outlier::Health};
use std::ops::Deref;
use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed},
};
use std::time::{Duration, Instant};

/// Live counters of one address of one cluster.
///
/// In the order in which they stand here: what requests write is on one cache line, which workers take from each other once when a
/// request begins and once when it ends, and what they only read is on others.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct EndpointState {
    active_requests: AtomicU32,
    active_connections: AtomicU32,
    requests: AtomicU64,
    successes: AtomicU64,
    errors: AtomicU64,
    timeouts: AtomicU64,
    connections: AtomicU64,
    connect_failures: AtomicU64,
    /// When its share began to grow. Only for who makes sets; never on a request's way.
    since: Mutex<Option<Instant>>,
    left: AtomicBool,
    active_check: AtomicU8,
    pub(crate) health: Health,
    /// How long it takes to answer; recorded only where it is asked for.
    pub latency: PeakEwma,
}

/// How a request ended, for the endpoint's figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestResult {
    /// A response below 500.
    Success,
    /// A response of 500 or more, or none at all.
    Error,
    /// The endpoint took too long.
    Timeout,
}

/// The counters at one moment. Names in brackets are those of Envoy's `/clusters`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EndpointCounts {
    /// Requests that are not over (`rq_active`).
    pub active_requests: u32,
    /// Connections that are open (`cx_active`).
    pub active_connections: u32,
    /// Requests sent (`rq_total`).
    pub requests: u64,
    /// Responses below 500 (`rq_success`).
    pub successes: u64,
    /// Responses of 500 or more, and resets (`rq_error`).
    pub errors: u64,
    /// Requests that took too long (`rq_timeout`).
    pub timeouts: u64,
    /// Connections made (`cx_total`).
    pub connections: u64,
    /// Connections that could not be made (`cx_connect_fail`).
    pub connect_failures: u64,
}

/// What health checks say of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActiveCheck {
    /// Nothing: there are none, or there were none when it came.
    Unknown,
    /// Nothing yet.
    Pending,
    /// It is well.
    Passed,
    /// It is not.
    Failed,
}

impl ActiveCheck {
    const ALL: [ActiveCheck; 4] =
        [ActiveCheck::Unknown, ActiveCheck::Pending, ActiveCheck::Passed, ActiveCheck::Failed];
}

impl EndpointState {
    /// Of an endpoint that comes now; `is_checked`: it is not to be used before it has passed a health check.
    pub fn new(now: Instant, is_checked: bool) -> Self {
        let state = EndpointState { since: Mutex::new(Some(now)), ..Default::default() };
        if is_checked {
            state.active_check.store(ActiveCheck::Pending as u8, Relaxed);
        }
        state
    }

    /// What health checks say of it.
    pub fn active_check(&self) -> ActiveCheck {
        ActiveCheck::ALL[usize::from(self.active_check.load(Relaxed))]
    }

    /// Notes what health checks say of it. One that is well again, or for the first time, begins with a small share, if the cluster has
    /// a slow start.
    pub fn set_active_check(&self, says: ActiveCheck, now: Instant) {
        let before = self.active_check.swap(says as u8, Relaxed);
        if says == ActiveCheck::Passed && before != says as u8 && before != ActiveCheck::Unknown as u8 {
            *self.since.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
        }
    }

    /// How long it has been there, or well; `None`: as long as anybody cares.
    pub(crate) fn age(&self, now: Instant) -> Option<Duration> {
        let since = *self.since.lock().unwrap_or_else(PoisonError::into_inner);
        since.map(|since| now.saturating_duration_since(since))
    }

    /// Forgets what health checks have found: there are none any more.
    pub fn forget_checks(&self) {
        self.active_check.store(ActiveCheck::Unknown as u8, Relaxed);
    }

    /// Requests that are not over, from every worker.
    pub fn active_requests(&self) -> u32 {
        self.active_requests.load(Relaxed)
    }

    /// Says that the address has left its cluster: nothing is to be kept open for it.
    pub fn leave(&self) {
        self.left.store(true, Relaxed);
    }

    /// Whether it has.
    pub fn has_left(&self) -> bool {
        self.left.load(Relaxed)
    }

    /// Whether outlier detection keeps it out.
    pub fn is_ejected(&self) -> bool {
        self.health.is_ejected()
    }

    /// Whether it is being tried after it was kept out, by a request that is not over.
    pub(crate) fn is_busy_with_probe(&self) -> bool {
        self.health.is_probed() && self.active_requests() > 0
    }

    /// Forgets what outlier detection has found: it is no longer on.
    pub fn forget_ejections(&self) {
        self.health.forget();
    }

    /// Counts how a request ended. A request that the client gave up is not counted here.
    pub fn record(&self, result: RequestResult) {
        let counter = match result {
            RequestResult::Success => &self.successes,
            RequestResult::Error => &self.errors,
            RequestResult::Timeout => &self.timeouts,
        };
        counter.fetch_add(1, Relaxed);
    }

    /// Counts a connection that could not be made.
    pub fn record_connect_failure(&self) {
        self.connect_failures.fetch_add(1, Relaxed);
    }

    /// All counters. They are read one after the other, so a busy endpoint's may disagree by a few.
    pub fn counts(&self) -> EndpointCounts {
        EndpointCounts {
            active_requests: self.active_requests.load(Relaxed),
            active_connections: self.active_connections.load(Relaxed),
            requests: self.requests.load(Relaxed),
            successes: self.successes.load(Relaxed),
            errors: self.errors.load(Relaxed),
            timeouts: self.timeouts.load(Relaxed),
            connections: self.connections.load(Relaxed),
            connect_failures: self.connect_failures.load(Relaxed),
        }
    }
}

/// A request that is not over. Held until the last byte of its response, so that long streams count as load.
///
/// It keeps its endpoint as `E`, which may be shared by those who count requests on one thread alone.
#[derive(Debug)]
pub struct ActiveRequest<E: Deref<Target = Endpoint> = Arc<Endpoint>> {
    endpoint: E,
}

impl<E: Deref<Target = Endpoint>> ActiveRequest<E> {
    /// Counts the request at its endpoint.
    pub fn start(endpoint: E) -> Self {
        endpoint.state.active_requests.fetch_add(1, Relaxed);
        endpoint.state.requests.fetch_add(1, Relaxed);
        ActiveRequest { endpoint }
    }

    /// Where the request went.
    pub fn endpoint(&self) -> &E {
        &self.endpoint
    }
}

impl<E: Deref<Target = Endpoint>> Drop for ActiveRequest<E> {
    fn drop(&mut self) {
        self.endpoint.state.active_requests.fetch_sub(1, Relaxed);
    }
}

/// A connection that is open.
#[derive(Debug)]
pub struct ActiveConnection {
    endpoint: Arc<Endpoint>,
}

impl ActiveConnection {
    /// Counts the connection at its endpoint.
    pub fn open(endpoint: Arc<Endpoint>) -> Self {
        endpoint.state.active_connections.fetch_add(1, Relaxed);
        endpoint.state.connections.fetch_add(1, Relaxed);
        ActiveConnection { endpoint }
    }

    /// Where it goes.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }
}

impl Drop for ActiveConnection {
    fn drop(&mut self) {
        self.endpoint.state.active_connections.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::set::tests::endpoints;

    #[test]
    fn guards_give_back_what_they_took() {
        let endpoint = endpoints(&[1]).remove(0);
        let first = ActiveRequest::start(endpoint.clone());
        let second = ActiveRequest::start(endpoint.clone());
        let connection = ActiveConnection::open(endpoint.clone());
        drop(first);
        endpoint.state.record(RequestResult::Success);
        endpoint.state.record(RequestResult::Timeout);
        endpoint.state.record(RequestResult::Error);
        endpoint.state.record(RequestResult::Error);
        endpoint.state.record_connect_failure();
        let counts = endpoint.state.counts();
        assert_eq!((counts.active_requests, counts.requests), (1, 2));
        assert_eq!((counts.active_connections, counts.connections), (1, 1));
        assert_eq!((counts.successes, counts.errors, counts.timeouts), (1, 2, 1));
        drop((second, connection));
        let counts = endpoint.state.counts();
        assert_eq!((counts.active_requests, counts.active_connections, counts.connect_failures), (0, 0, 1));
    }
}
