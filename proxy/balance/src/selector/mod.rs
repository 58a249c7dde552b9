//! How each policy chooses among endpoints.
//!
//! In:  weights and addresses, once; random numbers, hashes and load, at each pick.   Out: an index.
//! Invariants: a selector is as long as the list it was built for. With one endpoint or none, nobody asks.
//! Not here: keeping away from endpoints that were tried (`set`), except where a policy can do it for free.
//! Read: `alias` -> `least_request` -> `peak_ewma` -> `rotation` -> `ring` -> `maglev`.

mod alias;
mod least_request;
mod maglev;
mod peak_ewma;
mod ring;
mod rotation;

use crate::{Endpoint, PickContext};
use alias::AliasTable;
use least_request::LeastRequest;
use maglev::Maglev;
use peak_ewma::PeakEwma;
use ring::Ring;
use rotation::Rotation;
use sidle_model::ir::LoadBalancer;
use std::sync::Arc;

/// What a policy prepared.
#[derive(Debug)]
pub(crate) enum Selector {
    LeastRequest(LeastRequest),
    PeakEwma(PeakEwma),
    RoundRobin(Rotation),
    Random(AliasTable),
    RingHash(Ring),
    Maglev(Maglev),
}

impl Selector {
    /// Prepares; `previous` is the selector of the same policy that this one replaces.
    pub fn build(
        policy: &LoadBalancer,
        endpoints: &[Arc<Endpoint>],
        weights: &[u32],
        previous: Option<&Selector>,
    ) -> Self {
        match policy {
            LoadBalancer::LeastRequest => Selector::LeastRequest(LeastRequest::new(weights)),
            LoadBalancer::PeakEwma { decay } => Selector::PeakEwma(PeakEwma::new(weights, *decay)),
            LoadBalancer::RoundRobin => Selector::RoundRobin(match previous {
                Some(Selector::RoundRobin(rotation)) => rotation.succeed(weights),
                _ => Rotation::new(weights),
            }),
            LoadBalancer::Random => Selector::Random(AliasTable::new(weights)),
            LoadBalancer::RingHash { minimum_ring_size } => {
                Selector::RingHash(Ring::new(&keys(endpoints), weights, *minimum_ring_size))
            }
            LoadBalancer::Maglev { table_size } => {
                Selector::Maglev(Maglev::new(&keys(endpoints), weights, *table_size))
            }
        }
    }

    /// The index of an endpoint; `hash` is there for the hash policies and stays the same while a pick looks again, `attempt` counts
    /// from 0 while endpoints that were tried come up. `probing`: there are endpoints that get one request at a time.
    pub fn choose(
        &self,
        endpoints: &[Arc<Endpoint>],
        hash: Option<u64>,
        attempt: u32,
        probing: bool,
        context: &mut PickContext<'_>,
    ) -> usize {
        match self {
            Selector::LeastRequest(least) => least.choose(endpoints, probing, context),
            Selector::PeakEwma(peak) => peak.choose(endpoints, probing, context),
            Selector::RoundRobin(rotation) => rotation.next(context.random),
            Selector::Random(table) => table.sample((context.random)()),
            Selector::RingHash(ring) => ring.lookup(hash.unwrap_or_default(), attempt),
            Selector::Maglev(table) => table.lookup(hash.unwrap_or_default(), attempt),
        }
    }
}

/// What the hash policies know an endpoint by.
fn keys(endpoints: &[Arc<Endpoint>]) -> Vec<String> {
    endpoints.iter().map(|endpoint| endpoint.address.to_string()).collect()
}
