//! Services of Kubernetes, and their endpoints.
//!
//! In:  Services, EndpointSlices, Endpoints, Pods, WorkloadEntries.   Out: [`Service`]s in order of age.
//! Invariants: EndpointSlices beat Endpoints beat Pods; WorkloadEntries that the selector picks come on top; what is not
//! ready is left out unless the Service publishes it.
//! Not here: ServiceEntries.

use super::{
    super::{locality, names, notes::Notes, protocol::Protocol},
    EndpointList, Port, Resolution, Service, Source, bare_endpoint, identity, network, note_no_endpoints,
    workloads::{Instance, Workloads},
};
use crate::{
    config::{Config, Resource, age_order},
    diagnostic::codes,
    ir::{Endpoint, EndpointAddress, Node},
    kubernetes::{self as k8s, IntOrString, ServiceType},
};
use std::{collections::HashMap, sync::Arc};

/// Where the endpoints of a Service may be written.
struct Given<'a> {
    slices: HashMap<(&'a str, &'a str), Vec<&'a k8s::EndpointSlice>>,
    endpoints: HashMap<(&'a str, &'a str), &'a k8s::Endpoints>,
    workloads: &'a Workloads<'a>,
}

/// All Services, oldest first.
pub(super) fn services<'a>(
    config: &'a Config,
    node: &Node,
    workloads: &Workloads<'a>,
    notes: &mut Notes,
) -> Vec<Service<'a>> {
    let mut slices = HashMap::<_, Vec<_>>::new();
    for slice in &config.endpoint_slices {
        if let Some(service) = slice.metadata.labels.get("kubernetes.io/service-name") {
            slices.entry((&*slice.metadata.namespace, &**service)).or_default().push(&*slice.spec);
        }
    }
    let endpoints =
        config.endpoints.iter().map(|e| ((&*e.metadata.namespace, &*e.metadata.name), &*e.spec)).collect();
    let given = Given { slices, endpoints, workloads };
    let mut resources: Vec<_> = config.services.iter().collect();
    resources.sort_by(|a, b| age_order(a, b));
    resources.into_iter().map(|resource| service(resource, node, &given, notes)).collect()
}

fn service<'a>(
    resource: &'a Resource<k8s::Service>,
    node: &Node,
    given: &Given<'_>,
    notes: &mut Notes,
) -> Service<'a> {
    let Resource { metadata, spec, .. } = resource;
    let host: Arc<str> =
        format!("{}.{}.svc.{}", metadata.name, metadata.namespace, node.domain).to_lowercase().into();
    let export_to: Vec<String> = metadata
        .annotations
        .get("networking.istio.io/exportTo")
        .map_or_else(Vec::new, |list| list.split(',').map(|namespace| namespace.trim().to_owned()).collect());
    let annotated = metadata.annotations.get("networking.istio.io/traffic-distribution").map(String::as_str);
    let external_name = match spec.kind {
        ServiceType::ExternalName => spec.external_name.as_deref(),
        _ => None,
    };
    let headless = spec.cluster_ip.as_deref() == Some("None");
    let addresses = spec.cluster_ip.iter().chain(&spec.cluster_ips).filter_map(|ip| network(ip));
    let mut addresses: Vec<_> = addresses.collect();
    addresses.dedup();
    let mut service = Service {
        identity: identity(&host, &metadata.namespace, &node.domain),
        host,
        namespace: &metadata.namespace,
        ports: spec.ports.iter().map(port).collect(),
        resolution: Resolution::Given,
        addresses,
        headless,
        selector: &spec.selector,
        subject_alt_names: &[],
        near: locality::of_traffic_distribution(spec.traffic_distribution.as_deref().or(annotated)),
        external_name,
        exported: names::exported(&export_to, &metadata.namespace, &node.namespace),
        source: Source::Kubernetes(resource),
    };
    fill(&mut service, resource, node, given, notes);
    service
}

fn port(port: &k8s::ServicePort) -> Port<'_> {
    Port {
        number: port.port,
        name: port.name.as_deref().unwrap_or_default(),
        protocol: Protocol::of_service_port(port),
        target: port.target_port.clone(),
        endpoints: Vec::new(),
    }
}

/// Finds the endpoints of each port.
fn fill(
    service: &mut Service<'_>,
    resource: &Resource<k8s::Service>,
    node: &Node,
    given: &Given<'_>,
    notes: &mut Notes,
) {
    let namespace = service.namespace;
    let key = (namespace, &*resource.metadata.name);
    if let Some(name) = service.external_name {
        for port in &mut service.ports {
            let address = EndpointAddress::new(name, numeric_target(port));
            port.endpoints = vec![bare_endpoint(address, namespace)];
        }
        return;
    }
    let described = given.slices.contains_key(&key) || given.endpoints.contains_key(&key);
    let unready = resource.spec.publish_not_ready_addresses;
    let picked: Vec<&Instance<'_>> = match service.selector.is_empty() {
        true => Vec::new(),
        false => {
            given.workloads.selected(namespace, service.selector).filter(|i| i.ready || unready).collect()
        }
    };
    for port in &mut service.ports {
        let mut list = EndpointList::default();
        if let Some(slices) = given.slices.get(&key) {
            slices.iter().for_each(|slice| from_slice(slice, port, unready, key, given.workloads, &mut list));
        } else if let Some(endpoints) = given.endpoints.get(&key) {
            from_endpoints(endpoints, port, unready, key, given.workloads, &mut list);
        }
        // Kubernetes already counts Pods in the lists it writes; WorkloadEntries are never in them.
        for instance in picked.iter().filter(|instance| !described || instance.is_entry()) {
            if let Some(number) = instance.port(port.name, port.number, port.target.as_ref()) {
                list.add(instance, number);
            }
        }
        port.endpoints = list.endpoints;
    }
    if service.ports.iter().any(|port| port.endpoints.is_empty() && port.protocol != Protocol::Udp) {
        without_endpoints(service, resource, node, described || given.workloads.knows(namespace), notes);
    }
}

/// A Service of which the files say no endpoint. Where they describe workloads at all, it has none. Where they do not, as
/// on a laptop, its name is resolved.
fn without_endpoints(
    service: &mut Service<'_>,
    resource: &Resource<k8s::Service>,
    node: &Node,
    described: bool,
    notes: &mut Notes,
) {
    let name = &*resource.metadata.name;
    if described {
        let why = if service.selector.is_empty() {
            "its Endpoints or EndpointSlices list none that is ready"
        } else {
            "no ready Pod or WorkloadEntry has the labels of its selector and a port for it"
        };
        return note_no_endpoints(notes, resource, &["selector".into()], &service.host, why);
    }
    let written = match service.namespace == node.namespace {
        true => name.to_owned(),
        false => format!("{name}.{}", service.namespace),
    };
    let message = format!(
        "no file gives the endpoints of `{}`: the name `{written}` will be resolved by DNS",
        service.host
    );
    notes.warn(resource, codes::RESOLVED_BY_DNS, &[], message);
    let namespace = service.namespace;
    for port in &mut service.ports {
        let mut endpoint = bare_endpoint(EndpointAddress::new(&written, numeric_target(port)), namespace);
        Arc::make_mut(&mut endpoint.workload).name = name.to_owned();
        port.endpoints = vec![endpoint];
    }
}

/// `targetPort` where it is a number, else the port itself.
fn numeric_target(port: &Port<'_>) -> u16 {
    match port.target {
        Some(IntOrString::Number(number)) => number,
        _ => port.number,
    }
}

/// Whether a port of an endpoint list is the one that a Service's port means.
fn same_port(listed: &k8s::EndpointPort, port: &Port<'_>) -> Option<u16> {
    (listed.name.as_deref().unwrap_or_default() == port.name).then_some(listed.port)?
}

fn from_slice(
    slice: &k8s::EndpointSlice,
    port: &Port<'_>,
    unready: bool,
    key: (&str, &str),
    workloads: &Workloads<'_>,
    list: &mut EndpointList,
) {
    for number in slice.ports.iter().filter_map(|listed| same_port(listed, port)) {
        for endpoint in &slice.endpoints {
            // Consumers use the first address; the others are the same endpoint.
            let Some(address) = endpoint.addresses.first() else { continue };
            if endpoint.conditions.ready.unwrap_or(true) || unready {
                let pod = endpoint.target_ref.as_ref().and_then(|target| target.name.as_deref());
                list.push(listed(address, number, pod, endpoint.zone.as_deref(), key, workloads));
            }
        }
    }
}

fn from_endpoints(
    endpoints: &k8s::Endpoints,
    port: &Port<'_>,
    unready: bool,
    key: (&str, &str),
    workloads: &Workloads<'_>,
    list: &mut EndpointList,
) {
    for subset in &endpoints.subsets {
        let not_ready = subset.not_ready_addresses.iter().filter(|_| unready);
        let addresses: Vec<_> = subset.addresses.iter().chain(not_ready).collect();
        for number in subset.ports.iter().filter_map(|listed| same_port(listed, port)) {
            for address in &addresses {
                let pod = address.target_ref.as_ref().and_then(|target| target.name.as_deref());
                list.push(listed(&address.ip, number, pod, None, key, workloads));
            }
        }
    }
}

/// An address of a list, with the Pod or WorkloadEntry that has it, if the files have that.
fn listed(
    address: &str,
    port: u16,
    pod: Option<&str>,
    zone: Option<&str>,
    (namespace, _): (&str, &str),
    workloads: &Workloads<'_>,
) -> Endpoint {
    let mut endpoint = bare_endpoint(EndpointAddress::new(address, port), namespace);
    if let Some(known) = workloads.find(namespace, pod, address) {
        endpoint.workload = known.workload.clone();
        endpoint.locality = known.locality.clone();
        endpoint.mtls = known.workload.takes_mtls();
    } else if let Some(pod) = pod {
        Arc::make_mut(&mut endpoint.workload).name = pod.to_owned();
    }
    if let (Some(zone), "") = (zone, &*endpoint.locality) {
        endpoint.locality = format!("/{zone}").into();
    }
    endpoint
}
