//! The gates of one snapshot: equal lists of providers share one, with that of the snapshot before.

use super::TokenGate;
use crate::{config::Snapshot, jwks};
use sidle_model::ir::JwtProvider;
use sidle_telemetry::{Telemetry, TokenMetrics};
use std::sync::Arc;

/// Compiles, each list of providers once.
pub struct TokenGates<'a> {
    sources: &'a jwks::Sources,
    before: &'a [Known],
    made: Vec<Known>,
    metrics: TokenMetrics,
}

type Known = (Arc<[JwtProvider]>, Arc<TokenGate>);

impl<'a> TokenGates<'a> {
    /// None yet.
    pub fn new(sources: &'a jwks::Sources, previous: Option<&'a Snapshot>, telemetry: &Telemetry) -> Self {
        // A gate holds on to the places that its keys are fetched from.
        let same = |previous: &&Snapshot| {
            let same = |(location, source)| sources.get(location).is_some_and(|now| Arc::ptr_eq(now, source));
            previous.keys.iter().all(same)
        };
        let before = previous.filter(same).map_or(&[][..], |previous| &previous.token_gates);
        TokenGates { sources, before, made: Vec::new(), metrics: telemetry.token_metrics() }
    }

    /// The gate of these providers.
    pub fn of(&mut self, providers: &Arc<[JwtProvider]>) -> Arc<TokenGate> {
        let known = |list: &[Known]| {
            let found = list.iter().find(|(known, _)| Arc::ptr_eq(known, providers) || known == providers);
            found.map(|(_, gate)| gate.clone())
        };
        if let Some(gate) = known(&self.made) {
            return gate;
        }
        let gate = known(self.before)
            .unwrap_or_else(|| Arc::new(TokenGate::build(providers, self.sources, self.metrics.clone())));
        self.made.push((providers.clone(), gate.clone()));
        gate
    }

    /// All of them.
    pub fn finish(self) -> Vec<Known> {
        self.made
    }
}
