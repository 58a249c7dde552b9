//! Which routes of a host a path can match at all, in list order.
//!
//! In:  the [`RouteMatch`]es of a host.   Out: the positions of candidates, ascending; a superset of those that match.
//! Invariants: a route that matches a path is always a candidate of it, so that the first candidate that matches is the first
//! route that matches. A candidate may come twice.
//! Not here: whether a candidate matches (`matcher`).
//!
//! A path is looked up in three places: whole, in a hash map; as something that begins with one of a sorted set of
//! prefixes; and, only if some route ignores case, the same in lower case. A regular expression stands under the literal
//! text that all its matches begin with. What is left without such a text is a candidate of every path.

use crate::host::lower_case;
use foldhash::fast::FixedState;
use regex_syntax::hir::literal::{ExtractKind, Extractor};
use sidle_model::{
    ir::{PathMatch, Pattern, RouteMatch},
    pause,
};
use smallvec::SmallVec;
use std::collections::{BTreeMap, HashMap};

/// Below this many routes, asking each is as cheap as the index.
const SCAN_BELOW: usize = 8;

/// A path with more lists of candidates than this, that is with so deeply nested prefixes, has its host's routes scanned.
const MAX_LISTS: usize = 8;

/// Positions of routes by path.
#[derive(Debug)]
pub(crate) struct PathIndex {
    exact: HashMap<Box<str>, Vec<u32>, FixedState>,
    prefixes: PrefixSet,
    /// Keys in lower case; of routes that ignore case, the exact ones too.
    folded: PrefixSet,
    /// Candidates of every path. They are not under an empty prefix, because comparing with an empty text is slow where the
    /// C library does it by masked vector loads.
    everywhere: Vec<u32>,
    connect: Vec<u32>,
}

/// The lists that hold the candidates of one path, each ascending.
type Lists<'i> = SmallVec<[&'i [u32]; MAX_LISTS]>;

impl PathIndex {
    /// `None` when so few routes are better scanned.
    pub(crate) fn new<'m>(matches: impl ExactSizeIterator<Item = &'m RouteMatch>) -> Option<Self> {
        if matches.len() < SCAN_BELOW {
            return None;
        }
        let mut exact: HashMap<Box<str>, Vec<u32>, FixedState> = HashMap::default();
        let mut prefixes = Prefixes::default();
        let mut folded = Prefixes::default();
        let (mut everywhere, mut connect) = (Vec::new(), Vec::new());
        for (at, route) in (0..).zip(pause::each(matches)) {
            match &route.path {
                PathMatch::Any => everywhere.push(at),
                PathMatch::Prefix(prefix) if prefix.is_empty() => everywhere.push(at),
                PathMatch::Exact(path) | PathMatch::Prefix(path) if route.ignore_case => {
                    folded.add(path.to_ascii_lowercase().as_bytes(), at);
                }
                PathMatch::Exact(path) => exact.entry((**path).into()).or_default().push(at),
                PathMatch::Prefix(prefix) => prefixes.add(prefix.as_bytes(), at),
                PathMatch::Regex(pattern) => match literal_prefixes(pattern) {
                    Some(literals) => literals.iter().for_each(|literal| prefixes.add(literal, at)),
                    None => everywhere.push(at),
                },
                PathMatch::Connect => connect.push(at),
            }
        }
        Some(PathIndex { exact, prefixes: prefixes.into(), folded: folded.into(), everywhere, connect })
    }

    /// The candidates of a path; `None`: too many nested prefixes, so every route is one.
    pub(crate) fn candidates(&self, path: &str) -> Option<Candidates<'_>> {
        let mut lists = Lists::new();
        lists.push(&self.everywhere[..]);
        if let Some(list) = self.exact.get(path) {
            lists.push(list);
        }
        let complete = self.prefixes.collect(path.as_bytes(), &mut lists)
            && (self.folded.is_empty() || self.folded.collect(lower_case(path).as_bytes(), &mut lists));
        complete.then_some(Candidates(lists))
    }

    /// The candidates of CONNECT.
    pub(crate) fn connect(&self) -> &[u32] {
        &self.connect
    }
}

/// Merges the lists.
pub(crate) struct Candidates<'i>(Lists<'i>);

impl Iterator for Candidates<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let list = self.0.iter_mut().filter(|list| !list.is_empty()).min_by_key(|list| list[0])?;
        let (first, rest) = list.split_first()?;
        *list = rest;
        Some(*first)
    }
}

/// A [`PrefixSet`] in the making.
#[derive(Default)]
struct Prefixes(BTreeMap<Box<[u8]>, Vec<u32>>);

impl Prefixes {
    fn add(&mut self, prefix: &[u8], at: u32) {
        match self.0.get_mut(prefix) {
            Some(list) => list.push(at),
            None => {
                self.0.insert(prefix.into(), vec![at]);
            }
        }
    }
}

/// Prefixes in order of their bytes, each with a link to the longest other one that it begins with.
///
/// All prefixes of a path lie on one chain of links, and that chain begins at the last prefix that is not after the path:
/// whatever lies between a prefix of the path and the path begins with that prefix too.
#[derive(Debug, Default)]
struct PrefixSet(Box<[Prefix]>);

#[derive(Debug)]
struct Prefix {
    text: Box<[u8]>,
    parent: Option<u32>,
    routes: Box<[u32]>,
}

impl From<Prefixes> for PrefixSet {
    fn from(sorted: Prefixes) -> Self {
        let mut set: Vec<Prefix> = Vec::with_capacity(sorted.0.len());
        for (text, routes) in sorted.0 {
            let mut parent = set.len().checked_sub(1).map(|last| last as u32);
            while let Some(at) = parent {
                let candidate = &set[at as usize];
                if text.starts_with(&candidate.text) {
                    break;
                }
                parent = candidate.parent;
            }
            set.push(Prefix { text, parent, routes: routes.into() });
        }
        PrefixSet(set.into())
    }
}

impl PrefixSet {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Pushes the routes of every prefix of `path`; `false` when there are too many.
    fn collect<'i>(&'i self, path: &[u8], lists: &mut Lists<'i>) -> bool {
        let after = self.0.partition_point(|prefix| *prefix.text <= *path);
        let mut next = after.checked_sub(1).map(|at| at as u32);
        while let Some(at) = next {
            let prefix = &self.0[at as usize];
            if path.starts_with(&prefix.text) {
                if lists.len() == MAX_LISTS {
                    return false;
                }
                lists.push(&prefix.routes);
            }
            next = prefix.parent;
        }
        true
    }
}

/// Texts of which every match of `pattern` begins with one; `None` when there is nothing so definite.
fn literal_prefixes(pattern: &Pattern) -> Option<Vec<Vec<u8>>> {
    // The whole pattern is anchored, so what a match begins with is what the path begins with.
    let hir = regex_syntax::ParserBuilder::new().utf8(false).build().parse(pattern.as_str()).ok()?;
    let mut literals =
        Extractor::new().kind(ExtractKind::Prefix).limit_class(2).limit_total(16).extract(&hir);
    literals.minimize_by_preference();
    let literals: Vec<_> = literals.literals()?.iter().map(|literal| literal.as_bytes().to_vec()).collect();
    let definite = !literals.is_empty() && literals.iter().all(|literal| !literal.is_empty());
    definite.then_some(literals)
}
