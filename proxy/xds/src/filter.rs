//! HTTP filters: external authorization, tokens, authorization, faults, CORS, the router.
//!
//! The filters stand in every connection manager, in Istio's order; a route configures its own faults and origins.

use crate::{
    authentication, authority,
    context::Context,
    ext_authz, rbac,
    value::{Object, duration, extension, share, string_matcher},
};
use serde_json::{Value, json};
use sidle_model::ir::{Admission, Cors, Fault, FaultAbort};

const FAULT: &str = "envoy.filters.http.fault";
const CORS: &str = "envoy.filters.http.cors";

/// The filters of a connection manager.
pub(crate) fn chain(context: &Context<'_>, admission: &Admission, resolves_authority: bool) -> Vec<Value> {
    let authorization = admission.authorization.as_ref();
    let mut filters = ext_authz::http_filters(authorization);
    filters.extend(authentication::filter(context, &admission.authentication));
    filters.extend(rbac::filters(authorization, &rbac::HTTP));
    filters.push(extension(FAULT, Object::typed("extensions.filters.http.fault.v3.HTTPFault")));
    filters.push(extension(CORS, Object::typed("extensions.filters.http.cors.v3.Cors")));
    if resolves_authority {
        filters.push(authority::http_filter());
    }
    filters.push(extension(
        "envoy.filters.http.router",
        Object::typed("extensions.filters.http.router.v3.Router"),
    ));
    filters
}

/// A route's entry for faults.
pub(crate) fn fault(fault: Option<&Fault>) -> Object {
    let Some(fault) = fault else { return Object::new() };
    let delay = fault
        .delay
        .map(|(time, percent)| json!({"fixed_delay": duration(time), "percentage": share(percent)}));
    let abort = fault.abort.map(|(answer, percent)| {
        let (key, status) = match answer {
            FaultAbort::Http(status) => ("http_status", status.as_u16()),
            FaultAbort::Grpc(status) => ("grpc_status", u16::from(status)),
        };
        json!({key: status, "percentage": share(percent)})
    });
    let config = Object::typed("extensions.filters.http.fault.v3.HTTPFault")
        .with_some("delay", delay)
        .with_some("abort", abort);
    Object::new().with(FAULT, config)
}

/// A route's entry for cross-origin requests.
pub(crate) fn cors(cors: Option<&Cors>) -> Object {
    let Some(cors) = cors else { return Object::new() };
    let text = |text: &String| (!text.is_empty()).then(|| text.clone());
    let config = Object::typed("extensions.filters.http.cors.v3.CorsPolicy")
        .with_list("allow_origin_string_match", cors.allow_origins.iter().map(string_matcher).collect())
        .with_some("allow_methods", text(&cors.allow_methods))
        .with_some("allow_headers", text(&cors.allow_headers))
        .with_some("expose_headers", text(&cors.expose_headers))
        .with_some("max_age", cors.max_age.map(|age| age.as_secs().to_string()))
        .with("allow_credentials", cors.allow_credentials)
        .with("forward_not_matching_preflights", cors.forward_unmatched_preflights)
        .with("filter_enabled", json!({"default_value": {"numerator": 100, "denominator": "HUNDRED"}}));
    Object::new().with(CORS, config)
}
