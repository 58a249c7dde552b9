//! Tokens, as Istio writes them for Envoy's filter.
//!
//! Keys that would have to be fetched come from a cluster without endpoints: every token of that issuer is refused, as it is here
//! until they are there. See the README.

use crate::value::{Object, duration, extension};
use serde_json::{Value, json};
use sidle_model::ir::{BLACK_HOLE_CLUSTER, JwtKeys, JwtProvider, TokenPlace};

/// Name of the filter, and of its metadata.
pub(crate) const FILTER: &str = "envoy.filters.http.jwt_authn";

/// The filter; `None`: tokens are not looked at.
pub(crate) fn filter(providers: &[JwtProvider]) -> Option<Value> {
    if providers.is_empty() {
        return None;
    }
    let names: Vec<String> = (0..providers.len()).map(|at| format!("origins-{at}")).collect();
    let map: serde_json::Map<String, Value> =
        names.iter().cloned().zip(providers.iter().map(|config| provider(config).into())).collect();
    let config = Object::typed("extensions.filters.http.jwt_authn.v3.JwtAuthentication")
        .with("providers", map)
        .with("rules", json!([{"match": {"prefix": "/"}, "requires": requirement(&names)}]))
        .with("bypass_cors_preflight", true);
    Some(extension(FILTER, config))
}

/// Any provider, or none whose token is there (R12).
fn requirement(names: &[String]) -> Value {
    let named = |name: &String| json!({ "provider_name": name });
    let or_missing =
        |name: &String| json!({"requires_any": {"requirements": [named(name), {"allow_missing": {}}]}});
    if let [only] = names {
        return or_missing(only);
    }
    let all: Vec<Value> = names.iter().map(or_missing).collect();
    let mut any: Vec<Value> = names.iter().map(named).collect();
    any.push(json!({"requires_all": {"requirements": all}}));
    json!({"requires_any": {"requirements": any}})
}

fn provider(config: &JwtProvider) -> Object {
    let claims = config.claim_headers.iter();
    let claims = claims
        .map(|(path, name)| json!({"header_name": name.as_str(), "claim_name": path.join(".")}))
        .collect();
    let mut places = Object::new();
    if config.places != TokenPlace::defaults() {
        let headers = config.places.iter().filter_map(|place| match place {
            TokenPlace::Header { name, prefix, .. } => {
                Some(json!({"name": name.as_str(), "value_prefix": &**prefix}))
            }
            _ => None,
        });
        let texts = |of: fn(&TokenPlace) -> Option<Value>| config.places.iter().filter_map(of).collect();
        places = places
            .with_list("from_headers", headers.collect())
            .with_list(
                "from_params",
                texts(|place| match place {
                    TokenPlace::Parameter(name) => Some(json!(&**name)),
                    _ => None,
                }),
            )
            .with_list(
                "from_cookies",
                texts(|place| match place {
                    TokenPlace::Cookie(name) => Some(json!(&**name)),
                    _ => None,
                }),
            );
    }
    let words: Vec<&str> = config.space_delimited.iter().map(|name| &**name).collect();
    Object::new()
        .with("issuer", &*config.issuer)
        .with_list("audiences", config.audiences.iter().map(|audience| json!(&**audience)).collect())
        .merge(keys(&config.keys))
        .merge(places)
        .with("forward", config.forward)
        .with_some("forward_payload_header", config.payload_header.as_ref().map(|name| name.as_str()))
        .with_list("claim_to_headers", claims)
        .with("payload_in_metadata", "payload")
        .with("normalize_payload_in_metadata", json!({ "space_delimited_claims": words }))
        .with("clear_route_cache", true)
}

fn keys(keys: &JwtKeys) -> Object {
    match keys {
        JwtKeys::Inline(text) => Object::new().with("local_jwks", json!({"inline_string": &**text})),
        JwtKeys::Remote { timeout, .. } | JwtKeys::Discovered { timeout } => {
            let uri = json!({"uri": "http://keys.invalid/", "cluster": BLACK_HOLE_CLUSTER, "timeout": duration(*timeout)});
            Object::new().with("remote_jwks", json!({ "http_uri": uri }))
        }
    }
}
