//! The endpoints of a cluster, ready to be picked from.
//!
//! In:  a policy and resolved endpoints.   Out: an [`Endpoint`] for each request.
//! Invariants: a set never changes; a new one is built and swapped in. Counters, and the turn of the round robin, move on
//! from the set before. Endpoints that are kept out are not among those that are picked from, and shares are settled when a set is made, so that
//! a pick costs the same.
//! Not here: how each policy chooses (`selector`), who is ejected (`outlier`), health checks (`proxy/src/upstream`).
//! Read: `policy` -> `level` (priorities) -> `group` (localities) -> `warm_up` -> here.

mod group;
mod level;
mod policy;
mod warm_up;

pub use policy::SetPolicy;

use crate::{Endpoint, EndpointSpec, EndpointState};
use foldhash::{HashMap, HashMapExt, HashSet, HashSetExt};
use group::Group;
use level::Level;
use sidle_model::ir;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// How often a retry looks for an endpoint that was not tried yet, before it takes whatever comes. Istio's setting for Envoy
/// (`host_selection_retry_max_attempts`).
pub const MAX_RESELECTIONS: u32 = 5;

/// After so many tries, a retry that may go far leaves out the priorities that were tried. Istio's setting for Envoy
/// (`update_frequency`).
const TRIES_OF_PRIORITIES: usize = 2;

/// The endpoints of a cluster, ready to be picked from. Built by the control thread, read by every worker.
#[derive(Debug, Clone)]
pub struct EndpointSet {
    policy: Arc<SetPolicy>,
    endpoints: Vec<Arc<Endpoint>>,
    /// At least one.
    groups: Vec<Group>,
    levels: Vec<Level>,
    /// Whether one of them had just come back, and gets one request at a time.
    probing: bool,
    /// Whether one of them does not get its whole share yet.
    warming: bool,
    /// Endpoints that were not kept out when the set was made.
    healthy: usize,
}

/// What a pick depends on.
pub struct PickContext<'a> {
    /// Of the request, for ring hash and maglev; without it they choose at random, as Envoy does.
    pub hash: Option<u64>,
    /// Uniform over all `u64`.
    pub random: &'a mut dyn FnMut() -> u64,
    /// The time, asked only where endpoints are chosen by it.
    pub now: &'a dyn Fn() -> Instant,
    /// Endpoints that a retry would rather not see again; see [`MAX_RESELECTIONS`].
    pub tried: &'a [Arc<Endpoint>],
    /// Where earlier tries went, if a retry is to go to other priorities than they.
    pub leave: &'a [Arc<Endpoint>],
}

impl PickContext<'_> {
    pub(crate) fn was_tried(&self, endpoint: &Endpoint) -> bool {
        self.tried.iter().any(|tried| tried.is_same_place(endpoint))
    }

    /// Whether the tries so far are to be kept from this priority.
    fn leaves(&self, priority: u32) -> bool {
        let counted = self.leave.len() - self.leave.len() % TRIES_OF_PRIORITIES;
        self.leave[..counted].iter().any(|tried| tried.priority == priority)
    }
}

impl EndpointSet {
    /// Builds the set that follows `previous`, if there was one.
    ///
    /// Of two endpoints with one address the first counts, as in Envoy. An endpoint that did not change keeps its `Arc`; one
    /// that changed keeps its [`EndpointState`]. Tables of the hash policies are only built when an address or weight changed.
    /// Endpoints that are kept out now are left out.
    pub fn build(
        policy: &SetPolicy,
        specs: Vec<EndpointSpec>,
        previous: Option<&EndpointSet>,
        now: Instant,
    ) -> Self {
        let endpoints = carry_over(policy, specs, previous.map_or(&[], |set| &set.endpoints), now);
        let policy = match previous {
            Some(set) if *set.policy == *policy => set.policy.clone(),
            _ => Arc::new(policy.clone()),
        };
        let same = previous.filter(|set| set.policy.load_balancer == policy.load_balancer);
        Self::arrange(policy, endpoints, same.map_or(&[], |set| &set.groups), now)
    }

    fn arrange(
        policy: Arc<SetPolicy>,
        endpoints: Vec<Arc<Endpoint>>,
        before: &[Group],
        now: Instant,
    ) -> Self {
        let (groups, levels) = group::arrange(&policy, &endpoints, before, now);
        let used = || groups.iter().flat_map(|group| &group.choice().endpoints);
        EndpointSet {
            probing: used().any(|endpoint| endpoint.state.health.is_probed()),
            warming: used().any(|endpoint| is_warming(&policy, endpoint, now)),
            healthy: endpoints.iter().filter(|endpoint| policy.uses(endpoint)).count(),
            policy,
            endpoints,
            groups,
            levels,
        }
    }

    /// The set as it is to be now that others are kept out than when it was made, or that time has passed; `None` if nothing changes.
    pub fn reviewed(&self, now: Instant) -> Option<Self> {
        let is_settled = |endpoint: &Arc<Endpoint>| {
            self.policy.uses(endpoint)
                && !endpoint.state.health.is_probed()
                && !is_warming(&self.policy, endpoint, now)
        };
        let whole = !self.groups.iter().any(Group::is_short);
        if whole
            && self.healthy == self.endpoints.len()
            && !self.probing
            && !self.warming
            && self.endpoints.iter().all(is_settled)
        {
            return None;
        }
        let next = Self::arrange(self.policy.clone(), self.endpoints.clone(), &self.groups, now);
        let same = self.groups.len() == next.groups.len()
            && self.groups.iter().zip(&next.groups).all(|(before, after)| before.is_same(after))
            && self.levels == next.levels;
        let same =
            same && (self.probing, self.warming, self.healthy) == (next.probing, next.warming, next.healthy);
        (!same).then_some(next)
    }

    /// When to look over it again, if time alone changes it.
    pub fn next_review(&self) -> Option<Duration> {
        self.policy.slow_start.as_ref().filter(|_| self.warming).map(warm_up::step)
    }

    /// How many of its endpoints are ejected.
    pub fn ejected(&self) -> usize {
        self.endpoints.iter().filter(|endpoint| endpoint.state.is_ejected()).count()
    }

    /// How many of its endpoints were not kept out when it was made.
    pub fn healthy(&self) -> usize {
        self.healthy
    }

    /// Whether `other` is another selection of the very same endpoints.
    pub fn is_of_same_endpoints(&self, other: &EndpointSet) -> bool {
        self.endpoints.len() == other.endpoints.len()
            && self.endpoints.iter().zip(&other.endpoints).all(|(a, b)| Arc::ptr_eq(a, b))
    }

    /// Tells the endpoints that `next`, which takes this set's place, no longer holds.
    pub fn leave_for(&self, next: &EndpointSet) {
        let kept: HashSet<_> = next.endpoints().iter().map(|endpoint| Arc::as_ptr(&endpoint.state)).collect();
        for endpoint in self.endpoints().iter().filter(|e| !kept.contains(&Arc::as_ptr(&e.state))) {
            endpoint.state.leave();
        }
    }

    /// In the order in which they were given, those that are kept out too.
    pub fn endpoints(&self) -> &[Arc<Endpoint>] {
        &self.endpoints
    }

    /// What it was made by.
    pub fn policy(&self) -> &SetPolicy {
        &self.policy
    }

    /// Chooses an endpoint; `None` only if there is none, or each has failed its health checks and nobody is to be trusted then.
    pub fn pick(&self, context: &mut PickContext<'_>) -> Option<&Arc<Endpoint>> {
        if let [only] = &self.groups[..]
            && only.choice().endpoints.len() < 2
        {
            return only.choice().endpoints.first();
        }
        let hash = self.hash(context);
        let mut picked = self.pick_once(hash, 0, context)?;
        for attempt in 1..=MAX_RESELECTIONS {
            let avoided = context.was_tried(picked) || self.probing && picked.state.is_busy_with_probe();
            if !avoided {
                break;
            }
            picked = self.pick_once(hash, attempt, context)?;
        }
        Some(picked)
    }

    /// What a hash policy looks for, at each attempt of a pick.
    fn hash(&self, context: &mut PickContext<'_>) -> Option<u64> {
        match self.policy.load_balancer {
            ir::LoadBalancer::RingHash { .. } | ir::LoadBalancer::Maglev { .. } => {
                Some(context.hash.unwrap_or_else(|| (context.random)()))
            }
            ir::LoadBalancer::LeastRequest
            | ir::LoadBalancer::PeakEwma { .. }
            | ir::LoadBalancer::RoundRobin
            | ir::LoadBalancer::Random => None,
        }
    }

    fn pick_once(
        &self,
        hash: Option<u64>,
        attempt: u32,
        context: &mut PickContext<'_>,
    ) -> Option<&Arc<Endpoint>> {
        let choice = match &self.groups[..] {
            [only] => only.choice(),
            _ => self.draw(hash, context)?.choice(),
        };
        match &choice.endpoints[..] {
            [] => None,
            [only] => Some(only),
            endpoints => {
                let at = choice.selector.choose(endpoints, hash, attempt, self.probing, context);
                Some(&endpoints[at])
            }
        }
    }

    /// Draws a group, by the shares of priorities and, within one, of localities.
    fn draw(&self, hash: Option<u64>, context: &mut PickContext<'_>) -> Option<&Group> {
        let drawn = hash.unwrap_or_else(|| (context.random)());
        let percent = (drawn % 100) as u32;
        let level = level::level_at(&self.levels, percent, |level| context.leaves(level.priority))
            .or_else(|| level::level_at(&self.levels, percent, |_| false))?;
        let groups = &self.groups[level.groups.clone()];
        let within = drawn.rotate_left(32);
        groups.iter().find(|group| within <= group.until)
    }
}

fn is_warming(policy: &SetPolicy, endpoint: &Endpoint, now: Instant) -> bool {
    policy.slow_start.as_ref().is_some_and(|settings| warm_up::is_warming(settings, endpoint, now))
}

/// Makes endpoints, with the state of those that were there before.
fn carry_over(
    policy: &SetPolicy,
    specs: Vec<EndpointSpec>,
    previous: &[Arc<Endpoint>],
    now: Instant,
) -> Vec<Arc<Endpoint>> {
    let mut before = HashMap::with_capacity(previous.len());
    before.extend(previous.iter().map(|endpoint| (&endpoint.address, endpoint)));
    let mut seen = HashSet::with_capacity(specs.len());
    let mut endpoints = Vec::with_capacity(specs.len());
    for spec in specs {
        if !seen.insert(spec.address.clone()) {
            continue;
        }
        endpoints.push(match before.get(&spec.address) {
            Some(endpoint) if endpoint.is(&spec) => Arc::clone(endpoint),
            Some(endpoint) => Arc::new(Endpoint::new(spec, endpoint.state.clone())),
            None => Arc::new(Endpoint::new(spec, Arc::new(EndpointState::new(now, policy.is_checked)))),
        });
    }
    endpoints
}

#[cfg(test)]
pub(crate) mod tests;
