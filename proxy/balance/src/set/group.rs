//! Groups: the endpoints of a priority, or of a locality in it where localities have weights.
//!
//! Invariants: of a group that is chosen, those that are well are picked from, or all of them where it panics.

use super::{
    SetPolicy,
    level::{self, Level, Standing},
    warm_up,
};
use crate::{ActiveCheck, Endpoint, selector::Selector};
use std::{sync::Arc, time::Instant};

/// Endpoints that are chosen together.
#[derive(Debug, Clone)]
pub(super) struct Group {
    priority: u32,
    /// Empty where localities have no weights.
    locality: Arc<str>,
    all: Choice,
    /// Those that are not kept out, where some are.
    usable: Option<Choice>,
    /// Where its share of its priority ends, of all `u64`.
    pub until: u64,
}

/// Endpoints, and the selector that was made for them.
#[derive(Debug, Clone)]
pub(super) struct Choice {
    pub endpoints: Vec<Arc<Endpoint>>,
    pub weights: Vec<u32>,
    pub selector: Arc<Selector>,
}

impl Choice {
    /// The choice that follows `previous`, if that was made by the same policy.
    fn build(
        policy: &SetPolicy,
        endpoints: Vec<Arc<Endpoint>>,
        previous: Option<&Choice>,
        now: Instant,
    ) -> Self {
        let weights = warm_up::weights(policy.slow_start.as_ref(), &endpoints, now);
        let selector = match previous {
            Some(previous) if previous.fits(&endpoints, &weights) => previous.selector.clone(),
            _ => {
                let known = previous.map(|choice| &*choice.selector);
                Arc::new(Selector::build(&policy.load_balancer, &endpoints, &weights, known))
            }
        };
        Choice { endpoints, weights, selector }
    }

    /// Whether its selector fits these too: addresses and weights in the same order.
    fn fits(&self, endpoints: &[Arc<Endpoint>], weights: &[u32]) -> bool {
        self.weights == weights
            && self.endpoints.len() == endpoints.len()
            && self.endpoints.iter().zip(endpoints).all(|(before, after)| before.is_same_place(after))
    }
}

impl Group {
    /// What is picked from.
    pub fn choice(&self) -> &Choice {
        self.usable.as_ref().unwrap_or(&self.all)
    }

    /// Whether some of its endpoints are not picked from.
    pub fn is_short(&self) -> bool {
        self.usable.is_some()
    }

    /// Whether a pick would do the same in both.
    pub fn is_same(&self, other: &Group) -> bool {
        Arc::ptr_eq(&self.choice().selector, &other.choice().selector)
            && self.usable.is_some() == other.usable.is_some()
            && self.until == other.until
    }

    /// Its share of its priority by weight, for as many of its endpoints as are well.
    fn weight(&self, policy: &SetPolicy, panics: bool, well: usize) -> f64 {
        let weight = f64::from(policy.locality_weights.get(&self.locality).copied().unwrap_or(1));
        let health = if panics { 100 } else { level::health(self.all.endpoints.len(), well) };
        weight * f64::from(health)
    }
}

/// Makes the groups of endpoints, that follow those `before`; the priorities in order.
pub(super) fn arrange(
    policy: &SetPolicy,
    endpoints: &[Arc<Endpoint>],
    before: &[Group],
    now: Instant,
) -> (Vec<Group>, Vec<Level>) {
    let mut groups: Vec<Group> = Vec::new();
    for (priority, locality, members) in split(policy, endpoints) {
        let known = before.iter().find(|group| group.priority == priority && group.locality == locality);
        let all = Choice::build(policy, members, known.map(|group| &group.all), now);
        // For now as it was: what follows is made from it.
        let usable = known.and_then(|group| group.usable.clone());
        groups.push(Group { priority, locality, all, usable, until: u64::MAX });
    }
    let fit = fit(policy, endpoints);
    let mut levels: Vec<Level> = Vec::new();
    let mut counts: Vec<(usize, usize)> = Vec::new();
    for (at, group) in groups.iter().enumerate() {
        if levels.last().is_none_or(|level| level.priority != group.priority) {
            levels.push(Level { priority: group.priority, groups: at..at, health: 100 });
            counts.push((0, 0));
        }
        if let (Some(level), Some((all, well))) = (levels.last_mut(), counts.last_mut()) {
            level.groups.end = at + 1;
            *all += group.all.endpoints.len();
            *well += group.all.endpoints.iter().filter(|endpoint| fit(endpoint)).count();
        }
    }
    let standings = level::standings(&counts, policy.panic_threshold.unwrap_or_default());
    for (level, standing) in levels.iter_mut().zip(standings) {
        level.health = standing.health;
        settle(policy, &mut groups[level.groups.clone()], standing, &fit, now);
    }
    (groups, levels)
}

/// Endpoints by priority, and by locality where that matters; in the order in which they were given.
fn split(policy: &SetPolicy, endpoints: &[Arc<Endpoint>]) -> Vec<(u32, Arc<str>, Vec<Arc<Endpoint>>)> {
    let mut parts: Vec<(u32, Arc<str>, Vec<Arc<Endpoint>>)> = Vec::new();
    for endpoint in endpoints {
        let weighted = !policy.locality_weights.is_empty();
        let locality = if weighted { endpoint.locality.clone() } else { "".into() };
        match parts.iter_mut().find(|part| part.0 == endpoint.priority && part.1 == locality) {
            Some((.., members)) => members.push(endpoint.clone()),
            None => parts.push((endpoint.priority, locality, vec![endpoint.clone()])),
        }
    }
    if parts.is_empty() {
        parts.push((0, "".into(), Vec::new()));
    }
    parts.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
    parts
}

/// Who is picked from: whoever is not kept out. If nobody is left, those that no health check has failed for.
fn fit<'p>(policy: &'p SetPolicy, endpoints: &[Arc<Endpoint>]) -> impl Fn(&Arc<Endpoint>) -> bool + use<'p> {
    let anybody = endpoints.iter().any(|endpoint| policy.uses(endpoint));
    move |endpoint| {
        let failed = || policy.is_checked && endpoint.state.active_check() == ActiveCheck::Failed;
        if anybody { policy.uses(endpoint) } else { !failed() }
    }
}

/// Settles what the groups of one priority are picked from, and their shares of it.
fn settle(
    policy: &SetPolicy,
    groups: &mut [Group],
    standing: Standing,
    fit: &impl Fn(&Arc<Endpoint>) -> bool,
    now: Instant,
) {
    let mut weights = Vec::with_capacity(groups.len());
    for group in groups.iter_mut() {
        let well: Vec<_> = group.all.endpoints.iter().filter(|endpoint| fit(endpoint)).cloned().collect();
        weights.push(group.weight(policy, standing.panics, well.len()));
        let short = !standing.panics && well.len() < group.all.endpoints.len();
        let known = group.usable.take();
        group.usable =
            short.then(|| Choice::build(policy, well, Some(known.as_ref().unwrap_or(&group.all)), now));
    }
    let total: f64 = weights.iter().sum();
    let mut sum = 0.0;
    for (group, weight) in groups.iter_mut().zip(weights) {
        sum += weight;
        // Saturates; without any weight nobody asks.
        group.until = if total > 0.0 { (sum / total * u64::MAX as f64) as u64 } else { u64::MAX };
    }
    if let Some(last) = groups.iter_mut().rfind(|group| !group.choice().endpoints.is_empty()) {
        last.until = u64::MAX; // whatever rounding did
    }
}
