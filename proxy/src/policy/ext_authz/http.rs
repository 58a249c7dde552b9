//! A question by HTTP: a request like the one in question; 200 is yes, a server's error is no answer, all else is no.

use super::{Change, ExtAuthz, Opinion, Refusal, Seen};
use crate::{
    codec::{RequestHead, ResponseHead},
    error::ProxyError,
    exchange::Exchange,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, uri::PathAndQuery};
use sidle_model::ir::{ExtAuthzHttp, HeaderNameMatch};

const PARTIAL_BODY: HeaderName = HeaderName::from_static("x-envoy-auth-partial-body");
/// What a refused client gets even where a list says what he gets.
const ALWAYS_ON_DENY: [HeaderName; 3] =
    [header::WWW_AUTHENTICATE, header::PROXY_AUTHENTICATE, header::LOCATION];

pub(super) async fn ask(
    service: &ExtAuthz,
    by: &ExtAuthzHttp,
    exchange: &Exchange,
    head: &RequestHead,
    seen: Seen,
) -> Result<Opinion, ProxyError> {
    let question = question(by, head, &seen).ok_or(ProxyError::UpstreamProtocol)?;
    let reply = exchange.ask(&service.cluster, &question, &seen.bytes).await?;
    opinion(by, reply.head, reply.body)
}

fn question(by: &ExtAuthzHttp, head: &RequestHead, seen: &Seen) -> Option<RequestHead> {
    let mut headers = HeaderMap::new();
    for (name, value) in &head.headers {
        if *name == header::AUTHORIZATION || is_one_of(&by.request_headers, name) {
            headers.append(name, value.clone());
        }
    }
    for (name, value) in &by.additional_headers {
        headers.insert(name, value.clone());
    }
    for name in [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::EXPECT, header::TE] {
        headers.remove(name); // of the request's own body
    }
    if seen.partial {
        headers.insert(PARTIAL_BODY, HeaderValue::from_static("true"));
    }
    let target = match &*by.path_prefix {
        "" => head.target.clone(),
        prefix => PathAndQuery::try_from(format!("{prefix}{}", head.target)).ok()?,
    };
    Some(RequestHead {
        headers,
        target,
        upgrade: None,
        interim: None,
        original_case: Default::default(),
        ..head.clone()
    })
}

fn opinion(by: &ExtAuthzHttp, head: ResponseHead, body: Bytes) -> Result<Opinion, ProxyError> {
    if head.status.is_server_error() || head.status.is_informational() {
        return Err(ProxyError::UpstreamProtocol);
    }
    let chosen = |wanted: &dyn Fn(&HeaderName) -> bool,
                  change: fn(HeaderName, HeaderValue) -> Option<Change>| {
        let headers = head.headers.iter().filter(|(name, _)| wanted(name));
        headers.filter_map(|(name, value)| change(name.clone(), value.clone())).collect::<Vec<_>>()
    };
    if head.status == StatusCode::OK {
        return Ok(Opinion {
            refusal: None,
            request: replacing(chosen(&|name| is_one_of(&by.upstream_on_allow, name), Change::add)),
            response: chosen(&|name| is_one_of(&by.client_on_allow, name), Change::add),
            target: None,
        });
    }
    let all = by.client_on_deny.is_empty();
    let wanted =
        |name: &HeaderName| all || is_one_of(&by.client_on_deny, name) || ALWAYS_ON_DENY.contains(name);
    let headers = replacing(chosen(&wanted, Change::add));
    let refusal = Refusal { status: head.status, body, headers };
    Ok(Opinion { refusal: Some(refusal), request: Vec::new(), response: Vec::new(), target: None })
}

/// Several values of one name stay several, and take the place of what was there.
fn replacing(changes: Vec<Change>) -> Vec<Change> {
    let mut seen: Vec<HeaderName> = Vec::new();
    let mut out = Vec::with_capacity(changes.len());
    for change in changes {
        if !seen.contains(change.name()) {
            seen.push(change.name().clone());
            out.extend(Change::remove(change.name().as_str()));
        }
        out.push(change);
    }
    out
}

fn is_one_of(list: &[HeaderNameMatch], name: &HeaderName) -> bool {
    list.iter().any(|pattern| pattern.matches(name))
}
