//! The outbound side: what the application beside the proxy calls.
//!
//! In:  what the node imports (`view`).   Out: `virtualOutbound` and its route tables.
//! Invariants: without traffic capture a request names its service by host and port in one table, `http_proxy`; with it the
//! port is known from the connection, and each port has a table of its own. A name without a port is the service's port 80,
//! or, when it has no HTTP port 80, its only HTTP port, so that a plain request whose Host names the service works.
//! Not here: Sidecar egress listeners (`egress`), filter chains for captured connections (`captured`).
//! Source: R2, R4, R20, R25.

use super::{
    Mesh, Plan, captured,
    clusters::{Place, Target},
    domains::Names,
    egress, matches,
    registry::Service,
    routes::Routes,
    settings,
    table::{Forms, Table, extended},
    tcp,
    view::{self, Fallback, ServedPort, View},
};
use crate::{
    ir::{
        self, Direction, FilterChain, FilterChainMatch, HttpConnectionManager, ListenAddress, Listener,
        NetworkFilter, Origin, PathMatch, Route, RouteMatch,
    },
    istio::OutboundTrafficPolicyMode,
    pause,
};
use http::HeaderValue;
use std::sync::Arc;

/// The table of requests that name their service themselves.
const HTTP_PROXY: &str = "http_proxy";

/// Adds the outbound listeners.
pub(super) fn add(routes: &mut Routes<'_>, plan: &mut Plan) {
    let mesh = routes.mesh;
    let fallback = fallback(routes);
    let taken = egress::add(routes, plan, &fallback);
    let mut view = view::collect(routes, &mesh.scope.imports);
    view.ports.retain(|served| !taken.contains(&(served.service.host.clone(), served.port.number)));
    plan.route_configurations.push(proxy_table(HTTP_PROXY, mesh, &view, &fallback).finish());
    let (chains, tables) = captured::chains(mesh, &view, &fallback);
    plan.route_configurations.extend(tables);
    pause::drop_each(view.hosts);
    let address = settings::outbound(mesh.proxy.map(|proxy| &*proxy.spec));
    plan.listeners.push(Listener {
        name: "virtualOutbound".into(),
        address: ListenAddress::Socket(address),
        direction: Direction::Outbound,
        detection_timeout: mesh.detection_timeout,
        filter_chains: chains,
        default_filter_chain: Some(http_chain(HTTP_PROXY, HTTP_PROXY, FilterChainMatch::default())),
        proxy_protocol: false,
        origin: Origin::built_in(),
    });
}

/// What happens to unknown destinations: the Sidecar says, else the Proxy, else they pass.
fn fallback(routes: &mut Routes<'_>) -> Fallback {
    let mesh = routes.mesh;
    let of_sidecar = mesh.scope.sidecar.and_then(|sidecar| sidecar.spec.outbound_traffic_policy.as_ref());
    let of_proxy = mesh.proxy.and_then(|proxy| proxy.spec.outbound_traffic_policy.as_ref());
    let policy = of_sidecar.or(of_proxy);
    if policy.is_some_and(|policy| policy.mode == OutboundTrafficPolicyMode::RegistryOnly) {
        return Fallback { name: "block_all", cluster: ir::BLACK_HOLE_CLUSTER.into() };
    }
    let egress_proxy = of_sidecar.and_then(|policy| policy.egress_proxy.as_ref());
    let cluster = match (egress_proxy, mesh.scope.sidecar) {
        (Some(to), Some(resource)) => {
            let path = ["outboundTrafficPolicy".into(), "egressProxy".into()];
            let place = Place { resource, path: &path };
            routes.clusters.destination(to, 80, place, &mut routes.notes).cluster
        }
        _ => ir::PASSTHROUGH_CLUSTER.into(),
    };
    Fallback { name: "allow_any", cluster }
}

/// The table for requests that name host and port themselves.
pub(super) fn proxy_table(name: &str, mesh: &Mesh<'_>, view: &View<'_>, fallback: &Fallback) -> Table {
    let mut table = Table::of_all_ports(name);
    for served in &view.ports {
        let forms = match bare_port(served.service) == Some(served.port.number) {
            true => Forms::Both(served.port.number),
            false => Forms::WithPort(served.port.number),
        };
        let names = Names::of_service(served.service, &mesh.node);
        table.add(
            host_name(&served.service.host, served),
            &names,
            forms,
            proxy_routes(served),
            served.origin.clone(),
        );
    }
    // One for all: hosts of rules are many.
    let passed_on = Arc::new(fallback.route(PathMatch::Connect));
    for host in &view.hosts {
        let forms = if host.port == 80 { Forms::Both(80) } else { Forms::WithPort(host.port) };
        let names = Names::of_host(&host.host, &mesh.node);
        let connect = match tcp::for_host(&host.choices, &host.host) {
            Some(proxy) => Arc::new(tcp::connect_route(proxy)),
            None => passed_on.clone(),
        };
        let routes = extended(&host.routes, Some(connect));
        table.add(format!("{}:{}", host.host, host.port), &names, forms, routes, host.origin.clone());
    }
    table.add_fallback(fallback.name, fallback.routes(), Origin::built_in());
    table
}

/// `reviews.default.svc.cluster.local:9080`.
pub(super) fn host_name(host: &str, served: &ServedPort<'_>) -> String {
    format!("{host}:{}", served.port.number)
}

/// HTTP rules, then CONNECT.
fn proxy_routes(served: &ServedPort<'_>) -> Vec<Arc<Route>> {
    let connect = tcp::for_host(&served.choices, &served.service.host).map(tcp::connect_route);
    extended(&served.routes, connect.map(Arc::new))
}

/// The port that the service's name alone stands for.
pub(super) fn bare_port(service: &Service<'_>) -> Option<u16> {
    let mut http = service.ports.iter().filter(|port| port.protocol.class().has_http());
    let first = http.next()?;
    let (mut port_80, mut only) = (first.number == 80, true);
    for other in http {
        port_80 |= other.number == 80;
        only = false;
    }
    if port_80 { Some(80) } else { only.then_some(first.number) }
}

/// A chain of HTTP to a table.
pub(super) fn http_chain(name: &str, table: &str, matches: FilterChainMatch) -> FilterChain {
    FilterChain {
        name: name.into(),
        matches,
        tls: None,
        filter: NetworkFilter::Http(HttpConnectionManager {
            route_configuration: table.into(),
            edge: false,
            server_name: Some(HeaderValue::from_static("envoy")),
            preserve_header_case: false,
            options: Default::default(),
            admission: Default::default(),
        }),
    }
}

impl Fallback {
    /// For connections of bytes.
    pub fn bytes(&self) -> ir::TcpProxy {
        let target = Target { cluster: self.cluster.clone(), policy: Default::default() };
        tcp::to_cluster(target, self.name.into(), Origin::built_in())
    }

    /// For requests and for CONNECT.
    pub fn routes(&self) -> Vec<Arc<Route>> {
        [PathMatch::Any, PathMatch::Connect].into_iter().map(|path| self.route(path).into()).collect()
    }

    fn route(&self, path: PathMatch) -> Route {
        let matches = RouteMatch { path, ..matches::everything() };
        tcp::plain_route(
            self.name.into(),
            matches,
            vec![tcp::weighted(self.cluster.clone(), 1)],
            Origin::built_in(),
        )
    }
}
