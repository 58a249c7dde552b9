//! The registry: every service of the files with its ports and endpoints.
//!
//! In:  Kubernetes Services, Endpoints, EndpointSlices, Pods; ServiceEntries, WorkloadEntries.   Out: [`Service`]s by host.
//! Invariants: hosts are lower-case full names; one [`Service`] a host is visible to the node, that of its own namespace
//! before others, Kubernetes' before ServiceEntries, the older before the younger.
//! Not here: what a Sidecar imports (`sidecars`), policies (`destination_rules`), clusters (`clusters`).
//! Read: `workloads` -> `kubernetes` -> `service_entry` -> here.

mod kubernetes;
mod service_entry;
mod workloads;

pub(super) use workloads::{Labels, selects};

use super::{names, notes::Notes, protocol::Protocol};
use crate::{
    config::{Config, Resource, Step},
    diagnostic::codes,
    ir::{self, Endpoint, EndpointAddress, Node, ServiceIdentity},
    istio,
    kubernetes::IntOrString,
};
use ipnet::IpNet;
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

/// A service: a Kubernetes Service, or one host of a ServiceEntry.
#[derive(Debug)]
pub(super) struct Service<'a> {
    /// Lower-case full name, or `*.suffix`.
    pub host: Arc<str>,
    /// In metrics.
    pub identity: ServiceIdentity,
    pub namespace: &'a str,
    pub ports: Vec<Port<'a>>,
    /// How endpoints are found.
    pub resolution: Resolution,
    /// Virtual addresses.
    pub addresses: Vec<IpNet>,
    /// Whether clients also call its Pods by name (`web-0.web`).
    pub headless: bool,
    /// Labels of its workloads; empty: none are picked.
    pub selector: &'a Labels,
    /// That the server must have one of, where no DestinationRule says.
    pub subject_alt_names: &'a [String],
    /// Labels that endpoints share with whoever is near them, where those are preferred.
    pub near: Option<Vec<String>>,
    /// Where an ExternalName Service leads.
    pub external_name: Option<&'a str>,
    pub source: Source<'a>,
    exported: bool,
}

/// A port of a service.
#[derive(Debug, Clone)]
pub(super) struct Port<'a> {
    pub number: u16,
    pub name: &'a str,
    pub protocol: Protocol,
    /// `targetPort` as written.
    pub target: Option<IntOrString>,
    pub endpoints: Vec<Endpoint>,
}

/// How the endpoints of a service are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Resolution {
    /// [`Port::endpoints`]; names among them are resolved, and all their addresses used.
    Given,
    /// As [`Self::Given`], one address at a time.
    RoundRobinDns,
    /// Where the client wanted to go.
    Original,
    /// The name of the request.
    OfRequest,
}

/// What declared a service.
#[derive(Debug, Clone, Copy)]
pub(super) enum Source<'a> {
    Kubernetes(&'a Resource<crate::kubernetes::Service>),
    Entry(&'a Resource<istio::ServiceEntry>),
}

impl Source<'_> {
    /// Where it was written.
    pub fn origin(&self, path: &[Step<'_>]) -> ir::Origin {
        match self {
            Source::Kubernetes(resource) => resource.origin(path),
            Source::Entry(resource) => resource.origin(path),
        }
    }

    /// `Service default/reviews`.
    pub fn title(&self) -> String {
        match self {
            Source::Kubernetes(resource) => resource.title(),
            Source::Entry(resource) => resource.title(),
        }
    }
}

impl<'a> Service<'a> {
    /// The port of this number.
    pub fn port(&self, number: u16) -> Option<&Port<'a>> {
        self.ports.iter().find(|port| port.number == number)
    }

    /// The endpoints of `port` that have `labels`.
    pub fn discovery(&self, port: &Port<'a>, labels: &Labels) -> ir::Discovery {
        match self.resolution {
            Resolution::Original => ir::Discovery::OriginalDestination,
            Resolution::OfRequest => ir::Discovery::DynamicForwardProxy,
            Resolution::Given | Resolution::RoundRobinDns => {
                let chosen =
                    port.endpoints.iter().filter(|endpoint| selects(labels, &endpoint.workload.labels));
                let mut endpoints: Vec<_> = chosen.cloned().collect();
                let named = endpoints.iter().any(|e| matches!(e.address, EndpointAddress::Name(..)));
                match (named, self.resolution) {
                    (false, _) => ir::Discovery::Static(endpoints),
                    (true, Resolution::RoundRobinDns) => ir::Discovery::LogicalDns(endpoints.swap_remove(0)),
                    (true, _) => ir::Discovery::StrictDns(endpoints),
                }
            }
        }
    }

    /// Whether it is outside the mesh, where nobody speaks its mTLS.
    pub fn is_outside(&self) -> bool {
        match self.source {
            Source::Kubernetes(_) => self.external_name.is_some(),
            Source::Entry(entry) => entry.spec.location == istio::Location::MeshExternal,
        }
    }

    /// Whether endpoints come from the files, so that there may be none.
    pub fn has_endpoints(&self) -> bool {
        matches!(self.resolution, Resolution::Given | Resolution::RoundRobinDns)
    }
}

/// Every service.
#[derive(Debug)]
pub(super) struct Registry<'a> {
    pub services: Vec<Service<'a>>,
    /// Host to the one that the node sees.
    visible: HashMap<Arc<str>, usize>,
    /// Hosts that exist but are not exported to the node.
    hidden: HashMap<Arc<str>, usize>,
}

impl<'a> Registry<'a> {
    pub fn new(config: &'a Config, node: &Node, allocate: bool, notes: &mut Notes) -> Self {
        let workloads = workloads::Workloads::new(config);
        let mut services = kubernetes::services(config, node, &workloads, notes);
        services.extend(service_entry::services(config, node, &workloads, notes));
        if allocate {
            super::name_table::allocate(&mut services);
        }
        let mut registry = Registry { services, visible: HashMap::new(), hidden: HashMap::new() };
        registry.choose_visible(node);
        registry
    }

    fn choose_visible(&mut self, node: &Node) {
        // Among services of one host that of the client's own namespace comes first, then the order of `services`.
        let own = |service: &Service<'_>| service.namespace == node.namespace;
        for first in [true, false] {
            for (at, service) in self.services.iter().enumerate().filter(|(_, service)| own(service) == first)
            {
                let list = if service.exported { &mut self.visible } else { &mut self.hidden };
                list.entry(service.host.clone()).or_insert(at);
            }
        }
    }

    /// The service of `host` that the node sees.
    pub fn find(&self, host: &str) -> Option<&Service<'a>> {
        self.visible.get(host).map(|at| &self.services[*at])
    }

    /// The service of `host` that exists but is not exported to the node.
    pub fn find_hidden(&self, host: &str) -> Option<&Service<'a>> {
        self.hidden.get(host).map(|at| &self.services[*at])
    }

    /// Those that the node sees, in file order.
    pub fn visible(&self) -> impl Iterator<Item = &Service<'a>> {
        let seen = |(at, service): &(usize, &Service<'a>)| self.visible.get(&service.host) == Some(at);
        self.services.iter().enumerate().filter(seen).map(|(_, service)| service)
    }

    /// Those of `namespace` whose selector picks a workload with `labels`, in file order.
    pub fn of_workload<'s>(
        &'s self,
        namespace: &'s str,
        labels: &'s Labels,
    ) -> impl Iterator<Item = &'s Service<'a>> {
        self.services.iter().filter(move |service| {
            service.namespace == namespace
                && !service.selector.is_empty()
                && selects(service.selector, labels)
        })
    }
}

/// Endpoints of one port, each address once.
#[derive(Default)]
struct EndpointList {
    seen: HashSet<EndpointAddress>,
    endpoints: Vec<Endpoint>,
}

impl EndpointList {
    fn add(&mut self, instance: &workloads::Instance<'_>, port: u16) {
        self.push(Endpoint {
            address: EndpointAddress::new(instance.address, port),
            weight: instance.weight,
            workload: instance.workload.clone(),
            locality: instance.locality.clone(),
            priority: 0,
            mtls: instance.workload.takes_mtls(),
        });
    }

    fn push(&mut self, endpoint: Endpoint) {
        if self.seen.insert(endpoint.address.clone()) {
            self.endpoints.push(endpoint);
        }
    }
}

/// An endpoint of which only the address is known.
fn bare_endpoint(address: EndpointAddress, namespace: &str) -> Endpoint {
    let workload = ir::Workload { name: "unknown".into(), namespace: namespace.into(), ..Default::default() };
    Endpoint {
        address,
        weight: 1,
        workload: Arc::new(workload),
        locality: "".into(),
        priority: 0,
        mtls: false,
    }
}

/// `10.0.0.1` or `10.0.0.0/8`.
fn network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<std::net::IpAddr>().ok().map(IpNet::from))
}

/// The name of a service in metrics.
fn identity(host: &Arc<str>, namespace: &str, domain: &str) -> ServiceIdentity {
    let name = names::cluster_local(host, domain).map_or_else(|| host.clone(), |(name, _)| name.into());
    ServiceIdentity { host: host.clone(), name, namespace: namespace.into() }
}

/// Says that a service has no endpoint, unless that is how it is meant.
fn note_no_endpoints<T>(notes: &mut Notes, resource: &Resource<T>, path: &[Step<'_>], host: &str, why: &str) {
    notes.warn(
        resource,
        codes::NO_ENDPOINTS,
        path,
        format!("`{host}` has no endpoints: {why}; requests to it get 503"),
    );
}
