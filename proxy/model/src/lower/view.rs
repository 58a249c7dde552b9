//! What one outbound listener serves: ports of services and hosts of rules, with their routes.
//!
//! In:  what the listener imports.   Out: a [`View`].
//! Invariants: the most specific host pattern with any rule wins for a service, and of its rules the oldest that has routes
//! for the port; the others are told of.
//! Not here: tables and filter chains (`outbound`, `captured`, `egress`).
//! Source: R3, R4, R20, R25.

use super::{
    matches::{self, Site},
    names, policies,
    protocol::Class,
    registry::{Port, Service},
    routes::{RouteList, Routes},
    sidecars::Imports,
    tcp::{self, Choice},
    virtual_services::{MESH, Rules},
};
use crate::{
    diagnostic::codes,
    ir::{Origin, Route, RouteAction},
    istio::Destination,
    pause,
};
use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

/// All that one outbound listener serves.
pub(super) struct View<'a> {
    pub ports: Vec<ServedPort<'a>>,
    pub hosts: Vec<RuleHost>,
}

/// A port of a service as clients see it.
pub(super) struct ServedPort<'a> {
    pub service: &'a Service<'a>,
    pub port: &'a Port<'a>,
    pub class: Class,
    /// HTTP; empty for other classes.
    pub routes: RouteList,
    /// The VirtualService that made `routes`.
    pub origin: Origin,
    /// Everything else; the last is for every connection.
    pub choices: Vec<Choice>,
}

/// A port of a host that VirtualServices name and no service has.
pub(super) struct RuleHost {
    pub host: String,
    pub port: u16,
    pub routes: RouteList,
    pub choices: Vec<Choice>,
    pub origin: Origin,
}

/// Collects what `imports` brings.
pub(super) fn collect<'a>(routes: &mut Routes<'a>, imports: &Imports) -> View<'a> {
    let mesh = routes.mesh;
    let served_rules: HashSet<usize> = pause::each(&mesh.virtual_services.in_mesh)
        .copied()
        .filter(|at| {
            let rules = &mesh.virtual_services.list[*at];
            imports.rules(&rules.resource.metadata.namespace, &rules.hosts)
        })
        .collect();
    let pulled = if imports.is_everything() { HashSet::new() } else { destinations(routes, &served_rules) };
    let imported = |service: &&Service<'a>| {
        imports.service(service.namespace, &service.host) || pulled.contains(&*service.host)
    };
    let services: Vec<&'a Service<'a>> = mesh.registry.visible().filter(imported).collect();
    let mut view = View { ports: Vec::new(), hosts: Vec::new() };
    // Which services each VirtualService was looked up for.
    let mut users = HashMap::<usize, Vec<&str>>::new();
    for service in &services {
        let rules = rules_of(routes, &service.host, &served_rules);
        for at in &rules {
            users.entry(*at).or_default().push(&service.host);
        }
        for port in service.ports.iter().filter(|port| port.protocol.class() != Class::Ignored) {
            view.ports.push(served_port(routes, service, port, &rules));
        }
        note_wrong_class(routes, service, &rules);
    }
    let known: HashSet<&str> = services.iter().map(|service| &*service.host).collect();
    view.hosts = rule_hosts(routes, &served_rules, &known, &users);
    view
}

/// Hosts that visible rules send to: they are imported with the rules (R20).
fn destinations(routes: &Routes<'_>, served: &HashSet<usize>) -> HashSet<String> {
    let mesh = routes.mesh;
    let mut hosts = HashSet::new();
    for rules in served.iter().map(|at| &mesh.virtual_services.list[*at]) {
        for rule in &rules.http {
            let namespace = &rule.resource.metadata.namespace;
            let of_rule = rule.route.route.iter().map(|split| &split.destination);
            let mirrors = rule
                .route
                .mirrors
                .iter()
                .map(|mirror| &mirror.destination)
                .chain(rule.route.mirror.as_deref());
            hosts.extend(
                of_rule.chain(mirrors).map(|to| names::complete(&to.host, namespace, &mesh.node.domain)),
            );
        }
        let spec = &rules.resource.spec;
        let splits =
            spec.tls.iter().flat_map(|rule| &rule.route).chain(spec.tcp.iter().flat_map(|rule| &rule.route));
        let namespace = &rules.resource.metadata.namespace;
        hosts.extend(
            splits.map(|split| names::complete(&split.destination.host, namespace, &mesh.node.domain)),
        );
    }
    hosts
}

/// The rules for a host, oldest first: those of the most specific pattern that has any.
fn rules_of(routes: &Routes<'_>, host: &str, served: &HashSet<usize>) -> Vec<usize> {
    let patterns = routes.mesh.virtual_services.covering(host);
    let mut lists =
        patterns.map(|places| places.iter().copied().filter(|at| served.contains(at)).collect::<Vec<_>>());
    lists.find(|places| !places.is_empty()).unwrap_or_default()
}

fn served_port<'a>(
    routes: &mut Routes<'a>,
    service: &'a Service<'a>,
    port: &'a Port<'a>,
    rules: &[usize],
) -> ServedPort<'a> {
    let class = port.protocol.class();
    let site = Site { port: port.number, gateway: MESH };
    let (mut list, mut origin) = (RouteList::from([]), Origin::built_in());
    if class.has_http() {
        (list, origin) = match first_with_routes(routes, rules, &service.host, site) {
            Some(found) => found,
            None => ([Arc::new(default_route(routes, service, port))].into(), origin),
        };
    }
    // CONNECT to a port that is declared HTTP goes to the service itself: its `tcp` rules are ignored (R25).
    let rules = if class == Class::Http { &[] } else { rules };
    let mut choices = tcp::choices(routes, rules, class, site);
    let target = routes.clusters.service(service, port);
    let proxy = tcp::to_cluster(target, service.host.clone(), service.source.origin(&[]));
    choices.push(Choice { server_names: Vec::new(), destinations: Vec::new(), proxy });
    ServedPort { service, port, class, routes: list, origin, choices }
}

/// The routes of the oldest rules that have any here. Younger ones with HTTP rules for the same host are told of (R3).
fn first_with_routes(
    routes: &mut Routes<'_>,
    rules: &[usize],
    host: &str,
    site: Site<'_>,
) -> Option<(RouteList, Origin)> {
    let mesh = routes.mesh;
    let mut places = rules.iter().map(|at| (*at, &mesh.virtual_services.list[*at]));
    let (list, winner) = places.by_ref().find_map(|(at, rules)| {
        let list = routes.of_rules(at, site);
        (!list.is_empty()).then_some((list, rules))
    })?;
    for (_, loser) in places.filter(|(_, loser)| !loser.http.is_empty()) {
        note_loser(routes, winner, loser, host);
    }
    Some((list, winner.resource.origin_titled(winner.title.clone(), &[])))
}

fn note_loser(routes: &mut Routes<'_>, winner: &Rules<'_>, loser: &Rules<'_>, host: &str) {
    let at = loser.hosts.iter().position(|own| names::covers(own, host)).unwrap_or_default();
    let message = format!(
        "the HTTP rules for `{}` are ignored: the older {} ({}) has the same host, and sidecars do not merge",
        loser.resource.spec.hosts.get(at).map_or(host, |written| written),
        winner.title,
        winner.resource.origin(&[])
    );
    routes.notes.warn(loser.resource, codes::SHADOWED_RESOURCE, &["hosts".into(), at.into()], message);
}

/// Everything to the service.
pub(super) fn default_route<'a>(routes: &mut Routes<'a>, service: &'a Service<'a>, port: &Port<'a>) -> Route {
    let target = routes.clusters.service(service, port);
    let hash = policies::hash_policies(target.policy.load_balancer);
    let mut retry = routes.mesh.default_retry.clone();
    if let (Some(retry), false) = (&mut retry, hash.is_empty()) {
        Arc::make_mut(retry).avoid_previous_hosts = false;
    }
    let clusters = vec![tcp::weighted(target.cluster, 1)];
    let origin = service.source.origin(&[]);
    let mut route = tcp::plain_route("default".into(), matches::everything(), clusters, origin);
    if let RouteAction::Forward(forward) = &mut route.action {
        forward.retry = retry;
        forward.hash_policies = hash;
    }
    route
}

/// Rules for a kind of port that the service does not have are ignored without a word elsewhere.
fn note_wrong_class(routes: &mut Routes<'_>, service: &Service<'_>, rules: &[usize]) {
    let mesh = routes.mesh;
    let has = |class: fn(Class) -> bool, port: Option<u16>| {
        service
            .ports
            .iter()
            .any(|p| port.is_none_or(|number| number == p.number) && class(p.protocol.class()))
    };
    let exists = |port: Option<u16>| port.is_none_or(|number| service.port(number).is_some());
    if service.ports.is_empty() {
        return;
    }
    for rules in rules.iter().map(|at| &mesh.virtual_services.list[*at]) {
        if rules.hosts.len() > 1 || rules.hosts[0].starts_with('*') {
            continue; // it may be meant for another of its hosts
        }
        let resource = rules.resource;
        for (at, rule) in resource.spec.tcp.iter().enumerate() {
            let ports = rule.matches.iter().map(|condition| condition.port);
            let mut ports: BTreeSet<_> = ports.filter(|port| exists(*port)).collect();
            if rule.matches.is_empty() {
                ports.insert(None);
            }
            if !ports.is_empty() && !ports.iter().any(|port| has(|class| class != Class::Http, *port)) {
                let message = format!(
                    "never applies: {} declares {} as HTTP, where `tcp` rules are ignored",
                    service.source.title(),
                    if service.ports.len() == 1 { "its port" } else { "these ports" }
                );
                routes.notes.warn(resource, codes::DROPPED, &["tcp".into(), at.into()], message);
            }
        }
        if !resource.spec.http.is_empty() && !has(Class::has_http, None) {
            let message = format!(
                "never applies: {} has no HTTP port; name one `http-…` or set `appProtocol: http`",
                service.source.title()
            );
            routes.notes.warn(resource, codes::DROPPED, &["http".into()], message);
        }
        if !resource.spec.tls.is_empty() && !has(|class| class == Class::Tls, None) {
            let message = format!(
                "never applies: {} has no TLS port; name one `tls-…` or `https-…`",
                service.source.title()
            );
            routes.notes.warn(resource, codes::DROPPED, &["tls".into()], message);
        }
    }
}

/// Hosts of rules that no service has, on port 80 (R4); and on those ports that the rules' own destinations give the host.
fn rule_hosts(
    routes: &mut Routes<'_>,
    served: &HashSet<usize>,
    known: &HashSet<&str>,
    users: &HashMap<usize, Vec<&str>>,
) -> Vec<RuleHost> {
    let mesh = routes.mesh;
    let mut seen = HashSet::with_capacity(served.len());
    let mut hosts = Vec::new();
    for at in pause::each(&mesh.virtual_services.in_mesh).filter(|at| served.contains(at)) {
        for host in mesh.virtual_services.list[*at].hosts.iter().filter(|host| *host != "*") {
            let for_services = host.starts_with('*')
                && users.get(at).is_some_and(|users| users.iter().any(|user| names::covers(host, user)));
            if known.contains(&**host) || for_services || !seen.insert(&**host) {
                continue;
            }
            let rules = mesh.virtual_services.with_host(host);
            let rules: Vec<_> = rules.iter().copied().filter(|at| served.contains(at)).collect();
            for port in ports_of(routes, &rules, host) {
                let site = Site { port, gateway: MESH };
                let found = first_with_routes(routes, &rules, host, site);
                let choices = tcp::choices(routes, &rules, Class::Tls, site);
                if found.is_none() && choices.is_empty() {
                    continue;
                }
                let (list, origin) = found.unwrap_or_else(|| (RouteList::from([]), Origin::built_in()));
                hosts.push(RuleHost { host: host.clone(), port, routes: list, choices, origin });
            }
        }
    }
    hosts
}

/// 80, the ports that destinations of the same host name, and those that TCP and TLS rules name.
fn ports_of(routes: &Routes<'_>, rules: &[usize], host: &str) -> BTreeSet<u16> {
    let mesh = routes.mesh;
    let mut ports = BTreeSet::from([80]);
    for rules in rules.iter().map(|at| &mesh.virtual_services.list[*at]) {
        for rule in &rules.http {
            let namespace = &rule.resource.metadata.namespace;
            let same = |to: &&Destination| names::complete(&to.host, namespace, &mesh.node.domain) == host;
            let destinations = rule.route.route.iter().map(|split| &split.destination).filter(same);
            ports.extend(destinations.filter_map(|to| Some(to.port.as_ref()?.number)));
        }
        let spec = &rules.resource.spec;
        ports.extend(spec.tcp.iter().flat_map(|rule| &rule.matches).filter_map(|condition| condition.port));
        ports.extend(spec.tls.iter().flat_map(|rule| &rule.matches).filter_map(|condition| condition.port));
    }
    ports
}

/// What takes the requests that no name is served for.
pub(super) struct Fallback {
    /// `allow_any` or `block_all`.
    pub name: &'static str,
    pub cluster: Arc<str>,
}
