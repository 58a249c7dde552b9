//! Cookies that keep a client with an endpoint: found in a request, made for a response.
//!
//! Source: RFC 6265; the shape of a made cookie is Envoy's.

use http::HeaderValue;
use std::{fmt::Write, sync::Arc, time::Duration};

/// The value of the first cookie called `name`, without quotes.
pub(crate) fn find<'a>(headers: impl Iterator<Item = &'a [u8]>, name: &str) -> Option<&'a [u8]> {
    headers.flat_map(|header| header.split(|&byte| byte == b';')).find_map(|pair| {
        let equals = pair.iter().position(|&byte| byte == b'=')?;
        let (key, value) = (&pair[..equals], &pair[equals + 1..]);
        (key.trim_ascii_start() == name.as_bytes()).then_some(unquoted(value))
    })
}

fn unquoted(value: &[u8]) -> &[u8] {
    value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(value)
}

/// A `set-cookie` value. A lifetime of zero makes a session cookie. `None` if a part cannot stand in a header.
pub(crate) fn make(
    name: &str,
    value: &str,
    ttl: Duration,
    path: Option<&str>,
    attributes: &[(Arc<str>, Arc<str>)],
) -> Option<HeaderValue> {
    let mut text = format!("{name}=\"{value}\"");
    // Writing to a String cannot fail.
    if !ttl.is_zero() {
        let _ = write!(text, "; Max-Age={}", ttl.as_secs());
    }
    if let Some(path) = path.filter(|path| !path.is_empty()) {
        let _ = write!(text, "; Path={path}");
    }
    for (name, value) in attributes {
        let _ = if value.is_empty() { write!(text, "; {name}") } else { write!(text, "; {name}={value}") };
    }
    text.push_str("; HttpOnly");
    HeaderValue::try_from(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_first_of_its_name() {
        let headers: [&[u8]; 2] = [b"junk; a=1;  b=\"two\"; c=", b"b=3; d==x="];
        let of = |name| find(headers.into_iter(), name);
        assert_eq!(of("a"), Some(&b"1"[..]));
        assert_eq!(of("b"), Some(&b"two"[..]));
        assert_eq!(of("c"), Some(&b""[..]));
        assert_eq!(of("d"), Some(&b"=x="[..]));
        assert_eq!(of("junk"), None);
        assert_eq!(of("A"), None);
        assert_eq!(find([b"q=\"".as_slice()].into_iter(), "q"), Some(&b"\""[..]));
    }

    #[test]
    fn makes_what_envoy_makes() {
        let attributes = [("SameSite".into(), "Strict".into()), ("Secure".into(), "".into())];
        let made = |ttl, path, attributes| make("k", "v", Duration::from_secs(ttl), path, attributes);
        assert_eq!(
            made(90, Some("/x"), &attributes).expect("valid"),
            "k=\"v\"; Max-Age=90; Path=/x; SameSite=Strict; Secure; HttpOnly"
        );
        assert_eq!(made(0, None, &[]).expect("valid"), "k=\"v\"; HttpOnly");
        assert_eq!(made(0, Some("/\r\nx: y"), &[]), None);
    }
}
