//! h2's heads to ours, and back.

use crate::{
    codec::{Authority, Body, RequestHead, ResponseHead, Scheme, body::Http2Body, hop_by_hop},
    error::Refusal,
    listener::Connection,
};
use h2::RecvStream;
use http::{HeaderValue, Method, Request, Response, Version, header, uri::PathAndQuery};

/// Our head and body from h2's.
///
/// # Errors
/// A request without a usable `:authority` or `host`, or with a target that is not a path.
pub fn request(
    request: Request<RecvStream>,
    connection: &Connection,
) -> Result<(RequestHead, Body), Refusal> {
    let (mut parts, stream) = request.into_parts();
    let protocol = parts.extensions.remove::<h2::ext::Protocol>();
    let authority = match parts.uri.authority() {
        Some(authority) => HeaderValue::from_str(authority.as_str()).map_err(|_| Refusal::BadHost)?,
        None => parts.headers.get(header::HOST).cloned().ok_or(Refusal::NoHost)?,
    };
    let authority = Authority::new(authority).ok_or(Refusal::BadHost)?;
    parts.headers.remove(header::HOST); // `:authority` wins; HTTP/1 upstreams get it back
    hop_by_hop::strip(&mut parts.headers);
    join_cookies(&mut parts.headers);
    let scheme = match parts.uri.scheme_str() {
        Some("https") => Scheme::Https,
        Some("http") => Scheme::Http,
        _ => connection.scheme(),
    };
    let connect = parts.method == Method::CONNECT && protocol.is_none();
    let target = match parts.uri.into_parts().path_and_query {
        _ if connect => PathAndQuery::from_static("/"),
        Some(target) if target.as_str().starts_with('/') => target,
        Some(target) if target.as_str() == "*" && parts.method == Method::OPTIONS => target,
        _ => return Err(Refusal::BadTarget),
    };
    let body = match stream.is_end_stream() {
        true => Body::Empty,
        false => Body::Http2(Http2Body::new(stream)),
    };
    let head = RequestHead {
        method: parts.method,
        scheme,
        authority: Some(authority),
        target,
        version: Version::HTTP_2,
        headers: parts.headers,
        upgrade: protocol.and_then(|protocol| HeaderValue::from_str(protocol.as_str()).ok()),
        original_case: http::Extensions::new(),
    };
    Ok((head, body))
}

/// Cookie crumbs become one field (RFC 9113 section 8.2.3).
fn join_cookies(headers: &mut http::HeaderMap) {
    let mut crumbs = headers.get_all(header::COOKIE).into_iter();
    let (Some(first), Some(_)) = (crumbs.next(), crumbs.next()) else { return };
    let mut joined = first.as_bytes().to_vec();
    for crumb in headers.get_all(header::COOKIE).into_iter().skip(1) {
        joined.extend_from_slice(b"; ");
        joined.extend_from_slice(crumb.as_bytes());
    }
    if let Ok(value) = HeaderValue::from_bytes(&joined) {
        headers.insert(header::COOKIE, value);
    }
}

/// h2's response from ours.
pub fn response(head: ResponseHead) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    response
}
