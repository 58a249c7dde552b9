//! hyper's HTTP/1 heads to ours, and back.

use super::Watched;
use crate::{
    codec::{Authority, Body, RequestHead, ResponseHead, Stream, hop_by_hop, target},
    error::Refusal,
    listener::Connection,
};
use http::{HeaderValue, Method, Uri, Version, header, uri::PathAndQuery};
use hyper::{Request, Response, body::Incoming};
use hyper_util::rt::TokioIo;

/// Our head and body from hyper's.
///
/// # Errors
/// HTTP/1.0, and what RFC 9112 section 3.2 calls invalid: no host, several, or one that is not a host; a target of the wrong
/// form. CONNECT with content.
pub fn request(request: Request<Incoming>, connection: &Connection) -> Result<(RequestHead, Body), Refusal> {
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
    let target = target(parts.uri, &parts.method)?;
    let body = if hyper::body::Body::is_end_stream(&incoming) { Body::Empty } else { Body::Http1(incoming) };
    let has_body = matches!(body, Body::Http1(_));
    if connect && has_body {
        return Err(Refusal::ConnectContent);
    }
    let head = RequestHead {
        method: parts.method,
        scheme: connection.scheme(),
        authority: Some(authority),
        target,
        version: parts.version,
        headers: parts.headers,
        upgrade: upgrade.filter(|token| !connect && !has_body && may_switch_to(token)),
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
    // A field that is not a host is refused even where the target decides.
    let host = host.map(|host| Authority::new(host.clone()).ok_or(Refusal::BadHost)).transpose()?;
    match parts.uri.authority() {
        Some(authority) => {
            HeaderValue::from_str(authority.as_str()).ok().and_then(Authority::new).ok_or(Refusal::BadHost)
        }
        None => host.ok_or(Refusal::NoHost),
    }
}

/// The target in origin form, or the `*` of OPTIONS; `/` for CONNECT.
fn target(uri: Uri, method: &Method) -> Result<PathAndQuery, Refusal> {
    let absolute = match uri.scheme_str() {
        None => false,
        Some("http" | "https") => true,
        Some(_) => return Err(Refusal::BadTarget),
    };
    let target = uri.into_parts().path_and_query;
    if *method == Method::CONNECT {
        return target::of_connect(target);
    }
    match target {
        // `http://a?b` has an empty path, which is `/` when written out.
        Some(query) if absolute && query.as_str().starts_with('?') => {
            target::normal(PathAndQuery::try_from(query.to_string()).ok(), method)
        }
        target => target::normal(target, method),
    }
}

/// Whether an upgrade may be passed on. Not to HTTP/2: its requests would go past routes and policies, inside the tunnel.
fn may_switch_to(tokens: &HeaderValue) -> bool {
    !tokens
        .as_bytes()
        .split(|&byte| byte == b',')
        .any(|token| token.trim_ascii().eq_ignore_ascii_case(b"h2c"))
}

/// hyper's response from ours.
pub fn response(head: ResponseHead, body: Body, closes: bool, tunnel: bool) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    *response.extensions_mut() = head.original_case;
    // A tunnel takes the connection anyway, and 101 says `connection: upgrade`.
    if closes && !tunnel {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(uri: &str, hosts: &[&'static str]) -> http::request::Parts {
        let mut request = Request::builder().uri(uri);
        for host in hosts {
            request = request.header(header::HOST, *host);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn host(uri: &str, hosts: &[&'static str]) -> Result<String, Refusal> {
        authority(&parts(uri, hosts)).map(|authority| authority.as_str().to_owned())
    }

    #[test]
    fn there_is_one_host_and_the_target_decides() {
        assert_eq!(host("/", &["a:80"]).as_deref(), Ok("a:80"));
        assert_eq!(host("http://b/", &["a"]).as_deref(), Ok("b"));
        assert_eq!(host("b:443", &[]).as_deref(), Ok("b:443"));
        assert_eq!(host("/", &[]), Err(Refusal::NoHost));
        for hosts in [&["a", "a"][..], &["a, b"], &["a@b"], &[""], &["a b"], &["a/b"]] {
            assert_eq!(host("/", hosts), Err(Refusal::BadHost), "{hosts:?}");
            assert_eq!(host("http://b/", hosts), Err(Refusal::BadHost), "{hosts:?}");
        }
        assert_eq!(host("http://user@b/", &["b"]), Err(Refusal::BadHost));
    }

    #[test]
    fn each_method_has_its_form_of_target() {
        let target =
            |uri: &str, method| target(uri.parse().unwrap(), &method).map(|target| target.to_string());
        for (uri, wanted) in [
            ("http://a", "/"),
            ("HTTPS://a/b/../c?d", "/c?d"),
            ("http://a?b=../c", "/?b=../c"),
            ("/%7Ea", "/~a"),
        ] {
            assert_eq!(target(uri, Method::GET).as_deref(), Ok(wanted), "{uri}");
        }
        assert_eq!(target("*", Method::OPTIONS).as_deref(), Ok("*"));
        assert_eq!(target("a:443", Method::CONNECT).as_deref(), Ok("/"));
        for (uri, method) in [
            ("a:443", Method::GET),
            ("*", Method::GET),
            ("ftp://a/", Method::GET),
            ("/", Method::CONNECT),
            ("http://a/", Method::CONNECT),
            ("*", Method::CONNECT),
        ] {
            assert_eq!(target(uri, method.clone()), Err(Refusal::BadTarget), "{method} {uri}");
        }
    }

    #[test]
    fn no_upgrade_hides_requests() {
        for (token, passed) in
            [("websocket", true), ("h2c", false), ("H2C", false), ("websocket, h2c", false), ("x-h2c", true)]
        {
            assert_eq!(may_switch_to(&HeaderValue::from_static(token)), passed, "{token}");
        }
    }

    #[test]
    fn a_draining_connection_says_so_but_not_to_a_tunnel() {
        let told = |closes, tunnel| {
            let head = ResponseHead::new(http::StatusCode::OK);
            response(head, Body::Empty, closes, tunnel).headers().contains_key(header::CONNECTION)
        };
        assert!(told(true, false));
        assert!(!told(true, true));
        assert!(!told(false, false));
    }
}
