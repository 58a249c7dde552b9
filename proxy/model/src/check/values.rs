//! Single values: host names, header names, ranges, expressions.
//!
//! Each function says what is wrong with a text. Sources: RFC 1123 (names), RFC 9110 (headers, statuses), Kubernetes'
//! "Object names", Istio's `pkg/config/validation`.

use crate::{Duration, ir, istio::StringMatch};
use http::HeaderName;
use std::{net::IpAddr, time::Duration as StdDuration};

/// A label of a name: letters, digits and `-`, at most 63.
fn is_label(label: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || c == '-';
    (1..=63).contains(&label.len())
        && label.chars().all(inner)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// `reviews` or `reviews.default.svc.cluster.local`; a trailing dot is allowed.
pub(super) fn host_name(text: &str) -> Result<(), String> {
    let name = text.strip_suffix('.').unwrap_or(text);
    if text.is_empty() {
        Err("a host name is empty".into())
    } else if text.contains('*') {
        Err(format!("`{text}` is a wildcard, which cannot stand here"))
    } else if text.contains("://") || text.contains('/') {
        Err(format!("`{text}` is not a host name: it holds a scheme or a path"))
    } else if text.contains(':') {
        Err(format!("`{text}` is not a host name: it holds a port"))
    } else if name.len() > 253
        || !name.split('.').all(|label| is_label(&label.replace('_', "-").replace("--", "-")))
    {
        Err(format!("`{text}` is not a host name"))
    } else {
        Ok(())
    }
}

/// A host name, an IP address, `*` or `*.suffix`.
pub(super) fn host_pattern(text: &str) -> Result<(), String> {
    if text == "*" || text.parse::<IpAddr>().is_ok() {
        return Ok(());
    }
    match text.strip_prefix("*.") {
        Some(suffix) => host_name(suffix),
        None if text.starts_with('*') => {
            Err(format!("`{text}` is not a host: after `*` stands a dot, as in `*.example.com`"))
        }
        None if text.contains('*') => {
            Err(format!("`{text}` is not a host: `*` stands only at the start, as in `*.example.com`"))
        }
        None => host_name(text),
    }
}

/// `namespace/host` as in Gateways and Sidecars; `required`: whether the namespace must be there.
pub(super) fn namespaced_host(text: &str, required: bool) -> Result<(), String> {
    match text.split_once('/') {
        Some((namespace, host)) => {
            let namespace = namespace.strip_prefix('~').filter(|rest| !rest.is_empty()).unwrap_or(namespace);
            if !matches!(namespace, "*" | "." | "~") && !is_label(namespace) {
                return Err(format!("`{namespace}` in `{text}` is not a namespace, `.`, `*` or `~`"));
            }
            host_pattern(host)
        }
        None if required => {
            Err(format!("`{text}` lacks a namespace: write `*/{text}`, `./{text}` or `NAMESPACE/{text}`"))
        }
        None => host_pattern(text),
    }
}

/// The name of a subset, a namespace or a port: one label in lower case.
pub(super) fn label_name(text: &str, what: &str) -> Result<(), String> {
    match is_label(text) && !text.contains(|c: char| c.is_ascii_uppercase()) {
        true => Ok(()),
        false => Err(format!("`{text}` is not {what}: lower-case letters, digits and `-`, at most 63")),
    }
}

/// A SPIFFE trust domain.
pub(super) fn trust_domain(text: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.' | '_');
    match (1..=255).contains(&text.len()) && text.chars().all(allowed) {
        true => Ok(()),
        false => Err(format!("`{text}` is not a trust domain: lower-case letters, digits, `-`, `.` and `_`")),
    }
}

/// The name of an object: labels with dots, in lower case.
pub(super) fn object_name(text: &str) -> Result<(), String> {
    let lower = !text.contains(|c: char| c.is_ascii_uppercase());
    match lower && text.len() <= 253 && text.split('.').all(is_label) {
        true => Ok(()),
        false => Err(format!("`{text}` is not a name: lower-case letters, digits, `-` and `.`, at most 253")),
    }
}

/// A reference to a gateway.
pub(super) fn gateway_name(text: &str) -> Result<(), String> {
    let (namespace, name) = text.split_once('/').unwrap_or(("default", text));
    match label_name(namespace, "").is_ok() && object_name(name).is_ok() {
        true => Ok(()),
        false => Err(format!("`{text}` is not `mesh`, the name of a Gateway, or `NAMESPACE/NAME`")),
    }
}

/// A Kubernetes label's value.
pub(super) fn label_value(text: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let edge = |c: char| c.is_ascii_alphanumeric();
    match text.is_empty()
        || (text.len() <= 63 && text.chars().all(allowed) && text.starts_with(edge) && text.ends_with(edge))
    {
        true => Ok(()),
        false => Err(format!("`{text}` is not a label's value: letters, digits, `-`, `_`, `.`, at most 63")),
    }
}

/// A Kubernetes label's key: `name` or `prefix/name`.
pub(super) fn label_key(text: &str) -> Result<(), String> {
    let (prefix, name) = text.split_once('/').map_or((None, text), |(prefix, name)| (Some(prefix), name));
    match !name.is_empty()
        && label_value(name).is_ok()
        && prefix.is_none_or(|prefix| object_name(prefix).is_ok())
    {
        true => Ok(()),
        false => Err(format!("`{text}` is not a label's key")),
    }
}

/// What `exportTo` may hold.
pub(super) fn visibility(text: &str) -> Result<(), String> {
    match matches!(text, "*" | "." | "~") || is_label(text) {
        true => Ok(()),
        false => Err(format!("`{text}` is not a namespace, `.`, `*` or `~`")),
    }
}

/// An authority that is sent to others: a host, perhaps with a port.
pub(super) fn authority(text: &str) -> Result<(), String> {
    let says = |what: &str| Err(format!("`{text}` is not a host, or a host and a port: {what}"));
    let (host, port) = match text.parse::<IpAddr>() {
        Ok(IpAddr::V6(_)) => return says("an IPv6 address stands in brackets, as in [::1]:80"),
        Ok(IpAddr::V4(_)) => return Ok(()),
        Err(_) if text.ends_with(']') => (text, None),
        Err(_) => text.rsplit_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    if text.contains("://") {
        return says("it holds a scheme");
    } else if text.contains('/') {
        return says("it holds a path");
    } else if text.contains('%') {
        return says("operators are not applied in it");
    } else if port.is_some_and(|port| port.parse::<u16>().map_or(true, |port| port == 0)) {
        return says("a port is a number from 1 to 65535");
    }
    match host.strip_prefix('[').map(|rest| rest.strip_suffix(']').unwrap_or_default()) {
        Some(address) if address.parse::<std::net::Ipv6Addr>().is_err() => {
            says("in brackets stands an IPv6 address")
        }
        None => host_name(host),
        Some(_) => Ok(()),
    }
}

/// What takes the place of a path, or of a part of one, and is sent as it is.
pub(super) fn path_text(text: &str) -> Result<(), String> {
    match text.chars().find(|c| c.is_control() || *c == ' ') {
        Some(' ') => Err("a path cannot hold a space: write `%20`".into()),
        Some(control) => {
            Err(format!("a path cannot hold the control character {}", control.escape_unicode()))
        }
        None => Ok(()),
    }
}

/// A header's name.
pub(super) fn header_name(text: &str) -> Result<(), String> {
    match HeaderName::from_bytes(text.as_bytes()) {
        Ok(_) => Ok(()),
        Err(_) => Err(format!("`{text}` is not a header name")),
    }
}

/// A header's value, which may hold Envoy's operators.
pub(super) fn header_value(text: &str) -> Result<(), String> {
    if text.bytes().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
        return Err("a header's value cannot hold a line break or a zero byte".into());
    }
    ir::Format::parse(text).map(drop)
}

/// A regular expression.
pub(super) fn regex(text: &str) -> Result<(), String> {
    ir::Pattern::new(text).map(drop).map_err(|error| {
        // The library repeats the expression on lines of its own; its last line says what is wrong.
        let reason = error.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        format!("the expression `{text}` does not compile: {reason}")
    })
}

/// The expression of a string match. In headers and query parameters a lone `*` means "is present".
pub(super) fn string_match(value: &StringMatch, star_is_present: bool) -> Result<(), String> {
    match value.regex.as_deref() {
        Some("*") if star_is_present => Ok(()),
        Some(pattern) => regex(pattern),
        None => Ok(()),
    }
}

/// An address, or a range of addresses.
pub(super) fn cidr(text: &str) -> Result<(), String> {
    match text.parse::<IpAddr>().is_ok() || text.parse::<ipnet::IpNet>().is_ok() {
        true => Ok(()),
        false => Err(format!("`{text}` is neither an address nor a range such as 10.0.0.0/8")),
    }
}

/// A status that a proxy may answer with.
pub(super) fn status(number: u32) -> Result<(), String> {
    match (200..=599).contains(&number) {
        true => Ok(()),
        false => Err(format!("{number} is not a status from 200 to 599")),
    }
}

/// A duration that must be at least a millisecond.
pub(super) fn at_least_a_millisecond(duration: Duration) -> Result<(), String> {
    match duration.0 >= StdDuration::from_millis(1) {
        true => Ok(()),
        false => Err(format!("{duration} is less than the least that can be applied, 1ms")),
    }
}

/// A duration where zero means "none".
pub(super) fn zero_or_a_millisecond(duration: Duration) -> Result<(), String> {
    if duration.0.is_zero() { Ok(()) } else { at_least_a_millisecond(duration) }
}

/// A protocol that a port may have, in any case.
pub(super) fn protocol(text: &str) -> Result<(), String> {
    const KNOWN: [&str; 14] = [
        "HTTP",
        "HTTPS",
        "HTTP2",
        "GRPC",
        "GRPC-WEB",
        "GRPC_WEB",
        "TCP",
        "TLS",
        "UDP",
        "MONGO",
        "MYSQL",
        "REDIS",
        "HTTP_PROXY",
        "HBONE",
    ];
    if KNOWN.contains(&text.to_ascii_uppercase().as_str()) {
        return Ok(());
    }
    let meant =
        crate::yaml::nearest(text, KNOWN).map_or_else(String::new, |name| format!("; did you mean {name}?"));
    Err(format!(
        "`{text}` is not a protocol: {}{meant}",
        "HTTP, HTTP2, GRPC, GRPC-WEB, HTTPS, TLS, TCP, MONGO, MYSQL, REDIS"
    ))
}

/// A place to bind: an IP address or `unix:///path`.
pub(super) fn bind_address(text: &str) -> Result<(), String> {
    match text.parse::<IpAddr>().is_ok() || text.starts_with("unix:///") || text.starts_with("unix://@") {
        true => Ok(()),
        false => Err(format!("`{text}` is neither an IP address nor `unix:///path`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        for text in [
            "reviews",
            "reviews.default.svc.cluster.local",
            "a_b.example.com",
            "example.com.",
            "A.b",
            "xn--80ak6aa92e.com",
        ] {
            assert_eq!(host_name(text), Ok(()), "{text}");
        }
        for text in
            ["", "*", "*.a", "http://a", "a/b", "a:80", "a b", "-a", "a..b", ".a", "é", &"a".repeat(64)]
        {
            assert!(host_name(text).is_err(), "{text}");
        }
        for text in ["*", "*.example.com", "10.0.0.1", "::1", "a"] {
            assert_eq!(host_pattern(text), Ok(()), "{text}");
        }
        for text in ["*a", "a.*.b", "**", "*.", "*.*"] {
            assert!(host_pattern(text).is_err(), "{text}");
        }
        for (text, required, good) in [
            ("*/*", true, true),
            ("./a.b", true, true),
            ("~/*", true, true),
            ("~ns/a", true, true),
            ("a.b", true, false),
            ("a.b", false, true),
            ("A B/a", true, false),
            ("ns/", true, false),
        ] {
            assert_eq!(namespaced_host(text, required).is_ok(), good, "{text}");
        }
    }

    #[test]
    fn authorities() {
        for text in ["a", "a.b:80", "a_b.c", "10.0.0.1", "10.0.0.1:80", "[::1]", "[::1]:80", "A.b"] {
            assert_eq!(authority(text), Ok(()), "{text}");
        }
        for text in [
            "", "a b", "http://a", "a/b", "a:b", "a:0", "a:99999", "::1", "[a]:80", "[::1", "*.a", "u@a",
            "%REQ(x)%",
        ] {
            assert!(authority(text).is_err(), "{text}");
        }
        assert!(path_text("/a%20b").is_ok() && path_text("").is_ok() && path_text("/é").is_ok());
        assert!(path_text("/a b").is_err() && path_text("/a\n").unwrap_err().contains("\\u{a}"));
    }

    #[test]
    fn labels_and_names() {
        assert!(label_key("app.kubernetes.io/name").is_ok() && label_key("app").is_ok());
        assert!(label_key("/x").is_err() && label_key("a b").is_err() && label_key("").is_err());
        assert!(label_value("").is_ok() && label_value("v1.2_x").is_ok());
        assert!(label_value("-x").is_err() && label_value("a b").is_err());
        assert!(
            object_name("reviews-v1.x").is_ok()
                && object_name("Reviews").is_err()
                && object_name("a..b").is_err()
        );
        assert!(label_name("v1", "a subset").is_ok() && label_name("V1", "a subset").is_err());
    }

    #[test]
    fn other_values() {
        assert!(regex("^a+$").is_ok());
        assert!(regex("a(b").unwrap_err().contains("unclosed group"), "{:?}", regex("a(b"));
        assert!(cidr("10.0.0.0/8").is_ok() && cidr("10.0.0.1").is_ok() && cidr("10.0.0.0/33").is_err());
        assert!(status(200).is_ok() && status(199).is_err() && status(600).is_err());
        assert!(header_name("x-a").is_ok() && header_name("x a").is_err());
        assert!(
            header_value("%REQ(a)%").is_ok() && header_value("50%").is_err() && header_value("a\nb").is_err()
        );
        assert!(protocol("http").is_ok() && protocol("HTPT").unwrap_err().contains("HTTP?"));
        assert!(
            bind_address("0.0.0.0").is_ok()
                && bind_address("unix:///x").is_ok()
                && bind_address("a:1").is_err()
        );
        let duration = |text| Duration::parse(text).unwrap();
        assert!(
            at_least_a_millisecond(duration("1ms")).is_ok()
                && at_least_a_millisecond(duration("0s")).is_err()
        );
        assert!(
            zero_or_a_millisecond(duration("0s")).is_ok() && zero_or_a_millisecond(duration("1us")).is_err()
        );
    }
}
