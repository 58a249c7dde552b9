//! Which VirtualServices hold where.
//!
//! In:  VirtualServices, the node.   Out: [`Rules`] by host for sidecars, and by gateway for gateways.
//! Invariants: oldest first everywhere; delegates are merged into their roots; a rule that is not exported to the node, or
//! that its Sidecar does not import, is not here.
//! Not here: what a route becomes (`routes`), which rule wins for a service (`outbound`).
//! Source: R3, R4, R18, R20.

use super::{
    delegates::{self, Delegates},
    names::{self, HostIndex},
    notes::Notes,
    sidecars::Scope,
};
use crate::{
    config::{Config, Resource, age_order},
    ir::Node,
    istio::{HttpMatchRequest, HttpRoute, VirtualService},
    pause,
};
use std::{borrow::Cow, collections::HashMap, sync::Arc};

/// The gateway name that stands for all sidecars.
pub(super) const MESH: &str = "mesh";

/// A VirtualService, with names completed and delegates merged.
#[derive(Debug)]
pub(super) struct Rules<'a> {
    pub resource: &'a Resource<VirtualService>,
    /// `VirtualService default/reviews`, shared by all origins.
    pub title: Arc<str>,
    /// Completed and lower-case, in the order written.
    pub hosts: Vec<String>,
    /// `mesh`, or `namespace/name`.
    pub gateways: Vec<String>,
    pub http: Vec<HttpRule<'a>>,
}

/// One entry of `http`.
#[derive(Debug)]
pub(super) struct HttpRule<'a> {
    pub route: Cow<'a, HttpRoute>,
    /// Where it was written: the VirtualService itself, or its delegate.
    pub resource: &'a Resource<VirtualService>,
    pub title: Arc<str>,
    /// Place in `resource`'s `http`.
    pub at: usize,
    /// For each match of `route` its place in `resource`'s `http[at].match`. Empty: as they stand.
    pub match_places: Vec<Option<usize>>,
}

impl HttpRule<'_> {
    /// Matches of the rule with their places; a rule without any has one empty match.
    pub fn matches(&self) -> Vec<(Option<&HttpMatchRequest>, Option<usize>)> {
        if self.route.matches.is_empty() {
            return vec![(None, None)];
        }
        let place = |at: usize| self.match_places.get(at).copied().unwrap_or(Some(at));
        self.route.matches.iter().enumerate().map(|(at, condition)| (Some(condition), place(at))).collect()
    }
}

/// All VirtualServices that the node may use.
#[derive(Debug)]
pub(super) struct VirtualServices<'a> {
    pub list: Vec<Rules<'a>>,
    /// For sidecars: places in `list`, oldest first.
    mesh: HostIndex<Vec<usize>>,
    /// Places of those that hold in sidecars, oldest first.
    pub in_mesh: Vec<usize>,
    by_gateway: HashMap<String, Vec<usize>>,
}

impl<'a> VirtualServices<'a> {
    pub fn new(config: &'a Config, node: &Node, scope: &Scope<'a>, notes: &mut Notes) -> Self {
        let mut resources: Vec<_> = config.virtual_services.iter().collect();
        resources.sort_by(|a, b| age_order(a, b));
        let delegates = Delegates::new(&resources);
        let mut all = VirtualServices {
            list: Vec::new(),
            mesh: HostIndex::default(),
            in_mesh: Vec::new(),
            by_gateway: HashMap::new(),
        };
        all.list.reserve(resources.len());
        all.mesh.reserve(resources.len());
        for resource in pause::each(resources) {
            let namespace = &resource.metadata.namespace;
            let visible = names::exported(&resource.spec.export_to, namespace, &node.namespace);
            if !visible || resource.spec.hosts.is_empty() {
                continue; // one without hosts is a delegate
            }
            let hosts = resource
                .spec
                .hosts
                .iter()
                .map(|host| names::complete(host, namespace, &node.domain))
                .collect();
            let title: Arc<str> = resource.title().into();
            let rules = Rules {
                http: delegates::expand(resource, &title, &delegates, notes),
                gateways: gateways(resource),
                resource,
                title,
                hosts,
            };
            all.index(rules, scope);
        }
        all
    }

    fn index(&mut self, rules: Rules<'a>, scope: &Scope<'a>) {
        let at = self.list.len();
        for gateway in &rules.gateways {
            if gateway != MESH {
                self.by_gateway.entry(gateway.clone()).or_default().push(at);
            } else if scope.imports_rules(&rules.resource.metadata.namespace, &rules.hosts) {
                self.in_mesh.push(at);
                // `check` refuses a bare `*` here.
                for host in rules.hosts.iter().filter(|host| *host != "*") {
                    let places = self.mesh.entry(host);
                    if places.last() != Some(&at) {
                        places.push(at);
                    }
                }
            }
        }
        self.list.push(rules);
    }

    /// Places of those that hold for a host in sidecars, oldest first, by host pattern: the most specific first.
    pub fn covering<'s, 'h>(&'s self, host: &'h str) -> impl Iterator<Item = &'s [usize]> + use<'s, 'h, 'a> {
        self.mesh.covering(host).map(|places| &places[..])
    }

    /// Places of those with exactly this host in sidecars, oldest first.
    pub fn with_host(&self, host: &str) -> &[usize] {
        self.mesh.exact(host).map_or(&[], |places| places)
    }

    /// Places of those that hold at a gateway, `namespace/name`, oldest first.
    pub fn of_gateway(&self, gateway: &str) -> &[usize] {
        self.by_gateway.get(gateway).map_or(&[], |places| places)
    }
}

/// Gateway names, completed with the rule's namespace; `mesh` where the list is empty.
fn gateways(resource: &Resource<VirtualService>) -> Vec<String> {
    if resource.spec.gateways.is_empty() {
        return vec![MESH.into()];
    }
    let mut names: Vec<_> =
        resource.spec.gateways.iter().map(|name| gateway_name(name, &resource.metadata.namespace)).collect();
    names.sort();
    names.dedup();
    names
}

/// `mesh`, or `namespace/name`.
pub(super) fn gateway_name(name: &str, namespace: &str) -> String {
    if name == MESH || name.contains('/') { name.into() } else { format!("{namespace}/{name}") }
}
