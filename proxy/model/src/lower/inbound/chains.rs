//! Filter chains of the application's ports.
//!
//! In:  ports, with what they take.   Out: filter chains.
//! Invariants: with anything but plain text on a port, connections that no chain of it takes are closed; without capture, a
//! port that takes mTLS alone has no name in the table of those who come in plain text.
//! Not here: which kinds of connection a port takes (`mtls`), tables.

use super::{
    super::{
        captured::{Chains, tcp_chain},
        routes::Routes,
    },
    InboundPort, TABLE, TABLE_OF_PLAIN, cluster_name,
    mtls::{Kind, kinds},
    tcp_proxy,
};
use crate::{
    diagnostic::codes,
    ir::{ApplicationProtocol, FilterChain, HttpConnectionManager, MtlsMode, NetworkFilter, Transport},
};
use http::HeaderValue;
use std::sync::Arc;

/// The chains of a port; `number` is where connections were redirected from, if they were. `table` is for HTTP.
pub(super) fn of_port(
    port: &InboundPort<'_>,
    name: &str,
    table: &str,
    cluster: &Arc<str>,
    number: Option<u16>,
) -> Vec<FilterChain> {
    let chain = |kind: &Kind| match kind.http {
        true => http_chain(name, table, *kind, number),
        false => {
            let chain = tcp_chain(chain_name(name, *kind), kind.matches(number), tcp_proxy(port, cluster));
            FilterChain { tls: kind.tls(), ..chain }
        }
    };
    match &port.tls {
        None => kinds(port.mode, port.protocol.class()).iter().map(chain).collect(),
        // As if mTLS were demanded, with the port's own certificate in place of the workload's.
        Some(tls) => {
            let opened = kinds(MtlsMode::Strict, port.protocol.class()).iter().map(chain);
            opened.map(|chain| FilterChain { name: name.into(), tls: Some(tls.clone()), ..chain }).collect()
        }
    }
}

/// Adds chains that are told apart by nothing before them; returns the one that takes every connection.
pub(super) fn push_all(chains: &mut Chains, mut list: Vec<FilterChain>) -> Option<FilterChain> {
    let takes_all = list.last().is_some_and(|last| last.matches == Default::default());
    let default = list.pop_if(|_| takes_all);
    list.into_iter().for_each(|chain| _ = chains.push(chain));
    default
}

/// Connections without capture; returns the default chain.
pub(super) fn uncaptured(
    routes: &mut Routes<'_>,
    chains: &mut Chains,
    ports: &[&InboundPort<'_>],
) -> Option<FilterChain> {
    let name = "virtualInbound";
    let with_http = |port: &&&InboundPort<'_>| port.protocol.class().has_http();
    let first = ports.first()?;
    let cluster = cluster_name(first);
    if ports.len() > 1 && ports.iter().any(|port| with_http(&port)) {
        let of_names = named(name, ports.iter().filter(with_http).map(|port| port.mode));
        return push_all(chains, of_names);
    }
    if let ([_, second, ..], Some((service, _))) = (ports, first.services.first())
        && let super::super::registry::Source::Kubernetes(resource) = service.source
    {
        let message = format!(
            "without traffic capture every inbound connection goes to port {}, none to {}",
            first.number, second.number
        );
        routes.notes.info(resource, codes::DEFAULTED, &["ports".into()], message);
    }
    push_all(chains, of_port(first, name, TABLE, &cluster, None))
}

/// HTTP for several ports, told apart by the names of requests.
fn named(name: &str, modes: impl Iterator<Item = MtlsMode> + Clone) -> Vec<FilterChain> {
    let all = |mode: MtlsMode| modes.clone().all(|other| other == mode);
    let kind = |transport, protocols, opened| Kind { transport, protocols, opened, http: true };
    if all(MtlsMode::Disable) {
        return vec![http_chain(name, TABLE, kind(None, &[], false), None)];
    }
    let opened = |protocols| http_chain(name, TABLE, kind(Some(Transport::Tls), protocols, true), None);
    if all(MtlsMode::Strict) {
        return vec![opened(&[])];
    }
    let table = if modes.clone().any(|mode| mode == MtlsMode::Strict) { TABLE_OF_PLAIN } else { TABLE };
    let plain = http_chain(name, table, kind(Some(Transport::RawBuffer), &[], false), None);
    vec![opened(&ApplicationProtocol::MESH), plain]
}

/// Whether there are requests in plain text that must not reach every port by its name.
pub(super) fn needs_table_of_plain(ports: &[&InboundPort<'_>]) -> bool {
    let modes = || ports.iter().filter(|port| port.protocol.class().has_http()).map(|port| port.mode);
    modes().any(|mode| mode == MtlsMode::Strict) && modes().any(|mode| mode != MtlsMode::Strict)
}

fn chain_name(name: &str, kind: Kind) -> String {
    if kind.opened { format!("{name}_mtls") } else { name.into() }
}

fn http_chain(name: &str, table: &str, kind: Kind, number: Option<u16>) -> FilterChain {
    FilterChain {
        name: chain_name(name, kind).into(),
        matches: kind.matches(number),
        tls: kind.tls(),
        filter: NetworkFilter::Http(HttpConnectionManager {
            route_configuration: table.into(),
            edge: false,
            server_name: Some(HeaderValue::from_static("istio-envoy")),
            preserve_header_case: false,
            options: Default::default(),
            admission: Default::default(),
        }),
    }
}
