//! How each policy chooses among endpoints.
//!
//! In:  weights and addresses, once; random numbers, hashes and load, at each pick.   Out: an index.
//! Invariants: a selector is as long as the list it was built for. With one endpoint or none, nobody asks.
//! Not here: keeping away from endpoints that were tried (`set`), except where a policy can do it for free.
//! Read: `alias` -> `least_request` -> `rotation` -> `ring` -> `maglev`.

mod alias;
mod least_request;
mod maglev;
mod ring;
mod rotation;

use crate::{Endpoint, PickContext};
use alias::AliasTable;
use least_request::LeastRequest;
use maglev::Maglev;
use ring::Ring;
use rotation::Rotation;
use sidle_model::ir::LoadBalancer;
use std::sync::Arc;

/// What a policy prepared.
#[derive(Debug)]
pub(crate) enum Selector {
    LeastRequest(LeastRequest),
    RoundRobin(Rotation),
    Random(AliasTable),
    RingHash(Ring),
    Maglev(Maglev),
}

impl Selector {
    /// Prepares; `previous` is the selector of the same policy that this one replaces.
    pub fn build(policy: &LoadBalancer, endpoints: &[Arc<Endpoint>], previous: Option<&Selector>) -> Self {
        let weights: Vec<u32> = endpoints.iter().map(|endpoint| endpoint.weight).collect();
        match policy {
            LoadBalancer::LeastRequest => Selector::LeastRequest(LeastRequest::new(&weights)),
            LoadBalancer::RoundRobin => Selector::RoundRobin(match previous {
                Some(Selector::RoundRobin(rotation)) => rotation.succeed(&weights),
                _ => Rotation::new(&weights),
            }),
            LoadBalancer::Random => Selector::Random(AliasTable::new(&weights)),
            LoadBalancer::RingHash { minimum_ring_size } => {
                Selector::RingHash(Ring::new(&keys(endpoints), &weights, *minimum_ring_size))
            }
            LoadBalancer::Maglev { table_size } => {
                Selector::Maglev(Maglev::new(&keys(endpoints), &weights, *table_size))
            }
        }
    }
}

/// What the hash policies know an endpoint by.
fn keys(endpoints: &[Arc<Endpoint>]) -> Vec<String> {
    endpoints.iter().map(|endpoint| endpoint.address.to_string()).collect()
}

/// One pick in progress: the hash stays the same while it looks again.
pub(crate) struct Chooser<'a> {
    selector: &'a Selector,
    hash: u64,
    /// Whether there are endpoints that get one request at a time.
    probing: bool,
}

impl<'a> Chooser<'a> {
    pub fn new(selector: &'a Selector, probing: bool, context: &mut PickContext<'_>) -> Self {
        let hash = match (selector, context.hash) {
            (Selector::RingHash(_) | Selector::Maglev(_), Some(hash)) => hash,
            (Selector::RingHash(_) | Selector::Maglev(_), None) => (context.random)(),
            _ => 0,
        };
        Chooser { selector, hash, probing }
    }

    /// Whether another endpoint would be better: this one was tried, or is being probed by a request that is not over.
    pub fn avoids(&self, endpoint: &Endpoint, context: &PickContext<'_>) -> bool {
        context.was_tried(endpoint) || self.probing && endpoint.state.is_busy_with_probe()
    }

    /// The index of an endpoint; `attempt` counts from 0 while endpoints that were tried come up.
    pub fn choose(
        &mut self,
        endpoints: &[Arc<Endpoint>],
        attempt: u32,
        context: &mut PickContext<'_>,
    ) -> usize {
        match self.selector {
            Selector::LeastRequest(least) => least.choose(endpoints, self.probing, context),
            Selector::RoundRobin(rotation) => rotation.next(context.random),
            Selector::Random(table) => table.sample((context.random)()),
            Selector::RingHash(ring) => ring.lookup(self.hash, attempt),
            Selector::Maglev(table) => table.lookup(self.hash, attempt),
        }
    }
}
