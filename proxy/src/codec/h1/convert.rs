//! hyper's HTTP/1 heads to ours, and back.

use super::Watched;
use crate::{
    codec::{Authority, Body, RequestHead, ResponseHead, Stream, hop_by_hop},
    error::Refusal,
    listener::Connection,
};
use http::{HeaderValue, Method, Version, header, uri::PathAndQuery};
use hyper::{Request, Response, body::Incoming};
use hyper_util::rt::TokioIo;

/// Our head and body from hyper's.
///
/// # Errors
/// HTTP/1.0, and what RFC 9112 section 3.2 calls invalid: no host, several, or one that is not a host.
pub fn request(
    request: Request<Incoming>,
    connection: &Connection,
) -> Result<(RequestHead, Body), Refusal> {
    let (mut parts, incoming) = request.into_parts();
    if parts.version != Version::HTTP_11 {
        return Err(Refusal::Http10);
    }
    let authority = authority(&parts)?;
    let upgrade = hop_by_hop::strip(&mut parts.headers);
    parts.headers.remove(header::EXPECT); // hyper answers 100 when the body is first wanted, as Envoy does.
    if let Some(host) = parts.headers.get_mut(header::HOST) {
        *host = authority.to_header(); // an absolute target wins over the field
    }
    let connect = parts.method == Method::CONNECT;
    let target = match parts.uri.into_parts().path_and_query {
        _ if connect => PathAndQuery::from_static("/"),
        Some(target) if target.as_str().starts_with('/') => target,
        Some(target) if target.as_str() == "*" && parts.method == Method::OPTIONS => target,
        None => PathAndQuery::from_static("/"),
        Some(_) => return Err(Refusal::BadTarget),
    };
    let body = if hyper::body::Body::is_end_stream(&incoming) { Body::Empty } else { Body::Http1(incoming) };
    let head = RequestHead {
        method: parts.method,
        scheme: connection.scheme(),
        authority: Some(authority),
        target,
        version: parts.version,
        headers: parts.headers,
        upgrade: upgrade.filter(|_| !connect),
        original_case: parts.extensions,
    };
    Ok((head, body))
}

fn authority(parts: &http::request::Parts) -> Result<Authority, Refusal> {
    let mut hosts = parts.headers.get_all(header::HOST).into_iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(Refusal::BadHost);
    }
    let value = match parts.uri.authority() {
        Some(authority) => HeaderValue::from_str(authority.as_str()).map_err(|_| Refusal::BadHost)?,
        None => host.cloned().ok_or(Refusal::NoHost)?,
    };
    Authority::new(value).ok_or(Refusal::BadHost)
}

/// hyper's response from ours.
pub fn response(head: ResponseHead, body: Body, closes: bool) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    *response.extensions_mut() = head.original_case;
    if closes {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// The stream under an upgraded connection, with what hyper had read ahead.
pub fn upgraded(upgraded: hyper::upgrade::Upgraded) -> Option<Stream> {
    let parts = upgraded.downcast::<TokioIo<Watched>>().ok()?;
    let mut stream = parts.io.into_inner().into_stream();
    stream.unread(parts.read_buf);
    Some(stream)
}
