//! HTTP connection managers, set as Istio sets them.

use crate::{
    access_log::access_log,
    authority,
    context::{Context, Form, Port, TableContext},
    filter, route,
    value::{Object, duration, extension},
};
use serde_json::{Value, json};
use sidle_model::ir::{
    Direction, FilterChain, ForwardClientCert, HttpConnectionManager, Limits, ListenAddress, Listener,
    PathNormalization, UnderscoresAction,
};

/// An `HttpConnectionManager`.
pub(crate) fn connection_manager(
    context: &Context<'_>,
    listener: &Listener,
    address: &ListenAddress,
    chain: &FilterChain,
    manager: &HttpConnectionManager,
) -> Object {
    let by_authority = context.form == Form::Bootstrap && !authority::is_captured(chain);
    let table = TableContext { context, by_authority, port: address.port() };
    let limits = &context.ir.settings.limits;
    Object::typed("extensions.filters.network.http_connection_manager.v3.HttpConnectionManager")
        .with("stat_prefix", &*listener.name)
        .merge(routes(&table, manager))
        .merge(identity(listener.direction, manager))
        .merge(self::limits(limits, manager.options.underscores))
        .merge(http1(manager))
        .with("http2_protocol_options", http2(limits))
        .merge(normalization(manager.options.normalization))
        .merge(trust(manager))
        .with("upgrade_configs", json!([{"upgrade_type": "websocket"}, {"upgrade_type": "CONNECT"}]))
        .with_list("access_log", access_log(context.ir))
}

/// The route table, or its name, and the filters that its routes need.
fn routes(table: &TableContext<'_>, manager: &HttpConnectionManager) -> Object {
    let name = &*manager.route_configuration;
    let found = table.context.table(name);
    let routes = match (table.context.form, found) {
        (Form::Bootstrap, Some(found)) => {
            Object::new().with("route_config", route::route_configuration(table, found))
        }
        _ => Object::new().with(
            "rds",
            json!({"config_source": {"ads": {}, "resource_api_version": "V3"}, "route_config_name": name}),
        ),
    };
    let resolves_authority = found.is_some_and(|found| authority::is_used(table, found));
    routes.with("http_filters", filter::chain(table.context, &manager.admission, resolves_authority))
}

/// Who the proxy says it is, and what it believes of who came before (R22).
fn identity(direction: Direction, manager: &HttpConnectionManager) -> Object {
    let server = match &manager.server_name {
        Some(name) => Object::new()
            .with("server_header_transformation", "OVERWRITE")
            .with("server_name", String::from_utf8_lossy(name.as_bytes())),
        None => Object::new().with("server_header_transformation", "PASS_THROUGH"),
    };
    let action = match manager.options.client_cert {
        ForwardClientCert::Sanitize => "SANITIZE",
        ForwardClientCert::ForwardOnly => "FORWARD_ONLY",
        ForwardClientCert::AppendForward => "APPEND_FORWARD",
        ForwardClientCert::SanitizeSet => "SANITIZE_SET",
        ForwardClientCert::AlwaysForwardOnly => "ALWAYS_FORWARD_ONLY",
    };
    let details = match direction {
        Direction::Outbound => None,
        Direction::Inbound => Some(json!({"subject": true, "dns": true, "uri": true})),
        Direction::Gateway => Some(json!({"subject": true, "cert": true, "dns": true, "uri": true})),
    };
    let certificate = Object::new()
        .with("forward_client_cert_details", action)
        .with_some("set_current_client_cert_details", details);
    server
        .merge(certificate)
        .with("use_remote_address", manager.edge)
        .with("generate_request_id", true)
        .with("preserve_external_request_id", true)
}

/// Envoy would cut idle upgraded and gRPC streams with the others, so none are cut; see the README.
fn limits(limits: &Limits, underscores: UnderscoresAction) -> Object {
    Object::new()
        .with("max_request_headers_kb", limits.max_request_headers_bytes.div_ceil(1024).max(1))
        .with("request_headers_timeout", duration(limits.request_headers_timeout))
        .with("stream_idle_timeout", "0s")
        .with_some("request_timeout", limits.request_timeout.map(duration))
        .with("common_http_protocol_options", common(limits, underscores))
}

fn common(limits: &Limits, underscores: UnderscoresAction) -> Object {
    let action = match underscores {
        UnderscoresAction::Allow => None,
        UnderscoresAction::Reject => Some("REJECT_REQUEST"),
        UnderscoresAction::Drop => Some("DROP_HEADER"),
    };
    Object::new()
        .with("idle_timeout", duration(limits.connection_idle_timeout))
        .with("max_headers_count", limits.max_request_headers_count)
        .with_some("headers_with_underscores_action", action)
}

/// As Istio writes `pathNormalization`.
fn normalization(how: PathNormalization) -> Object {
    use PathNormalization::{DecodeAndMergeSlashes, MergeSlashes, None};
    let decodes = (how == DecodeAndMergeSlashes).then_some("UNESCAPE_AND_FORWARD");
    Object::new()
        .with_true("normalize_path", how != None)
        .with_true("merge_slashes", matches!(how, MergeSlashes | DecodeAndMergeSlashes))
        .with_some("path_with_escaped_slashes_action", decodes)
}

/// Whom the proxy believes, and what it says of itself.
fn trust(manager: &HttpConnectionManager) -> Object {
    let hops = Some(manager.options.trusted_hops).filter(|hops| *hops > 0);
    let via = manager.options.via.as_ref().map(|via| String::from_utf8_lossy(via.as_bytes()));
    Object::new().with_some("xff_num_trusted_hops", hops).with_some("via", via)
}

fn http1(manager: &HttpConnectionManager) -> Object {
    let case = if manager.preserve_header_case { preserve_case() } else { Object::new() };
    let options = case.with_true("accept_http_10", manager.options.accept_http_10);
    Object::new().with_some("http_protocol_options", (!options.is_empty()).then_some(options))
}

/// `Http1ProtocolOptions` that keep the case of header names.
pub(crate) fn preserve_case() -> Object {
    let formatter = extension(
        "envoy.http.stateful_header_formatters.preserve_case",
        Object::typed("extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig"),
    );
    Object::new().with("header_key_format", json!({"stateful_formatter": formatter}))
}

fn http2(limits: &Limits) -> Value {
    json!({
        "allow_connect": true,
        "max_concurrent_streams": limits.http2_max_concurrent_streams,
        "initial_stream_window_size": limits.http2_initial_stream_window,
        "initial_connection_window_size": limits.http2_initial_connection_window,
    })
}
