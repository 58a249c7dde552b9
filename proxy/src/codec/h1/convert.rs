//! HTTP/1 heads to ours: who is asked, for what, and what belongs to this connection only.

use super::{names::Seen, parse};
use crate::{
    codec::{Authority, RequestHead, hop_by_hop, target, underscores},
    error::Refusal,
    listener::Connection,
};
use http::{HeaderValue, Method, Uri, Version, header, uri::PathAndQuery};
use sidle_fields::Fields;
use sidle_model::ir::PathNormalization;

/// What a request asks of its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Persistence {
    /// Whether another request may follow.
    pub keep_alive: bool,
    /// Whether the content waits for 100 (RFC 9110 section 10.1.1).
    pub expects_continue: bool,
}

/// Our head from what was parsed.
///
/// # Errors
/// What RFC 9112 section 3.2 calls invalid: no host, several, or one that is not a host; a target of the wrong form. CONNECT
/// with content. HTTP/1.0 where it is not spoken.
pub fn request(
    parsed: parse::Request,
    has_content: bool,
    connection: &Connection,
) -> Result<(RequestHead, Persistence), Refusal> {
    let parse::Request { method, target: uri, version, mut headers, seen, casing } = parsed;
    if version != Version::HTTP_11 && !connection.options().accept_http_10 {
        return Err(Refusal::Http10);
    }
    let persistence = Persistence {
        keep_alive: keeps_alive(version, &headers, seen),
        expects_continue: has_content && version == Version::HTTP_11 && expects_continue(&headers)?,
    };
    let authority = match authority(&uri, &headers, |host| connection.authority(host)) {
        Err(Refusal::NoHost) if version == Version::HTTP_10 => None,
        authority => Some(authority?),
    };
    if method == Method::TRACE && has_content {
        return Err(Refusal::BadRequest("TRACE with content")); // RFC 9110 section 9.3.8
    }
    let connect = method == Method::CONNECT;
    if connect && (has_content || headers.contains_key(header::CONTENT_LENGTH)) {
        return Err(Refusal::ConnectContent);
    }
    if seen.has(Seen::UNDERSCORE) {
        underscores::apply(&mut headers, connection.options().underscores)?;
    }
    let upgrade = if seen.has(Seen::HOP_BY_HOP) { hop_by_hop::strip(&mut headers) } else { None };
    if !persistence.expects_continue && seen.has(Seen::EXPECT) {
        headers.remove(header::EXPECT);
    }
    // Without an authority in the target, that of the field is the one there is.
    if uri.authority().is_some()
        && let (Some(host), Some(authority)) = (headers.get_mut(header::HOST), &authority)
    {
        *host = authority.to_header(); // an absolute target wins over the field
    }
    let target = target(uri, &method, authority.as_ref(), connection.options().normalization)?;
    let head = RequestHead {
        scheme: connection.scheme(),
        authority,
        target,
        version,
        upgrade: upgrade
            .filter(|token| version == Version::HTTP_11 && !connect && !has_content && may_switch_to(token)),
        method,
        headers,
        original_case: casing,
        interim: None,
    };
    Ok((head, persistence))
}

/// Whether a connection lives on after a message with this version and these fields (RFC 9112 section 9.3).
pub fn keeps_alive(version: Version, headers: &Fields, seen: Seen) -> bool {
    if !seen.has(Seen::CONNECTION) {
        return version == Version::HTTP_11;
    }
    let has = |wanted: &[u8]| {
        headers.get_all(header::CONNECTION).any(|value| {
            value
                .as_bytes()
                .split(|&byte| byte == b',')
                .any(|token| token.trim_ascii().eq_ignore_ascii_case(wanted))
        })
    };
    !has(b"close") && (version == Version::HTTP_11 || has(b"keep-alive"))
}

fn expects_continue(headers: &Fields) -> Result<bool, Refusal> {
    match headers.get(header::EXPECT) {
        None => Ok(false),
        Some(value) if value.as_bytes().eq_ignore_ascii_case(b"100-continue") => Ok(true),
        Some(_) => Err(Refusal::UnknownExpectation),
    }
}

fn authority(
    target: &Uri,
    headers: &Fields,
    read: impl FnOnce(&HeaderValue) -> Option<Authority>,
) -> Result<Authority, Refusal> {
    let mut hosts = headers.get_all(header::HOST);
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(Refusal::BadHost);
    }
    // A field that is not a host is refused even where the target decides.
    let host = host.map(|host| read(host).ok_or(Refusal::BadHost)).transpose()?;
    match target.authority() {
        Some(authority) => {
            HeaderValue::from_str(authority.as_str()).ok().and_then(Authority::new).ok_or(Refusal::BadHost)
        }
        None => host.ok_or(Refusal::NoHost),
    }
}

/// The target in origin form, or the `*` of OPTIONS; `/` for CONNECT.
fn target(
    uri: Uri,
    method: &Method,
    authority: Option<&Authority>,
    how: PathNormalization,
) -> Result<PathAndQuery, Refusal> {
    let absolute = match uri.scheme_str() {
        None => false,
        Some("http" | "https") => true,
        Some(_) => return Err(Refusal::BadTarget),
    };
    let target = uri.into_parts().path_and_query;
    if *method == Method::CONNECT {
        return target::of_connect(target, authority.ok_or(Refusal::NoHost)?);
    }
    match target {
        // `http://a?b` has an empty path, which is `/` when written out.
        Some(query) if absolute && query.as_str().starts_with('?') => {
            target::normal(PathAndQuery::try_from(query.to_string()).ok(), method, how)
        }
        target => target::normal(target, method, how),
    }
}

/// Whether an upgrade may be passed on. Not to HTTP/2: its requests would go past routes and policies, inside the tunnel.
fn may_switch_to(tokens: &HeaderValue) -> bool {
    !tokens
        .as_bytes()
        .split(|&byte| byte == b',')
        .any(|token| token.trim_ascii().eq_ignore_ascii_case(b"h2c"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(uri: &str, hosts: &[&'static str]) -> Result<String, Refusal> {
        let mut headers = Fields::new();
        for host in hosts {
            headers.append(header::HOST, HeaderValue::from_static(host));
        }
        let read = |host: &HeaderValue| Authority::new(host.clone());
        authority(&uri.parse().unwrap(), &headers, read).map(|authority| authority.as_str().to_owned())
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
        let authority = Authority::from_config("a:443").unwrap();
        let target = |uri: &str, method| {
            target(uri.parse().unwrap(), &method, Some(&authority), PathNormalization::Base)
                .map(|target| target.to_string())
        };
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
    fn persistence_by_version() {
        let keeps = |version, connection: Option<&'static str>| {
            let fields = connection.map(|value| (header::CONNECTION, HeaderValue::from_static(value)));
            keeps_alive(version, &fields.into_iter().collect(), Seen::CONNECTION)
        };
        assert!(keeps(Version::HTTP_11, None) && keeps(Version::HTTP_11, Some("Upgrade")));
        assert!(!keeps(Version::HTTP_11, Some("x, Close")));
        assert!(!keeps(Version::HTTP_10, None) && keeps(Version::HTTP_10, Some("Keep-Alive")));
        assert!(!keeps(Version::HTTP_10, Some("keep-alive, close")));
    }
}
