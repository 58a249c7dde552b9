//! The names that the proxy answers for as the application's DNS server.
//!
//! In:  the services that the node imports.   Out: [`Names`]; addresses for ServiceEntries that have none.
//! Invariants: an address that is given out here is one service's alone, and the same on every run with the same files; services
//! without a fixed address are left to the machine's own servers.
//! Source: Istio's `serviceentry/conversion.go` for the ranges.

use super::{
    Mesh,
    domains::Names as Domains,
    registry::{Resolution, Service, Source},
};
use crate::ir::{EndpointAddress, Names};
use ipnet::IpNet;
use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// Names and their addresses.
pub(super) fn names(mesh: &Mesh<'_>) -> Names {
    let mut names = Names::new();
    let mut short = Vec::new();
    let imported = |service: &&Service<'_>| mesh.scope.imports_service(service.namespace, &service.host);
    for service in mesh.registry.visible().filter(imported) {
        let addresses = addresses(service);
        if addresses.is_empty() {
            continue;
        }
        let domains = Domains::of_host(&service.host, &mesh.node);
        short.extend(domains.short.into_iter().map(|name| (name, addresses.clone())));
        names.insert(service.host.clone(), addresses);
    }
    for (name, addresses) in short {
        names.entry(name.into()).or_insert(addresses); // a full name of another service beats it
    }
    names
}

fn addresses(service: &Service<'_>) -> Vec<IpAddr> {
    let single = service.addresses.iter().filter(|net| net.prefix_len() == net.max_prefix_len());
    let mut addresses: Vec<IpAddr> = single.map(IpNet::addr).collect();
    if addresses.is_empty() && service.headless {
        for endpoint in service.ports.iter().flat_map(|port| &port.endpoints) {
            if let EndpointAddress::Socket(address) = endpoint.address
                && !addresses.contains(&address.ip())
            {
                addresses.push(address.ip());
            }
        }
    }
    addresses
}

/// Gives addresses to the hosts of ServiceEntries that have none.
pub(super) fn allocate(services: &mut [Service<'_>]) {
    let mut taken: HashSet<IpNet> = services.iter().flat_map(|service| service.addresses.clone()).collect();
    let mut wanting: Vec<&mut Service<'_>> = services.iter_mut().filter(|service| wants(service)).collect();
    wanting.sort_by(|a, b| (a.namespace, &a.host).cmp(&(b.namespace, &b.host)));
    for service in wanting {
        let start = hash(service.namespace, &service.host);
        let free = (0..=u16::MAX).map(|step| start.wrapping_add(step)).find(|number| {
            // Neither `.0` nor `.255`, which some take for networks.
            !matches!(number & 0xff, 0 | 0xff) && !taken.contains(&v4(*number))
        });
        let Some(number) = free else { return };
        taken.insert(v4(number));
        service.addresses = vec![v4(number), v6(number)];
    }
}

fn wants(service: &Service<'_>) -> bool {
    matches!(service.source, Source::Entry(_))
        && service.addresses.is_empty()
        && service.resolution != Resolution::Original
        && !service.host.starts_with('*')
}

fn v4(number: u16) -> IpNet {
    let [high, low] = number.to_be_bytes();
    IpNet::from(IpAddr::V4(Ipv4Addr::new(240, 240, high, low)))
}

fn v6(number: u16) -> IpNet {
    IpNet::from(IpAddr::V6(Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, number)))
}

/// FNV-1a, folded: where to begin to look.
fn hash(namespace: &str, host: &str) -> u16 {
    let bytes = namespace.bytes().chain([b'/']).chain(host.bytes());
    let hash = bytes.fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    (hash >> 16) as u16 ^ hash as u16
}
