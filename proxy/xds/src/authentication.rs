//! Tokens, as Istio writes them for Envoy's filter.
//!
//! Where an issuer has to say first where its keys are, they come from a cluster without endpoints: every token of that issuer is refused,
//! as it is here until they are there. See the README.

use crate::{
    context::Context,
    issuer,
    value::{Object, duration, extension},
};
use serde_json::{Value, json};
use sidle_model::ir::{BLACK_HOLE_CLUSTER, JwtKeys, JwtProvider, TokenPlace};
use std::time::Duration;

/// How long keys are used before they are fetched again, as in Sidle.
const REFRESH: Duration = Duration::from_secs(20 * 60);
/// Name of the filter, and of its metadata.
pub(crate) const FILTER: &str = "envoy.filters.http.jwt_authn";

/// The filter; `None`: tokens are not looked at.
pub(crate) fn filter(context: &Context<'_>, providers: &[JwtProvider]) -> Option<Value> {
    if providers.is_empty() {
        return None;
    }
    let names: Vec<String> = (0..providers.len()).map(|at| format!("origins-{at}")).collect();
    let map: serde_json::Map<String, Value> =
        names.iter().cloned().zip(providers.iter().map(|config| provider(context, config).into())).collect();
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

fn provider(context: &Context<'_>, config: &JwtProvider) -> Object {
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
        .merge(keys(context, &config.keys))
        .merge(places)
        .with("forward", config.forward)
        .with_some("forward_payload_header", config.payload_header.as_ref().map(|name| name.as_str()))
        .with_list("claim_to_headers", claims)
        .with("payload_in_metadata", "payload")
        .with("normalize_payload_in_metadata", json!({ "space_delimited_claims": words }))
        .with("clear_route_cache", true)
}

fn keys(context: &Context<'_>, keys: &JwtKeys) -> Object {
    let (uri, timeout) = match keys {
        JwtKeys::Inline(text) => {
            return Object::new().with("local_jwks", json!({"inline_string": &**text}));
        }
        JwtKeys::Remote { uri, timeout } => (Some(&**uri), timeout),
        JwtKeys::Discovered { timeout } => (None, timeout),
    };
    let place = uri.and_then(|uri| Some((uri, issuer::cluster_name(context, uri)?)));
    let (uri, cluster) = place.unwrap_or(("http://keys.invalid/", BLACK_HOLE_CLUSTER.to_owned()));
    let from = json!({"uri": uri, "cluster": cluster, "timeout": duration(*timeout)});
    let jwks = Object::new()
        .with("http_uri", from)
        .with("cache_duration", duration(REFRESH))
        // Nothing waits for keys at the start.
        .with("async_fetch", json!({"fast_listener": true}));
    Object::new().with("remote_jwks", jwks)
}
