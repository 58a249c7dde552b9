//! Route lists that were made before, taken again where nothing that they depend on has changed.
//!
//! In:  a VirtualService's rules at a site.   Out: the list of the last lowering, or nothing.
//! Invariants: a list depends on its VirtualService (the very object, so also its place in the files), on the site, on the node, on
//! the default retry policy, and on where its destinations lead; the last is asked anew each time, which also makes the
//! clusters. What needs more (delegates) or has something to tell is not kept.
//! Not here: how a list is made (`routes`).

use super::{
    Mesh,
    clusters::{Place, Target},
    matches::Site,
    policies,
    routes::{RouteList, Routes},
    virtual_services::Rules,
};
use crate::{
    config::Step,
    ir::{HashPolicy, Node, RetryPolicy},
    istio::{Destination, HttpRoute, VirtualService},
    pause,
};
use std::{collections::HashMap, sync::Arc};

/// What the last lowering made.
#[derive(Debug, Default)]
pub struct Memo {
    given: Option<(Node, Option<Arc<RetryPolicy>>)>,
    before: HashMap<Key, Made>,
    now: HashMap<Key, Made>,
}

/// The address of a VirtualService that [`Made`] keeps, port and gateway.
type Key = (usize, u16, String);

#[derive(Debug)]
struct Made {
    _spec: Arc<VirtualService>,
    led: Box<[Led]>,
    list: RouteList,
}

/// Where a destination led.
#[derive(Debug)]
pub(super) struct Led {
    rule: usize,
    part: Part,
    cluster: Arc<str>,
    hash: Box<[HashPolicy]>,
}

/// Which destination of a rule.
#[derive(Debug, Clone, Copy)]
pub(super) enum Part {
    Route(usize),
    Mirror,
    Mirrors(usize),
}

impl Part {
    /// Its steps from the rule.
    pub fn path(self) -> Vec<Step<'static>> {
        match self {
            Part::Route(at) => vec!["route".into(), at.into()],
            Part::Mirror => vec!["mirror".into()],
            Part::Mirrors(at) => vec!["mirrors".into(), at.into()],
        }
    }

    fn of(self, rule: &HttpRoute) -> Option<&Destination> {
        match self {
            Part::Route(at) => rule.route.get(at).map(|split| &split.destination),
            Part::Mirror => rule.mirror.as_deref(),
            Part::Mirrors(at) => rule.mirrors.get(at).map(|mirror| &mirror.destination),
        }
    }
}

impl Led {
    /// Notes where `part` of `rule` led.
    pub fn to(target: &Target<'_>, rule: usize, part: Part) -> Self {
        let hash = policies::hash_policies(target.policy.load_balancer).into();
        Led { rule, part, cluster: target.cluster.clone(), hash }
    }
}

impl Memo {
    /// Forgets everything if `mesh` makes other routes of the same rules.
    pub(super) fn begin(&mut self, mesh: &Mesh<'_>) {
        let given = Some((mesh.node.clone(), mesh.default_retry.clone()));
        if self.given != given {
            *self = Memo { given, ..Memo::default() };
        }
        self.now.reserve(self.before.len());
    }

    /// What was not asked for is forgotten.
    pub(super) fn end(&mut self) {
        pause::drop_each(std::mem::replace(&mut self.before, std::mem::take(&mut self.now)));
    }
}

fn key(rules: &Rules<'_>, site: Site<'_>) -> Key {
    (Arc::as_ptr(&rules.resource.spec).addr(), site.port, site.gateway.to_owned())
}

impl<'a> Routes<'a> {
    /// The list that was made of the same, if there is one.
    pub(super) fn remembered(&mut self, rules: &'a Rules<'a>, site: Site<'_>) -> Option<RouteList> {
        let key = key(rules, site);
        let made = self.memo.before.remove(&key)?;
        for led in pause::each(&made.led) {
            let destination = led.part.of(rules.resource.spec.http.get(led.rule)?)?;
            let path: Vec<_> =
                [Step::Key("http"), led.rule.into()].into_iter().chain(led.part.path()).collect();
            let place = Place { resource: rules.resource, path: &path };
            let target = self.clusters.destination(destination, site.port, place, &mut self.notes);
            let now = Led::to(&target, led.rule, led.part);
            if now.cluster != led.cluster || now.hash != led.hash {
                return None;
            }
        }
        let list = made.list.clone();
        self.memo.now.insert(key, made);
        Some(list)
    }

    /// Keeps a list that was just made, when `notes` were told before.
    pub(super) fn remember(&mut self, rules: &Rules<'_>, site: Site<'_>, list: &RouteList, notes: usize) {
        let led = self.led.drain(..).collect();
        let alone = rules.resource.spec.http.iter().all(|rule| rule.delegate.is_none());
        if alone && self.notes.told() == notes {
            let made = Made { _spec: rules.resource.spec.clone(), led, list: list.clone() };
            self.memo.now.insert(key(rules, site), made);
        }
    }
}
