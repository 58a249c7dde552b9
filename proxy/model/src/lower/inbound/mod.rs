//! The inbound side: what others call of the application beside the proxy.
//!
//! In:  Services and ServiceEntries whose selector picks the node, or the Sidecar's `ingress`.   Out: `virtualInbound`, own
//! listeners of `ingress` entries, `inbound|PORT||` clusters, and their tables.
//! Invariants: with `ingress` only its ports are served. A captured connection is told by its destination port; one to
//! another port goes on to where it was going. Without
//! capture the request's Host tells the service in the table `inbound`; when there is one port it gets every Host. Only bytes
//! to serve: the first such port takes every connection. Nothing known: connections are closed.
//! Not here: authorization.
//! Source: R8, R11, R20, R24.
//! Read: here -> `mtls` -> `chains` -> `ingress` (with TLS of a port's own).

mod chains;
mod ingress;
pub(super) mod mtls;

use super::{
    Plan,
    captured::{Chains, tcp_chain},
    cluster_policy::apply_pool,
    clusters, concurrency_policies,
    domains::Names,
    matches, ports,
    protocol::{Class, Protocol},
    registry::Service,
    retries,
    routes::Routes,
    settings,
    table::{Forms, Table},
    tcp,
};
use crate::{
    diagnostic::codes,
    ir::{
        self, Direction, Discovery, Endpoint, EndpointAddress, InboundMtls, ListenAddress, Listener,
        MtlsMode, Origin, Route, RouteAction, ServerTls, ServiceIdentity,
    },
    istio::ConnectionPoolSettings,
    kubernetes::IntOrString,
};
use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

/// The listener of captured connections, and of those that come to it by themselves.
pub(super) const LISTENER: &str = "virtualInbound";
/// The table of requests that name the service themselves.
const TABLE: &str = "inbound";
/// As [`TABLE`], for requests in plain text, where some ports take none.
const TABLE_OF_PLAIN: &str = "inbound_plaintext";

/// A port of the application.
struct InboundPort<'a> {
    /// Where connections arrive, and which names the cluster.
    number: u16,
    protocol: Protocol,
    /// What it takes.
    mode: MtlsMode,
    /// How its own TLS is opened, if it has any.
    tls: Option<ServerTls>,
    /// Where the application listens.
    endpoint: EndpointAddress,
    /// The services that it stands for, with their own port.
    services: Vec<(&'a Service<'a>, u16)>,
    pool: Option<&'a ConnectionPoolSettings>,
    origin: Origin,
}

/// Adds the inbound listeners.
pub(super) fn add(routes: &mut Routes<'_>, plan: &mut Plan) {
    let mesh = routes.mesh;
    let ports = match mesh.scope.sidecar {
        Some(resource) if !resource.spec.ingress.is_empty() => ingress::ports(routes, plan, resource),
        _ => of_services(routes, plan),
    };
    note_unknown_ports(routes, &ports);
    for port in &ports {
        tell_mode(routes, plan, port);
    }
    let mut chains = Chains::default();
    let mut table = Table::of_all_ports(TABLE);
    let mut table_of_plain = Table::of_all_ports(TABLE_OF_PLAIN);
    for port in &ports {
        note_own(routes, port);
        let cluster = cluster(routes, port);
        plan.inbound_ports.insert(cluster.clone(), port.number);
        captured(&mut chains, plan, port, &cluster);
    }
    for port in std::mem::take(&mut plan.inbound_closed) {
        let target = clusters::Target { cluster: ir::BLACK_HOLE_CLUSTER.into(), policy: Default::default() };
        let proxy = tcp::to_cluster(target, "closed".into(), Origin::built_in());
        let matches = ir::FilterChainMatch { destination_port: Some(port), ..Default::default() };
        chains.push(tcp_chain(format!("inbound_{port}"), matches, proxy));
    }
    passthrough(routes, &mut chains, plan);
    let open: Vec<_> = ports.iter().filter(|port| is_open(port, &ports)).collect();
    for port in open.iter().filter(|port| port.protocol.class().has_http()) {
        named(&mut table, routes, port, &open);
        if port.mode != MtlsMode::Strict {
            named(&mut table_of_plain, routes, port, &open);
        }
    }
    let default_filter_chain = chains::uncaptured(routes, &mut chains, &open);
    if chains::needs_table_of_plain(&open) {
        plan.route_configurations.push(table_of_plain.finish());
    }
    if open.iter().any(|port| port.protocol.class().has_http()) {
        plan.route_configurations.push(table.finish());
    }
    let address = settings::inbound(mesh.proxy.map(|proxy| &*proxy.spec));
    plan.listeners.push(Listener {
        name: LISTENER.into(),
        address: ListenAddress::Socket(address),
        direction: Direction::Inbound,
        detection_timeout: mesh.detection_timeout,
        filter_chains: chains.list,
        default_filter_chain,
        proxy_protocol: false,
        origin: Origin::built_in(),
    });
}

/// Whether connections without capture, which do not tell their port, can be for `port`: among several, those with TLS of their own
/// have a certificate that is for nobody else.
fn is_open(port: &InboundPort<'_>, ports: &[InboundPort<'_>]) -> bool {
    port.tls.is_none() || ports.len() == 1
}

/// The ports of all services that pick the node, each once; of two declarations the older service's holds.
fn of_services<'a>(routes: &mut Routes<'a>, plan: &Plan) -> Vec<InboundPort<'a>> {
    let mesh = routes.mesh;
    let mut ports: Vec<InboundPort<'a>> = Vec::new();
    let sidecar_pool = mesh.scope.sidecar.and_then(|sidecar| sidecar.spec.inbound_connection_pool.as_ref());
    for service in mesh.registry.of_workload(&mesh.node.namespace, &mesh.node.labels) {
        let rule = mesh.destination_rules.find(&service.host, Some(service.namespace));
        for port in service.ports.iter().filter(|port| port.protocol.class() != Class::Ignored) {
            let number = match &port.target {
                None => port.number,
                Some(IntOrString::Number(number)) => *number,
                Some(IntOrString::Name(name)) => match mesh.container_port(name) {
                    Some(number) => number,
                    None => {
                        note_port_name(routes, service, name, port.number);
                        port.number
                    }
                },
            };
            if plan.is_gateway_port(number) {
                continue; // the Service stands for the gateway itself; there is no application behind it
            }
            if let Some(known) = ports.iter_mut().find(|known| known.number == number) {
                known.services.push((service, port.number));
                continue;
            }
            let pool = rule.and_then(|rule| rule.policy(port.number, None).connection_pool);
            ports.push(InboundPort {
                number,
                protocol: port.protocol,
                mode: mesh.inbound_mode(number),
                tls: None,
                endpoint: EndpointAddress::Socket(SocketAddr::from((Ipv4Addr::LOCALHOST, number))),
                services: vec![(service, port.number)],
                pool: sidecar_pool.or(pool),
                origin: service.source.origin(&[]),
            });
        }
    }
    ports
}

fn note_port_name(routes: &mut Routes<'_>, service: &Service<'_>, name: &str, number: u16) {
    if let super::registry::Source::Kubernetes(resource) = service.source {
        let message = format!(
            "no Pod or template with this proxy's labels has a port named `{name}`: inbound port {number} is used"
        );
        routes.notes.warn(resource, codes::DEFAULTED, &["ports".into()], message);
    }
}

/// Says which ports a PeerAuthentication speaks of that nobody listens at.
fn note_unknown_ports(routes: &mut Routes<'_>, ports: &[InboundPort<'_>]) {
    let mesh = routes.mesh;
    let Some(policy) = mesh.peer_authentications.selecting(&mesh.node.namespace, &mesh.node.labels) else {
        return;
    };
    let ingress = mesh.scope.sidecar.map_or(&[][..], |sidecar| &sidecar.spec.ingress);
    let known: Vec<u16> =
        ports.iter().map(|port| port.number).chain(ingress.iter().map(|entry| entry.port.number)).collect();
    if known.is_empty() {
        return; // nothing is known of the workload
    }
    for key in
        policy.spec.port_level_mtls.keys().filter(|key| key.parse().is_ok_and(|port| !known.contains(&port)))
    {
        let message = format!(
            "this workload has no port {key}; ports here are those of the workload, not of its Service"
        );
        let path = ["portLevelMtls".into(), key.as_str().into()];
        routes.notes.warn(policy, codes::UNKNOWN_PORT, &path, message);
    }
}

/// Notes what a port takes, and where it says so.
fn tell_mode(routes: &Routes<'_>, plan: &mut Plan, port: &InboundPort<'_>) {
    let mesh = routes.mesh;
    let origin = mesh.peer_authentications.origin(&mesh.node.namespace, &mesh.node.labels, port.number);
    plan.mtls.push(InboundMtls { port: port.number, mode: port.mode, origin });
}

/// `inbound|8080||`.
fn cluster_name(port: &InboundPort<'_>) -> Arc<str> {
    format!("inbound|{}||", port.number).into()
}

/// Says of a port that is the proxy's own that nobody is led there.
fn note_own(routes: &mut Routes<'_>, port: &InboundPort<'_>) {
    let EndpointAddress::Socket(target) = port.endpoint else { return };
    let proxy = routes.mesh.proxy.map(|proxy| &*proxy.spec);
    for (what, own) in [
        ("admin server", settings::admin(proxy)),
        ("inbound listener", settings::inbound(proxy)),
        ("outbound listener", settings::outbound(proxy)),
    ] {
        if ports::overlap(target, own) {
            let message = format!(
                "{own} is the proxy's own {what}: what comes in for it is refused (let the application listen on another port)"
            );
            routes.notes.push(ports::at(&port.origin, message));
        }
    }
}

fn cluster(routes: &mut Routes<'_>, port: &InboundPort<'_>) -> Arc<str> {
    let node = &routes.mesh.node;
    let workload = ir::Workload {
        name: node.workload.clone(),
        namespace: node.namespace.clone(),
        labels: node.labels.clone(),
        service_account: String::new(),
    };
    let endpoint = Endpoint {
        address: port.endpoint.clone(),
        weight: 1,
        workload: Arc::new(workload),
        locality: "".into(),
        priority: 0,
        mtls: false,
    };
    let identity = match port.services.first() {
        Some((service, _)) => service.identity.clone(),
        None => ServiceIdentity {
            host: node.workload.as_str().into(),
            name: node.workload.as_str().into(),
            namespace: node.namespace.as_str().into(),
        },
    };
    let mut cluster =
        routes.clusters.plain(cluster_name(port), Discovery::Static(vec![endpoint]), port.protocol, identity);
    // The application may close an idle connection at any moment; most wait 5 s or longer.
    cluster.idle_timeout = Some(Duration::from_secs(3));
    if let Some(pool) = port.pool {
        apply_pool(&mut cluster, pool, port.protocol);
    }
    cluster.adaptive_concurrency = concurrency_policies::of_port(routes.mesh.config, node, port.number);
    cluster.origin = port.origin.clone();
    routes.clusters.insert(cluster)
}

/// By destination port, for redirected connections.
fn captured(chains: &mut Chains, plan: &mut Plan, port: &InboundPort<'_>, cluster: &Arc<str>) {
    let name = format!("inbound_{}", port.number);
    for chain in chains::of_port(port, &name, cluster, cluster, Some(port.number)) {
        chains.push(chain);
    }
    if port.protocol.class().has_http() {
        plan.route_configurations.push(everything_table(cluster, port, cluster));
    }
}

/// Captured connections to ports that nobody declared: to where they were going, as the workload's policies have it.
fn passthrough(routes: &Routes<'_>, chains: &mut Chains, plan: &mut Plan) {
    let mesh = routes.mesh;
    let port = |number: u16| InboundPort {
        number,
        protocol: Protocol::Undeclared,
        mode: mesh.inbound_mode(number),
        tls: None,
        endpoint: EndpointAddress::Socket(SocketAddr::from((Ipv4Addr::LOCALHOST, number))), // nobody asks
        services: Vec::new(),
        pool: None,
        origin: Origin::built_in(),
    };
    let cluster: Arc<str> = ir::INBOUND_PASSTHROUGH_CLUSTER.into();
    // Ports of which a policy speaks by their numbers, after those that are declared: of two equal matches the first stays.
    let policy = mesh.peer_authentications.selecting(&mesh.node.namespace, &mesh.node.labels);
    let numbers = policy.iter().flat_map(|policy| policy.spec.port_level_mtls.keys());
    let declared: Vec<_> = chains.list.iter().filter_map(|chain| chain.matches.destination_port).collect();
    for number in numbers.filter_map(|key| key.parse().ok()).filter(|number| !declared.contains(number)) {
        let name = format!("inbound_captured_{number}");
        for chain in chains::of_port(&port(number), &name, &cluster, &cluster, Some(number)) {
            chains.push(chain);
        }
    }
    let port = port(0);
    for mut chain in chains::of_port(&port, "inbound_captured", &cluster, &cluster, None) {
        chain.matches.captured = true;
        chains.push(chain);
    }
    plan.route_configurations.push(everything_table(&cluster, &port, &cluster));
}

/// The names under which others call the port.
fn named(table: &mut Table, routes: &Routes<'_>, port: &InboundPort<'_>, all: &[&InboundPort<'_>]) {
    let node = &routes.mesh.node;
    let route: Vec<Arc<Route>> = vec![Arc::new(route(port, &cluster_name(port)))];
    for (service, number) in &port.services {
        let names = Names::of_service(service, node);
        let bare = super::outbound::bare_port(service) == Some(*number);
        let forms = if bare { Forms::Both(*number) } else { Forms::WithPort(*number) };
        table.add(format!("{}:{number}", service.host), &names, forms, route.clone(), Origin::built_in());
    }
    if let [_] = all {
        table.add_fallback(&format!("inbound|http|{}", port.number), route, Origin::built_in());
    }
}

fn everything_table(name: &str, port: &InboundPort<'_>, cluster: &Arc<str>) -> ir::RouteConfiguration {
    let mut table = Table::of_port(name);
    let routes = vec![Arc::new(route(port, cluster))];
    table.add_fallback(&format!("inbound|http|{}", port.number), routes, Origin::built_in());
    table.finish()
}

fn route(port: &InboundPort<'_>, cluster: &Arc<str>) -> Route {
    let clusters = vec![tcp::weighted(cluster.clone(), 1)];
    let mut route = tcp::plain_route("default".into(), matches::everything(), clusters, port.origin.clone());
    // A stream may have begun although nothing was answered, so gRPC is not tried again (R8).
    let grpc = matches!(port.protocol, Protocol::Grpc | Protocol::GrpcWeb);
    if let RouteAction::Forward(forward) = &mut route.action {
        forward.retry = (!grpc).then(|| Arc::new(retries::inbound()));
    }
    route
}

fn tcp_proxy(port: &InboundPort<'_>, cluster: &Arc<str>) -> ir::TcpProxy {
    let target = clusters::Target { cluster: cluster.clone(), policy: Default::default() };
    tcp::to_cluster(target, cluster.clone(), port.origin.clone())
}
