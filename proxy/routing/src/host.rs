//! Hosts and ports out of an authority.
//!
//! In:  `:authority` or Host as sent.   Out: host and port, or the text that virtual hosts are looked up by.
//! Invariants: nothing is allocated for an authority that is lower-case and has no trailing dot. An IPv6 literal keeps its
//! brackets.
//! Not here: whether an authority is well-formed (the codec refuses those that are not).

use std::borrow::Cow;

/// Splits `host:port`. The port is `None` when there is none, when it is empty, and when it is not a number, in which case
/// the colon and what follows belong to the host. A bare IPv6 address is all host.
pub fn split_host_port(authority: &str) -> (&str, Option<u16>) {
    // By bytes: each request's host comes here, and a search for a character takes many times the steps.
    let Some(colon) = authority.bytes().rposition(|byte| byte == b':') else {
        return (authority, None);
    };
    let (host, port) = (&authority[..colon], &authority[colon + 1..]);
    let bracketed = host.starts_with('[') && host.ends_with(']');
    if !bracketed && host.bytes().any(|byte| byte == b':') {
        return (authority, None);
    }
    if port.is_empty() {
        return (host, None);
    }
    match port.parse::<u16>() {
        // `parse` takes a leading plus sign; a port has none.
        Ok(number) if port.as_bytes()[0].is_ascii_digit() => (host, Some(number)),
        _ => (authority, None),
    }
}

/// The text that virtual hosts are looked up by: lower-case, without the host's trailing dot, and without the port if
/// `ignore_port`.
pub fn normalise(authority: &str, ignore_port: bool) -> Cow<'_, str> {
    let (host, port) = split_host_port(authority);
    let name = host.strip_suffix('.').unwrap_or(host);
    // An empty port (`a.b:`) is no port, so that `authority` and `host` may differ although `port` is none.
    match port {
        Some(_) if !ignore_port && name.len() == host.len() => lower_case(authority),
        Some(port) if !ignore_port => Cow::Owned(format!("{}:{port}", name.to_ascii_lowercase())),
        _ => lower_case(name),
    }
}

/// Lower-case ASCII; borrowed when it was already.
pub(crate) fn lower_case(text: &str) -> Cow<'_, str> {
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(text.to_ascii_lowercase())
    } else {
        Cow::Borrowed(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_ports_from_names_and_addresses() {
        for (authority, wanted) in [
            ("a.b", ("a.b", None)),
            ("a.b:80", ("a.b", Some(80))),
            ("a.b:", ("a.b", None)),
            ("a.b:http", ("a.b:http", None)),
            ("a.b:+80", ("a.b:+80", None)),
            ("a.b:65536", ("a.b:65536", None)),
            ("[::1]", ("[::1]", None)),
            ("[::1]:80", ("[::1]", Some(80))),
            ("::1", ("::1", None)),
            ("", ("", None)),
            (":80", ("", Some(80))),
        ] {
            assert_eq!(split_host_port(authority), wanted, "{authority}");
        }
    }

    #[test]
    fn normalises_case_dot_and_port() {
        for (authority, ignore_port, wanted) in [
            ("Reviews.Default", true, "reviews.default"),
            ("reviews:9080", true, "reviews"),
            ("reviews:9080", false, "reviews:9080"),
            ("REVIEWS.:9080", false, "reviews:9080"),
            ("reviews.", false, "reviews"),
            ("reviews:", false, "reviews"),
            ("[::1]:80", true, "[::1]"),
            ("[::1]:80", false, "[::1]:80"),
            ("[FE80::1]", true, "[fe80::1]"),
        ] {
            assert_eq!(normalise(authority, ignore_port), wanted, "{authority}");
        }
    }

    #[test]
    fn borrows_what_is_already_normal() {
        for authority in ["reviews:9080", "reviews.", "reviews:", "[::1]:80"] {
            for ignore_port in [true, false] {
                assert!(matches!(normalise(authority, ignore_port), Cow::Borrowed(_)), "{authority}");
            }
        }
    }
}
