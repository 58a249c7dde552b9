//! Services of ServiceEntries: one a host.
//!
//! In:  ServiceEntries, the WorkloadEntries and Pods that they pick.   Out: [`Service`]s, oldest first.
//! Invariants: entries of one namespace for one host are one service: a port that an older entry has stays as it is, other
//! ports are added.
//! Not here: Kubernetes Services.

use super::{
    super::{locality, names, notes::Notes, protocol::Protocol},
    EndpointList, Labels, Port, Resolution, Service, Source, bare_endpoint, identity, network,
    note_no_endpoints,
    workloads::{Instance, Workloads},
};
use crate::{
    config::{Config, Resource, age_order},
    ir::{EndpointAddress, Node},
    istio::{self, ServiceEntry},
    kubernetes::IntOrString,
    pause,
};
use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, LazyLock},
};

static NO_LABELS: LazyLock<Labels> = LazyLock::new(Labels::new);

/// All hosts of all ServiceEntries, oldest first.
pub(super) fn services<'a>(
    config: &'a Config,
    node: &Node,
    workloads: &Workloads<'a>,
    notes: &mut Notes,
) -> Vec<Service<'a>> {
    let mut resources: Vec<_> = config.service_entries.iter().collect();
    resources.sort_by(|a, b| age_order(a, b));
    let mut services: Vec<Service<'a>> = Vec::with_capacity(resources.len());
    let mut known = HashMap::<(&str, Arc<str>), usize>::new();
    for resource in resources {
        pause::here();
        let instances = instances(resource, workloads);
        for (at, host) in resource.spec.hosts.iter().enumerate() {
            let service = service(resource, host, node, &instances);
            if service.has_endpoints() && service.ports.iter().any(|port| port.endpoints.is_empty()) {
                let why = match resource.spec.workload_selector {
                    Some(_) => "no WorkloadEntry and no ready Pod has the labels of its `workloadSelector`",
                    None => "`resolution: STATIC` without `endpoints`",
                };
                note_no_endpoints(notes, resource, &["hosts".into(), at.into()], &service.host, why);
            }
            match known.entry((&resource.metadata.namespace, service.host.clone())) {
                Entry::Vacant(entry) => {
                    entry.insert(services.len());
                    services.push(service);
                }
                Entry::Occupied(entry) => add_ports(&mut services[*entry.get()], service),
            }
        }
    }
    services
}

/// Where the entry's endpoints are: inline, or picked.
fn instances<'w, 'a>(
    resource: &'a Resource<ServiceEntry>,
    workloads: &'w Workloads<'a>,
) -> Instances<'w, 'a> {
    let Resource { metadata, spec, .. } = resource;
    match &spec.workload_selector {
        Some(selector) => {
            let picked = workloads.selected(&metadata.namespace, &selector.labels);
            Instances::Picked(picked.filter(|instance| instance.ready).collect())
        }
        None => Instances::Inline(
            spec.endpoints
                .iter()
                .filter_map(|entry| {
                    Instance::of_entry(entry, &metadata.name, &metadata.namespace, &NO_LABELS)
                })
                .collect(),
        ),
    }
}

enum Instances<'w, 'a> {
    Inline(Vec<Instance<'a>>),
    Picked(Vec<&'w Instance<'a>>),
}

impl<'a> Instances<'_, 'a> {
    fn iter(&self) -> Box<dyn Iterator<Item = &Instance<'a>> + '_> {
        match self {
            Instances::Inline(list) => Box::new(list.iter()),
            Instances::Picked(list) => Box::new(list.iter().copied()),
        }
    }
}

fn service<'a>(
    resource: &'a Resource<ServiceEntry>,
    host: &str,
    node: &Node,
    instances: &Instances<'_, 'a>,
) -> Service<'a> {
    let Resource { metadata, spec, .. } = resource;
    let host: Arc<str> = host.to_ascii_lowercase().into();
    let resolution = resolution(spec, &host);
    let ports = spec.ports.iter().map(|port| {
        let endpoints = match resolution {
            Resolution::Given | Resolution::RoundRobinDns => {
                endpoints(port, spec, &host, metadata, instances)
            }
            Resolution::Original | Resolution::OfRequest => Vec::new(),
        };
        Port {
            number: port.number,
            name: &port.name,
            protocol: port.protocol.as_deref().map_or(Protocol::Undeclared, Protocol::parse),
            target: port.target_port.map(IntOrString::Number),
            endpoints,
        }
    });
    Service {
        identity: identity(&host, &metadata.namespace, &node.domain),
        namespace: &metadata.namespace,
        ports: ports.collect(),
        resolution,
        addresses: spec.addresses.iter().filter_map(|address| network(address)).collect(),
        headless: false,
        selector: spec.workload_selector.as_ref().map_or(&NO_LABELS, |selector| &selector.labels),
        subject_alt_names: &spec.subject_alt_names,
        near: locality::of_traffic_distribution(
            resource.metadata.annotations.get("networking.istio.io/traffic-distribution").map(String::as_str),
        ),
        external_name: None,
        exported: names::exported(&spec.export_to, &metadata.namespace, &node.namespace),
        source: Source::Entry(resource),
        host,
    }
}

fn resolution(spec: &ServiceEntry, host: &str) -> Resolution {
    let nameless = host.starts_with('*') && spec.endpoints.is_empty() && spec.workload_selector.is_none();
    match spec.resolution {
        istio::Resolution::None => Resolution::Original,
        istio::Resolution::DynamicDns => Resolution::OfRequest,
        // A wildcard cannot be resolved itself; the name of each request can.
        istio::Resolution::Dns | istio::Resolution::DnsRoundRobin if nameless => Resolution::OfRequest,
        istio::Resolution::DnsRoundRobin => Resolution::RoundRobinDns,
        istio::Resolution::Dns | istio::Resolution::Static => Resolution::Given,
    }
}

fn endpoints(
    port: &istio::ServicePort,
    spec: &ServiceEntry,
    host: &Arc<str>,
    metadata: &crate::config::Metadata,
    instances: &Instances<'_, '_>,
) -> Vec<crate::ir::Endpoint> {
    let target = port.target_port.map(IntOrString::Number);
    let mut list = EndpointList::default();
    for instance in instances.iter() {
        if let Some(number) = instance.port(&port.name, port.number, target.as_ref()) {
            list.add(instance, number);
        }
    }
    let by_name = matches!(spec.resolution, istio::Resolution::Dns | istio::Resolution::DnsRoundRobin);
    if by_name && list.endpoints.is_empty() && spec.workload_selector.is_none() {
        let address = EndpointAddress::new(host, port.target_port.unwrap_or(port.number));
        let mut endpoint = bare_endpoint(address, &metadata.namespace);
        Arc::make_mut(&mut endpoint.workload).name = metadata.name.clone();
        list.push(endpoint);
    }
    list.endpoints
}

/// A younger entry for the same host adds its ports.
fn add_ports<'a>(service: &mut Service<'a>, younger: Service<'a>) {
    for port in younger.ports {
        if service.port(port.number).is_none() {
            service.ports.push(port);
        }
    }
}
