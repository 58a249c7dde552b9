//! Requests that ask about the way rather than about a resource.
//!
//! Source: RFC 9110 sections 7.6.2 (`max-forwards`), 9.3.7 (OPTIONS) and 9.3.8 (TRACE).

use crate::codec::{RequestHead, ResponseHead};
use http::{HeaderName, HeaderValue, Method, StatusCode, header};

const MAX_FORWARDS: HeaderName = HeaderName::from_static("max-forwards");
/// What is forwarded, if a route says so.
const METHODS: HeaderValue =
    HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, CONNECT");

/// The answer, with details for the log, if the request ends here; else it has one hop less to go.
///
/// TRACE ends here always: it would send credentials back that a page may not read, and headers that those in front have added.
/// Envoy forwards it.
pub fn end(head: &mut RequestHead) -> Option<(ResponseHead, &'static str)> {
    if head.method == Method::TRACE {
        return Some((answer(StatusCode::METHOD_NOT_ALLOWED), "method_not_allowed"));
    }
    if head.method != Method::OPTIONS {
        return None;
    }
    match head.headers.get(&MAX_FORWARDS).map(number)? {
        Some(0) => Some((answer(StatusCode::OK), "max_forwards_reached")),
        Some(left) => {
            head.headers.insert(MAX_FORWARDS, HeaderValue::from(left - 1));
            None
        }
        None => None, // not a number: as if it were not there
    }
}

fn number(value: &HeaderValue) -> Option<u64> {
    let text = value.to_str().ok()?;
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

fn answer(status: StatusCode) -> ResponseHead {
    let mut head = ResponseHead::new(status);
    head.headers.insert(header::ALLOW, METHODS);
    head.headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    head
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Scheme;

    fn asked(method: Method, hops: Option<&'static str>) -> (Option<u16>, Option<String>) {
        let mut head = RequestHead {
            method,
            scheme: Scheme::Http,
            authority: None,
            target: http::uri::PathAndQuery::from_static("/"),
            version: http::Version::HTTP_11,
            headers: hops.map(|hops| (MAX_FORWARDS, HeaderValue::from_static(hops))).into_iter().collect(),
            upgrade: None,
            original_case: Default::default(),
            interim: None,
        };
        let status = end(&mut head).map(|(answer, _)| answer.status.as_u16());
        (status, head.headers.get(&MAX_FORWARDS).map(|left| left.to_str().unwrap().to_owned()))
    }

    #[test]
    fn hops_are_counted_for_options_only() {
        assert_eq!(asked(Method::OPTIONS, Some("0")).0, Some(200));
        assert_eq!(asked(Method::OPTIONS, Some("7")), (None, Some("6".into())));
        assert_eq!(asked(Method::OPTIONS, None), (None, None));
        assert_eq!(asked(Method::GET, Some("0")), (None, Some("0".into())));
        for odd in ["", "-1", "+1", "x", "99999999999999999999999"] {
            assert_eq!(asked(Method::OPTIONS, Some(odd)), (None, Some(odd.into())));
        }
    }

    #[test]
    fn trace_is_not_served() {
        assert_eq!(asked(Method::TRACE, None).0, Some(405));
        assert_eq!(asked(Method::TRACE, Some("5")).0, Some(405));
    }
}
