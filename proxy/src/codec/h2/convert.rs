//! h2's heads to ours, and back.

use crate::{
    codec::{
        Authority, Body, RequestHead, ResponseHead, Scheme, body::Http2Body, head::ADDED_FIELDS, hop_by_hop,
        target, underscores,
    },
    error::Refusal,
    listener::Connection,
};
use h2::RecvStream;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Version, header};

/// Our head and body from h2's.
///
/// # Errors
/// A request without a usable `:authority` or `host`, with a scheme that is not HTTP's, with a target that is not a path, or
/// with too many headers; cookie crumbs count as one.
pub fn request(
    request: Request<RecvStream>,
    connection: &Connection,
) -> Result<(RequestHead, Body), Refusal> {
    let (mut parts, stream) = request.into_parts();
    let protocol = parts.extensions.remove::<h2::ext::Protocol>().map(upgrade).transpose()?;
    if !target::is_method(&parts.method) {
        return Err(Refusal::BadRequest("invalid method"));
    }
    let authority = authority(&parts)?;
    parts.headers.remove(header::HOST); // `:authority` wins; HTTP/1 upstreams get it back
    underscores::apply(&mut parts.headers, connection.options().underscores)?;
    hop_by_hop::strip(&mut parts.headers);
    trim(&mut parts.headers);
    join_cookies(&mut parts.headers);
    parts.headers.reserve(ADDED_FIELDS);
    if parts.headers.len() > connection.limits().max_request_headers_count as usize {
        return Err(Refusal::TooManyHeaders);
    }
    let scheme = match parts.uri.scheme_str() {
        Some("https") => Scheme::Https,
        Some("http") => Scheme::Http,
        Some(_) => return Err(Refusal::BadTarget),
        None => connection.scheme(), // CONNECT has none
    };
    let connect = parts.method == Method::CONNECT;
    if connect {
        parts.headers.remove(header::CONTENT_LENGTH); // what follows are a tunnel's bytes, not content
    }
    let path = parts.uri.into_parts().path_and_query;
    let target = if connect && protocol.is_none() {
        target::of_connect(path, &authority)?
    } else {
        target::normal(path, &parts.method, connection.options().normalization)?
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
        upgrade: protocol,
        original_case: Default::default(),
        interim: None,
    };
    Ok((head, body))
}

/// `:protocol`, which is a token (RFC 8441 section 4).
fn upgrade(protocol: h2::ext::Protocol) -> Result<HeaderValue, Refusal> {
    let token = Method::from_bytes(protocol.as_str().as_bytes()).is_ok(); // a method is one, too
    let value = HeaderValue::from_str(protocol.as_str()).ok().filter(|_| token);
    value.ok_or(Refusal::BadRequest("invalid protocol"))
}

/// Values have no space around them (RFC 9113 section 8.2.1). Those that come with some would lose it on HTTP/1: rules and
/// applications see one value.
fn trim(headers: &mut HeaderMap) {
    let padded = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    for value in headers.values_mut() {
        let bytes = value.as_bytes();
        if padded(bytes.first()) || padded(bytes.last()) {
            let trimmed = HeaderValue::from_bytes(bytes.trim_ascii());
            if let Ok(trimmed) = trimmed {
                *value = trimmed;
            }
        }
    }
}

/// `:authority`, or else the one `host`.
fn authority(parts: &http::request::Parts) -> Result<Authority, Refusal> {
    let value = match parts.uri.authority() {
        Some(authority) => HeaderValue::from_str(authority.as_str()).map_err(|_| Refusal::BadHost)?,
        None => {
            let mut hosts = parts.headers.get_all(header::HOST).into_iter();
            let host = hosts.next().cloned().ok_or(Refusal::NoHost)?;
            if hosts.next().is_some() {
                return Err(Refusal::BadHost);
            }
            host
        }
    };
    Authority::new(value).ok_or(Refusal::BadHost)
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
    hop_by_hop::strip_for_http2(response.headers_mut()); // local replies and configured headers may have them
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(uri: &str, hosts: &[&'static str]) -> Result<String, Refusal> {
        let mut request = Request::builder().uri(uri);
        for host in hosts {
            request = request.header(header::HOST, *host);
        }
        let parts = request.body(()).unwrap().into_parts().0;
        authority(&parts).map(|authority| authority.as_str().to_owned())
    }

    #[test]
    fn the_authority_wins_and_one_host_stands_in() {
        assert_eq!(host("http://a:80/", &["b"]).as_deref(), Ok("a:80"));
        assert_eq!(host("/", &["b"]).as_deref(), Ok("b"));
        assert_eq!(host("/", &[]), Err(Refusal::NoHost));
        assert_eq!(host("/", &["b", "c"]), Err(Refusal::BadHost));
        assert_eq!(host("/", &["b, c"]), Err(Refusal::BadHost));
        assert_eq!(host("http://user@a/", &[]), Err(Refusal::BadHost));
    }

    #[test]
    fn crumbs_are_joined_in_order() {
        let mut headers = http::HeaderMap::new();
        for crumb in ["a=1", "b=2; c=3", "d=4"] {
            headers.append(header::COOKIE, HeaderValue::from_static(crumb));
        }
        join_cookies(&mut headers);
        assert_eq!(headers.get_all(header::COOKIE).iter().collect::<Vec<_>>(), ["a=1; b=2; c=3; d=4"]);
    }

    #[test]
    fn a_response_has_no_field_that_http2_forbids() {
        let mut head = ResponseHead::new(http::StatusCode::BAD_REQUEST);
        for (name, value) in [
            ("connection", "close"),
            ("keep-alive", "1"),
            ("upgrade", "x"),
            ("transfer-encoding", "chunked"),
            ("x", "y"),
        ] {
            head.headers.insert(name, HeaderValue::from_static(value));
        }
        let response = response(head);
        assert_eq!(response.headers().keys().collect::<Vec<_>>(), ["x"]);
    }
}
