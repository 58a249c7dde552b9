//! Which rules a request could meet at all.
//!
//! In:  rules.   Out: the places of those that may hold.
//! Invariants: a rule that is left out does not hold. A rule is found by one thing that each way to meet it asks for (every source, or
//! every operation, or all) and few other rules do: its principals, its paths; if there is none, it is always looked at.

use crate::{
    condition::keys,
    facts::Facts,
    subject::{Subject, View},
    text::TextMap,
};
use foldhash::HashMap;
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
        let ways: Vec<_> = rules.map(ways).collect();
        let counts = Counts::of(&ways);
        let mut index = Index::default();
        for (place, ways) in (0..).zip(ways) {
            let Some((subject, patterns)) = ways.into_iter().min_by_key(|way| counts.cost(way)) else {
                index.always.push(place);
                continue;
            };
            let map = place_of(&mut index.found, subject);
            for pattern in &patterns {
                map.insert(pattern, place);
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

/// A subject, and the patterns of which a request must meet one.
type Way = (Subject, Vec<TextPattern>);

/// How many rules ask for each pattern: what one rule alone asks for finds it best.
struct Counts(Vec<(Subject, HashMap<TextPattern, usize>)>);

impl Counts {
    fn of(rules: &[Vec<Way>]) -> Self {
        let mut counts = Vec::new();
        for (subject, patterns) in rules.iter().flatten() {
            let map: &mut HashMap<_, _> = place_of(&mut counts, subject.clone());
            for pattern in patterns {
                *map.entry(pattern.clone()).or_default() += 1;
            }
        }
        Counts(counts)
    }

    /// Rules that are looked at together with one that is found in this way; then how vague the way is.
    fn cost(&self, (subject, patterns): &Way) -> (usize, usize) {
        let counts = self.0.iter().find(|(known, _)| known == subject).map(|(_, counts)| counts);
        let count =
            |pattern: &TextPattern| counts.and_then(|counts| counts.get(pattern)).copied().unwrap_or(0);
        let vague = patterns.iter().filter(|pattern| !matches!(pattern, TextPattern::Exact(_))).count();
        (patterns.iter().map(count).max().unwrap_or(0), vague)
    }
}

/// What belongs to `subject`, made if it is missing.
fn place_of<T: Default>(list: &mut Vec<(Subject, T)>, subject: Subject) -> &mut T {
    let known = list.iter().position(|(known, _)| *known == subject);
    let at = known.unwrap_or(list.len());
    if known.is_none() {
        list.push((subject, T::default()));
    }
    &mut list[at].1
}

/// Everything that a rule could be found by.
fn ways(rule: &AuthorizationRule) -> Vec<Way> {
    let whens = rule.when.iter().filter_map(keys);
    whens.chain(every(&rule.from)).chain(every(&rule.to)).collect()
}

/// What every clause asks for.
fn every(clauses: &[ir::Clause]) -> Vec<Way> {
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
