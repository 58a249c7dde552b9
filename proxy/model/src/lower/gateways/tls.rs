//! TLS and TCP servers of Gateways.
//!
//! In:  servers.   Out: filter chains, and a route table where HTTP is inside.
//! Invariants: a server without a certificate that can be read is dropped with a note, never opened without one.
//! Not here: how TLS is opened (`server_tls`).
//! Source: R25.

use super::{
    super::{
        captured::{Chains, tcp_chain},
        names,
        protocol::Class,
        routes::Routes,
        server_tls,
        tcp::{self, Choice},
    },
    BoundServer, Kind, auto_passthrough, http, http_chain,
};
use crate::{
    diagnostic::codes,
    ir::{FilterChain, FilterChainMatch, HostPattern, RouteConfiguration, Transport},
    istio::ServerTlsMode,
};

/// Adds the chains of a TLS server; the table of its HTTP, if there is any.
pub(super) fn server(
    routes: &mut Routes<'_>,
    chains: &mut Chains,
    server: &BoundServer<'_>,
    port: u16,
) -> Option<RouteConfiguration> {
    if server.kind == Kind::Passthrough {
        match server.server.tls.as_ref().map(|tls| tls.mode) {
            Some(ServerTlsMode::AutoPassthrough) => auto_passthrough::add(routes, chains, server),
            _ => passthrough(routes, chains, server),
        }
        return None;
    }
    let settings = server.server.tls.as_ref()?;
    let tls = match server_tls::lower(settings, server.kind == Kind::Https, routes.mesh) {
        Ok(tls) => tls,
        Err(message) => {
            server.warn(&mut routes.notes, codes::NOT_APPLIED, format!("server dropped: {message}"));
            return None;
        }
    };
    let gateway = &server.gateway.metadata;
    let label = server.server.port.name.clone().unwrap_or_else(|| server.server.port.number.to_string());
    let name = format!("https.{port}.{label}.{}.{}", gateway.name, gateway.namespace);
    let matches = FilterChainMatch {
        transport: Some(Transport::Tls),
        server_names: server_names(server),
        ..Default::default()
    };
    if server.kind == Kind::Https {
        if !chains.push(http_chain(&name, &name, matches, Some(tls))) {
            note_taken(routes, server);
            return None;
        }
        return Some(http::table(routes, &name, std::slice::from_ref(server)));
    }
    let choices = tcp_choices(routes, server);
    match choices.into_iter().find(|choice| choice.destinations.is_empty()) {
        Some(choice) => {
            let chain = FilterChain { tls: Some(tls), ..tcp_chain(name, matches, choice.proxy) };
            if !chains.push(chain) {
                note_taken(routes, server);
            }
        }
        None => note_nothing(routes, server, "tcp"),
    }
    None
}

fn note_taken(routes: &mut Routes<'_>, server: &BoundServer<'_>) {
    let message = "server dropped: an older server of the port has the same hosts";
    server.warn(&mut routes.notes, codes::CONFLICT, message);
}

fn note_nothing(routes: &mut Routes<'_>, server: &BoundServer<'_>, list: &str) {
    let message = format!(
        "no VirtualService of this gateway has a `{list}` rule for this server: it closes connections"
    );
    server.warn(&mut routes.notes, codes::DROPPED, message);
}

/// Names that the server's certificate is for; empty: any.
fn server_names(server: &BoundServer<'_>) -> Vec<HostPattern> {
    if server.hosts.iter().any(|(_, host)| host == "*") {
        return Vec::new();
    }
    server.hosts.iter().filter_map(|(_, host)| HostPattern::new(host)).collect()
}

fn tcp_choices(routes: &mut Routes<'_>, server: &BoundServer<'_>) -> Vec<Choice> {
    let mesh = routes.mesh;
    let rules = mesh.virtual_services.of_gateway(&server.name);
    let shares = |at: &&usize| !server.shared_hosts(&mesh.virtual_services.list[**at]).is_empty();
    let rules: Vec<_> = rules.iter().filter(shares).copied().collect();
    tcp::choices(routes, &rules, Class::Tcp, server.site())
}

/// By server name, unopened.
fn passthrough(routes: &mut Routes<'_>, chains: &mut Chains, server: &BoundServer<'_>) {
    let mesh = routes.mesh;
    let mut any = false;
    for at in mesh.virtual_services.of_gateway(&server.name) {
        let namespace = &mesh.virtual_services.list[*at].resource.metadata.namespace;
        let by_name = tcp::choices(routes, &[*at], Class::Tls, server.site()).into_iter();
        for mut choice in by_name.filter(|choice| !choice.server_names.is_empty()) {
            choice.server_names = choice
                .server_names
                .iter()
                .flat_map(|name| {
                    let name = name.to_string();
                    let shared = server
                        .hosts_for(namespace)
                        .filter_map(move |own| names::intersection(own, &name).and_then(HostPattern::new));
                    shared.collect::<Vec<_>>()
                })
                .collect();
            if choice.server_names.is_empty() {
                continue;
            }
            any = true;
            let matches = FilterChainMatch {
                transport: Some(Transport::Tls),
                server_names: choice.server_names,
                destinations: choice.destinations,
                ..Default::default()
            };
            chains.push(tcp_chain(
                format!("{}_{}", server.name, server.server.port.number),
                matches,
                choice.proxy,
            ));
        }
    }
    if !any {
        note_nothing(routes, server, "tls");
    }
}

/// Bytes: the chain for every connection, and those for destination ranges.
pub(super) fn bytes(
    routes: &mut Routes<'_>,
    chains: &mut Chains,
    servers: &[BoundServer<'_>],
) -> Option<FilterChain> {
    let mut default = None;
    for server in servers {
        let choices = tcp_choices(routes, server);
        if choices.is_empty() {
            note_nothing(routes, server, "tcp");
        }
        for choice in choices {
            let matches = FilterChainMatch { destinations: choice.destinations, ..Default::default() };
            let everything = matches.destinations.is_empty();
            let chain =
                tcp_chain(format!("{}_{}", server.name, server.server.port.number), matches, choice.proxy);
            if everything {
                default.get_or_insert(chain);
            } else {
                chains.push(chain);
            }
        }
    }
    default
}
