//! The request's head on its way out: what every request gets, and what its route changes.
//!
//! Source: Envoy's "HTTP header manipulation", with Istio's settings for sidecars and gateways.

use super::{Exchange, Moment};
use crate::{
    codec::RequestHead,
    config::{ForwardPlan, HttpPlan, RoutePlan, WeightedPlan},
    listener::Connection,
};
use http::{HeaderName, HeaderValue, uri::PathAndQuery};
use sidle_routing::CompiledRoute;
use std::{fmt::Write, time::Duration};
use tokio::time::Instant;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const ORIGINAL_HOST: HeaderName = HeaderName::from_static("x-envoy-original-host");
const ORIGINAL_PATH: HeaderName = HeaderName::from_static("x-envoy-original-path");
const EXPECTED_TIMEOUT: HeaderName = HeaderName::from_static("x-envoy-expected-rq-timeout-ms");
const ATTEMPT_COUNT: HeaderName = HeaderName::from_static("x-envoy-attempt-count");
const CLIENT_CERT: HeaderName = HeaderName::from_static("x-forwarded-client-cert");
const INTERNAL_PREFIX: &str = "x-envoy-";

/// What every request gets, before it is routed.
pub fn identify(head: &mut RequestHead, plan: &HttpPlan, connection: &Connection) {
    // Only a handshake that proved who the client is could vouch for it.
    head.headers.remove(&CLIENT_CERT);
    if plan.edge {
        from_outside(head, connection);
    }
    if !head.headers.contains_key(&FORWARDED_PROTO) {
        head.headers.insert(FORWARDED_PROTO, HeaderValue::from_static(head.scheme.as_str()));
    }
    if !head.headers.contains_key(&REQUEST_ID) {
        let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
        let text = uuid::Uuid::new_v4().hyphenated().encode_lower(&mut text);
        if let Ok(id) = HeaderValue::from_str(text) {
            head.headers.insert(REQUEST_ID, id);
        }
    }
}

/// Nobody outside may speak as the mesh does.
fn from_outside(head: &mut RequestHead, connection: &Connection) {
    let internal = |name: &&HeaderName| name.as_str().starts_with(INTERNAL_PREFIX);
    let forged: Vec<HeaderName> = head.headers.keys().filter(internal).cloned().collect();
    for name in forged {
        head.headers.remove(name);
    }
    head.headers.insert(FORWARDED_PROTO, HeaderValue::from_static(connection.scheme().as_str()));
    let Some(peer) = connection.downstream.peer else { return };
    let mut chain = String::new();
    for value in head.headers.get_all(&FORWARDED_FOR) {
        if let Ok(text) = value.to_str() {
            let _ = write!(chain, "{text},");
        }
    }
    let _ = write!(chain, "{}", peer.ip());
    if let Ok(value) = HeaderValue::from_str(&chain) {
        head.headers.insert(FORWARDED_FOR, value);
    }
}

/// What the route and its chosen cluster change: headers, then authority, then path, as in Envoy.
pub fn prepare(
    exchange: &mut Exchange,
    route: &CompiledRoute<RoutePlan>,
    forward: &ForwardPlan,
    weighted: &WeightedPlan,
    head: &mut RequestHead,
) {
    for rules in [&weighted.request_headers, &route.action.policy.request_headers] {
        if !rules.is_empty() {
            let moment = Moment { record: &exchange.record, request: Some(head), response: None };
            let changes = rules.evaluate(&moment);
            changes.apply(&mut head.headers);
        }
    }
    if let Some(authority) = forward.authority_rewrite.as_ref().or(weighted.authority.as_ref()) {
        if let Some(original) = head.authority.replace(authority.clone()) {
            head.headers.insert(ORIGINAL_HOST, original.to_header());
        }
        exchange.record.authority = Some(authority.clone());
    }
    if let Some(rewrite) = &forward.path_rewrite
        && !head.is_connect()
    {
        rewrite_path(exchange, rewrite, head);
    }
}

fn rewrite_path(exchange: &mut Exchange, rewrite: &sidle_routing::PathRewriter, head: &mut RequestHead) {
    let target = rewrite.rewrite(head.target.path(), head.target.query());
    let Ok(target) = PathAndQuery::try_from(target) else {
        return tracing::debug!("a rewritten path cannot be sent; the original is");
    };
    if let Ok(original) = HeaderValue::from_str(head.target.as_str()) {
        head.headers.insert(ORIGINAL_PATH, original);
    }
    head.target = target;
    exchange.record.target = head.target.clone();
}

/// Says which try this is, and how long it is waited for: the shorter of its own time and what is left of the route's.
pub fn announce_attempt(
    head: &mut RequestHead,
    attempt: u32,
    per_try: Option<Duration>,
    deadline: Option<Instant>,
) {
    head.headers.insert(ATTEMPT_COUNT, HeaderValue::from(attempt));
    let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    if let Some(expected) = left.into_iter().chain(per_try).min() {
        // Rounded to the nearest: 300 ms that have just begun are 300.
        let millis = (expected.as_micros() + 500) / 1000;
        head.headers.insert(EXPECTED_TIMEOUT, HeaderValue::from(millis as u64));
    }
}
