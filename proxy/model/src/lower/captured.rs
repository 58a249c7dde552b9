//! Filter chains for connections that the kernel redirected: their original destination tells the port.
//!
//! In:  a [`View`].   Out: filter chains by destination port, one for all other ports, and a route table a port.
//! Invariants: no two chains have an equal match; a chain with a virtual address is told apart by it before anything else, so
//! all chains of a service with one have it.
//! Not here: requests without capture (`outbound`).
//! Source: R21, R25.

use super::{
    Mesh,
    domains::Names,
    outbound::{host_name, http_chain},
    protocol::Class,
    table::{Forms, Table},
    view::{Fallback, ServedPort, View},
};
use crate::ir::{
    ApplicationProtocol, FilterChain, FilterChainMatch, NetworkFilter, Origin, RouteConfiguration, TcpProxy,
    Transport,
};
use ipnet::IpNet;
use std::collections::{BTreeMap, HashSet};

/// Chains and tables for all ports.
pub(super) fn chains(
    mesh: &Mesh<'_>,
    view: &View<'_>,
    fallback: &Fallback,
) -> (Vec<FilterChain>, Vec<RouteConfiguration>) {
    let mut by_port = BTreeMap::<u16, Vec<&ServedPort<'_>>>::new();
    for served in &view.ports {
        by_port.entry(served.port.number).or_default().push(served);
    }
    // Port 80 is for hosts of rules, too (R4).
    if view.hosts.iter().any(|host| host.port == 80 && !host.routes.is_empty()) {
        by_port.entry(80).or_default();
    }
    let mut chains = Chains::default();
    let mut tables = Vec::new();
    for (port, served) in by_port {
        if let Some(table) = table(mesh, port, &served, view, fallback) {
            http_chains(&mut chains, port, &served);
            tables.push(table);
        }
        for served in served.iter().filter(|served| served.class != Class::Http) {
            tcp_chains(&mut chains, served);
        }
        // What nobody on the port takes: other addresses, other names, other protocols.
        let matches = FilterChainMatch { destination_port: Some(port), ..Default::default() };
        chains.push(tcp_chain(format!("{}_{port}", fallback.name), matches, fallback.bytes()));
    }
    let matches = FilterChainMatch { captured: true, ..Default::default() };
    chains.push(tcp_chain(format!("{}_captured", fallback.name), matches, fallback.bytes()));
    (chains.list, tables)
}

/// The table of a port; `None` if nothing on it is HTTP.
fn table(
    mesh: &Mesh<'_>,
    port: u16,
    served: &[&ServedPort<'_>],
    view: &View<'_>,
    fallback: &Fallback,
) -> Option<RouteConfiguration> {
    let mut table = Table::of_port(port.to_string());
    let mut any = false;
    for served in served.iter().filter(|served| served.class.has_http()) {
        any = true;
        let names = Names::of_service(served.service, &mesh.node);
        let name = host_name(&served.service.host, served);
        table.add(name, &names, Forms::Bare, served.routes.to_vec(), served.origin.clone());
    }
    for host in view.hosts.iter().filter(|host| port == 80 && host.port == 80 && !host.routes.is_empty()) {
        any = true;
        let names = Names::of_host(&host.host, &mesh.node);
        table.add(
            format!("{}:80", host.host),
            &names,
            Forms::Bare,
            host.routes.to_vec(),
            host.origin.clone(),
        );
    }
    table.add_fallback(fallback.name, fallback.routes(), Origin::built_in());
    any.then(|| table.finish())
}

const DETECTED: [ApplicationProtocol; 2] = [ApplicationProtocol::Http1, ApplicationProtocol::Http2];

/// HTTP of a port. Where anything else may come to it, only what is seen to be HTTP.
fn http_chains(chains: &mut Chains, port: u16, served: &[&ServedPort<'_>]) {
    let name = port.to_string();
    let shared = served.iter().any(|served| served.class != Class::Http && vips(served).is_empty());
    let protocols = if shared { DETECTED.to_vec() } else { Vec::new() };
    let matches =
        |destinations: Vec<IpNet>, application_protocols: Vec<ApplicationProtocol>| FilterChainMatch {
            destination_port: Some(port),
            destinations,
            application_protocols,
            ..Default::default()
        };
    chains.push(http_chain(&name, &name, matches(Vec::new(), protocols)));
    for served in served.iter().filter(|served| served.class == Class::Detected && !vips(served).is_empty()) {
        let chain = format!("{}_{port}", served.service.host);
        chains.push(http_chain(&chain, &name, matches(vips(served), DETECTED.to_vec())));
    }
}

fn tcp_chains(chains: &mut Chains, served: &ServedPort<'_>) {
    for choice in &served.choices {
        let destinations =
            if choice.destinations.is_empty() { vips(served) } else { choice.destinations.clone() };
        let matches = FilterChainMatch {
            destination_port: Some(served.port.number),
            destinations,
            transport: (!choice.server_names.is_empty()).then_some(Transport::Tls),
            server_names: choice.server_names.clone(),
            ..Default::default()
        };
        chains.push(tcp_chain(
            format!("{}_{}", served.service.host, served.port.number),
            matches,
            choice.proxy.clone(),
        ));
    }
}

/// A chain of bytes to a cluster.
pub(super) fn tcp_chain(name: String, matches: FilterChainMatch, proxy: TcpProxy) -> FilterChain {
    FilterChain { name: name.into(), matches, tls: None, filter: NetworkFilter::Tcp(proxy) }
}

fn vips(served: &ServedPort<'_>) -> Vec<IpNet> {
    served.service.addresses.clone()
}

/// Filter chains of a listener; of two that would match the same connections the first stays.
#[derive(Default)]
pub(super) struct Chains {
    pub list: Vec<FilterChain>,
    seen: HashSet<String>,
}

impl Chains {
    /// Adds a chain with what is left of its match; `false` if nothing is.
    pub fn push(&mut self, mut chain: FilterChain) -> bool {
        let matches = &mut chain.matches;
        let rest = format!(
            "{:?} {:?} {:?}",
            (matches.captured, matches.destination_port),
            matches.transport,
            matches.application_protocols
        );
        let (names, networks) = (matches.server_names.clone(), matches.destinations.clone());
        let seen = &mut self.seen;
        let mut new = |name: &str, networks: &str| seen.insert(format!("{rest} {name} {networks}"));
        let left = match (names.is_empty(), networks.is_empty()) {
            (true, true) => new("", ""),
            (true, false) => {
                matches.destinations.retain(|network| new("", &network.to_string()));
                !matches.destinations.is_empty()
            }
            (false, _) => {
                let networks = format!("{networks:?}");
                matches.server_names.retain(|name| new(&name.to_string(), &networks));
                !matches.server_names.is_empty()
            }
        };
        if left {
            self.list.push(chain);
        }
        left
    }
}
