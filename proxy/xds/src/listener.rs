//! Listeners, their filter chains, and TCP.
//!
//! Not here: HTTP (`connection_manager`), certificates (`tls`).

use crate::{
    access_log::access_log,
    authority::is_captured,
    connection_manager::connection_manager,
    context::{Chains, Context},
    ext_authz, rbac, tls,
    value::{Object, duration, duration_or_never, extension, listen_address},
};
use serde_json::{Value, json};
use sidle_model::ir::{
    ApplicationProtocol, BLACK_HOLE_CLUSTER, Direction, Discovery, FilterChain, FilterChainMatch,
    HostPattern, ListenAddress, Listener, NetworkFilter, TcpProxy, Transport,
};

/// A `Listener` that binds `address`.
pub(crate) fn listener(context: &Context<'_>, listener: &Listener, address: &ListenAddress) -> Value {
    let chain = |chain: &FilterChain| filter_chain(context, listener, address, chain);
    let exported = listener.filter_chains.iter().filter(|chain| !chain.matches.captured);
    let default = match &listener.default_filter_chain {
        Some(default) => Some(chain(default)),
        // Envoy asks for one chain at least; none at all means: close.
        None if exported.clone().next().is_none() => Some(closing_chain()),
        None => None,
    };
    let inspectors = inspectors(context, listener);
    let detects = !inspectors.is_empty();
    // A connection that tells nothing in time is served all the same, but for one that must say who sends it.
    let waits = match listener.proxy_protocol {
        true => context.ir.settings.limits.request_headers_timeout,
        false => listener.detection_timeout,
    };
    Object::new()
        .with("name", &*listener.name)
        .with("address", listen_address(address))
        .with("traffic_direction", direction(listener.direction))
        .with_some("listener_filters_timeout", detects.then(|| duration(waits)))
        .with_true("continue_on_listener_filters_timeout", detects && !listener.proxy_protocol)
        .with_list("listener_filters", inspectors)
        .with_list("filter_chains", exported.map(chain).collect())
        .with_some("default_filter_chain", default)
        .into()
}

/// Istio counts gateways as outbound too.
fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::Inbound => "INBOUND",
        Direction::Outbound | Direction::Gateway => "OUTBOUND",
    }
}

/// The listener filters that the filter chains need to be told apart.
fn inspectors(context: &Context<'_>, listener: &Listener) -> Vec<Value> {
    let mut filters = Vec::new();
    if listener.proxy_protocol {
        // Before all that reads what follows it.
        filters.push(extension(
            "envoy.filters.listener.proxy_protocol",
            Object::typed("extensions.filters.listener.proxy_protocol.v3.ProxyProtocol"),
        ));
    }
    if listener.all_chains().any(|chain| is_captured(chain) || follows_destination(context, chain)) {
        filters.push(extension(
            "envoy.filters.listener.original_dst",
            Object::typed("extensions.filters.listener.original_dst.v3.OriginalDst"),
        ));
    }
    let matches = || listener.all_chains().map(|chain| &chain.matches);
    if matches().any(|m| !m.server_names.is_empty() || m.transport.is_some()) {
        filters.push(extension(
            "envoy.filters.listener.tls_inspector",
            Object::typed("extensions.filters.listener.tls_inspector.v3.TlsInspector"),
        ));
    }
    if matches().any(|m| !m.application_protocols.is_empty() && m.transport != Some(Transport::Tls)) {
        filters.push(extension(
            "envoy.filters.listener.http_inspector",
            Object::typed("extensions.filters.listener.http_inspector.v3.HttpInspector"),
        ));
    }
    filters
}

/// Whether bytes go to where the client wanted them to go.
fn follows_destination(context: &Context<'_>, chain: &FilterChain) -> bool {
    match &chain.filter {
        NetworkFilter::Tcp(proxy) => proxy.clusters.iter().any(|weighted| {
            matches!(context.discovery(&weighted.cluster), Some(Discovery::OriginalDestination))
        }),
        NetworkFilter::Http(_) => false,
    }
}

fn filter_chain(
    context: &Context<'_>,
    listener: &Listener,
    address: &ListenAddress,
    chain: &FilterChain,
) -> Value {
    let filters = match &chain.filter {
        NetworkFilter::Http(manager) => vec![extension(
            "envoy.filters.network.http_connection_manager",
            connection_manager(context, listener, address, chain, manager),
        )],
        NetworkFilter::Tcp(proxy) => {
            let authorization = proxy.authorization.as_ref();
            let mut filters = ext_authz::network_filters(authorization);
            filters.extend(rbac::filters(authorization, &rbac::NETWORK));
            let carrier = tcp_proxy(context, listener, proxy);
            filters.push(extension("envoy.filters.network.tcp_proxy", carrier));
            filters
        }
    };
    let handshake = context.ir.settings.limits.tls_handshake_timeout;
    let matches = chain_match(&chain.matches);
    Object::new()
        .with("name", &*chain.name)
        .with_some("filter_chain_match", (!matches.is_empty()).then_some(matches))
        .with_some("transport_socket", chain.tls.as_ref().map(|tls| tls::downstream(context, tls)))
        .with_some("transport_socket_connect_timeout", chain.tls.as_ref().map(|_| duration(handshake)))
        .with("filters", filters)
        .into()
}

fn chain_match(matches: &FilterChainMatch) -> Object {
    let ranges = matches
        .destinations
        .iter()
        .map(|range| json!({"address_prefix": range.addr().to_string(), "prefix_len": range.prefix_len()}))
        .collect();
    // No server name at all is how Envoy writes `*`.
    let names = match matches.server_names.contains(&HostPattern::Any) {
        true => Vec::new(),
        false => matches.server_names.iter().map(|name| name.to_string().into()).collect(),
    };
    let protocols = matches.application_protocols.iter();
    Object::new()
        .with_some("destination_port", matches.destination_port)
        .with_list("prefix_ranges", ranges)
        .with_list("server_names", names)
        .with_some("transport_protocol", matches.transport.map(transport))
        .with_list(
            "application_protocols",
            protocols.flat_map(|protocol| application_protocols(*protocol, matches.transport)).collect(),
        )
}

fn transport(transport: Transport) -> &'static str {
    match transport {
        Transport::Tls => "tls",
        Transport::RawBuffer => "raw_buffer",
    }
}

/// What the inspectors call a protocol: ALPN names inside TLS, own names outside.
fn application_protocols(protocol: ApplicationProtocol, transport: Option<Transport>) -> Vec<Value> {
    let names: &[&str] = match (protocol, transport) {
        (ApplicationProtocol::Http1, _) => &["http/1.1", "http/1.0"],
        (ApplicationProtocol::Http2, Some(Transport::Tls)) => &["h2"],
        (ApplicationProtocol::Http2, Some(Transport::RawBuffer)) => &["h2c"],
        (ApplicationProtocol::Http2, None) => &["h2", "h2c"],
        (mesh, _) => return vec![mesh.alpn().into()],
    };
    names.iter().map(|name| (*name).into()).collect()
}

fn tcp_proxy(context: &Context<'_>, listener: &Listener, proxy: &TcpProxy) -> Object {
    let clusters = match &proxy.clusters[..] {
        [only] => Object::new().with("cluster", &*only.cluster),
        several => {
            let several: Vec<Value> =
                several.iter().map(|one| json!({"name": &*one.cluster, "weight": one.weight})).collect();
            Object::new().with("weighted_clusters", json!({"clusters": several}))
        }
    };
    Object::typed("extensions.filters.network.tcp_proxy.v3.TcpProxy")
        .with("stat_prefix", &*listener.name)
        .with("idle_timeout", duration_or_never(proxy.idle_timeout))
        .with_list("access_log", access_log(context.ir))
        .merge(clusters)
}

fn closing_chain() -> Value {
    let proxy = Object::typed("extensions.filters.network.tcp_proxy.v3.TcpProxy")
        .with("stat_prefix", BLACK_HOLE_CLUSTER)
        .with("cluster", BLACK_HOLE_CLUSTER);
    json!({"name": "close", "filters": [extension("envoy.filters.network.tcp_proxy", proxy)]})
}
