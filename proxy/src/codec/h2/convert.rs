//! The engine's heads to ours.

use crate::{
    codec::{
        Authority, Body, RequestHead, Scheme, body::Http2Body, head::ADDED_FIELDS, hop_by_hop, target,
        underscores,
    },
    error::Refusal,
    listener::Connection,
};
use bytes::Bytes;
use http::{HeaderValue, Method, Version, header, uri::PathAndQuery};
use sidle_fields::Fields;
use sidle_http2::connection::{Receiving, RequestFields};

/// Our head and body from the engine's.
///
/// # Errors
/// A request without a usable `:authority` or `host`, with a scheme that is not HTTP's, with a target that is not a path, or
/// with too many headers; cookie crumbs count as one.
pub fn request(
    fields: RequestFields,
    receiving: Receiving,
    connection: &Connection,
) -> Result<(RequestHead, Body), Refusal> {
    let RequestFields { method, scheme, authority, path, protocol, mut headers } = fields;
    let upgrade = protocol.map(upgrade).transpose()?;
    if !target::is_method(&method) {
        return Err(Refusal::BadRequest("invalid method"));
    }
    let authority = self::authority(authority, &headers)?;
    headers.remove(header::HOST); // `:authority` wins; HTTP/1 upstreams get it back
    underscores::apply(&mut headers, connection.options().underscores)?;
    hop_by_hop::strip_of_http2(&mut headers);
    join_cookies(&mut headers);
    headers.reserve(ADDED_FIELDS);
    if headers.len() > connection.limits().max_request_headers_count as usize {
        return Err(Refusal::TooManyHeaders);
    }
    let scheme = match scheme.as_deref() {
        Some(b"https") => Scheme::Https,
        Some(b"http") => Scheme::Http,
        Some(_) => return Err(Refusal::BadTarget),
        None => connection.scheme(), // CONNECT has none
    };
    let connect = method == Method::CONNECT;
    if connect {
        headers.remove(header::CONTENT_LENGTH); // what follows are a tunnel's bytes, not content
    }
    let path = path.map(parsed).transpose()?;
    let target = if connect && upgrade.is_none() {
        target::of_connect(path, &authority)?
    } else {
        target::normal(path, &method, connection.options().normalization)?
    };
    let body = if receiving.is_end() { Body::Empty } else { Body::Http2(Http2Body::new(receiving)) };
    let head = RequestHead {
        method,
        scheme,
        authority: Some(authority),
        target,
        version: Version::HTTP_2,
        headers,
        upgrade,
        original_case: Default::default(),
        interim: None,
    };
    Ok((head, body))
}

/// A path, which has no fragment (RFC 9113 section 8.3.1): the parser would drop it, unseen.
fn parsed(path: Bytes) -> Result<PathAndQuery, Refusal> {
    if path.contains(&b'#') {
        return Err(Refusal::BadTarget);
    }
    PathAndQuery::from_maybe_shared(path).map_err(|_| Refusal::BadTarget)
}

/// `:protocol`, which is a token (RFC 8441 section 4).
fn upgrade(protocol: Bytes) -> Result<HeaderValue, Refusal> {
    let token = Method::from_bytes(&protocol).is_ok(); // a method is one, too
    let value = HeaderValue::from_maybe_shared(protocol).ok().filter(|_| token);
    value.ok_or(Refusal::BadRequest("invalid protocol"))
}

/// `:authority`, or else the one `host`.
fn authority(authority: Option<Bytes>, headers: &Fields) -> Result<Authority, Refusal> {
    let value = match authority {
        Some(authority) => HeaderValue::from_maybe_shared(authority).map_err(|_| Refusal::BadHost)?,
        None => {
            let mut hosts = headers.get_all(header::HOST);
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
fn join_cookies(headers: &mut Fields) {
    if headers.get_all(header::COOKIE).nth(1).is_none() {
        return;
    }
    let crumbs: Vec<&[u8]> = headers.get_all(header::COOKIE).map(HeaderValue::as_bytes).collect();
    let joined = crumbs.join(&b"; "[..]);
    if let Ok(value) = HeaderValue::from_bytes(&joined) {
        headers.insert(header::COOKIE, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(authority: Option<&'static str>, hosts: &[&'static str]) -> Result<String, Refusal> {
        let mut headers = Fields::new();
        for host in hosts {
            headers.append(header::HOST, HeaderValue::from_static(host));
        }
        let authority = authority.map(|text| Bytes::from_static(text.as_bytes()));
        super::authority(authority, &headers).map(|authority| authority.as_str().to_owned())
    }

    #[test]
    fn the_authority_wins_and_one_host_stands_in() {
        assert_eq!(host(Some("a:80"), &["b"]).as_deref(), Ok("a:80"));
        assert_eq!(host(None, &["b"]).as_deref(), Ok("b"));
        assert_eq!(host(None, &[]), Err(Refusal::NoHost));
        assert_eq!(host(None, &["b", "c"]), Err(Refusal::BadHost));
        assert_eq!(host(None, &["b, c"]), Err(Refusal::BadHost));
        assert_eq!(host(Some("user@a"), &[]), Err(Refusal::BadHost));
        assert_eq!(host(Some(""), &["b"]), Err(Refusal::BadHost));
    }

    #[test]
    fn a_fragment_is_no_path() {
        assert!(parsed(Bytes::from_static(b"/a?b=c")).is_ok());
        assert_eq!(parsed(Bytes::from_static(b"/a#b")), Err(Refusal::BadTarget));
    }

    #[test]
    fn crumbs_are_joined_in_order() {
        let mut headers = Fields::new();
        for crumb in ["a=1", "b=2; c=3", "d=4"] {
            headers.append(header::COOKIE, HeaderValue::from_static(crumb));
        }
        join_cookies(&mut headers);
        assert_eq!(headers.get_all(header::COOKIE).collect::<Vec<_>>(), ["a=1; b=2; c=3; d=4"]);
    }
}
