//! Fields that belong to one connection. Source: RFC 9110 section 7.6.1.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use sidle_fields::Fields;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// Whether a field says where a message ends or what becomes of its connection.
pub fn is_framing(name: &HeaderName) -> bool {
    let framing = [
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::CONNECTION,
        header::UPGRADE,
        header::TE,
        header::TRAILER,
        KEEP_ALIVE,
        PROXY_CONNECTION,
        HTTP2_SETTINGS,
    ];
    framing.contains(name)
}

/// Whether a field belongs to one connection whatever `connection` says.
pub fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "te"
            | "upgrade"
            | "transfer-encoding"
            | "keep-alive"
            | "proxy-connection"
            | "http2-settings"
    )
}

/// Removes hop-by-hop fields and those that `connection` lists; keeps `te: trailers`.
///
/// Returns the `upgrade` token if `connection` asks for it.
pub fn strip(headers: &mut Fields) -> Option<HeaderValue> {
    // Most heads have none of them: one look at the names costs less than a search for each.
    if !headers.keys().any(|name| is_hop_by_hop(name.as_str())) {
        return None;
    }
    let mut upgrade = None;
    if headers.contains_key(header::CONNECTION) {
        let mut listed: smallvec::SmallVec<[HeaderName; 4]> = smallvec::SmallVec::new();
        for value in headers.get_all(header::CONNECTION) {
            for token in value.as_bytes().split(|&byte| byte == b',') {
                if let Ok(name) = HeaderName::from_bytes(token.trim_ascii()) {
                    listed.push(name);
                }
            }
        }
        if listed.contains(&header::UPGRADE) {
            upgrade = headers.get(header::UPGRADE).cloned();
        }
        headers.remove(header::CONNECTION);
        // `te` is dealt with below; a client that lists it only follows RFC 9110. Never let a client name away a field
        // that decides where the request goes.
        listed.retain(|name| *name != header::TE && *name != header::HOST && *name != header::CONTENT_LENGTH);
        // In order: a head has room for thousands of names.
        listed.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
        headers
            .retain(|name, _| listed.binary_search_by(|listed| listed.as_str().cmp(name.as_str())).is_err());
    }
    let trailers = headers.get_all(header::TE).any(|value| {
        value
            .as_bytes()
            .split(|&byte| byte == b',')
            .any(|token| token.trim_ascii().eq_ignore_ascii_case(b"trailers"))
    });
    if headers.contains_key(header::TE) {
        headers.remove(header::TE);
        if trailers {
            headers.insert(header::TE, HeaderValue::from_static("trailers"));
        }
    }
    const OTHERS: [HeaderName; 5] =
        [header::UPGRADE, header::TRANSFER_ENCODING, KEEP_ALIVE, PROXY_CONNECTION, HTTP2_SETTINGS];
    headers.retain(|name, _| !OTHERS.contains(name));
    upgrade
}

/// The same, for a head that came by HTTP/2, which has none of the others (the engine refuses them), and `te` only with `trailers`.
pub fn strip_of_http2(headers: &mut Fields) {
    headers.remove(HTTP2_SETTINGS);
}

/// Removes what is about a connection of HTTP/1.
fn strip_of_connection(headers: &mut HeaderMap) {
    for name in [header::CONNECTION, header::UPGRADE, header::TRANSFER_ENCODING, KEEP_ALIVE, PROXY_CONNECTION]
    {
        headers.remove(name);
    }
}

/// Removes from trailers what must not come after the body: it frames, routes, changes what is asked, or says who asks (RFC 9110
/// section 6.5.1). An application that merges trailers into headers would read there what was taken from these.
pub fn strip_trailers(trailers: &mut HeaderMap) {
    let stays = |name: &HeaderName| {
        let text = name.as_str();
        !(NOT_IN_TRAILERS.contains(name) || NOT_IN_TRAILERS_FROM.iter().any(|start| text.starts_with(start)))
    };
    if !trailers.keys().all(stays) {
        let kept = std::mem::take(trailers);
        let kept = kept.iter().filter(|(name, _)| stays(name));
        trailers.extend(kept.map(|(name, value)| (name.clone(), value.clone())));
    }
    strip_of_connection(trailers);
}

/// Fields of requests and answers that frame, route, modify, authenticate or describe the content.
const NOT_IN_TRAILERS: [HeaderName; 22] = [
    header::CONTENT_LENGTH,
    header::HOST,
    header::AUTHORIZATION,
    header::PROXY_AUTHORIZATION,
    header::WWW_AUTHENTICATE,
    header::COOKIE,
    header::SET_COOKIE,
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    header::CONTENT_RANGE,
    header::TRAILER,
    header::TE,
    header::EXPECT,
    header::RANGE,
    header::MAX_FORWARDS,
    header::CACHE_CONTROL,
    header::FORWARDED,
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_UNMODIFIED_SINCE,
    header::VIA,
];

/// Names that begin so are given by proxies, which look at headers alone.
const NOT_IN_TRAILERS_FROM: [&str; 4] = ["x-forwarded-", "x-envoy-", "x-real-ip", "x-http-method"];

#[cfg(test)]
mod tests {
    use super::*;

    fn headers<H: FromIterator<(HeaderName, HeaderValue)>>(fields: &[(&'static str, &'static str)]) -> H {
        fields
            .iter()
            .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn trailers_say_nothing_that_headers_decide() {
        let mut trailers: HeaderMap = headers(&[
            ("grpc-status", "0"),
            ("x-forwarded-client-cert", "URI=spiffe://evil"),
            ("x-checksum", "1"),
            ("x-envoy-internal", "true"),
            ("cookie", "a"),
            ("x-checksum", "2"),
            ("authorization", "b"),
        ]);
        strip_trailers(&mut trailers);
        let left: Vec<_> =
            trailers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert_eq!(left, [("grpc-status", "0"), ("x-checksum", "1"), ("x-checksum", "2")]);
    }

    #[test]
    fn listed_fields_go_and_trailers_stay() {
        let mut headers: Fields = headers(&[
            ("connection", "close, X-Hop, TE, Host"),
            ("x-hop", "1"),
            ("te", "gzip, trailers"),
            ("host", "a"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("x-end", "2"),
        ]);
        assert_eq!(strip(&mut headers), None);
        let mut left: Vec<_> = headers.iter().map(|(n, v)| format!("{n}={}", v.to_str().unwrap())).collect();
        left.sort();
        assert_eq!(left, ["host=a", "te=trailers", "x-end=2"]);
    }

    #[test]
    fn upgrade_only_when_connection_says_so() {
        let mut headers = Fields::new();
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        assert_eq!(strip(&mut headers.clone()), None);
        headers.insert(header::CONNECTION, HeaderValue::from_static("keep-alive, Upgrade"));
        assert_eq!(strip(&mut headers).unwrap(), "websocket");
        assert!(headers.is_empty());
    }

    #[test]
    fn what_frames_and_routes_cannot_be_named_away() {
        let mut fields: Fields = headers(&[
            ("connection", "Content-Length , host,,\tx-real-ip"),
            ("content-length", "3"),
            ("host", "a"),
            ("x-real-ip", "1.1.1.1"),
            ("te", "Trailers;q=1"),
        ]);
        fields.append(header::CONNECTION, HeaderValue::from_static("authorization"));
        fields.insert(header::AUTHORIZATION, HeaderValue::from_static("x"));
        strip(&mut fields);
        assert_eq!(fields, headers(&[("content-length", "3"), ("host", "a")]));
    }

    #[test]
    fn te_is_read_as_the_standard_has_it() {
        for (sent, kept) in
            [("TRAILERS", true), ("gzip;q=0.5, trailers", true), ("gzip", false), ("x-trailers", false)]
        {
            let mut fields: Fields = headers(&[("te", sent)]);
            strip(&mut fields);
            assert_eq!(fields.get("te").is_some_and(|te| te == "trailers"), kept, "{sent}");
        }
    }

    #[test]
    fn trailers_neither_frame_nor_route() {
        let mut trailers: HeaderMap = headers(&[
            ("grpc-status", "0"),
            ("content-length", "50"),
            ("transfer-encoding", "chunked"),
            ("host", "evil"),
            ("authorization", "x"),
            ("connection", "close"),
            ("x-sum", "1"),
        ]);
        strip_trailers(&mut trailers);
        assert_eq!(trailers, headers(&[("grpc-status", "0"), ("x-sum", "1")]));
    }
}
