//! What may stand in `:authority` and `host`.
//!
//! Invariant: all programs on a request's way read the same host out of what passes here.
//! Not here: comparing hosts (`sidle-routing`), where letter case and a trailing dot do not count.
//! Source: RFC 3986 section 3.2.2, RFC 9110 section 7.2. Left out of that grammar on purpose: user information, which nobody
//! may send; percent escapes and sub-delimiters in names, which DNS has not and two programs read differently; an empty port;
//! address literals of later IP versions.

use std::net::Ipv6Addr;

/// Whether `text` is a name, an IPv4 address or a bracketed IPv6 address, and then perhaps a port. Names may hold `_` and end
/// with a dot.
pub fn is_authority(text: &[u8]) -> bool {
    match text.strip_prefix(b"[") {
        Some(rest) => rest.iter().position(|&byte| byte == b']').is_some_and(|end| {
            let (address, rest) = rest.split_at(end);
            is_ipv6(address) && is_port_or_nothing(&rest[1..])
        }),
        None => {
            let end = text.iter().position(|&byte| byte == b':').unwrap_or(text.len());
            let (name, rest) = text.split_at(end);
            is_name(name) && is_port_or_nothing(rest)
        }
    }
}

fn is_ipv6(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok())
}

fn is_name(text: &[u8]) -> bool {
    let text = text.strip_suffix(b".").unwrap_or(text);
    let inner = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~');
    text.split(|&byte| byte == b'.').all(|label| !label.is_empty() && label.iter().all(inner))
}

fn is_port_or_nothing(text: &[u8]) -> bool {
    match text {
        [] => true,
        [b':', digits @ ..] => {
            let number = std::str::from_utf8(digits).unwrap_or_default();
            digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit) && number.parse::<u16>().is_ok()
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::is_authority;

    #[test]
    fn hosts_with_and_without_ports() {
        for text in [
            "a",
            "a.b.c",
            "A.b.",
            "a.:80",
            "a_b-c.d~e",
            "a:0",
            "a:80",
            "a:65535",
            "127.0.0.1:8080",
            "[::1]",
            "[::1]:80",
            "[::ffff:1.2.3.4]",
            "xn--bcher-kva.example",
        ] {
            assert!(is_authority(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn all_else_is_none() {
        for text in [
            "",
            ".",
            "..",
            ".a",
            "a..b",
            "a..",
            ":80",
            "a:",
            "a:80x",
            "a:+80",
            "a:99999",
            "a:65536",
            "a:000080",
            "a:80:80",
            "::1",
            "::1:80",
            "[::1",
            "::1]",
            "[]",
            "[::1]x",
            "[::1]:",
            "[1.2.3.4]",
            "[v1.a]",
            "[fe80::1%25eth0]",
            "a%",
            "a%41",
            "a,b",
            "a, b",
            "user@a",
            "a b",
            "a/b",
            "a\\b",
            "a?b",
            "a#b",
            "a\0b",
            "a\u{e9}",
            "*",
            "a*",
            "a;b",
            "a\tb",
        ] {
            assert!(!is_authority(text.as_bytes()), "{text}");
        }
    }
}
