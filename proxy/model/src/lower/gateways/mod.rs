//! Gateways: ports that the node opens to the outside.
//!
//! In:  Gateways whose selector picks the node (an empty one picks all), VirtualServices bound to them.   Out: a listener a
//! port, and route tables.
//! Invariants: servers of one address and port share a listener, oldest Gateway first; the first decides whether the port
//! speaks TLS, HTTP or bytes, and servers that contradict it are dropped with a note. A server's port is the port of the
//! Service that selects the node, if there is one: the listener opens its `targetPort`.
//! Not here: HTTP tables (`http`), TLS and TCP chains (`tls`).
//! Source: R3, R25.

mod auto_passthrough;
mod http;
mod tls;

use super::{
    Plan,
    captured::Chains,
    egress,
    matches::Site,
    names,
    notes::Notes,
    protocol::{Class, Protocol},
    registry::selects,
    routes::Routes,
    virtual_services::Rules,
};
use crate::{
    config::{Resource, Step, age_order},
    diagnostic::codes,
    ir::{
        Direction, FilterChain, FilterChainMatch, HttpConnectionManager, Listener, NetworkFilter, ServerTls,
    },
    istio::{Gateway, Server, ServerTlsMode},
    kubernetes::IntOrString,
};
use ::http::HeaderValue;
use std::{collections::BTreeMap, net::Ipv4Addr};

/// A server of a Gateway that holds for the node.
#[derive(Debug, Clone)]
struct BoundServer<'a> {
    gateway: &'a Resource<Gateway>,
    /// `namespace/name`.
    name: String,
    server: &'a Server,
    at: usize,
    /// Namespace (`*`: every) and host pattern.
    hosts: Vec<(String, String)>,
    kind: Kind,
}

/// What a server does with connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Http,
    Tcp,
    /// TLS is opened, HTTP inside.
    Https,
    /// TLS is opened, bytes inside.
    TlsTcp,
    /// TLS is routed by server name.
    Passthrough,
}

impl Kind {
    fn is_tls(self) -> bool {
        matches!(self, Kind::Https | Kind::TlsTcp | Kind::Passthrough)
    }

    /// Whether both may share a port.
    fn fits(self, other: Kind) -> bool {
        self == other || (self.is_tls() && other.is_tls())
    }
}

impl<'a> BoundServer<'a> {
    fn new(gateway: &'a Resource<Gateway>, at: usize) -> Self {
        let server = &gateway.spec.servers[at];
        let host = |text: &String| {
            let (namespace, host) = text.split_once('/').unwrap_or(("*", text));
            let namespace = if namespace == "." { &gateway.metadata.namespace } else { namespace };
            (namespace.to_owned(), host.to_ascii_lowercase())
        };
        BoundServer {
            name: format!("{}/{}", gateway.metadata.namespace, gateway.metadata.name),
            hosts: server.hosts.iter().map(host).collect(),
            kind: kind(server),
            gateway,
            server,
            at,
        }
    }

    fn site(&self) -> Site<'_> {
        Site { port: self.server.port.number, gateway: &self.name }
    }

    fn path(&self) -> [Step<'static>; 2] {
        ["servers".into(), self.at.into()]
    }

    fn warn(&self, notes: &mut Notes, code: crate::diagnostic::Code, message: impl Into<String>) {
        notes.warn(self.gateway, code, &self.path(), message);
    }

    /// The server's hosts that rules of a namespace may use.
    fn hosts_for<'s>(&'s self, namespace: &'s str) -> impl Iterator<Item = &'s str> {
        let open = move |(ns, _): &&(String, String)| ns == "*" || ns == namespace;
        self.hosts.iter().filter(open).map(|(_, host)| &**host)
    }

    /// The names that both the server and the rules have.
    fn shared_hosts(&self, rules: &Rules<'_>) -> Vec<String> {
        let mut shared = Vec::new();
        for own in self.hosts_for(&rules.resource.metadata.namespace) {
            for host in rules.hosts.iter().filter_map(|host| names::intersection(own, host)) {
                if !shared.iter().any(|known| known == host) {
                    shared.push(host.to_owned());
                }
            }
        }
        shared
    }
}

fn kind(server: &Server) -> Kind {
    let closed = [ServerTlsMode::Passthrough, ServerTlsMode::AutoPassthrough];
    let opened = server.tls.as_ref().is_some_and(|tls| !closed.contains(&tls.mode));
    let protocol = Protocol::parse(&server.port.protocol);
    match (protocol.class(), opened) {
        (Class::Tls, false) => Kind::Passthrough,
        (Class::Tls, true) if protocol == Protocol::Https => Kind::Https,
        (Class::Tls, true) => Kind::TlsTcp,
        (Class::Http, _) => Kind::Http,
        _ => Kind::Tcp,
    }
}

/// Adds the listeners of all Gateways that pick the node.
pub(super) fn add(routes: &mut Routes<'_>, plan: &mut Plan) {
    let mesh = routes.mesh;
    let mut gateways: Vec<_> = mesh.config.gateways.iter().collect();
    gateways.retain(|gateway| selects(&gateway.spec.selector, &mesh.node.labels));
    gateways.sort_by(|a, b| age_order(a, b));
    let mut ports = BTreeMap::<(Option<&str>, u16), Vec<BoundServer<'_>>>::new();
    for gateway in &gateways {
        for at in 0..gateway.spec.servers.len() {
            let server = BoundServer::new(gateway, at);
            let key = (server.server.bind.as_deref(), listen_port(routes, server.server.port.number));
            let servers = ports.entry(key).or_default();
            if let Some(first) = servers.first().filter(|first| !first.kind.fits(server.kind)) {
                let message = format!(
                    "server dropped: {} ({}) opens the same port for {}",
                    first.gateway.title(),
                    first.gateway.origin(&first.path()),
                    first.server.port.protocol
                );
                server.warn(&mut routes.notes, codes::CONFLICT, message);
                continue;
            }
            servers.push(server);
        }
    }
    for ((bind, port), servers) in ports {
        listener(routes, plan, bind, port, &servers);
    }
}

/// The port to open for a server's: `targetPort` of a Service that selects the node.
fn listen_port(routes: &Routes<'_>, number: u16) -> u16 {
    let mesh = routes.mesh;
    let mut services = mesh.registry.of_workload(&mesh.node.namespace, &mesh.node.labels);
    let target = services.find_map(|service| match &service.port(number)?.target {
        None => Some(number),
        Some(IntOrString::Number(target)) => Some(*target),
        Some(IntOrString::Name(name)) => mesh.container_port(name),
    });
    target.unwrap_or(number)
}

fn listener(
    routes: &mut Routes<'_>,
    plan: &mut Plan,
    bind: Option<&str>,
    port: u16,
    servers: &[BoundServer<'_>],
) {
    let Some(first) = servers.first() else { return };
    let Some((name, address)) = egress::address(bind, port, Ipv4Addr::UNSPECIFIED) else {
        let message = "server dropped: `bind` is neither an IP address nor `unix:///path`";
        return first.warn(&mut routes.notes, codes::DROPPED, message);
    };
    let mut chains = Chains::default();
    let mut default_filter_chain = None;
    match first.kind {
        Kind::Http => {
            let table = match bind {
                None => format!("http.{port}"),
                Some(bind) => format!("http.{port}.{bind}"),
            };
            plan.route_configurations.push(http::table(routes, &table, servers));
            default_filter_chain = Some(http_chain(&table, &table, FilterChainMatch::default(), None));
        }
        Kind::Tcp => default_filter_chain = tls::bytes(routes, &mut chains, servers),
        Kind::Https | Kind::TlsTcp | Kind::Passthrough => {
            for server in servers {
                plan.route_configurations.extend(tls::server(routes, &mut chains, server, port));
            }
        }
    }
    plan.listeners.push(Listener {
        name: name.into(),
        address,
        direction: Direction::Gateway,
        detection_timeout: routes.mesh.detection_timeout,
        filter_chains: chains.list,
        default_filter_chain,
        proxy_protocol: false,
        origin: first.gateway.origin(&first.path()),
    });
}

fn http_chain(name: &str, table: &str, matches: FilterChainMatch, tls: Option<ServerTls>) -> FilterChain {
    FilterChain {
        name: name.into(),
        matches,
        tls,
        filter: NetworkFilter::Http(HttpConnectionManager {
            route_configuration: table.into(),
            edge: true,
            server_name: Some(HeaderValue::from_static("istio-envoy")),
            preserve_header_case: false,
            options: Default::default(),
            admission: Default::default(),
        }),
    }
}
