//! Which rules a request could meet at all.
//!
//! In:  rules.   Out: the places of those that may hold.
//! Invariants: a rule that is left out does not hold. A rule is found by one thing that each way to meet it asks for (every source, or
//! every operation, or all): its principals, its paths; if there is none, it is always looked at.

use crate::{
    condition::keys,
    facts::Facts,
    subject::{Subject, View},
    text::TextMap,
};
use sidle_model::ir::{self, AuthorizationRule, TextPattern};
use smallvec::SmallVec;

/// Places of rules.
pub(crate) type Places = SmallVec<[u32; 16]>;

/// Finds rules.
#[derive(Debug, Default)]
pub(crate) struct Index {
    always: Vec<u32>,
    found: Vec<(Subject, TextMap<u32>)>,
}

impl Index {
    /// Of `rules`, in their order.
    pub fn new<'r>(rules: impl Iterator<Item = &'r AuthorizationRule>) -> Self {
        let mut index = Index::default();
        for (place, rule) in (0..).zip(rules) {
            let Some((subject, patterns)) = pivot(rule) else {
                index.always.push(place);
                continue;
            };
            let map = match index.found.iter().position(|(known, _)| *known == subject) {
                Some(at) => at,
                None => {
                    index.found.push((subject, TextMap::default()));
                    index.found.len() - 1
                }
            };
            for pattern in &patterns {
                index.found[map].1.insert(pattern, place);
            }
        }
        index
    }

    /// The rules that may hold, in order.
    pub fn candidates<F: Facts>(&self, view: &View<'_, F>) -> Places {
        let mut places = Places::from_slice(&self.always);
        for (subject, map) in &self.found {
            subject.each(view, |text| map.each(text, |place| places.push(*place)));
        }
        places.sort_unstable();
        places.dedup();
        places
    }
}

/// What a rule is found by: of all that every way asks for, what tells most.
fn pivot(rule: &AuthorizationRule) -> Option<(Subject, Vec<TextPattern>)> {
    let whens = rule.when.iter().filter_map(keys);
    let sources = every(&rule.from);
    let operations = every(&rule.to);
    whens.chain(sources).chain(operations).min_by_key(|(subject, patterns)| {
        let vague = patterns.iter().filter(|pattern| !matches!(pattern, TextPattern::Exact(_))).count();
        let many = matches!(subject, Subject::Namespace | Subject::Host | Subject::ServerName);
        (many, vague, patterns.len())
    })
}

/// What every clause asks for.
fn every(clauses: &[ir::Clause]) -> Vec<(Subject, Vec<TextPattern>)> {
    let Some((first, others)) = clauses.split_first() else { return Vec::new() };
    let mut shared: Vec<_> = first.iter().filter_map(keys).collect();
    shared.retain_mut(|(subject, patterns)| {
        others.iter().all(|clause| {
            let same = clause.iter().filter_map(keys).find(|(other, _)| other == subject);
            same.is_some_and(|(_, more)| {
                patterns.extend(more);
                true
            })
        })
    });
    shared
}
