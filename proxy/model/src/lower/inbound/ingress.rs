//! Inbound ports that a Sidecar lists.
//!
//! In:  `ingress` entries.   Out: ports for `virtualInbound`, and a listener for each entry with an address of its own or
//! without capture.
//! Invariants: bounds come from the entry, else from the Sidecar, else from the service's DestinationRule. A port that is to open TLS
//! of its own and cannot is closed.
//! Not here: ports of Services (`super`).
//! Source: R20, R24.

use super::{
    super::{
        Plan,
        captured::Chains,
        egress,
        protocol::{Class, Protocol},
        registry,
        routes::Routes,
        server_tls,
    },
    InboundPort, chains, cluster, everything_table, tell_mode,
};
use crate::{
    config::{Resource, Step},
    diagnostic::codes,
    ir::{Direction, EndpointAddress, ListenAddress, Listener, MtlsMode},
    istio::{CaptureMode, IstioIngressListener, ServerTlsSettings, Sidecar},
    kubernetes::IntOrString,
};
use std::net::{Ipv4Addr, SocketAddr};

/// The ports that a Sidecar lists; those with a socket of their own become listeners.
pub(super) fn ports<'a>(
    routes: &mut Routes<'a>,
    plan: &mut Plan,
    resource: &'a Resource<Sidecar>,
) -> Vec<InboundPort<'a>> {
    let mut captured = Vec::new();
    for (at, entry) in resource.spec.ingress.iter().enumerate() {
        let path = ["ingress".into(), at.into()];
        let mut port = ingress_port(routes, resource, entry, &path);
        if let Some(settings) = &entry.tls
            && !open_tls(routes, resource, settings, &path, &mut port)
        {
            plan.inbound_closed.push(port.number);
            continue;
        }
        if entry.bind.is_some() || entry.capture_mode == CaptureMode::None {
            own_listener(routes, plan, resource, entry, &path, port);
        } else {
            captured.push(port);
        }
    }
    captured
}

fn ingress_port<'a>(
    routes: &mut Routes<'a>,
    resource: &'a Resource<Sidecar>,
    entry: &'a IstioIngressListener,
    path: &[Step<'_>],
) -> InboundPort<'a> {
    let mesh = routes.mesh;
    let number = entry.port.number;
    let services = mesh.registry.of_workload(&mesh.node.namespace, &mesh.node.labels);
    let services: Vec<_> = services
        .filter_map(|service| {
            let leads_here = |port: &&registry::Port<'_>| match &port.target {
                Some(IntOrString::Number(target)) => *target == number,
                Some(IntOrString::Name(name)) => mesh.container_port(name) == Some(number),
                None => port.number == number,
            };
            Some((service, service.ports.iter().find(leads_here)?.number))
        })
        .collect();
    let of_rule = services.first().and_then(|(service, port)| {
        let rule = mesh.destination_rules.find(&service.host, Some(service.namespace))?;
        rule.policy(*port, None).connection_pool
    });
    InboundPort {
        number,
        protocol: Protocol::parse(&entry.port.protocol),
        mode: mesh.inbound_mode(number),
        tls: None,
        endpoint: default_endpoint(entry.default_endpoint.as_deref(), number),
        services,
        pool: entry.connection_pool.as_ref().or(resource.spec.inbound_connection_pool.as_ref()).or(of_rule),
        origin: resource.origin(path),
    }
}

/// Has `port` open TLS of its own, where it takes no mTLS of the mesh; `false`: it cannot, and stays closed.
fn open_tls(
    routes: &mut Routes<'_>,
    resource: &Resource<Sidecar>,
    settings: &ServerTlsSettings,
    [list, at]: &[Step<'_>; 2],
    port: &mut InboundPort<'_>,
) -> bool {
    let path = [*list, *at, "tls".into()];
    if port.mode != MtlsMode::Disable {
        let message = "the port takes mTLS of the mesh: as in Istio, its own TLS is opened only where a PeerAuthentication says DISABLE";
        routes.notes.warn(resource, codes::NOT_APPLIED, &path, message);
        return true;
    }
    let inside = match port.protocol {
        Protocol::Https => Protocol::Http,
        _ => Protocol::Tcp,
    };
    match server_tls::lower(settings, inside == Protocol::Http, routes.mesh) {
        Ok(tls) => {
            port.tls = Some(tls);
            port.protocol = inside;
            true
        }
        Err(message) => {
            let message = format!("the port stays closed: {message}");
            routes.notes.warn(resource, codes::NOT_APPLIED, &path, message);
            false
        }
    }
}

/// `127.0.0.1:PORT`, `[::1]:PORT`, `0.0.0.0:PORT` (the instance itself, which is this machine), or a Unix socket.
fn default_endpoint(text: Option<&str>, number: u16) -> EndpointAddress {
    let local = |port| EndpointAddress::Socket(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    match text {
        None => local(number),
        Some(text) if text.starts_with("unix://") => EndpointAddress::new(text, number),
        Some(text) => match text.parse::<SocketAddr>() {
            Ok(address) if address.ip().is_unspecified() => local(address.port()),
            Ok(address) => EndpointAddress::Socket(address),
            Err(_) => local(number), // `check` refuses it
        },
    }
}

fn own_listener(
    routes: &mut Routes<'_>,
    plan: &mut Plan,
    resource: &Resource<Sidecar>,
    entry: &IstioIngressListener,
    path: &[Step<'_>],
    mut port: InboundPort<'_>,
) {
    let Some((name, address)) = egress::address(entry.bind.as_deref(), port.number, Ipv4Addr::UNSPECIFIED)
    else {
        let message = "listener dropped: `bind` is neither an IP address nor `unix:///path`";
        return routes.notes.warn(resource, codes::DROPPED, path, message);
    };
    if let (ListenAddress::Socket(listen), EndpointAddress::Socket(endpoint)) = (&address, &port.endpoint)
        && listen.port() == endpoint.port()
        && listen.is_ipv4() == endpoint.is_ipv4()
        && (listen.ip() == endpoint.ip() || listen.ip().is_unspecified())
    {
        let message =
            "the listener would forward to itself: set `defaultEndpoint` to another port or a Unix socket";
        routes.notes.warn(resource, codes::CONFLICT, path, message);
    }
    tell_mode(routes, plan, &port);
    let cluster = cluster(routes, &port);
    if port.protocol.class() == Class::Ignored {
        port.protocol = Protocol::Http;
    }
    let mut chains = Chains::default();
    let default_filter_chain =
        chains::push_all(&mut chains, chains::of_port(&port, &name, &name, &cluster, None));
    if port.protocol.class().has_http() {
        plan.route_configurations.push(everything_table(&name, &port, &cluster));
    }
    plan.listeners.push(Listener {
        name: name.clone().into(),
        address,
        direction: Direction::Inbound,
        detection_timeout: routes.mesh.detection_timeout,
        filter_chains: chains.list,
        default_filter_chain,
        proxy_protocol: false,
        origin: resource.origin(path),
    });
}
