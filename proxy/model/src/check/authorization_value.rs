//! Single values of AuthorizationPolicies.
//!
//! In:  what a value is compared with, and the value.   Out: nothing, a remark, or what is wrong with it.

use crate::{
    ir::PathPattern,
    lower::authorization::attribute::{Attribute, range, request_principal},
};

type Judgement = Result<Option<String>, String>;

/// Whether a value could ever be met.
pub(super) fn judge(attribute: &Attribute, value: &str) -> Judgement {
    if value.is_empty() {
        return Err("an empty value is met by nothing".into());
    }
    match attribute {
        Attribute::SourceIp | Attribute::RemoteIp | Attribute::DestinationIp => match range(value) {
            Some(_) => Ok(None),
            None => Err(format!("`{value}` is neither an address nor a range such as 10.0.0.0/8")),
        },
        Attribute::Port => match value.parse::<u16>() {
            Ok(1..) if !value.starts_with('+') => Ok(None),
            _ => Err(format!("`{value}` is not a port from 1 to 65535")),
        },
        Attribute::Principal => principal(value),
        Attribute::ServiceAccount => service_account(value),
        Attribute::Namespace => namespace(value),
        Attribute::TrustDomain => domain(value),
        Attribute::RequestPrincipal => of_token(value),
        Attribute::Method => method(value),
        Attribute::Host => host(value),
        Attribute::Path => path(value),
        Attribute::ServerName => server_name(value),
        Attribute::Claim(_) | Attribute::Header(_) => stars(value).map(|()| None),
    }
}

/// A `*` anywhere but at one end would stand for itself, which is hardly meant.
fn stars(value: &str) -> Result<(), String> {
    let inner = value.strip_prefix('*').or_else(|| value.strip_suffix('*')).unwrap_or(value);
    match inner.contains('*') {
        false => Ok(()),
        true => {
            Err(format!("`{value}`: a `*` stands for anything only at the front or at the end, and once"))
        }
    }
}

fn principal(value: &str) -> Judgement {
    stars(value)?;
    if let Some(rest) = value.strip_prefix("spiffe://") {
        return Err(format!("`{value}`: a principal is written without its scheme: `{rest}`"));
    }
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '/' | '*');
    match value.chars().find(|c| !good(*c)) {
        Some(c) => Err(format!("`{value}`: no principal holds `{c}`")),
        None => Ok(None),
    }
}

fn service_account(value: &str) -> Judgement {
    if value.contains('*') {
        return Err(format!("`{value}`: a service account cannot hold `*`; use `principals`"));
    }
    match value.split('/').all(|part| !part.is_empty()) && value.split('/').count() <= 2 {
        true if value.len() <= 320 => Ok(None),
        _ => Err(format!("`{value}` is neither `ACCOUNT` nor `NAMESPACE/ACCOUNT`")),
    }
}

fn namespace(value: &str) -> Judgement {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '*');
    match value.chars().all(good) {
        true => Ok(None),
        false => Err(format!(
            "`{value}` is not a namespace: lower-case letters, digits, `-`, and `*` for any of them"
        )),
    }
}

fn domain(value: &str) -> Judgement {
    stars(value)?;
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.' | '_' | '*');
    match value.chars().all(good) {
        true => Ok(None),
        false => {
            Err(format!("`{value}` is not a trust domain: lower-case letters, digits, `-`, `.` and `_`"))
        }
    }
}

fn of_token(value: &str) -> Judgement {
    let ends = |part: &str| stars(part);
    match value.rsplit_once('/') {
        Some((issuer, subject)) => ends(issuer).and(ends(subject))?,
        None => stars(value)?,
    }
    let both = value.starts_with('*') && value.ends_with('*') && value != "*" && value != "*/*";
    match request_principal(value) {
        Some(_) if !both => Ok(None),
        Some(_) => Err(format!("`{value}`: only one of issuer and subject may hold a `*`")),
        None => Err(format!("`{value}` is not `ISSUER/SUBJECT`")),
    }
}

fn method(value: &str) -> Judgement {
    stars(value)?;
    if value.contains(|c: char| c.is_ascii_lowercase()) {
        return Err(format!("`{value}`: no method that is served has lower-case letters"));
    }
    match http::Method::from_bytes(value.replace('*', "").as_bytes()) {
        Ok(_) => Ok(None),
        Err(_) if value == "*" => Ok(None),
        Err(_) => Err(format!("`{value}` is not a method")),
    }
}

fn host(value: &str) -> Judgement {
    stars(value)?;
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | ':' | '[' | ']' | '*');
    match value.chars().find(|c| !good(*c)) {
        Some('/') => Err(format!("`{value}`: a host is written without scheme and path")),
        Some(c) => Err(format!("`{value}`: no host holds `{c}`")),
        None => Ok(None),
    }
}

fn server_name(value: &str) -> Judgement {
    stars(value)?;
    match value.contains(|c: char| c.is_ascii_uppercase()) {
        true => Err(format!("`{value}`: server names are compared in lower case")),
        false => Ok(None),
    }
}

fn path(value: &str) -> Judgement {
    let pattern = PathPattern::parse(value).map_err(|wrong| format!("`{value}`: {wrong}"))?;
    if let PathPattern::Text(_) = pattern {
        stars(value)?;
    }
    let never = |why: &str| Err(format!("`{value}` is met by no path: {why}"));
    if !value.starts_with(['/', '*']) {
        return never("a path begins with `/`");
    }
    if let Some(c) =
        value.chars().find(|c| matches!(c, '?' | '#' | '\\' | ' ') || !c.is_ascii() || c.is_control())
    {
        return match c {
            '?' => never("the query is not compared"),
            '\\' => never("in a normalised path it is `/`"),
            c => never(&format!("a path holds `{}` only escaped", c.escape_default())),
        };
    }
    // A segment beside a `*` is only part of one.
    let mut segments = value.split('/').map(|segment| segment.split(';').next());
    if segments.any(|segment| matches!(segment, Some("." | ".."))) {
        return never("dot segments are resolved before");
    }
    if let Some(escape) = decoded_before(value) {
        return never(&format!("`{escape}` is decoded before"));
    }
    let twofold = value.contains(['%', ';']) || value.contains("//");
    Ok(twofold.then(|| {
        format!("`{value}` is met in just this spelling: paths without `%`, `;` and `//` are met however they are written")
    }))
}

/// An escape of a character that needs none.
fn decoded_before(path: &str) -> Option<&str> {
    let escapes = path.match_indices('%').filter_map(|(at, _)| path.get(at..at + 3));
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    escapes.into_iter().find(|escape| u8::from_str_radix(&escape[1..], 16).is_ok_and(plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(attribute: &Attribute, good: &[&str], bad: &[&str]) {
        for value in good {
            assert_eq!(judge(attribute, value), Ok(None), "{attribute:?} {value}");
        }
        for value in bad.iter().chain(&[""]) {
            assert!(judge(attribute, value).is_err(), "{attribute:?} {value}");
        }
    }

    #[test]
    fn sources() {
        judged(
            &Attribute::Principal,
            &["*", "cluster.local/ns/a/sa/b", "*/sa/b", "td/ns/a/*", "*-td/ns/a/sa/b"],
            &["spiffe://td/ns/a/sa/b", "td/*/a", "*a*", "a b", "**"],
        );
        judged(&Attribute::ServiceAccount, &["a", "ns/a", "cert-manager.io"], &["a/b/c", "/a", "a/", "a*"]);
        judged(&Attribute::Namespace, &["a", "*", "a*b*"], &["A", "a/b", "a.b"]);
        judged(&Attribute::TrustDomain, &["td", "*.td", "td*", "*"], &["TD", "a*b", "td/x"]);
        judged(
            &Attribute::SourceIp,
            &["10.0.0.1", "10.0.0.0/8", "::1", "2001:db8::/32"],
            &["10.0.0.0/33", "a", "10.0.0"],
        );
        judged(
            &Attribute::RequestPrincipal,
            &["*", "iss/sub", "https://a/b/sub", "iss/*", "*/sub", "*b", "a*", "*/*"],
            &["iss", "iss/", "/sub", "*a/b*", "a*b/c", "a/b*c"],
        );
    }

    #[test]
    fn operations() {
        judged(&Attribute::Port, &["1", "65535"], &["0", "65536", "http", "+80", " 80", "-1"]);
        judged(&Attribute::Method, &["GET", "*", "P*", "*T", "M-SEARCH"], &["get", "G*T", "G T"]);
        judged(
            &Attribute::Host,
            &["a.com", "*.com", "A.com:*", "[::1]:80", "*"],
            &["http://a", "a/b", "a*b", "a b"],
        );
        judged(
            &Attribute::Path,
            &["/", "/a", "/a*", "/a/.*", "*../b", "*.js", "*", "/a/{*}/b", "/a/{**}", "/...", "/a.b/"],
            &[
                "a",
                "/a*b",
                "/a?b",
                "/a#b",
                "/a b",
                "/é",
                "/a/../b",
                "/.;x",
                "/%61",
                "/a\\b",
                "/{x}",
                "/a{*}",
                "/{**}/{*}",
                "/a/{",
            ],
        );
        for twofold in ["/a%2fb", "/a;b", "//a", "/a%20b*"] {
            assert!(judge(&Attribute::Path, twofold).unwrap().is_some(), "{twofold}");
        }
        judged(&Attribute::ServerName, &["a.b", "*.b", "outbound_.80_._.a.svc"], &["A.b", "a*b"]);
        judged(&Attribute::Claim(vec!["a".into()]), &["x", "x*", "*x", "*"], &["a*b", "**"]);
    }
}
