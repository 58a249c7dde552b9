//! The endpoints of a cluster, ready to be picked from.
//!
//! In:  a policy and resolved endpoints.   Out: an [`Endpoint`] for each request.
//! Invariants: a set never changes; a new one is built and swapped in. Counters, and the turn of the round robin, move on
//! from the set before.
//! Not here: how each policy chooses (`selector`).

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
#[derive(Debug)]
pub struct EndpointSet {
    policy: ir::LoadBalancer,
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
        let endpoints = carry_over(specs, previous.map_or(&[], |set| &set.endpoints));
        let selector = match previous {
            Some(set) if set.policy == *policy && same_choices(&set.endpoints, &endpoints) => {
                set.selector.clone()
            }
            Some(set) if set.policy == *policy => {
                Arc::new(Selector::build(policy, &endpoints, Some(&set.selector)))
            }
            _ => Arc::new(Selector::build(policy, &endpoints, None)),
        };
        EndpointSet { policy: policy.clone(), endpoints, selector }
    }

    /// Tells the endpoints that `next`, which takes this set's place, no longer holds.
    pub fn leave_for(&self, next: &EndpointSet) {
        let kept: HashSet<_> = next.endpoints.iter().map(|endpoint| Arc::as_ptr(&endpoint.state)).collect();
        for endpoint in self.endpoints.iter().filter(|e| !kept.contains(&Arc::as_ptr(&e.state))) {
            endpoint.state.leave();
        }
    }

    /// In the order in which they were given.
    pub fn endpoints(&self) -> &[Arc<Endpoint>] {
        &self.endpoints
    }

    /// How it chooses.
    pub fn policy(&self) -> &ir::LoadBalancer {
        &self.policy
    }

    /// Chooses an endpoint; `None` only if there is none.
    pub fn pick(&self, context: &mut PickContext<'_>) -> Option<&Arc<Endpoint>> {
        if self.endpoints.len() < 2 {
            return self.endpoints.first();
        }
        let mut chooser = Chooser::new(&self.selector, context);
        let mut picked = &self.endpoints[chooser.choose(&self.endpoints, 0, context)];
        for attempt in 1..=MAX_RESELECTIONS {
            if !context.was_tried(picked) {
                break;
            }
            picked = &self.endpoints[chooser.choose(&self.endpoints, attempt, context)];
        }
        Some(picked)
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
