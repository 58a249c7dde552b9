//! A question by HTTP: a request like the one in question; 200 is yes, a server's error is no answer, all else is no.

use super::{Change, ExtAuthz, Opinion, Refusal, Seen, Silence, change};
use crate::{
    codec::{RequestHead, ResponseHead},
    error::ProxyError,
    exchange::Asker,
    policy::service::reply,
};
use bytes::{Bytes, BytesMut};
use http::{HeaderName, HeaderValue, StatusCode, header, uri::PathAndQuery};
use sidle_fields::Fields;
use sidle_model::ir::{ExtAuthzHttp, HeaderNameMatch};
use tokio::time::{Instant, timeout_at};

const PARTIAL_BODY: HeaderName = HeaderName::from_static("x-envoy-auth-partial-body");
/// Headers of the request that an authoriser takes away, by a list in its answer.
const HEADERS_TO_REMOVE: HeaderName = HeaderName::from_static("x-envoy-auth-headers-to-remove");
/// What a refused client gets even where a list says what he gets.
const ALWAYS_ON_DENY: [HeaderName; 3] =
    [header::WWW_AUTHENTICATE, header::PROXY_AUTHENTICATE, header::LOCATION];

pub(super) async fn ask(
    service: &ExtAuthz,
    by: &ExtAuthzHttp,
    asker: Asker<'_>,
    head: &RequestHead,
    seen: Seen,
    deadline: Instant,
) -> Result<Opinion, Silence> {
    let question = question(by, head, seen.shown.then_some(seen.partial)).ok_or(Silence::Unclear)?;
    let reply = reply(asker, &service.cluster, &question, &seen.bytes, deadline).await?;
    let status = reply.head.status;
    if status.is_server_error() || status.is_informational() {
        return Err(Silence::Failed(ProxyError::UpstreamProtocol));
    }
    let answer = reply.head.clone();
    // The head decides: a refusal stays one, whatever becomes of its words.
    let mut body = BytesMut::new();
    let whole = timeout_at(deadline, reply.read(&mut body)).await.ok().flatten().is_some();
    Ok(opinion(by, &answer, if whole { body.freeze() } else { Bytes::new() }))
}

/// `partial`: whether the body that is shown is not all of it; `None`: none is shown.
fn question(by: &ExtAuthzHttp, head: &RequestHead, partial: Option<bool>) -> Option<RequestHead> {
    let mut headers = Fields::new();
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
    headers.remove(&PARTIAL_BODY); // nobody but us says so
    if let Some(partial) = partial {
        headers.insert(PARTIAL_BODY, HeaderValue::from_static(if partial { "true" } else { "false" }));
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

fn opinion(by: &ExtAuthzHttp, head: &ResponseHead, body: Bytes) -> Opinion {
    let chosen = |wanted: &dyn Fn(&HeaderName) -> bool| {
        let headers = head.headers.iter().filter(|(name, _)| **name != HEADERS_TO_REMOVE && wanted(name));
        headers.filter_map(|(name, value)| Change::add(name.clone(), value.clone())).collect::<Vec<_>>()
    };
    if head.status == StatusCode::OK {
        let removed = head.headers.get_all(HEADERS_TO_REMOVE).filter_map(|list| list.to_str().ok());
        let removed = removed.flat_map(|list| list.split(',')).filter_map(|name| Change::remove(name.trim()));
        let set = change::replacing(chosen(&|name| is_one_of(&by.upstream_on_allow, name)));
        return Opinion {
            refusal: None,
            request: removed.chain(set).collect(),
            response: chosen(&|name| is_one_of(&by.client_on_allow, name)),
            target: None,
        };
    }
    let all = by.client_on_deny.is_empty();
    let wanted =
        |name: &HeaderName| all || is_one_of(&by.client_on_deny, name) || ALWAYS_ON_DENY.contains(name);
    let headers = change::replacing(chosen(&wanted));
    let refusal = Refusal { status: head.status, body, headers };
    Opinion { refusal: Some(refusal), request: Vec::new(), response: Vec::new(), target: None }
}

fn is_one_of(list: &[HeaderNameMatch], name: &HeaderName) -> bool {
    list.iter().any(|pattern| pattern.matches(name))
}
