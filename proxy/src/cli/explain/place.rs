//! Where the request of `sidle explain` arrives: the listener and the filter chain.
//!
//! In:  `--listener`, the URL.   Out: a listener and one of its chains.
//! Invariants: a chain is chosen as for a real connection that was not redirected.

use super::super::CliError;
use super::request::Request;
use sidle_model::ir::{ApplicationProtocol, Direction, FilterChain, Ir, ListenAddress, Listener, Transport};
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

/// The chain that takes a connection of the request's client; `None`: it would be closed.
pub fn filter_chain<'ir>(listener: &'ir Listener, request: &Request) -> Option<&'ir FilterChain> {
    let chains: Vec<&FilterChain> =
        listener.filter_chains.iter().chain(&listener.default_filter_chain).collect();
    let mut position = 0..;
    let table = FilterChainTable::build(listener, |_| Ok::<_, Infallible>(position.next()));
    let Ok(table) = table;
    let tls = request.scheme == "https";
    let connection = ConnectionView {
        destination: match &listener.address {
            ListenAddress::Socket(address) => Some(*address),
            ListenAddress::Unix(_) => None,
        },
        server_name: tls.then(|| split_host_port(&request.authority).0),
        transport: if tls { Transport::Tls } else { Transport::RawBuffer },
        // What comes in by TLS comes from a proxy of the mesh.
        application_protocols: match listener.direction {
            Direction::Inbound if tls => &[ApplicationProtocol::IstioHttp11, ApplicationProtocol::Istio],
            _ => &[],
        },
    };
    let chosen: Option<usize> = *table.select(&connection)?;
    chains.get(chosen?).copied()
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
