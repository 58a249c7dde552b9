//! Route tables, virtual hosts and routes.
//!
//! Not here: conditions (`matcher`), actions (`forward`, `redirect`), faults and CORS (`filter`).

use crate::{
    authority,
    context::{Form, TableContext},
    filter, forward,
    header::operations,
    matcher, metadata, redirect,
    value::{Object, data_source},
};
use serde_json::{Value, json};
use sidle_model::ir::{
    BLACK_HOLE_CLUSTER, DirectResponse, Forward, Route, RouteAction, RouteConfiguration, VirtualHost,
};

/// Envoy refuses longer bodies of direct responses unless told otherwise.
const DIRECT_RESPONSE_DEFAULT: usize = 4096;

/// A `RouteConfiguration`.
pub(crate) fn route_configuration(context: &TableContext<'_>, table: &RouteConfiguration) -> Value {
    let hosts = table.virtual_hosts.iter();
    let longest = hosts.clone().flat_map(|host| &host.routes).map(|route| direct_body(route)).max();
    Object::new()
        .with("name", &*table.name)
        .with_true("ignore_port_in_host_matching", table.ignore_port_in_host)
        .with_some(
            "max_direct_response_body_size_bytes",
            longest.filter(|length| *length > DIRECT_RESPONSE_DEFAULT),
        )
        .with_some("validate_clusters", (context.context.form == Form::Dump).then_some(false))
        .with("virtual_hosts", hosts.map(|host| virtual_host(context, host)).collect::<Vec<_>>())
        .into()
}

fn direct_body(route: &Route) -> usize {
    match &route.action {
        RouteAction::Direct(direct) => direct.body.len(),
        RouteAction::Forward(_) | RouteAction::Redirect(_) => 0,
    }
}

fn virtual_host(context: &TableContext<'_>, host: &VirtualHost) -> Value {
    Object::new()
        .with("name", &*host.name)
        .with("domains", host.domains.iter().map(ToString::to_string).collect::<Vec<_>>())
        .with("routes", host.routes.iter().map(|route| self::route(context, route)).collect::<Vec<_>>())
        .with("include_request_attempt_count", true)
        .with("request_body_buffer_limit", context.context.ir.settings.limits.replay_buffer_bytes)
        .into()
}

fn route(context: &TableContext<'_>, route: &Route) -> Value {
    let common = Object::new()
        .with("name", &*route.name)
        .with("match", matcher::route_match(&route.matches))
        .with("metadata", metadata::route(&route.origin))
        .merge(operations("request", &route.request_headers))
        .merge(operations("response", &route.response_headers));
    let (action, mut filters) = match &route.action {
        RouteAction::Forward(forward) if drops(forward) => (black_hole(), Object::new()),
        RouteAction::Forward(forward) => (
            Object::new().with("route", forward::action(context, &route.matches.path, forward)),
            filter::fault(route.fault.as_deref()),
        ),
        RouteAction::Redirect(to) => {
            (Object::new().with("redirect", redirect::redirect(context, to)), Object::new())
        }
        RouteAction::Direct(response) => {
            (Object::new().with("direct_response", direct_response(response)), Object::new())
        }
    };
    filters = filters.merge(filter::cors(route.cors.as_deref())).merge(forward_proxy(context, &route.action));
    let filters = (!filters.is_empty()).then_some(filters);
    common.merge(action).with_some("typed_per_filter_config", filters).into()
}

/// Whether nothing but the black hole is there to go to.
fn drops(forward: &Forward) -> bool {
    forward.clusters.iter().all(|weighted| &*weighted.cluster == BLACK_HOLE_CLUSTER)
}

/// Envoy would answer 503 for a cluster without endpoints; REGISTRY_ONLY says 502.
fn black_hole() -> Object {
    Object::new().with("direct_response", json!({"status": 502}))
}

fn direct_response(response: &DirectResponse) -> Value {
    Object::new()
        .with("status", response.status.as_u16())
        .with_some("body", (!response.body.is_empty()).then(|| data_source(&response.body)))
        .into()
}

/// What the forward proxy's filter must know of a route that changes the authority.
fn forward_proxy(context: &TableContext<'_>, action: &RouteAction) -> Object {
    let RouteAction::Forward(forward) = action else { return Object::new() };
    let resolved = forward.clusters.iter().find(|weighted| context.resolves_authority(&weighted.cluster));
    match resolved.and_then(|weighted| forward.authority_rewrite.as_ref().or(weighted.authority.as_ref())) {
        Some(authority) => Object::new().with(authority::FILTER_NAME, authority::route_config(authority)),
        None => Object::new(),
    }
}
