//! Clusters: a service's port, or a subset of it, under its DestinationRule.
//!
//! In:  destinations of routes, services, policies.   Out: [`ir::Cluster`]s by name, each made once.
//! Invariants: every name that this module hands out stands for a cluster that exists.
//! Not here: which rule holds (`destination_rules`), what it does (`cluster_policy`), what endpoints there are (`registry`).
//! Source: R7, R9, R17.

use super::{
    Mesh,
    client_tls::{self, Whom},
    cluster_policy::apply,
    destination_rules::{Policy, Rule, Subset},
    health_policies, locality, names,
    notes::Notes,
    protocol::Protocol,
    registry::{Labels, Port, Service},
    upstream_policies,
};
use crate::{
    config::{Resource, Step},
    diagnostic::codes,
    ir::{self, Cluster, ClusterLimits, Discovery, EndpointAddress, LoadBalancer, ServiceIdentity},
    istio::{self, SimpleLoadBalancer},
    pause,
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// All clusters so far, by name.
#[derive(Debug)]
pub(super) struct Clusters<'a> {
    mesh: &'a Mesh<'a>,
    by_name: BTreeMap<Arc<str>, Arc<Cluster>>,
}

/// A cluster as a route sees it.
#[derive(Debug, Clone)]
pub(super) struct Target<'a> {
    pub cluster: Arc<str>,
    /// What holds for it: hash policies and TCP idle timeouts belong to routes.
    pub policy: Policy<'a>,
}

/// Where a rule names a destination, for diagnostics.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'p, T> {
    pub resource: &'p Resource<T>,
    pub path: &'p [Step<'p>],
}

impl<'a> Clusters<'a> {
    /// With the clusters that are always there.
    pub fn new(mesh: &'a Mesh<'a>) -> Self {
        let mut clusters = Clusters { mesh, by_name: BTreeMap::new() };
        for (name, discovery) in [
            (ir::BLACK_HOLE_CLUSTER, Discovery::None),
            (ir::PASSTHROUGH_CLUSTER, Discovery::OriginalDestination),
            (ir::INBOUND_PASSTHROUGH_CLUSTER, Discovery::OriginalDestination),
        ] {
            let identity =
                ServiceIdentity { host: name.into(), name: name.into(), namespace: "unknown".into() };
            let cluster = clusters.plain(name.into(), discovery, Protocol::Undeclared, identity);
            clusters.insert(cluster);
        }
        clusters
    }

    /// What rules are looked up in.
    pub fn mesh(&self) -> &'a Mesh<'a> {
        self.mesh
    }

    /// All of them, in the order of their names.
    pub fn into_vec(self) -> Vec<Arc<Cluster>> {
        self.by_name.into_values().collect()
    }

    /// Adds one, unless the name is taken.
    pub fn insert(&mut self, cluster: Cluster) -> Arc<str> {
        let name = cluster.name.clone();
        self.by_name.entry(name.clone()).or_insert_with(|| Arc::new(cluster));
        name
    }

    /// Every port of a service and every subset of it, whether a route names it or not, as in Istio.
    pub fn add_service(&mut self, service: &Service<'a>, notes: &mut Notes) {
        pause::here();
        let rule = self.mesh.destination_rules.find(&service.host, Some(service.namespace));
        for port in service.ports.iter().filter(|port| port.protocol != Protocol::Udp) {
            self.of_port(service, port, rule, None);
            for subset in rule.map_or(&[][..], |rule| &rule.subsets) {
                self.note_empty_subset(service, port, subset, notes);
                self.of_port(service, port, rule, Some(subset));
            }
        }
    }

    /// The cluster of a service's port.
    pub fn service(&mut self, service: &Service<'a>, port: &Port<'a>) -> Target<'a> {
        pause::here();
        let rule = self.mesh.destination_rules.find(&service.host, Some(service.namespace));
        self.of_port(service, port, rule, None)
    }

    /// The cluster of a port, or of a subset of it, under another name and without TLS of its own.
    pub fn unopened(
        &mut self,
        service: &Service<'a>,
        port: &Port<'a>,
        subset: &str,
        name: &str,
    ) -> Option<Arc<str>> {
        let of = outbound_name(&service.host, port.number, Some(subset));
        let cluster = Cluster::clone(self.by_name.get(&of)?);
        Some(self.insert(Cluster { name: name.into(), tls: None, auto_mtls: None, ..cluster }))
    }

    /// The cluster of a route's destination. `listen_port` is the port that the request came for.
    pub fn destination<T>(
        &mut self,
        destination: &istio::Destination,
        listen_port: u16,
        place: Place<'_, T>,
        notes: &mut Notes,
    ) -> Target<'a> {
        let mesh = self.mesh;
        let namespace = &place.resource.metadata.namespace;
        let host = names::complete(&destination.host, namespace, &mesh.node.domain);
        let subset = destination.subset.as_deref();
        let named = destination.port.as_ref().map(|port| port.number);
        let Some(service) = mesh.registry.find(&host) else {
            let number = named.unwrap_or(listen_port);
            return self.undefined(&destination.host, &host, number, subset, place, notes);
        };
        let only = match &service.ports[..] {
            [only] => Some(only.number),
            _ => None,
        };
        let number = named.or(only).unwrap_or(listen_port);
        let rule = mesh.destination_rules.find(&service.host, Some(service.namespace));
        let known = subset.map(|name| rule.and_then(|rule| rule.subset(name)));
        match (service.port(number), known, service.external_name) {
            (Some(port), None, _) => self.of_port(service, port, rule, None),
            (Some(port), Some(Some(subset)), _) => self.of_port(service, port, rule, Some(subset)),
            (None, None, Some(name)) => self.by_name(&host, name, number, None, rule),
            // Without the port or the subset there is no such cluster: 503, as in Istio.
            _ => self.nowhere(&host, number, subset, service.identity.clone()),
        }
    }

    /// A host that the node does not see: hidden from it, or to be resolved by DNS.
    fn undefined<T>(
        &mut self,
        written: &str,
        host: &str,
        number: u16,
        subset: Option<&str>,
        place: Place<'_, T>,
        notes: &mut Notes,
    ) -> Target<'a> {
        let mesh = self.mesh;
        if let Some(hidden) = mesh.registry.find_hidden(host) {
            let message = format!(
                "{} exists but is not exported to namespace `{}`: requests get 503",
                hidden.source.title(),
                mesh.node.namespace
            );
            notes.warn(place.resource, codes::HIDDEN, place.path, message);
            return self.nowhere(host, number, subset, hidden.identity.clone());
        }
        let namespace = names::cluster_local(host, &mesh.node.domain).map(|(_, namespace)| namespace);
        let rule = mesh.destination_rules.find(host, namespace);
        match subset.map(|name| rule.and_then(|rule| rule.subset(name))) {
            _ if host.starts_with('*') => self.nowhere(host, number, subset, self.unknown_identity(host)),
            None => self.by_name(host, written, number, None, rule),
            Some(Some(subset)) => self.by_name(host, written, number, Some(subset), rule),
            Some(None) => self.nowhere(host, number, subset, self.unknown_identity(host)),
        }
    }

    fn unknown_identity(&self, host: &str) -> ServiceIdentity {
        match names::cluster_local(host, &self.mesh.node.domain) {
            Some((name, namespace)) => {
                ServiceIdentity { host: host.into(), name: name.into(), namespace: namespace.into() }
            }
            None => ServiceIdentity { host: host.into(), name: host.into(), namespace: "unknown".into() },
        }
    }

    /// A cluster whose only endpoint is a name to resolve.
    fn by_name(
        &mut self,
        host: &str,
        written: &str,
        number: u16,
        subset: Option<&Subset<'a>>,
        rule: Option<&'a Rule<'a>>,
    ) -> Target<'a> {
        let policy = rule.map(|rule| rule.policy(number, subset)).unwrap_or_default();
        let name = outbound_name(host, number, subset.map(|subset| &*subset.spec.name));
        if !self.by_name.contains_key(&name) {
            let identity = self.unknown_identity(host);
            let workload = ir::Workload {
                name: "unknown".into(),
                namespace: identity.namespace.to_string(),
                ..Default::default()
            };
            let endpoint = ir::Endpoint {
                address: EndpointAddress::new(written, number),
                weight: 1,
                workload: Arc::new(workload),
                locality: "".into(),
                priority: 0,
                mtls: false,
            };
            let discovery = match endpoint.address {
                EndpointAddress::Name(..) => Discovery::StrictDns(vec![endpoint]),
                _ => Discovery::Static(vec![endpoint]),
            };
            let mut cluster = self.plain(name.clone(), discovery, Protocol::Undeclared, identity);
            apply(&mut cluster, policy, Protocol::Undeclared);
            let namespace =
                names::cluster_local(host, &self.mesh.node.domain).map(|(_, namespace)| namespace);
            self.apply_own(&mut cluster, host, namespace);
            cluster.subset = subset.map_or("", |subset| &subset.spec.name).into();
            let whom = Whom { host, port: number, protocol: Protocol::Undeclared, service: None };
            client_tls::apply(&mut cluster, policy.tls, whom, self.mesh);
            cluster.origin = rule.map_or_else(ir::Origin::built_in, |rule| rule.resource().origin(&[]));
            self.insert(cluster);
        }
        Target { cluster: name, policy }
    }

    /// What Sidle's own policies for a host add.
    fn apply_own(&self, cluster: &mut Cluster, host: &str, service_namespace: Option<&str>) {
        if let Some(policy) = self.mesh.health_policies.of(host, service_namespace) {
            health_policies::apply(cluster, policy, host);
        }
        if let Some(policy) = self.mesh.upstream_policies.of(host, service_namespace) {
            upstream_policies::apply(cluster, policy);
        }
        self.mesh.fault_policies.apply(cluster, host, service_namespace);
    }

    /// A cluster that answers 503.
    fn nowhere(
        &mut self,
        host: &str,
        number: u16,
        subset: Option<&str>,
        identity: ServiceIdentity,
    ) -> Target<'a> {
        let name = outbound_name(host, number, subset);
        let mut cluster = self.plain(name, Discovery::None, Protocol::Undeclared, identity);
        cluster.subset = subset.unwrap_or_default().into();
        Target { cluster: self.insert(cluster), policy: Policy::default() }
    }

    fn of_port(
        &mut self,
        service: &Service<'a>,
        port: &Port<'a>,
        rule: Option<&'a Rule<'a>>,
        subset: Option<&Subset<'a>>,
    ) -> Target<'a> {
        let policy = rule.map(|rule| rule.policy(port.number, subset)).unwrap_or_default();
        let name = outbound_name(&service.host, port.number, subset.map(|subset| &*subset.spec.name));
        if !self.by_name.contains_key(&name) {
            let passthrough =
                policy.load_balancer.and_then(|b| b.simple) == Some(SimpleLoadBalancer::Passthrough);
            let discovery = match (passthrough, subset) {
                (true, _) => Discovery::OriginalDestination,
                (false, Some(subset)) => service.discovery(port, &subset.spec.labels),
                (false, None) => service.discovery(port, &Labels::new()),
            };
            let mut cluster = self.plain(name.clone(), discovery, port.protocol, service.identity.clone());
            apply(&mut cluster, policy, port.protocol);
            self.apply_own(&mut cluster, &service.host, Some(service.namespace));
            let setting = policy.load_balancer.and_then(|balancer| balancer.locality_lb_setting.as_ref());
            locality::apply(&mut cluster, setting, service.near.clone(), &self.mesh.node);
            cluster.subset = subset.map_or("", |subset| &subset.spec.name).into();
            let whom = Whom {
                host: &service.host,
                port: port.number,
                protocol: port.protocol,
                service: Some((service, port)),
            };
            client_tls::apply(&mut cluster, policy.tls, whom, self.mesh);
            cluster.origin = match (subset, rule) {
                (Some(subset), _) => subset.resource.origin(&["subsets".into(), subset.at.into()]),
                (None, Some(rule)) => rule.resource().origin(&[]),
                (None, None) => service.source.origin(&[]),
            };
            self.insert(cluster);
        }
        Target { cluster: name, policy }
    }

    /// A cluster with every default.
    pub fn plain(
        &self,
        name: Arc<str>,
        discovery: Discovery,
        protocol: Protocol,
        service: ServiceIdentity,
    ) -> Cluster {
        Cluster {
            name,
            discovery,
            load_balancer: LoadBalancer::LeastRequest,
            hedging: None,
            compares_mirrored: false,
            protocol: protocol.upstream(),
            tls: None,
            auto_mtls: None,
            connect_timeout: self.mesh.connect_timeout,
            limits: ClusterLimits::default(),
            locality_weights: Default::default(),
            slow_start: None,
            health_check: None,
            outlier_detection: None,
            adaptive_concurrency: None,
            faults: None,
            tcp_keepalive: None,
            idle_timeout: Some(Duration::from_secs(3600)),
            tunnel_idle_timeout: Some(Duration::from_secs(3600)),
            max_connection_duration: None,
            service,
            subset: "".into(),
            origin: ir::Origin::built_in(),
        }
    }

    fn note_empty_subset(
        &self,
        service: &Service<'a>,
        port: &Port<'a>,
        subset: &Subset<'a>,
        notes: &mut Notes,
    ) {
        let labels = &subset.spec.labels;
        let chosen = |endpoint: &ir::Endpoint| super::registry::selects(labels, &endpoint.workload.labels);
        if service.has_endpoints() && !port.endpoints.is_empty() && !port.endpoints.iter().any(chosen) {
            let message = format!(
                "no endpoint of `{}` has these labels: requests to subset `{}` get 503",
                service.host, subset.spec.name
            );
            let path = ["subsets".into(), subset.at.into(), "labels".into()];
            notes.warn(subset.resource, codes::NO_ENDPOINTS, &path, message);
        }
    }
}

/// `outbound|9080|v1|reviews.default.svc.cluster.local`.
fn outbound_name(host: &str, port: u16, subset: Option<&str>) -> Arc<str> {
    format!("outbound|{port}|{}|{host}", subset.unwrap_or_default()).into()
}
