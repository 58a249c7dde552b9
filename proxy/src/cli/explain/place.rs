//! Where the request of `sidle explain` arrives: the listener and the filter chain.
//!
//! In:  `--listener`, the URL.   Out: a listener and one of its chains.
//! Invariants: a chain is chosen as for a real connection, which was not redirected unless its port is told.

use super::super::{CliError, client::Client};
use super::{connection, request::Request};
use sidle_model::ir::{
    ApplicationProtocol, Direction, FilterChain, Ir, ListenAddress, Listener, Transport, Trust,
};
use sidle_routing::{ConnectionView, FilterChainTable, host::split_host_port};
use std::{convert::Infallible, net::SocketAddr};

/// The listener that `name` means: `outbound`, `inbound`, a listener, or a Gateway (`[namespace/]name`), of which the
/// URL's port picks one.
pub fn listener<'ir>(ir: &'ir Ir, name: &str, request: &Request) -> Result<&'ir Listener, CliError> {
    let candidates: Vec<&Listener> = ir.listeners.iter().map(|listener| &**listener).collect();
    let built_in = |wanted: &str| candidates.iter().copied().find(|listener| &*listener.name == wanted);
    let direction = |wanted| candidates.iter().copied().find(|listener| listener.direction == wanted);
    let found = match name {
        "outbound" => built_in("virtualOutbound").or_else(|| direction(Direction::Outbound)),
        "inbound" => built_in("virtualInbound").or_else(|| direction(Direction::Inbound)),
        _ => built_in(name).or_else(|| {
            let mut of_gateway: Vec<_> =
                candidates.iter().copied().filter(|listener| is_of_gateway(listener, name)).collect();
            let port = url_port(request);
            of_gateway.sort_by_key(|listener| listener_port(listener) != Some(port));
            of_gateway.first().copied()
        }),
    };
    found.ok_or_else(|| {
        let names: Vec<_> = candidates.iter().map(|listener| &*listener.name).collect();
        CliError::Usage(format!(
            "no listener `{name}`; there are: {}. Those of a Gateway are only there for a proxy that its selector picks: \
             see --labels",
            names.join(", ")
        ))
    })
}

/// The chain that takes a connection of the request's client; `None`: it would be closed. `by_mtls`: the client is a proxy of the
/// mesh. The client's port is the workload's, from which the connection was redirected.
pub fn filter_chain<'ir>(
    listener: &'ir Listener,
    request: &Request,
    by_mtls: bool,
    client: &Client,
) -> Option<&'ir FilterChain> {
    let inbound = listener.direction == Direction::Inbound;
    let view = |by_mtls| connection(listener, request, by_mtls, client);
    let opened = if by_mtls { select(listener, &view(true)) } else { None };
    // Who could speak mTLS does so where it is taken.
    opened.filter(|chain| chain.tls.is_some()).or_else(|| {
        let tls = request.is_tls();
        let plain = select(listener, &view(false));
        // A handshake in which a certificate of the mesh is demanded fails.
        plain.filter(|chain| !(inbound && tls && asks_for_mesh(chain)))
    })
}

fn asks_for_mesh(chain: &FilterChain) -> bool {
    chain.tls.as_ref().is_some_and(|tls| tls.client_ca == Some(Trust::Workload))
}

fn select<'ir>(listener: &'ir Listener, connection: &ConnectionView<'_>) -> Option<&'ir FilterChain> {
    let chains: Vec<&FilterChain> =
        listener.filter_chains.iter().chain(&listener.default_filter_chain).collect();
    let mut position = 0..;
    let table = FilterChainTable::build(listener, |_| Ok::<_, Infallible>(position.next()));
    let Ok(table) = table;
    let chosen: Option<usize> = *table.select(connection)?;
    chains.get(chosen?).copied()
}

/// What the listener sees of the connection that `request` comes on, or is.
pub fn connection<'r>(
    listener: &Listener,
    request: &'r Request,
    by_mtls: bool,
    client: &'r Client,
) -> ConnectionView<'r> {
    let port = client.port.filter(|_| listener.direction == Direction::Inbound);
    let tls = by_mtls || request.is_tls();
    ConnectionView {
        destination: connection::destination(listener, request, port),
        server_name: tls.then(|| client.server_name().unwrap_or(split_host_port(&request.authority).0)),
        transport: if tls { Transport::Tls } else { Transport::RawBuffer },
        application_protocols: match (by_mtls, tls || request.is_connection()) {
            (true, _) if request.is_connection() => &[ApplicationProtocol::Istio],
            (true, _) => &[ApplicationProtocol::IstioHttp11, ApplicationProtocol::Istio],
            (false, true) => &[],
            (false, false) => &[ApplicationProtocol::Http1],
        },
    }
}

/// The port that the listener's connections come in on.
pub fn listener_port(listener: &Listener) -> Option<u16> {
    match &listener.address {
        ListenAddress::Socket(address) => Some(SocketAddr::port(address)),
        ListenAddress::Unix(_) => None,
    }
}

fn url_port(request: &Request) -> u16 {
    let default = if request.scheme == "https" { 443 } else { 80 };
    split_host_port(&request.authority).1.unwrap_or(default)
}

/// Whether one of the Gateways that made `listener` has this name, with or without its namespace.
fn is_of_gateway(listener: &Listener, name: &str) -> bool {
    let title = listener.origin.resource.strip_prefix("Gateway ");
    title.is_some_and(|title| title == name || title.rsplit('/').next() == Some(name))
}
