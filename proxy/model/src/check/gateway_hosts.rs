//! Hosts of VirtualServices that no server of their Gateways has: Istio drops them without a word (R3).
//!
//! Not here: Gateways that no file defines (`references`).

use super::report::{At, Report};
use crate::{
    config::{Config, Resource},
    diagnostic::{Diagnostic, codes},
    istio::{Gateway, VirtualService},
    lower::names::intersection,
};
use std::collections::{HashMap, HashSet};

/// The hosts of a Gateway's servers.
#[derive(Default)]
struct Servers {
    /// As written: `[namespace/]host`.
    written: Vec<String>,
    /// Namespace (`*`: every) and name, lower-case.
    names: HashSet<(String, String)>,
    /// Those with a `*`, which have to be compared one by one.
    patterns: Vec<(String, String)>,
}

impl Servers {
    fn new(gateway: &Resource<Gateway>) -> Self {
        let mut servers = Servers::default();
        for text in gateway.spec.servers.iter().flat_map(|server| &server.hosts) {
            let (namespace, host) = text.split_once('/').unwrap_or(("*", text));
            let namespace = if namespace == "." { &gateway.metadata.namespace } else { namespace };
            let entry = (namespace.to_owned(), host.to_ascii_lowercase());
            if entry.1.starts_with('*') && !servers.patterns.contains(&entry) {
                servers.patterns.push(entry.clone());
            }
            if servers.names.insert(entry) {
                servers.written.push(text.clone());
            }
        }
        servers
    }

    /// Whether rules of `namespace` for `host` have a place at one of the servers.
    fn have(&self, namespace: &str, host: &str) -> bool {
        let open = |owner: &str| owner == "*" || owner == namespace;
        let shared = |(owner, own): &(String, String)| open(owner) && intersection(own, host).is_some();
        match host.starts_with('*') {
            true => self.names.iter().any(shared),
            false => {
                let same = |owner: &str| self.names.contains(&(owner.to_owned(), host.to_owned()));
                same("*") || same(namespace) || self.patterns.iter().any(shared)
            }
        }
    }
}

pub(super) fn check(config: &Config, out: &mut Vec<Diagnostic>) {
    let gateways: HashMap<(&str, &str), Servers> = config
        .gateways
        .iter()
        .map(|gateway| ((&*gateway.metadata.namespace, &*gateway.metadata.name), Servers::new(gateway)))
        .collect();
    for resource in &config.virtual_services {
        let namespace = resource.metadata.namespace.as_str();
        let named: Vec<_> = (resource.spec.gateways.iter().enumerate())
            .filter_map(|(index, name)| {
                let key = name.split_once('/').unwrap_or((namespace, name));
                Some((index, key, gateways.get(&key)?))
            })
            .collect();
        if !named.is_empty() {
            one(&resource.spec, namespace, &named, &mut Report::new(resource, out));
        }
    }
}

/// A gateway's place in the list, its namespace and name, its servers.
type NamedServers<'a> = (usize, (&'a str, &'a str), &'a Servers);

fn one(spec: &VirtualService, namespace: &str, named: &[NamedServers<'_>], report: &mut Report<'_>) {
    let root = At::SPEC;
    let hosts: Vec<String> = spec.hosts.iter().map(|host| host.to_ascii_lowercase()).collect();
    // Where every place that the rules could hold at is known, a host that none of them has is told of by itself.
    let only_here = named.len() == spec.gateways.len();
    let mut useless = 0;
    for (index, host) in hosts.iter().enumerate().filter(|(_, host)| only_here && !host.is_empty()) {
        if named.iter().any(|(.., servers)| servers.have(namespace, host)) {
            continue;
        }
        useless += 1;
        let titles: Vec<String> = named.iter().map(|(_, (ns, name), _)| format!("{ns}/{name}")).collect();
        let message =
            format!("no server of Gateway {} has the host `{host}`: it is dropped", titles.join(", "));
        report.warn_help(root.to("hosts").to(index), codes::DROPPED, message, hosts_of(named));
    }
    if useless == hosts.len() {
        return;
    }
    for (index, (owner, name), servers) in named {
        if !hosts.iter().any(|host| servers.have(namespace, host)) {
            let message = format!(
                "no server of Gateway {owner}/{name} has any of these hosts: the rules never apply there"
            );
            let help = hosts_of(&[(*index, (*owner, *name), *servers)]);
            report.warn_help(root.to("gateways").to(*index), codes::DROPPED, message, help);
        }
    }
}

fn hosts_of(named: &[NamedServers<'_>]) -> String {
    const MOST: usize = 8;
    let all: Vec<&str> =
        named.iter().flat_map(|(.., servers)| &servers.written).map(String::as_str).collect();
    let more = if all.len() > MOST { ", …" } else { "" };
    format!("hosts of its servers: {}{more}", all[..all.len().min(MOST)].join(", "))
}
