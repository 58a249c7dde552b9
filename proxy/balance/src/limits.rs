//! How much of a cluster is in use, and permits to use more.
//!
//! In:  a cluster's [`ClusterLimits`].   Out: a [`Permit`], or `None`: the request overflows (`UO`).
//! Invariants: never more permits of a kind than its limit at the time they were given; each is given back once, when it is
//! dropped. A lower limit takes nothing back. Usage outlives reloads; limits come with each call, from the request's snapshot.
//! Not here: requests of one connection, streams of one connection (the pools count those).

use crate::Earned;
use sidle_model::ir::ClusterLimits;
use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering::Relaxed},
};

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// Open connections.
    Connection,
    /// Requests that wait for a connection.
    Pending,
    /// Active requests.
    Request,
    /// Active retries.
    Retry,
}

/// How much of a cluster this process uses, over all workers.
#[derive(Debug, Default)]
pub struct ClusterUsage {
    connections: AtomicU32,
    pending: AtomicU32,
    requests: AtomicU32,
    retries: AtomicU32,
    earned: Earned,
}

impl ClusterUsage {
    /// A connection; `None` at the limit.
    pub fn try_acquire_connection(self: &Arc<Self>, limits: &ClusterLimits) -> Option<Permit> {
        self.try_acquire(Resource::Connection, || limits.max_connections)
    }

    /// A place in the line for a connection; `None` at the limit.
    pub fn try_acquire_pending(self: &Arc<Self>, limits: &ClusterLimits) -> Option<Permit> {
        self.try_acquire(Resource::Pending, || limits.max_pending_requests)
    }

    /// A request; `None` at the limit.
    pub fn try_acquire_request(self: &Arc<Self>, limits: &ClusterLimits) -> Option<Permit> {
        self.try_acquire(Resource::Request, || limits.max_requests)
    }

    /// A retry, to be held from its back-off to its end; `None` at the limit, or when the budget is spent.
    pub fn try_acquire_retry(self: &Arc<Self>, limits: &ClusterLimits) -> Option<Permit> {
        self.try_acquire(Resource::Retry, || self.retry_limit(limits))
    }

    /// The next try of a request, whose retries hold `held`; `None` at the limit, or where none has been earned.
    pub fn try_again(self: &Arc<Self>, limits: &ClusterLimits, held: Option<Permit>) -> Option<Permit> {
        let permit = held.or_else(|| self.try_acquire_retry(limits))?;
        (!limits.earned_retries || self.earned.spend()).then_some(permit)
    }

    /// A try that could have been retried went well.
    pub fn went_well(&self, limits: &ClusterLimits, is_retry: bool) {
        if limits.earned_retries {
            self.earned.earn(is_retry);
        }
    }

    /// Permits that are out.
    pub fn count(&self, resource: Resource) -> u32 {
        self.counter(resource).load(Relaxed)
    }

    /// How many retries may run now: the budget's share of active and pending requests, and never less than its minimum;
    /// the plain number where there is no budget.
    pub fn retry_limit(&self, limits: &ClusterLimits) -> u32 {
        let Some(budget) = limits.retry_budget else { return limits.max_retries };
        let active = u64::from(self.count(Resource::Request)) + u64::from(self.count(Resource::Pending));
        // Truncates, as Envoy does; a float too large for the integer becomes the largest integer.
        let share = (budget.percent / 100.0 * active as f64) as u32;
        share.max(budget.min_concurrency)
    }

    fn try_acquire(self: &Arc<Self>, resource: Resource, limit: impl Fn() -> u32) -> Option<Permit> {
        let counter = self.counter(resource);
        // The limit is read again when another worker was quicker: a budget may have changed with it.
        counter.fetch_update(Relaxed, Relaxed, |count| (count < limit()).then(|| count + 1)).ok()?;
        Some(Permit { usage: self.clone(), resource })
    }

    fn counter(&self, resource: Resource) -> &AtomicU32 {
        match resource {
            Resource::Connection => &self.connections,
            Resource::Pending => &self.pending,
            Resource::Request => &self.requests,
            Resource::Retry => &self.retries,
        }
    }
}

/// The right to one more; given back when it is dropped.
#[derive(Debug)]
#[must_use = "a permit that is dropped at once limits nothing"]
pub struct Permit {
    usage: Arc<ClusterUsage>,
    resource: Resource,
}

impl Permit {
    /// What it is for.
    pub fn resource(&self) -> Resource {
        self.resource
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.usage.counter(self.resource).fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sidle_model::ir::RetryBudget;

    fn limits(max: u32) -> ClusterLimits {
        ClusterLimits {
            max_connections: max,
            max_pending_requests: max,
            max_requests: max,
            max_retries: max,
            retry_budget: None,
            earned_retries: false,
            ..Default::default()
        }
    }

    fn acquire(usage: &Arc<ClusterUsage>, kind: u8, limits: &ClusterLimits) -> Option<Permit> {
        match kind {
            0 => usage.try_acquire_connection(limits),
            1 => usage.try_acquire_pending(limits),
            2 => usage.try_acquire_request(limits),
            _ => usage.try_acquire_retry(limits),
        }
    }

    const ALL: [Resource; 4] = [Resource::Connection, Resource::Pending, Resource::Request, Resource::Retry];

    proptest! {
        /// Against a plain model: any mix of acquiring and dropping, at limits that change.
        #[test]
        fn counts_are_the_permits_held(steps in prop::collection::vec((0..4u8, 0..6u32, any::<bool>()), 0..200)) {
            let usage = Arc::new(ClusterUsage::default());
            let mut held: Vec<Permit> = Vec::new();
            for (kind, max, give_back) in steps {
                let before = held.iter().filter(|p| p.resource() == ALL[kind as usize]).count() as u32;
                if give_back {
                    if let Some(at) = held.iter().position(|p| p.resource() == ALL[kind as usize]) {
                        drop(held.swap_remove(at));
                    }
                } else {
                    let permit = acquire(&usage, kind, &limits(max));
                    prop_assert_eq!(permit.is_some(), before < max);
                    held.extend(permit);
                }
                for resource in ALL {
                    let count = held.iter().filter(|p| p.resource() == resource).count() as u32;
                    prop_assert_eq!(usage.count(resource), count);
                }
            }
            drop(held);
            prop_assert!(ALL.iter().all(|&resource| usage.count(resource) == 0));
        }
    }

    #[test]
    fn threads_never_pass_the_limit_and_leak_nothing() {
        let (usage, limits) = (Arc::new(ClusterUsage::default()), limits(3));
        let (most, given) = (AtomicU32::new(0), AtomicU32::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for round in 0..5_000 {
                        let Some(permit) = usage.try_acquire_request(&limits) else { continue };
                        let now = given.fetch_add(1, Relaxed) + 1;
                        most.fetch_max(now, Relaxed);
                        if round % 16 == 0 {
                            std::thread::yield_now();
                        }
                        given.fetch_sub(1, Relaxed);
                        drop(permit);
                    }
                });
            }
        });
        assert!((1..=3).contains(&most.load(Relaxed)), "{most:?} permits at once");
        assert_eq!(usage.count(Resource::Request), 0);
    }

    #[test]
    fn a_request_holds_one_permit_and_pays_for_each_retry() {
        let usage = Arc::new(ClusterUsage::default());
        let limits = ClusterLimits::default();
        let mut held = None;
        for _ in 0..Earned::MOST {
            held = usage.try_again(&limits, held);
            assert!(held.is_some());
            assert_eq!(usage.count(Resource::Retry), 1);
        }
        assert!(usage.try_again(&limits, held).is_none(), "nothing went well");
        assert_eq!(usage.count(Resource::Retry), 0);
        let told = ClusterLimits { earned_retries: false, ..limits };
        assert!(usage.try_again(&told, None).is_some(), "the user has said how many");
    }

    #[test]
    fn a_budget_is_a_share_of_what_is_active_and_pending() {
        let usage = Arc::new(ClusterUsage::default());
        let mut limits = limits(u32::MAX);
        limits.max_retries = 0;
        limits.retry_budget = Some(RetryBudget { percent: 20.0, min_concurrency: 3 });
        assert_eq!(usage.retry_limit(&limits), 3, "the minimum, and not max_retries");
        let _active: Vec<_> = (0..30).map(|_| usage.try_acquire_request(&limits)).collect();
        let pending: Vec<_> = (0..14).map(|_| usage.try_acquire_pending(&limits)).collect();
        assert_eq!(usage.retry_limit(&limits), 8, "20 % of 44");
        let retries: Vec<_> = (0..20).filter_map(|_| usage.try_acquire_retry(&limits)).collect();
        assert_eq!(retries.len(), 8);
        drop(pending);
        assert_eq!(usage.retry_limit(&limits), 6);
        assert_eq!(usage.count(Resource::Retry), 8, "a smaller budget takes nothing back");
        assert!(usage.try_acquire_retry(&limits).is_none());
        limits.retry_budget = Some(RetryBudget { percent: f64::MAX, min_concurrency: 0 });
        assert_eq!(usage.retry_limit(&limits), u32::MAX);
    }
}
