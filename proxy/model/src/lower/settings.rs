//! Process settings.
//!
//! In:  the Proxy resource that holds for the node.   Out: [`Settings`].
//! Invariants: what the resource leaves out has the default of [`Settings`].
//! Not here: the command line, which overrides these.

use super::{identity, registry::selects};
use crate::{
    config::{Config, Resource, age_order},
    ir::{
        AccessLog, AccessLogFormat, Direction, Drain, Format, ForwardClientCert, HttpConnectionManager,
        KeyFetching, Limits, Listener, NetworkFilter, Node, PathNormalization, Settings, Trust,
        UnderscoresAction,
    },
    sidle::{
        self, AccessLogEncoding, ForwardClientCertDetails, GatewayTopology, HeadersWithUnderscoresAction,
        InterceptionMode, NormalizationType, Proxy,
    },
};
use http::HeaderValue;
use ipnet::IpNet;
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

/// Where a protocol is not declared, how long its first bytes are waited for. Istio waits for ever, so that a server that
/// speaks first hangs.
const DETECTION_TIMEOUT: Duration = Duration::from_millis(250);

/// The Proxy resource of the node: one that selects it, then one for its namespace, then one for the root namespace; the
/// oldest of each.
pub(super) fn choose<'a>(config: &'a Config, node: &Node) -> Option<&'a Resource<Proxy>> {
    let mut proxies: Vec<_> = config.proxies.iter().collect();
    proxies.sort_by(|a, b| age_order(a, b));
    let of = |namespace: &str, by_label: bool| {
        proxies.iter().copied().find(|proxy| {
            proxy.metadata.namespace == namespace
                && proxy.spec.selector.is_empty() != by_label
                && selects(&proxy.spec.selector, &node.labels)
        })
    };
    of(&node.namespace, true)
        .or_else(|| of(&node.namespace, false))
        .or_else(|| of(&node.root_namespace, false))
}

/// How long to wait for the bytes that tell the protocol.
pub(super) fn detection_timeout(proxy: Option<&Proxy>) -> Duration {
    proxy.and_then(|proxy| proxy.protocol_detection_timeout).map_or(DETECTION_TIMEOUT, |timeout| timeout.0)
}

/// An address, or the default where there is none. `check` refuses what does not parse.
pub(super) fn address(text: Option<&String>, default: SocketAddr) -> SocketAddr {
    text.and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Where the files want admin.
pub(super) fn admin(proxy: Option<&Proxy>) -> SocketAddr {
    address(proxy.and_then(|proxy| proxy.admin.as_ref()), Settings::default().admin)
}

/// Where the files want the listener of what comes in.
pub(super) fn inbound(proxy: Option<&Proxy>) -> SocketAddr {
    address(proxy.and_then(|proxy| proxy.inbound.as_ref()), (Ipv4Addr::UNSPECIFIED, 15006).into())
}

/// Where the files want the listener of what the application sends.
pub(super) fn outbound(proxy: Option<&Proxy>) -> SocketAddr {
    address(proxy.and_then(|proxy| proxy.outbound.as_ref()), (Ipv4Addr::LOCALHOST, 15001).into())
}

/// What the Proxy resource says about every HTTP connection.
pub(super) fn apply_http(proxy: Option<&Proxy>, listeners: &mut [Listener]) {
    for listener in listeners {
        let gateway = listener.direction == Direction::Gateway;
        let topology = proxy.and_then(|proxy| proxy.gateway_topology.as_ref()).filter(|_| gateway);
        listener.proxy_protocol = topology.is_some_and(|topology| topology.proxy_protocol.is_some());
        for chain in listener.filter_chains.iter_mut().chain(&mut listener.default_filter_chain) {
            let NetworkFilter::Http(http) = &mut chain.filter else { continue };
            http.options.underscores = underscores(proxy, gateway);
            http.options.trusted_hops =
                topology.and_then(|topology| topology.num_trusted_proxies).unwrap_or(0);
            http.options.client_cert = client_cert(listener.direction, topology);
            http.options.normalization = path_normalization(proxy);
            let Some(proxy) = proxy else { continue };
            http.options.authorization_header = proxy.authorization_header.unwrap_or(false);
            http.options.accept_http_10 = proxy.accept_http10.unwrap_or(false);
            if let Some(headers) = &proxy.proxy_headers {
                apply_headers(headers, http);
            }
        }
    }
}

/// Applications behind the mesh's edge are met by strangers, so that the edge is strict unless told otherwise.
fn underscores(proxy: Option<&Proxy>, gateway: bool) -> UnderscoresAction {
    match proxy.and_then(|proxy| proxy.headers_with_underscores_action) {
        Some(HeadersWithUnderscoresAction::Allow) => UnderscoresAction::Allow,
        Some(HeadersWithUnderscoresAction::RejectRequest) => UnderscoresAction::Reject,
        Some(HeadersWithUnderscoresAction::DropHeader) => UnderscoresAction::Drop,
        None if gateway => UnderscoresAction::Reject,
        None => UnderscoresAction::Allow,
    }
}

/// R22. Behind the proxy of a workload its peers are told of; what comes to a gateway is believed of nobody.
fn client_cert(direction: Direction, topology: Option<&GatewayTopology>) -> ForwardClientCert {
    match (direction, topology.map(|topology| topology.forward_client_cert_details).unwrap_or_default()) {
        (Direction::Outbound, _) => ForwardClientCert::Sanitize,
        (Direction::Inbound, _) => ForwardClientCert::AppendForward,
        (Direction::Gateway, ForwardClientCertDetails::Undefined) => ForwardClientCert::SanitizeSet,
        (Direction::Gateway, ForwardClientCertDetails::SanitizeSet) => ForwardClientCert::SanitizeSet,
        (Direction::Gateway, ForwardClientCertDetails::Sanitize) => ForwardClientCert::Sanitize,
        (Direction::Gateway, ForwardClientCertDetails::ForwardOnly) => ForwardClientCert::ForwardOnly,
        (Direction::Gateway, ForwardClientCertDetails::AppendForward) => ForwardClientCert::AppendForward,
        (Direction::Gateway, ForwardClientCertDetails::AlwaysForwardOnly) => {
            ForwardClientCert::AlwaysForwardOnly
        }
    }
}

/// How far paths are normalised.
pub(super) fn path_normalization(proxy: Option<&Proxy>) -> PathNormalization {
    proxy.and_then(|proxy| proxy.path_normalization.as_ref()).map_or_else(Default::default, normalization)
}

fn normalization(given: &sidle::PathNormalization) -> PathNormalization {
    match given.normalization {
        NormalizationType::None => PathNormalization::None,
        NormalizationType::Default | NormalizationType::Base => PathNormalization::Base,
        NormalizationType::MergeSlashes => PathNormalization::MergeSlashes,
        NormalizationType::DecodeAndMergeSlashes => PathNormalization::DecodeAndMergeSlashes,
    }
}

fn apply_headers(headers: &sidle::ProxyHeaders, http: &mut HttpConnectionManager) {
    http.preserve_header_case = headers.preserve_http1_header_case.unwrap_or(false);
    http.options.via = headers.via.as_deref().and_then(|via| HeaderValue::from_str(via).ok());
    if let Some(server) = &headers.server {
        let value = server.value.as_deref().and_then(|value| HeaderValue::from_str(value).ok());
        http.server_name = value.or(http.server_name.take()).filter(|_| server.disabled != Some(true));
    }
}

/// Process settings.
pub(super) fn lower(proxy: Option<&Proxy>, node: &Node) -> Settings {
    let defaults = Settings::default();
    let Some(proxy) = proxy else { return defaults };
    Settings {
        admin: admin(Some(proxy)),
        metrics: address(proxy.metrics.as_ref(), defaults.metrics),
        health: address(proxy.health.as_ref(), defaults.health),
        transparent: proxy.interception_mode == InterceptionMode::Tproxy,
        workers: proxy.concurrency.filter(|workers| *workers > 0),
        drain: proxy.drain.as_ref().map_or(defaults.drain, drain),
        limits: proxy.limits.as_ref().map_or(defaults.limits, |given| limits(given).into()),
        access_log: access_log(proxy),
        identity: identity::lower(proxy, node),
        name_server: None, // by `name_table`, which has to know all services
        key_fetching: proxy.jwks.as_ref().map_or(defaults.key_fetching, key_fetching),
    }
}

fn key_fetching(jwks: &sidle::Jwks) -> KeyFetching {
    let network = |text: &String| text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).ok();
    KeyFetching {
        allow_private: jwks.allow_private,
        allowed: jwks.allow_addresses.iter().filter_map(network).collect(),
        ca: jwks.ca_certificates.as_ref().map_or(Trust::System, |file| Trust::File(file.into())),
    }
}

fn drain(drain: &sidle::Drain) -> Drain {
    let defaults = Drain::default();
    Drain {
        deadline: drain.deadline.map_or(defaults.deadline, |duration| duration.0),
        minimum: drain.minimum.map_or(defaults.minimum, |duration| duration.0),
        takeover_deadline: drain.takeover_deadline.map_or(defaults.takeover_deadline, |duration| duration.0),
    }
}

fn limits(limits: &sidle::Limits) -> Limits {
    let defaults = Limits::default();
    let or = |given: Option<u32>, default: u32| given.unwrap_or(default);
    let duration =
        |given: Option<crate::Duration>, default: Duration| given.map_or(default, |duration| duration.0);
    Limits {
        max_request_headers_bytes: or(limits.max_request_headers_bytes, defaults.max_request_headers_bytes),
        max_request_headers_count: or(limits.max_request_headers_count, defaults.max_request_headers_count),
        request_headers_timeout: duration(limits.request_headers_timeout, defaults.request_headers_timeout),
        stream_idle_timeout: duration(limits.stream_idle_timeout, defaults.stream_idle_timeout),
        connection_idle_timeout: duration(limits.connection_idle_timeout, defaults.connection_idle_timeout),
        max_connection_duration: limits.max_connection_duration.map(|age| age.0).filter(|age| !age.is_zero()),
        http2_max_concurrent_streams: or(
            limits.http2_max_concurrent_streams,
            defaults.http2_max_concurrent_streams,
        ),
        http2_initial_stream_window: or(
            limits.http2_initial_stream_window,
            defaults.http2_initial_stream_window,
        ),
        http2_initial_connection_window: or(
            limits.http2_initial_connection_window,
            defaults.http2_initial_connection_window,
        ),
        replay_buffer_bytes: or(limits.replay_buffer_bytes, defaults.replay_buffer_bytes),
        max_connections: limits.max_connections.or(defaults.max_connections),
        tls_handshake_timeout: duration(limits.tls_handshake_timeout, defaults.tls_handshake_timeout),
        max_connections_per_source: or(
            limits.max_connections_per_source,
            defaults.max_connections_per_source,
        ),
        request_timeout: limits.request_timeout.map(|timeout| timeout.0).filter(|timeout| !timeout.is_zero()),
        http2_max_resets_per_second: or(
            limits.http2_max_resets_per_second,
            defaults.http2_max_resets_per_second,
        ),
        http2_max_control_frames_per_second: or(
            limits.http2_max_control_frames_per_second,
            defaults.http2_max_control_frames_per_second,
        ),
        max_memory_bytes: limits.max_memory_bytes,
    }
}

fn access_log(proxy: &Proxy) -> Option<AccessLog> {
    let path = proxy.access_log_file.as_ref()?.into();
    let given = proxy.access_log_format.as_deref();
    let format = match proxy.access_log_encoding {
        AccessLogEncoding::Text => {
            let text = given.unwrap_or(Format::ISTIO_TEXT);
            // Envoy adds no line end of its own; one that was forgotten would make a log of one line.
            let text = if text.ends_with('\n') { text.to_owned() } else { format!("{text}\n") };
            AccessLogFormat::Text(Format::parse(&text).unwrap_or_else(|_| Format::literal(&text)))
        }
        AccessLogEncoding::Json => {
            AccessLogFormat::Json(given.and_then(json_format).unwrap_or_else(istio_json))
        }
    };
    Some(AccessLog { path, format })
}

/// An object from key to format. `None`: it is not one, which `check` refuses.
fn json_format(text: &str) -> Option<Vec<(String, Format)>> {
    let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text).ok()?;
    object.into_iter().map(|(key, format)| Some((key, Format::parse(format.as_str()?).ok()?))).collect()
}

/// Keys and values of Istio's JSON access log.
const ISTIO_JSON: [(&str, &str); 24] = [
    ("start_time", "%START_TIME%"),
    ("route_name", "%ROUTE_NAME%"),
    ("method", "%REQ(:METHOD)%"),
    ("path", "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%"),
    ("protocol", "%PROTOCOL%"),
    ("response_code", "%RESPONSE_CODE%"),
    ("response_flags", "%RESPONSE_FLAGS%"),
    ("response_code_details", "%RESPONSE_CODE_DETAILS%"),
    ("connection_termination_details", "%CONNECTION_TERMINATION_DETAILS%"),
    ("upstream_transport_failure_reason", "%UPSTREAM_TRANSPORT_FAILURE_REASON%"),
    ("bytes_received", "%BYTES_RECEIVED%"),
    ("bytes_sent", "%BYTES_SENT%"),
    ("duration", "%DURATION%"),
    ("upstream_service_time", "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%"),
    ("x_forwarded_for", "%REQ(X-FORWARDED-FOR)%"),
    ("user_agent", "%REQ(USER-AGENT)%"),
    ("request_id", "%REQ(X-REQUEST-ID)%"),
    ("authority", "%REQ(:AUTHORITY)%"),
    ("upstream_host", "%UPSTREAM_HOST%"),
    ("upstream_cluster", "%UPSTREAM_CLUSTER_RAW%"),
    ("upstream_local_address", "%UPSTREAM_LOCAL_ADDRESS%"),
    ("downstream_local_address", "%DOWNSTREAM_LOCAL_ADDRESS%"),
    ("downstream_remote_address", "%DOWNSTREAM_REMOTE_ADDRESS%"),
    ("requested_server_name", "%REQUESTED_SERVER_NAME%"),
];

fn istio_json() -> Vec<(String, Format)> {
    let entries = ISTIO_JSON.into_iter();
    entries.filter_map(|(key, format)| Some((key.to_owned(), Format::parse(format).ok()?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_kept_where_nothing_is_said() {
        assert_eq!(lower(None, &Node::default()), Settings::default());
        assert_eq!(lower(Some(&Proxy::default()), &Node::default()), Settings::default());
    }

    #[test]
    fn access_logs() {
        let mut proxy = Proxy { access_log_file: Some("/dev/stdout".into()), ..Default::default() };
        let text = |format: &str| Some(AccessLogFormat::Text(Format::parse(format).unwrap()));
        assert_eq!(access_log(&proxy).map(|log| log.format), text(Format::ISTIO_TEXT));
        proxy.access_log_format = Some("%RESPONSE_CODE%".into());
        assert_eq!(access_log(&proxy).map(|log| log.format), text("%RESPONSE_CODE%\n"));
        proxy.access_log_encoding = AccessLogEncoding::Json;
        proxy.access_log_format = Some(r#"{"b":"%DURATION%","a":"x"}"#.into());
        let Some(AccessLogFormat::Json(fields)) = access_log(&proxy).map(|log| log.format) else { panic!() };
        assert_eq!(fields.len(), 2);
        proxy.access_log_format = None;
        let Some(AccessLogFormat::Json(fields)) = access_log(&proxy).map(|log| log.format) else { panic!() };
        assert_eq!(fields.len(), 24);
    }
}
