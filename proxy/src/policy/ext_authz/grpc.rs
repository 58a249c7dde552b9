//! A question by gRPC: `envoy.service.auth.v3.Authorization/Check`.

use super::{Change, ExtAuthz, Opinion, Refusal, Seen, Silence, change, messages::*};
use crate::{
    codec::{Authority, RequestHead},
    exchange::{Asker, Record},
    policy::service::grpc::Call,
};
use http::{StatusCode, Version, header, uri::PathAndQuery};
use sidle_identity::SpiffeId;
use std::{collections::HashMap, net::SocketAddr, time::UNIX_EPOCH};
use tokio::time::Instant;

const METHOD: &str = "/envoy.service.auth.v3.Authorization/Check";
const PARTIAL_BODY: &str = "x-envoy-auth-partial-body";

pub(super) async fn ask(
    service: &ExtAuthz,
    asker: Asker<'_>,
    record: &Record,
    head: &RequestHead,
    seen: Seen,
    deadline: Instant,
) -> Result<Opinion, Silence> {
    let as_bytes = service.config.body.is_some_and(|body| body.as_bytes);
    let since = record.began_at().duration_since(UNIX_EPOCH).unwrap_or_default();
    let request = Request {
        time: Some(Timestamp { seconds: since.as_secs() as i64, nanos: since.subsec_nanos() as i32 }),
        http: Some(http_request(head, seen, as_bytes)),
    };
    opinion(check(service, asker, attributes(record, Some(request)), deadline).await?, head)
}

/// Whether a connection of bytes may go on.
pub(super) async fn ask_of_bytes(
    service: &ExtAuthz,
    asker: Asker<'_>,
    record: &Record,
    deadline: Instant,
) -> Result<bool, Silence> {
    check(service, asker, attributes(record, None), deadline).await.map(|answer| is_permission(&answer))
}

async fn check(
    service: &ExtAuthz,
    asker: Asker<'_>,
    attributes: Attributes,
    deadline: Instant,
) -> Result<CheckResponse, Silence> {
    let authority = &service.config.authority;
    let call = Call { cluster: &service.cluster, authority, method: METHOD, deadline };
    call.ask(asker, &CheckRequest { attributes: Some(attributes) }).await
}

fn attributes(record: &Record, request: Option<Request>) -> Attributes {
    let downstream = &record.downstream;
    let principal = downstream.identity.as_ref().and_then(|peer| peer.uris.first());
    let own = downstream.own.as_ref().map(SpiffeId::as_str);
    Attributes {
        source: Some(peer(record.peer, principal.map(|uri| &**uri))),
        destination: Some(peer(downstream.local, own)),
        request,
        tls_session: downstream.server_name.as_ref().map(|sni| TlsSession { sni: sni.to_string() }),
    }
}

fn peer(address: Option<SocketAddr>, principal: Option<&str>) -> Peer {
    let socket = address
        .map(|address| SocketAddress { address: address.ip().to_string(), port: address.port().into() });
    Peer { address: Some(Address { socket }), principal: principal.unwrap_or_default().to_owned() }
}

fn http_request(head: &RequestHead, seen: Seen, as_bytes: bool) -> HttpRequest {
    let authority = head.authority.as_ref().map_or("", Authority::as_str);
    let mut headers = HashMap::from(
        [
            (":method", head.method.as_str()),
            (":path", head.target.as_str()),
            (":authority", authority),
            (":scheme", head.scheme.as_str()),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
    for (name, value) in head.headers.iter().filter(|(name, _)| **name != header::HOST) {
        let value = String::from_utf8_lossy(value.as_bytes());
        let joined = headers.entry(name.as_str().to_owned()).or_default();
        if !joined.is_empty() {
            joined.push(',');
        }
        joined.push_str(&value);
    }
    // Nobody but us says so.
    match seen.shown {
        true => headers.insert(PARTIAL_BODY.to_owned(), seen.partial.to_string()),
        false => headers.remove(PARTIAL_BODY),
    };
    let length =
        head.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let (body, raw_body) = match as_bytes {
        true => (String::new(), seen.bytes.to_vec()),
        false => (String::from_utf8_lossy(&seen.bytes).into_owned(), Vec::new()),
    };
    HttpRequest {
        id: headers.get("x-request-id").cloned().unwrap_or_default(),
        method: head.method.as_str().to_owned(),
        path: head.target.as_str().to_owned(),
        host: authority.to_owned(),
        scheme: head.scheme.as_str().to_owned(),
        size: length.unwrap_or(-1),
        protocol: match head.version {
            Version::HTTP_2 => "HTTP/2",
            Version::HTTP_10 => "HTTP/1.0",
            _ => "HTTP/1.1",
        }
        .to_owned(),
        headers,
        body,
        raw_body,
    }
}

/// One that says no in one place and nothing in the other is none.
fn is_permission(answer: &CheckResponse) -> bool {
    let code = answer.status.as_ref().map_or(0, |status| status.code);
    code == 0 && (answer.ok.is_some() || answer.denied.is_none())
}

fn opinion(answer: CheckResponse, head: &RequestHead) -> Result<Opinion, Silence> {
    if !is_permission(&answer) {
        let denied = answer.denied.unwrap_or_default();
        let status = denied.status.map_or(0, |status| status.code);
        let status = u16::try_from(status).ok().and_then(|code| StatusCode::from_u16(code).ok());
        let refusal = Refusal {
            status: status.filter(|status| !status.is_informational()).unwrap_or(StatusCode::FORBIDDEN),
            body: denied.body.into(),
            headers: change::replacing(denied.headers.iter().filter_map(Change::to_refusal).collect()),
        };
        return Ok(Opinion { refusal: Some(refusal), request: vec![], response: vec![], target: None });
    }
    let allowed = answer.ok.unwrap_or_default();
    let removed = allowed.headers_to_remove.iter().filter_map(|name| Change::remove(name));
    Ok(Opinion {
        refusal: None,
        request: removed.chain(allowed.headers.iter().filter_map(Change::to_request)).collect(),
        response: allowed.response_headers_to_add.iter().filter_map(Change::to_response).collect(),
        target: with_query(&allowed, &head.target)?,
    })
}

/// The target with parameters set and removed; `None`: as it was.
fn with_query(allowed: &Allowed, target: &PathAndQuery) -> Result<Option<PathAndQuery>, Silence> {
    let (set, removed) = (&allowed.query_parameters_to_set, &allowed.query_parameters_to_remove);
    if set.is_empty() && removed.is_empty() {
        return Ok(None);
    }
    let goes = |name: &str| removed.iter().any(|key| key == name) || set.iter().any(|new| new.key == name);
    let old = target.query().into_iter().flat_map(|query| query.split('&'));
    let old = old.filter(|pair| !goes(pair.split_once('=').map_or(*pair, |(name, _)| name)));
    let new = set.iter().map(|new| format!("{}={}", new.key, new.value));
    let query: Vec<_> = old.map(str::to_owned).chain(new).collect();
    let text = match query.is_empty() {
        true => target.path().to_owned(),
        false => format!("{}?{}", target.path(), query.join("&")),
    };
    PathAndQuery::try_from(text).map(Some).map_err(|_| Silence::Unclear)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_set_and_removed() {
        let changed = |set: &[(&str, &str)], removed: &[&str], target: &'static str| {
            let allowed = Allowed {
                query_parameters_to_set: set
                    .iter()
                    .map(|(key, value)| QueryParameter { key: (*key).into(), value: (*value).into() })
                    .collect(),
                query_parameters_to_remove: removed.iter().map(|name| (*name).into()).collect(),
                ..Allowed::default()
            };
            with_query(&allowed, &PathAndQuery::from_static(target))
                .map(|changed| changed.map(|c| c.to_string()))
        };
        assert_eq!(changed(&[], &[], "/a?b=c").unwrap(), None);
        assert_eq!(changed(&[("x", "1")], &["b"], "/a?b=c&d").unwrap().unwrap(), "/a?d&x=1");
        assert_eq!(changed(&[("b", "2")], &[], "/a?b=c&b=d").unwrap().unwrap(), "/a?b=2");
        assert_eq!(changed(&[], &["b"], "/a?b").unwrap().unwrap(), "/a");
        assert!(changed(&[("x", "a b")], &[], "/a").is_err());
    }
}
