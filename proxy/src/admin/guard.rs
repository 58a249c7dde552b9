//! Who may ask the admin server: this machine, and no web page that a browser on it shows.
//!
//! In:  the head of a request and the address that it came to.   Out: why it is refused.
//! Invariants: a name that someone else's DNS may point here is not ours; a request that a page of another site makes
//! changes nothing. Source: DNS rebinding; the Fetch standard's `Origin` and `Sec-Fetch-Site`.
//! Not here: methods (`table`).

use http::{HeaderMap, Method, Request, header, uri::Authority};
use std::net::{IpAddr, SocketAddr};

/// `None` if the request may be answered.
pub(super) fn refusal<B>(request: &Request<B>, local: SocketAddr) -> Option<&'static str> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().ok().and_then(|host| host.parse::<Authority>().ok()),
        _ => None,
    };
    let target = request.uri().authority();
    match host {
        Some(host) if is_ours(&host, local) && target.is_none_or(|target| is_ours(target, local)) => {
            (*request.method() == Method::POST && is_cross_site(request.headers(), &host))
                .then_some("a page of another site must not do this")
        }
        _ => Some("the Host header must be localhost or the address of this server"),
    }
}

/// Whether nobody else's DNS can have led here: a loopback address, the address itself, or `localhost`.
fn is_ours(authority: &Authority, local: SocketAddr) -> bool {
    // Bracketed, for IPv6. User information has no place here.
    if authority.as_str().contains('@') {
        return false;
    }
    let host = authority.host();
    if host.eq_ignore_ascii_case("localhost") {
        return true;
    }
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback() || ip.to_canonical() == local.ip().to_canonical())
}

/// Browsers say where a request comes from; other clients say nothing.
fn is_cross_site(headers: &HeaderMap, host: &Authority) -> bool {
    let is_own_site = |value: &http::HeaderValue| [&b"same-origin"[..], b"none"].contains(&value.as_bytes());
    let is_own_origin = |value: &http::HeaderValue| {
        let origin = value.to_str().ok().and_then(|origin| origin.strip_prefix("http://"));
        origin.is_some_and(|origin| origin.eq_ignore_ascii_case(host.as_str()))
    };
    !headers.get_all("sec-fetch-site").iter().all(is_own_site)
        || !headers.get_all(header::ORIGIN).iter().all(is_own_origin)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(method: &str, target: &str, headers: &[(&str, &str)]) -> Option<&'static str> {
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        refusal(&request.body(()).unwrap(), "10.1.2.3:15000".parse().unwrap())
    }

    #[test]
    fn names_that_cannot_be_rebound_are_ours() {
        for host in
            ["localhost", "LocalHost:15000", "127.0.0.1:8080", "127.9.9.9", "[::1]:15000", "10.1.2.3:15000"]
        {
            assert_eq!(asked("GET", "/", &[("host", host)]), None, "{host}");
        }
        for host in
            ["evil.example", "localhost.evil.example", "10.1.2.4", "user@localhost", "", "127.0.0.1.nip.io"]
        {
            assert!(asked("GET", "/", &[("host", host)]).is_some(), "{host}");
        }
        assert!(asked("GET", "/", &[]).is_some(), "without a Host");
        assert!(asked("GET", "/", &[("host", "localhost"), ("host", "evil.example")]).is_some(), "with two");
        assert!(asked("GET", "http://evil.example/", &[("host", "localhost")]).is_some(), "absolute form");
        assert_eq!(asked("GET", "http://localhost/", &[("host", "localhost")]), None);
    }

    #[test]
    fn pages_of_other_sites_change_nothing() {
        let host = ("host", "localhost:15000");
        assert_eq!(asked("POST", "/reload", &[host]), None, "curl");
        for ours in [
            ("origin", "http://localhost:15000"),
            ("sec-fetch-site", "same-origin"),
            ("sec-fetch-site", "none"),
        ] {
            assert_eq!(asked("POST", "/reload", &[host, ours]), None, "{ours:?}");
        }
        for theirs in [
            ("origin", "http://evil.example"),
            ("origin", "null"),
            ("origin", "https://localhost:15000"),
            ("origin", "http://localhost:3000"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
        ] {
            assert!(asked("POST", "/reload", &[host, theirs]).is_some(), "{theirs:?}");
            assert_eq!(asked("GET", "/ready", &[host, theirs]), None, "reading is harmless: {theirs:?}");
        }
    }
}
