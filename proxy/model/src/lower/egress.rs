//! Sockets that a Sidecar opens for single services.
//!
//! In:  `egress` entries with a port and a bind address (or no capture).   Out: a listener each.
//! Invariants: without an address they listen on 127.0.0.1. An HTTP port serves the imported services that have its number,
//! or else those with only one HTTP port; when that is a single service, whatever the request's Host says. A TCP port goes to
//! the first such service.
//! Not here: what the entry imports (`sidecars`).
//! Source: R20.

use super::{
    Plan,
    captured::{Chains, tcp_chain},
    domains::Names,
    outbound::{host_name, http_chain, proxy_table},
    protocol::{Class, Protocol},
    registry::Service,
    routes::Routes,
    table::{Forms, Table},
    view::{self, Fallback, ServedPort, View},
};
use crate::{
    config::{Resource, Step},
    diagnostic::codes,
    ir::{Direction, FilterChainMatch, ListenAddress, Listener, Origin, RouteConfiguration, Transport},
    istio::{IstioEgressListener, Sidecar},
};
use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

/// Adds them. What they serve under its own port number, by host and port, is not for the listener for all ports any more.
pub(super) fn add(routes: &mut Routes<'_>, plan: &mut Plan, fallback: &Fallback) -> HashSet<(Arc<str>, u16)> {
    let mesh = routes.mesh;
    let mut taken = HashSet::new();
    let Some(resource) = mesh.scope.sidecar else { return taken };
    for (at, imports) in &mesh.scope.own_listeners {
        let entry = &resource.spec.egress[*at];
        let path = ["egress".into(), (*at).into()];
        let number = entry.port.as_ref().map_or(0, |port| port.number);
        let Some((name, address)) = address(entry.bind.as_deref(), number, Ipv4Addr::LOCALHOST) else {
            let message = "listener dropped: `bind` is neither an IP address nor `unix:///path`";
            routes.notes.warn(resource, codes::DROPPED, &path, message);
            continue;
        };
        let view = view::collect(routes, imports);
        let mut listener = Listener {
            name: name.clone().into(),
            address,
            direction: Direction::Outbound,
            detection_timeout: mesh.detection_timeout,
            filter_chains: Vec::new(),
            default_filter_chain: None,
            proxy_protocol: false,
            origin: resource.origin(&path),
        };
        let table = fill(routes, &mut listener, entry, &view, fallback, (resource, &path));
        plan.route_configurations.extend(table);
        plan.listeners.push(listener);
        if protocol(entry) != Protocol::HttpProxy {
            let own = view.ports.iter().filter(|served| served.port.number == number);
            taken.extend(own.map(|served| (served.service.host.clone(), number)));
        }
    }
    taken
}

/// HTTP where there is only a Unix socket.
fn protocol(entry: &IstioEgressListener) -> Protocol {
    entry.port.as_ref().map_or(Protocol::Http, |port| Protocol::parse(&port.protocol))
}

/// Name and address of a listener on `bind`, or on `default`.
pub(super) fn address(bind: Option<&str>, port: u16, default: Ipv4Addr) -> Option<(String, ListenAddress)> {
    match bind {
        Some(bind) if bind.starts_with("unix://") => {
            let path = bind.trim_start_matches("unix://");
            Some((path.to_owned(), ListenAddress::Unix(path.into())))
        }
        Some(bind) => {
            let ip: IpAddr = bind.parse().ok()?;
            Some((format!("{ip}_{port}"), ListenAddress::Socket(SocketAddr::new(ip, port))))
        }
        None => {
            Some((format!("{default}_{port}"), ListenAddress::Socket(SocketAddr::new(default.into(), port))))
        }
    }
}

fn fill(
    routes: &mut Routes<'_>,
    listener: &mut Listener,
    entry: &IstioEgressListener,
    view: &View<'_>,
    fallback: &Fallback,
    (resource, path): (&Resource<Sidecar>, &[Step<'_>]),
) -> Option<RouteConfiguration> {
    let protocol = protocol(entry);
    let number = entry.port.as_ref().map_or(0, |port| port.number);
    let name = listener.name.to_string();
    if protocol == Protocol::HttpProxy {
        listener.default_filter_chain = Some(http_chain(&name, &name, FilterChainMatch::default()));
        return Some(proxy_table(&name, routes.mesh, view, fallback).finish());
    }
    let served = bound(view, number, protocol.class());
    if served.is_empty() {
        let message = "no imported service has a port for this listener: it answers nothing";
        routes.notes.warn(resource, codes::DROPPED, path, message);
    }
    match protocol.class() {
        Class::Http | Class::Ignored => {
            listener.default_filter_chain = Some(http_chain(&name, &name, FilterChainMatch::default()));
            return Some(http_table(routes, &name, &served, view, number, fallback));
        }
        Class::Detected => {
            let matches = FilterChainMatch {
                application_protocols: vec![
                    crate::ir::ApplicationProtocol::Http1,
                    crate::ir::ApplicationProtocol::Http2,
                ],
                ..Default::default()
            };
            listener.filter_chains.push(http_chain(&name, &name, matches));
        }
        Class::Tls | Class::Tcp => {}
    }
    tcp_chains(listener, &served);
    let others: Vec<_> = served.iter().skip(1).map(|served| &*served.service.host).collect();
    if protocol.class() == Class::Tcp && !others.is_empty() {
        let message = format!(
            "a TCP listener serves one service: `{}` is taken, and not {}",
            served[0].service.host,
            others.join(", ")
        );
        routes.notes.warn(resource, codes::CONFLICT, path, message);
    }
    (protocol.class() == Class::Detected).then(|| http_table(routes, &name, &served, view, number, fallback))
}

/// The imported ports that a listener of this number serves: the same number, or else the only port of its class.
fn bound<'v, 'a>(view: &'v View<'a>, number: u16, class: Class) -> Vec<&'v ServedPort<'a>> {
    let fits = |served: &&ServedPort<'a>| match class {
        Class::Http | Class::Ignored => served.class.has_http(),
        _ => true,
    };
    let only = |served: &ServedPort<'a>| {
        let service: &Service<'_> = served.service;
        let same = |served: &&ServedPort<'a>| std::ptr::eq(served.service, service);
        view.ports.iter().filter(fits).filter(same).count() == 1
    };
    let exact = |served: &ServedPort<'a>| served.port.number == number;
    let has_exact = |service: &Service<'_>| service.port(number).is_some();
    let serves = |served: &&ServedPort<'a>| exact(served) || (!has_exact(served.service) && only(served));
    view.ports.iter().filter(fits).filter(serves).collect()
}

fn http_table(
    routes: &Routes<'_>,
    name: &str,
    served: &[&ServedPort<'_>],
    view: &View<'_>,
    number: u16,
    fallback: &Fallback,
) -> RouteConfiguration {
    let node = &routes.mesh.node;
    let mut table = Table::of_port(name);
    let served: Vec<_> = served.iter().filter(|served| served.class.has_http()).collect();
    let hosts: Vec<_> =
        view.hosts.iter().filter(|host| !host.routes.is_empty() && host.port == number.max(80)).collect();
    if let ([only], true) = (&served[..], hosts.is_empty()) {
        let any = Names { own: vec!["*".into()], short: Vec::new() };
        let name = host_name(&only.service.host, only);
        table.add(name, &any, Forms::Bare, only.routes.to_vec(), only.origin.clone());
        return table.finish();
    }
    for served in served {
        let names = Names::of_service(served.service, node);
        let name = host_name(&served.service.host, served);
        table.add(name, &names, Forms::Bare, served.routes.to_vec(), served.origin.clone());
    }
    for host in hosts {
        let names = Names::of_host(&host.host, node);
        let name = format!("{}:{}", host.host, host.port);
        table.add(name, &names, Forms::Bare, host.routes.to_vec(), host.origin.clone());
    }
    table.add_fallback(fallback.name, fallback.routes(), Origin::built_in());
    table.finish()
}

/// By server name where rules say so, else to the first service.
fn tcp_chains(listener: &mut Listener, served: &[&ServedPort<'_>]) {
    let mut chains = Chains::default();
    chains.list.append(&mut listener.filter_chains);
    for served in served {
        for choice in &served.choices {
            let matches = FilterChainMatch {
                destinations: choice.destinations.clone(),
                transport: (!choice.server_names.is_empty()).then_some(Transport::Tls),
                server_names: choice.server_names.clone(),
                ..Default::default()
            };
            let chain = tcp_chain(host_name(&served.service.host, served), matches, choice.proxy.clone());
            if chain.matches == FilterChainMatch::default() {
                listener.default_filter_chain.get_or_insert(chain);
            } else {
                chains.push(chain);
            }
        }
    }
    listener.filter_chains = chains.list;
}
