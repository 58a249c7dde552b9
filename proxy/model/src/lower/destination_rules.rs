//! Which DestinationRule holds for a service, and what it says for a port and a subset.
//!
//! In:  DestinationRules.   Out: a [`Rule`] for a host (R5, R6); a [`Policy`] for a port and subset of it (R7).
//! Invariants: the first stop with any match wins whole, nothing is inherited from later stops; inside a stop the most
//! specific host wins; rules of one host and namespace are one [`Rule`].
//! Not here: what the settings do to a cluster (`clusters`).

use super::{
    names::{self, HostIndex},
    notes::Notes,
    registry::{Labels, Registry, selects},
};
use crate::{
    config::{Config, Resource, Step, age_order},
    diagnostic::codes,
    ir::Node,
    istio::{self, DestinationRule, TrafficPolicy},
    pause,
};
use std::{cell::Cell, collections::HashMap};

/// The DestinationRules of one host in one namespace, merged (R6).
#[derive(Debug)]
pub(super) struct Rule<'a> {
    /// Host as it is matched.
    pub host: String,
    /// Oldest first.
    resources: Vec<&'a Resource<DestinationRule>>,
    /// Of the oldest that has one.
    policy: Option<&'a TrafficPolicy>,
    /// Duplicates removed: the first is kept.
    pub subsets: Vec<Subset<'a>>,
    selector: Option<&'a Labels>,
    used: Cell<bool>,
}

/// A named part of a host's endpoints.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subset<'a> {
    pub spec: &'a istio::Subset,
    pub resource: &'a Resource<DestinationRule>,
    /// Place in `resource`.
    pub at: usize,
}

/// The blocks that hold for a port and subset (R7).
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Policy<'a> {
    pub load_balancer: Option<&'a istio::LoadBalancerSettings>,
    pub connection_pool: Option<&'a istio::ConnectionPoolSettings>,
    pub outlier_detection: Option<&'a istio::OutlierDetection>,
    pub tls: Option<&'a istio::ClientTlsSettings>,
    pub retry_budget: Option<&'a istio::RetryBudget>,
}

impl<'a> Policy<'a> {
    /// Overrides block by block; then the port's settings, which replace all of their blocks.
    fn merge(self, policy: Option<&'a TrafficPolicy>, port: u16) -> Self {
        let Some(policy) = policy else { return self };
        let mut merged = Policy {
            load_balancer: policy.load_balancer.as_ref().or(self.load_balancer),
            connection_pool: policy.connection_pool.as_ref().or(self.connection_pool),
            outlier_detection: policy.outlier_detection.as_ref().or(self.outlier_detection),
            tls: policy.tls.as_ref().or(self.tls),
            retry_budget: policy.retry_budget.as_ref().or(self.retry_budget),
        };
        let of_port =
            |settings: &&istio::PortTrafficPolicy| settings.port.as_ref().is_some_and(|p| p.number == port);
        if let Some(settings) = policy.port_level_settings.iter().find(of_port) {
            merged.load_balancer = settings.load_balancer.as_ref();
            merged.connection_pool = settings.connection_pool.as_ref();
            merged.outlier_detection = settings.outlier_detection.as_ref();
            merged.tls = settings.tls.as_ref();
        }
        merged
    }
}

impl<'a> Rule<'a> {
    /// What holds for a port, and for a subset of it.
    pub fn policy(&self, port: u16, subset: Option<&Subset<'a>>) -> Policy<'a> {
        let of_host = Policy::default().merge(self.policy, port);
        of_host.merge(subset.and_then(|subset| subset.spec.traffic_policy.as_ref()), port)
    }

    /// The subset of this name.
    pub fn subset(&self, name: &str) -> Option<&Subset<'a>> {
        self.subsets.iter().find(|subset| subset.spec.name == name)
    }

    /// The oldest of the resources that it was made of.
    pub fn resource(&self) -> &'a Resource<DestinationRule> {
        self.resources[0]
    }

    fn absorb(&mut self, resource: &'a Resource<DestinationRule>, notes: &mut Notes) {
        match (&self.policy, &resource.spec.traffic_policy) {
            (None, policy) => self.policy = policy.as_ref(),
            (Some(_), Some(_)) => notes.warn(
                resource,
                codes::CONFLICT,
                &["trafficPolicy".into()],
                format!(
                    "not applied: the older {} for `{}` has a `trafficPolicy` too",
                    self.resources[0].title(),
                    self.host
                ),
            ),
            (Some(_), None) => {}
        }
        for (at, spec) in resource.spec.subsets.iter().enumerate() {
            match self.subset(&spec.name) {
                None => self.subsets.push(Subset { spec, resource, at }),
                Some(first) if std::ptr::eq(first.resource, resource) => {} // `check` tells
                Some(first) => {
                    let place = first.resource.origin(&["subsets".into(), first.at.into()]);
                    let message =
                        format!("subset `{}` not applied: {place} defines it for the same host", spec.name);
                    notes.warn(resource, codes::CONFLICT, &["subsets".into(), at.into()], message);
                }
            }
        }
        self.resources.push(resource);
    }
}

/// Rules of one namespace by host: places in [`DestinationRules::rules`], one for each selector.
type Stop = HostIndex<Vec<usize>>;

/// All rules that the node may use.
#[derive(Debug)]
pub(super) struct DestinationRules<'a> {
    rules: Vec<Rule<'a>>,
    /// Rules that only the client's namespace sees at the first stop.
    local: Stop,
    /// Exported rules by their namespace.
    exported: HashMap<&'a str, Stop>,
    root_namespace: String,
}

impl<'a> DestinationRules<'a> {
    pub fn new(config: &'a Config, node: &Node, notes: &mut Notes) -> Self {
        let mut rules = DestinationRules {
            rules: Vec::new(),
            local: Stop::default(),
            exported: HashMap::new(),
            root_namespace: node.root_namespace.clone(),
        };
        let mut resources: Vec<_> = config.destination_rules.iter().collect();
        resources.sort_by(|a, b| age_order(a, b));
        let mut merged = HashMap::<(&str, String, Option<&Labels>, bool), usize>::new();
        for resource in pause::each(resources) {
            let namespace = &*resource.metadata.namespace;
            let selector = resource.spec.workload_selector.as_ref().map(|selector| &selector.match_labels);
            let private = selector.is_some() || resource.spec.export_to.iter().any(|to| to == ".");
            let foreign = namespace != node.namespace;
            let elsewhere = selector.is_some_and(|labels| foreign || !selects(labels, &node.labels));
            if elsewhere
                || (foreign && !names::exported(&resource.spec.export_to, namespace, &node.namespace))
            {
                continue;
            }
            if resource.spec.export_to.iter().any(|to| to == "~") {
                continue;
            }
            let host = names::complete(&resource.spec.host, namespace, &node.domain);
            // Whether a rule is private tells apart only what a client in the root namespace sees at its two stops.
            let apart = private && namespace == node.root_namespace && !foreign;
            let key = (namespace, host, selector, apart);
            if let Some(at) = merged.get(&key) {
                rules.rules[*at].absorb(resource, notes);
                continue;
            }
            let at = rules.rules.len();
            let mut rule = Rule {
                host: key.1.clone(),
                resources: Vec::with_capacity(1),
                policy: None,
                subsets: Vec::new(),
                selector,
                used: Cell::new(false),
            };
            rule.absorb(resource, notes);
            rules.place(&rule, at, private, node);
            merged.insert(key, at);
            rules.rules.push(rule);
        }
        rules
    }

    fn place(&mut self, rule: &Rule<'a>, at: usize, private: bool, node: &Node) {
        let namespace = &*rule.resource().metadata.namespace;
        // A client in the root namespace sees its own public rules at the last stop only.
        if namespace == node.namespace && (private || namespace != self.root_namespace) {
            self.local.entry(&rule.host).push(at);
        }
        if rule.selector.is_none() && !(private && namespace != node.namespace) {
            self.exported.entry(namespace).or_default().entry(&rule.host).push(at);
        }
    }

    /// The rule for a host (R5): the client's namespace, then the service's, then the root namespace.
    pub fn find(&self, host: &str, service_namespace: Option<&str>) -> Option<&Rule<'a>> {
        let service = service_namespace.and_then(|namespace| self.exported.get(namespace));
        let root = self.exported.get(&*self.root_namespace);
        let stops = [Some(&self.local), service, root];
        let found = stops.into_iter().flatten().find_map(|stop| stop.most_specific(host))?;
        // A rule for the client's labels beats one for everybody.
        let at = found.iter().find(|at| self.rules[**at].selector.is_some()).or_else(|| found.first())?;
        self.rules[*at].used.set(true);
        Some(&self.rules[*at])
    }

    /// Says which rules never hold although their service exists: another stop or a more specific host hides them.
    pub fn note_unused(&self, registry: &Registry<'a>, notes: &mut Notes) {
        for rule in self.rules.iter().filter(|rule| !rule.used.get()) {
            let of_service = match rule.host.starts_with('*') {
                true => registry.visible().find(|service| names::covers(&rule.host, &service.host)),
                false => registry.find(&rule.host),
            };
            // A rule for a host that nothing defines is for `check` to tell.
            let Some(service) = of_service else { continue };
            let Some(winner) = self.find(&service.host, Some(service.namespace)) else { continue };
            if std::ptr::eq(winner, rule) {
                continue; // the service is there, but nothing calls it from here
            }
            let message = format!(
                "never applies: {} ({}) takes precedence for `{}`",
                winner.resource().title(),
                winner.resource().origin(&["host".into()]),
                service.host
            );
            notes.warn(rule.resource(), codes::DROPPED, &["host".into()], message);
        }
    }

    /// Says which blocks a port's settings take away without giving others (R7).
    pub fn note_lost_blocks(&self, notes: &mut Notes) {
        for resource in self.rules.iter().flat_map(|rule| &rule.resources) {
            note_lost(resource, &["trafficPolicy".into()], resource.spec.traffic_policy.as_ref(), notes);
            for (at, subset) in resource.spec.subsets.iter().enumerate() {
                let path = ["subsets".into(), at.into(), "trafficPolicy".into()];
                note_lost(resource, &path, subset.traffic_policy.as_ref(), notes);
            }
        }
    }
}

fn note_lost(
    resource: &Resource<DestinationRule>,
    path: &[Step<'_>],
    policy: Option<&TrafficPolicy>,
    notes: &mut Notes,
) {
    let Some(policy) = policy else { return };
    for (at, settings) in policy.port_level_settings.iter().enumerate() {
        let lost: Vec<_> = [
            ("loadBalancer", policy.load_balancer.is_some() && settings.load_balancer.is_none()),
            ("connectionPool", policy.connection_pool.is_some() && settings.connection_pool.is_none()),
            ("outlierDetection", policy.outlier_detection.is_some() && settings.outlier_detection.is_none()),
            ("tls", policy.tls.is_some() && settings.tls.is_none()),
        ]
        .into_iter()
        .filter(|(_, lost)| *lost)
        .map(|(name, _)| format!("`{name}`"))
        .collect();
        if !lost.is_empty() {
            let path: Vec<_> = path.iter().copied().chain(["portLevelSettings".into(), at.into()]).collect();
            let message = format!(
                "settings of a port replace the whole policy: defaults hold for this port in place of {} from above",
                lost.join(", ")
            );
            notes.warn(resource, codes::DEFAULTED, &path, message);
        }
    }
}
