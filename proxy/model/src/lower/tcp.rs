//! Connections that are not HTTP: which cluster takes them.
//!
//! In:  `tls` and `tcp` rules, a port.   Out: [`Choice`]s, the last of which takes everything.
//! Invariants: `tls` (by server name) before `tcp` before the service itself; the first rule without a destination range ends
//! the search.
//! Not here: filter chains (`captured`), HTTP rules (`routes`).
//! Source: R9, R19, R25.

use super::{
    actions::settle_weights,
    clusters::{Place, Target},
    destination_rules::Policy,
    matches::Site,
    names,
    protocol::Class,
    registry::selects,
    routes::Routes,
    virtual_services::Rules,
};
use crate::{
    config::Step,
    diagnostic::codes,
    ir::{self, Forward, HostPattern, PathMatch, Route, RouteAction, RouteMatch, TcpProxy, WeightedCluster},
    istio::{L4MatchAttributes, RouteDestination, TlsMatchAttributes},
};
use ipnet::IpNet;
use std::{sync::Arc, time::Duration};

/// Where some connections go.
#[derive(Debug, Clone)]
pub(super) struct Choice {
    /// TLS server names; empty: any, and also what is not TLS.
    pub server_names: Vec<HostPattern>,
    /// Original destinations; empty: any.
    pub destinations: Vec<IpNet>,
    pub proxy: TcpProxy,
}

/// Everything that connections to a port may meet, in order, without what holds for every connection.
pub(super) fn choices(routes: &mut Routes<'_>, rules: &[usize], class: Class, site: Site<'_>) -> Vec<Choice> {
    let mesh = routes.mesh;
    let mut choices = Vec::new();
    for rules in rules.iter().map(|at| &mesh.virtual_services.list[*at]) {
        if class == Class::Tls {
            tls_choices(routes, rules, site, &mut choices);
        }
    }
    for rules in rules.iter().map(|at| &mesh.virtual_services.list[*at]) {
        if tcp_choices(routes, rules, site, &mut choices) {
            break;
        }
    }
    choices
}

/// The choice for connections to a host by name, where there is no destination address: a `CONNECT` request. A server name
/// is taken to be the host.
pub(super) fn for_host<'c>(choices: &'c [Choice], host: &str) -> Option<&'c TcpProxy> {
    let by_name = choices.iter().filter(|choice| choice.destinations.is_empty());
    let specific = |choice: &&Choice| {
        let names = choice.server_names.iter().filter(|name| covered(name, host));
        names.map(specificity).max()
    };
    let best = by_name.clone().filter_map(|choice| Some((specific(&choice)?, choice)));
    // Of equals the first: `max_by_key` would give the last.
    let best = best.reduce(|a, b| if b.0 > a.0 { b } else { a }).map(|(_, choice)| choice);
    let rest = || by_name.clone().find(|choice| choice.server_names.is_empty());
    best.or_else(rest).map(|choice| &choice.proxy)
}

fn covered(name: &HostPattern, host: &str) -> bool {
    name.matches(host) || name.to_string() == host
}

/// Exact above the longest suffix above `*`.
fn specificity(name: &HostPattern) -> usize {
    match name {
        HostPattern::Exact(_) => usize::MAX,
        HostPattern::Suffix(suffix) => suffix.len(),
        HostPattern::Any => 0,
    }
}

/// `*.a.com` among the server names of a rule whose hosts cover it.
fn tls_choices(routes: &mut Routes<'_>, rules: &Rules<'_>, site: Site<'_>, choices: &mut Vec<Choice>) {
    for (at, rule) in rules.resource.spec.tls.iter().enumerate() {
        for (place, condition) in rule.matches.iter().enumerate() {
            if !tls_meets(condition, site, rules, routes) {
                continue;
            }
            let path = ["tls".into(), at.into(), "match".into(), place.into()];
            let server_names = server_names(routes, rules, condition, &path);
            if server_names.is_empty() {
                continue;
            }
            let proxy = proxy(routes, rules, &path, &rule.route, site);
            let destinations = ranges(&condition.destination_subnets);
            choices.push(Choice { server_names, destinations, proxy });
        }
    }
}

fn server_names(
    routes: &mut Routes<'_>,
    rules: &Rules<'_>,
    condition: &TlsMatchAttributes,
    path: &[Step<'_>],
) -> Vec<HostPattern> {
    let mut names = Vec::with_capacity(condition.sni_hosts.len());
    for (at, written) in condition.sni_hosts.iter().enumerate() {
        let name = written.to_ascii_lowercase();
        if rules.hosts.iter().any(|host| names::covers(host, &name)) {
            names.extend(HostPattern::new(&name));
        } else {
            let path: Vec<_> = path.iter().copied().chain(["sniHosts".into(), at.into()]).collect();
            let message =
                format!("`{written}` is not covered by the hosts of the VirtualService, so it never applies");
            routes.notes.warn(rules.resource, codes::DROPPED, &path, message);
        }
    }
    names
}

/// Whether a rule was found that takes every connection.
fn tcp_choices(
    routes: &mut Routes<'_>,
    rules: &Rules<'_>,
    site: Site<'_>,
    choices: &mut Vec<Choice>,
) -> bool {
    for (at, rule) in rules.resource.spec.tcp.iter().enumerate() {
        let path = ["tcp".into(), at.into()];
        if rule.matches.is_empty() {
            let proxy = proxy(routes, rules, &path, &rule.route, site);
            choices.push(Choice { server_names: Vec::new(), destinations: Vec::new(), proxy });
            return true;
        }
        for (place, condition) in rule.matches.iter().enumerate() {
            if !tcp_meets(condition, site, rules, routes) {
                continue;
            }
            let path = [path[0], path[1], "match".into(), place.into()];
            let proxy = proxy(routes, rules, &path, &rule.route, site);
            let destinations = ranges(&condition.destination_subnets);
            let last = destinations.is_empty();
            choices.push(Choice { server_names: Vec::new(), destinations, proxy });
            if last {
                return true;
            }
        }
    }
    false
}

/// Everything is ANDed here, gateways and labels too (R19).
fn meets(
    gateways: &[String],
    port: Option<u16>,
    labels: &crate::Map<String>,
    namespace: Option<&str>,
    (site, rules, routes): (Site<'_>, &Rules<'_>, &Routes<'_>),
) -> bool {
    let node = &routes.mesh.node;
    (gateways.is_empty() || site.is_one_of(gateways, &rules.resource.metadata.namespace))
        && port.is_none_or(|port| port == site.port)
        && selects(labels, &node.labels)
        && namespace.is_none_or(|namespace| namespace == node.namespace)
}

fn tls_meets(c: &TlsMatchAttributes, site: Site<'_>, rules: &Rules<'_>, routes: &Routes<'_>) -> bool {
    meets(&c.gateways, c.port, &c.source_labels, c.source_namespace.as_deref(), (site, rules, routes))
}

fn tcp_meets(c: &L4MatchAttributes, site: Site<'_>, rules: &Rules<'_>, routes: &Routes<'_>) -> bool {
    meets(&c.gateways, c.port, &c.source_labels, c.source_namespace.as_deref(), (site, rules, routes))
}

fn ranges(texts: &[String]) -> Vec<IpNet> {
    let one =
        |text: &String| text.parse().ok().or_else(|| text.parse::<std::net::IpAddr>().ok().map(IpNet::from));
    texts.iter().filter_map(one).collect()
}

fn proxy(
    routes: &mut Routes<'_>,
    rules: &Rules<'_>,
    path: &[Step<'_>],
    splits: &[RouteDestination],
    site: Site<'_>,
) -> TcpProxy {
    let mut clusters = Vec::with_capacity(splits.len());
    let mut policy = Policy::default();
    for (at, split) in splits.iter().enumerate() {
        let path = [path[0], path[1], "route".into(), at.into()];
        let place = Place { resource: rules.resource, path: &path };
        let target = routes.clusters.destination(&split.destination, site.port, place, &mut routes.notes);
        if at == 0 {
            policy = target.policy;
        }
        clusters.push(weighted(target.cluster, split.weight));
    }
    if clusters.is_empty() {
        // `check` refuses a rule without destinations.
        clusters.push(weighted(ir::BLACK_HOLE_CLUSTER.into(), 1));
    }
    settle_weights(&mut clusters);
    TcpProxy {
        clusters,
        idle_timeout: idle_timeout(policy),
        authorization: None,
        route_name: rules.title.clone(),
        origin: rules.resource.origin_titled(rules.title.clone(), path),
    }
}

/// Everything to one cluster.
pub(super) fn to_cluster(target: Target<'_>, name: Arc<str>, origin: ir::Origin) -> TcpProxy {
    TcpProxy {
        clusters: vec![weighted(target.cluster, 1)],
        idle_timeout: idle_timeout(target.policy),
        authorization: None,
        route_name: name,
        origin,
    }
}

/// One hour, as in Envoy, unless the first destination's rule says otherwise; zero: never.
fn idle_timeout(policy: Policy<'_>) -> Option<Duration> {
    let tcp = policy.connection_pool.and_then(|pool| pool.tcp.as_ref());
    let idle = tcp.and_then(|tcp| tcp.idle_timeout).map_or(Duration::from_secs(3600), |idle| idle.0);
    Some(idle).filter(|idle| !idle.is_zero())
}

/// A share without changes to headers.
pub(super) fn weighted(cluster: Arc<str>, weight: u32) -> WeightedCluster {
    WeightedCluster {
        cluster,
        weight,
        request_headers: Default::default(),
        response_headers: Default::default(),
        authority: None,
    }
}

/// The route by which `CONNECT` requests reach what connections would.
pub(super) fn connect_route(proxy: &TcpProxy) -> Route {
    let matches = RouteMatch { path: PathMatch::Connect, ..super::matches::everything() };
    plain_route(proxy.route_name.clone(), matches, proxy.clusters.clone(), proxy.origin.clone())
}

/// A route that only forwards: no timeout, no retries.
pub(super) fn plain_route(
    name: Arc<str>,
    matches: RouteMatch,
    clusters: Vec<WeightedCluster>,
    origin: ir::Origin,
) -> Route {
    Route {
        name,
        matches,
        action: RouteAction::Forward(Box::new(Forward {
            clusters,
            path_rewrite: None,
            authority_rewrite: None,
            timeout: None,
            retry: None,
            hash_policies: Vec::new(),
            mirrors: Vec::new(),
        })),
        request_headers: Default::default(),
        response_headers: Default::default(),
        fault: None,
        cors: None,
        origin,
    }
}
