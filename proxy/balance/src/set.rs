//! The endpoints of a cluster, ready to be picked from.
//!
//! In:  a policy and resolved endpoints.   Out: an [`Endpoint`] for each request.
//! Invariants: a set never changes; a new one is built and swapped in. Counters, and the turn of the round robin, move on
//! from the set before. Endpoints that are ejected are not among those that are picked from, so that a pick costs the same.
//! Not here: how each policy chooses (`selector`), who is ejected (`outlier`).

use crate::{
    Endpoint, EndpointSpec, EndpointState,
    selector::{Chooser, Selector},
};
use foldhash::{HashMap, HashMapExt, HashSet, HashSetExt};
use sidle_model::ir;
use std::sync::Arc;

/// How often a retry looks for an endpoint that was not tried yet, before it takes whatever comes. Istio's setting for Envoy
/// (`host_selection_retry_max_attempts`).
pub const MAX_RESELECTIONS: u32 = 5;

/// The endpoints of a cluster, ready to be picked from. Built by the control thread, read by every worker.
#[derive(Debug, Clone)]
pub struct EndpointSet {
    policy: ir::LoadBalancer,
    all: Choice,
    /// Those that are not ejected, where some are.
    usable: Option<Choice>,
    /// Whether one of them had just come back, and gets one request at a time.
    probing: bool,
}

/// Endpoints, and the selector that was made for them.
#[derive(Debug, Clone)]
struct Choice {
    endpoints: Vec<Arc<Endpoint>>,
    selector: Arc<Selector>,
}

/// What a pick depends on.
pub struct PickContext<'a> {
    /// Of the request, for ring hash and maglev; without it they choose at random, as Envoy does.
    pub hash: Option<u64>,
    /// Uniform over all `u64`.
    pub random: &'a mut dyn FnMut() -> u64,
    /// Endpoints that a retry would rather not see again; see [`MAX_RESELECTIONS`].
    pub tried: &'a [Arc<Endpoint>],
}

impl PickContext<'_> {
    pub(crate) fn was_tried(&self, endpoint: &Endpoint) -> bool {
        self.tried.iter().any(|tried| tried.is_same_place(endpoint))
    }
}

impl EndpointSet {
    /// Builds the set that follows `previous`, if there was one.
    ///
    /// Of two endpoints with one address the first counts, as in Envoy. An endpoint that did not change keeps its `Arc`; one
    /// that changed keeps its [`EndpointState`]. Tables of the hash policies are only built when an address or weight changed.
    pub fn build(
        policy: &ir::LoadBalancer,
        specs: Vec<EndpointSpec>,
        previous: Option<&EndpointSet>,
    ) -> Self {
        let endpoints = carry_over(specs, previous.map_or(&[], |set| &set.all.endpoints));
        let all = match previous.filter(|set| set.policy == *policy) {
            Some(set) => set.all.succeed(policy, endpoints),
            None => Choice { selector: Arc::new(Selector::build(policy, &endpoints, None)), endpoints },
        };
        EndpointSet { policy: policy.clone(), all, usable: None, probing: false }
    }

    /// The set without those of its endpoints that are ejected now, as long as at least `min_health_percent` of all are left:
    /// when more seem to be ill, it is not they, and all of them are used. `previous` is the set that this one follows.
    #[must_use]
    pub fn without_ejected(mut self, min_health_percent: u8, previous: Option<&EndpointSet>) -> Self {
        let all = &self.all.endpoints;
        let fit: Vec<_> = all.iter().filter(|endpoint| !endpoint.state.is_ejected()).cloned().collect();
        self.probing = fit.iter().any(|endpoint| endpoint.state.health.is_probed());
        let enough = fit.len() * 100 >= all.len() * usize::from(min_health_percent);
        self.usable = (!fit.is_empty() && fit.len() < all.len() && enough).then(|| {
            let previous = previous.filter(|set| set.policy == self.policy);
            let known = previous.and_then(|set| set.usable.as_ref()).unwrap_or(&self.all);
            known.succeed(&self.policy, fit)
        });
        self
    }

    /// The set as it is to be now that others are ejected than when it was made; `None` if nothing changes.
    pub fn reviewed(&self, min_health_percent: u8) -> Option<Self> {
        let is_trusted =
            |endpoint: &Arc<Endpoint>| !endpoint.state.is_ejected() && !endpoint.state.health.is_probed();
        if self.usable.is_none() && !self.probing && self.all.endpoints.iter().all(is_trusted) {
            return None;
        }
        let next = self.clone().without_ejected(min_health_percent, Some(self));
        let same = match (&self.usable, &next.usable) {
            (Some(before), Some(after)) => Arc::ptr_eq(&before.selector, &after.selector),
            (before, after) => before.is_none() && after.is_none(),
        };
        (!same || self.probing != next.probing).then_some(next)
    }

    /// How many of its endpoints are ejected.
    pub fn ejected(&self) -> usize {
        self.all.endpoints.iter().filter(|endpoint| endpoint.state.is_ejected()).count()
    }

    /// Tells the endpoints that `next`, which takes this set's place, no longer holds.
    pub fn leave_for(&self, next: &EndpointSet) {
        let kept: HashSet<_> = next.endpoints().iter().map(|endpoint| Arc::as_ptr(&endpoint.state)).collect();
        for endpoint in self.endpoints().iter().filter(|e| !kept.contains(&Arc::as_ptr(&e.state))) {
            endpoint.state.leave();
        }
    }

    /// In the order in which they were given, ejected ones too.
    pub fn endpoints(&self) -> &[Arc<Endpoint>] {
        &self.all.endpoints
    }

    /// How it chooses.
    pub fn policy(&self) -> &ir::LoadBalancer {
        &self.policy
    }

    /// Chooses an endpoint; `None` only if there is none.
    pub fn pick(&self, context: &mut PickContext<'_>) -> Option<&Arc<Endpoint>> {
        let Choice { endpoints, selector } = self.usable.as_ref().unwrap_or(&self.all);
        if endpoints.len() < 2 {
            return endpoints.first();
        }
        let mut chooser = Chooser::new(selector, self.probing, context);
        let mut picked = &endpoints[chooser.choose(endpoints, 0, context)];
        for attempt in 1..=MAX_RESELECTIONS {
            if !chooser.avoids(picked, context) {
                break;
            }
            picked = &endpoints[chooser.choose(endpoints, attempt, context)];
        }
        Some(picked)
    }
}

impl Choice {
    /// The choice that follows this one, with the same policy.
    fn succeed(&self, policy: &ir::LoadBalancer, endpoints: Vec<Arc<Endpoint>>) -> Choice {
        let selector = match same_choices(&self.endpoints, &endpoints) {
            true => self.selector.clone(),
            false => Arc::new(Selector::build(policy, &endpoints, Some(&self.selector))),
        };
        Choice { endpoints, selector }
    }
}

/// Makes endpoints, with the state of those that were there before.
fn carry_over(specs: Vec<EndpointSpec>, previous: &[Arc<Endpoint>]) -> Vec<Arc<Endpoint>> {
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
            None => Arc::new(Endpoint::new(spec, Arc::new(EndpointState::default()))),
        });
    }
    endpoints
}

/// Whether a selector made for one also fits the other: addresses and weights in the same order.
fn same_choices(before: &[Arc<Endpoint>], after: &[Arc<Endpoint>]) -> bool {
    before.len() == after.len()
        && before.iter().zip(after).all(|(b, a)| b.weight == a.weight && b.is_same_place(a))
}

#[cfg(test)]
pub(crate) mod tests;
