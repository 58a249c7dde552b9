//! The request's head on its way out: what every request gets, and what its route changes.
//!
//! Source: Envoy's "HTTP header manipulation", with Istio's settings for sidecars and gateways.

use super::{Exchange, Moment, client_cert};
use crate::{
    codec::{RequestHead, Scheme, grpc},
    config::{ForwardPlan, HttpPlan, RoutePlan, WeightedPlan},
    listener::Connection,
};
use http::{HeaderName, HeaderValue, uri::PathAndQuery};
use sidle_fields::Fields;
use sidle_routing::CompiledRoute;
use smallvec::SmallVec;
use std::{fmt::Write, net::SocketAddr, time::Duration};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const ORIGINAL_HOST: HeaderName = HeaderName::from_static("x-envoy-original-host");
const ORIGINAL_PATH: HeaderName = HeaderName::from_static("x-envoy-original-path");
const EXPECTED_TIMEOUT: HeaderName = HeaderName::from_static("x-envoy-expected-rq-timeout-ms");
const ATTEMPT_COUNT: HeaderName = HeaderName::from_static("x-envoy-attempt-count");
/// For gRPC, how long the caller waits.
pub(super) const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
const EXTERNAL_ADDRESS: HeaderName = HeaderName::from_static("x-envoy-external-address");
const INTERNAL_PREFIX: &str = "x-envoy-";

/// What every request gets, before it is routed. Returns the client, as far as those in front are believed.
pub fn identify(head: &mut RequestHead, plan: &HttpPlan, connection: &Connection) -> Option<SocketAddr> {
    let is_known = connection.downstream.identity.is_some();
    let sent = Sent::by(&head.headers);
    if sent.client_cert || is_known {
        client_cert::apply(&mut head.headers, plan.options.client_cert, is_known, || {
            connection.client_cert()
        });
    }
    let mut client = connection.downstream.peer;
    if plan.edge {
        client = from_outside(head, &sent, plan.options.trusted_hops as usize, connection);
    } else if !sent.proto {
        head.headers.append(FORWARDED_PROTO, HeaderValue::from_static(head.scheme.as_str()));
    }
    if !sent.request_id {
        let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
        let text = uuid::Uuid::new_v4().hyphenated().encode_lower(&mut text);
        if let Ok(mut id) = HeaderValue::from_str(text) {
            id.set_sensitive(true); // no HTTP/2 connection should remember what never comes again
            head.headers.append(REQUEST_ID, id);
        }
    }
    client
}

/// Which of the headers that say where a request comes from the client sent. Most send none: one look at the names costs less than a
/// search for each.
#[derive(Default)]
struct Sent {
    proto: bool,
    request_id: bool,
    forwarded_for: bool,
    /// Also under a name that an application may take for it.
    client_cert: bool,
    /// What only the mesh says.
    internal: bool,
}

impl Sent {
    fn by(headers: &Fields) -> Self {
        let mut sent = Sent::default();
        for name in headers.keys() {
            let text = name.as_str();
            if !matches!(text.as_bytes(), [b'x', b'-' | b'_', ..]) {
                continue;
            }
            sent.proto |= *name == FORWARDED_PROTO;
            sent.request_id |= *name == REQUEST_ID;
            sent.forwarded_for |= *name == FORWARDED_FOR;
            sent.client_cert |= text.len() == client_cert::CLIENT_CERT.as_str().len();
            sent.internal |= text.starts_with(INTERNAL_PREFIX);
        }
        sent
    }
}

/// Nobody outside may speak as the mesh does, but for so many proxies in front that are believed.
fn from_outside(
    head: &mut RequestHead,
    sent: &Sent,
    trusted_hops: usize,
    connection: &Connection,
) -> Option<SocketAddr> {
    if sent.internal {
        head.headers.retain(|name, _| !name.as_str().starts_with(INTERNAL_PREFIX));
    }
    if !(sent.proto && believes_scheme(head, trusted_hops)) {
        head.headers.insert(FORWARDED_PROTO, HeaderValue::from_static(connection.scheme().as_str()));
    }
    let peer = connection.downstream.peer?;
    let client = forwarded_for(&head.headers, trusted_hops);
    let address = match client {
        Some(client) => address_text(client),
        None => connection.peer_text().cloned(),
    };
    if let Some(address) = address {
        head.headers.append(EXTERNAL_ADDRESS, address); // what the client sent of this name went above
    }
    append_peer(&mut head.headers, sent, connection);
    Some(client.unwrap_or(peer))
}

/// An address without its port, for a header.
pub fn address_text(address: SocketAddr) -> Option<HeaderValue> {
    HeaderValue::from_str(&address.ip().to_string()).ok()
}

/// Adds the client to the addresses that its proxies wrote; one field holds them all.
fn append_peer(headers: &mut Fields, sent: &Sent, connection: &Connection) {
    let Some(peer) = connection.peer_text() else { return };
    if !sent.forwarded_for {
        headers.append(FORWARDED_FOR, peer.clone());
        return;
    }
    let mut chain = String::new();
    for value in headers.get_all(&FORWARDED_FOR) {
        if let Ok(text) = value.to_str() {
            let _ = write!(chain, "{text},");
        }
    }
    chain.push_str(peer.to_str().unwrap_or_default());
    if let Ok(value) = HeaderValue::from_str(&chain) {
        headers.insert(FORWARDED_FOR, value);
    }
}

/// Takes the scheme from a believed proxy that says it: it may have terminated TLS.
fn believes_scheme(head: &mut RequestHead, trusted_hops: usize) -> bool {
    let Some(said) = head.headers.get(&FORWARDED_PROTO).filter(|_| trusted_hops > 0) else { return false };
    if said.as_bytes().eq_ignore_ascii_case(b"https") {
        head.scheme = Scheme::Https;
    } else if said.as_bytes().eq_ignore_ascii_case(b"http") {
        head.scheme = Scheme::Http;
    } else {
        return false;
    }
    true
}

/// The address that the farthest of so many believed proxies was connected from: each wrote one at the right end. `None`: none is
/// believed, or they did not write.
pub fn forwarded_for(headers: &Fields, trusted_hops: usize) -> Option<SocketAddr> {
    let nth = trusted_hops.checked_sub(1)?;
    let values: SmallVec<[&[u8]; 4]> = headers.get_all(FORWARDED_FOR).map(HeaderValue::as_bytes).collect();
    let mut addresses = values.iter().rev().flat_map(|value| value.rsplit(|&byte| byte == b','));
    let text = std::str::from_utf8(addresses.nth(nth)?).ok()?;
    text.trim().parse().ok().map(|ip| SocketAddr::new(ip, 0))
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
    if let Some(authority) = forward.authority_rewrite.as_deref().or(weighted.authority.as_deref()) {
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
    let masked = |target: &PathAndQuery| exchange.plan.gate.masked(target).unwrap_or_else(|| target.clone());
    if let Ok(original) = HeaderValue::from_str(masked(&head.target).as_str()) {
        head.headers.insert(ORIGINAL_PATH, original);
    }
    head.target = target;
    exchange.record.target = Some(masked(&head.target));
}

/// A number for a header; most are small.
pub fn number(number: u64) -> HeaderValue {
    const SMALL: [&str; 10] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];
    let small = usize::try_from(number).ok().and_then(|number| SMALL.get(number));
    match small {
        Some(text) => HeaderValue::from_static(text),
        // In one piece; what `From` makes has two.
        None => HeaderValue::from_str(itoa::Buffer::new().format(number)).unwrap_or_else(|_| number.into()),
    }
}

/// Says which try this is, and how long it is waited for: the shorter of its own time and what is `left` of the route's. Never no time
/// at all, as in Envoy: to some that means for ever.
pub fn announce_attempt(
    head: &mut RequestHead,
    attempt: u32,
    per_try: Option<Duration>,
    left: Option<Duration>,
) {
    head.headers.insert(ATTEMPT_COUNT, number(attempt.into()));
    if let Some(expected) = left.into_iter().chain(per_try).min() {
        let expected = expected.max(Duration::from_millis(1));
        // Rounded to the nearest: 300 ms that have just begun are 300.
        let millis = (expected.as_micros() + 500) / 1000;
        head.headers.insert(EXPECTED_TIMEOUT, HeaderValue::from(millis as u64));
        if head.is_grpc() {
            head.headers.insert(GRPC_TIMEOUT, grpc::timeout::write(expected)); // whoever answers later answers nobody
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_time_at_all_is_announced_to_nobody() {
        let mut head = RequestHead {
            method: http::Method::POST,
            target: PathAndQuery::from_static("/a.B/C"),
            scheme: Scheme::Http,
            authority: None,
            version: http::Version::HTTP_2,
            headers: Fields::new(),
            upgrade: None,
            original_case: Default::default(),
            interim: None,
        };
        head.headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        let second = Duration::from_secs(1);
        for (per_try, left, millis, timeout) in [
            (None, Some(Duration::ZERO), "1", "1m"),
            (Some(second), Some(Duration::from_micros(10)), "1", "1m"),
            (Some(second), Some(second * 2), "1000", "1000m"),
        ] {
            announce_attempt(&mut head, 1, per_try, left);
            assert_eq!(head.headers[EXPECTED_TIMEOUT], millis);
            assert_eq!(head.headers[GRPC_TIMEOUT], timeout);
        }
    }

    #[test]
    fn so_many_proxies_are_believed_and_no_more() {
        let client = |values: &[&'static str], hops| {
            let values = values.iter().map(|value| (FORWARDED_FOR, HeaderValue::from_static(value)));
            forwarded_for(&values.collect(), hops).map(|address| address.ip().to_string())
        };
        let chain = &["6.6.6.6, 1.1.1.1", "2.2.2.2,3.3.3.3"][..];
        assert_eq!(client(chain, 0), None);
        assert_eq!(client(chain, 1).as_deref(), Some("3.3.3.3"));
        assert_eq!(client(chain, 3).as_deref(), Some("1.1.1.1"));
        assert_eq!(client(chain, 5), None, "they did not write: the peer it is");
        assert_eq!(client(&["2001:db8::1"], 1).as_deref(), Some("2001:db8::1"));
        for broken in [&["1.1.1.1, unknown"][..], &["1.1.1.1:80"], &["1.1.1.1,"], &["[::1]"], &[]] {
            assert_eq!(client(broken, 1), None, "{broken:?}");
        }
    }
}
