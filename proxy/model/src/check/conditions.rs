//! Conditions of a `match` entry that no request can meet.
//!
//! Invariant: only what is certain is told; a regular expression is looked at, never searched.

use super::report::{At, Report};
use crate::{
    diagnostic::codes,
    istio::{HttpMatchRequest, StringMatch},
    yaml::nearest,
};

pub(super) fn check(request: &HttpMatchRequest, at: At<'_>, report: &mut Report<'_>) {
    let pseudo = |name: &str| request.headers.get(name);
    let headers = at.to("headers");
    for (value, at) in
        [(request.method.as_deref(), at.to("method")), (pseudo(":method"), headers.to(":method"))]
    {
        value.into_iter().for_each(|value| method(value, at, report));
    }
    for (value, at) in
        [(request.scheme.as_deref(), at.to("scheme")), (pseudo(":scheme"), headers.to(":scheme"))]
    {
        value.into_iter().for_each(|value| scheme(value, at, report));
    }
    for (value, at) in [
        (request.authority.as_deref(), at.to("authority")),
        (pseudo(":authority"), headers.to(":authority")),
        (pseudo("host"), headers.to("host")),
    ] {
        value.into_iter().for_each(|value| authority(value, at, report));
    }
    if let Some(pattern) = request.uri.as_ref().and_then(|uri| uri.regex.as_deref()) {
        path_expression(pattern, at.to("uri").to("regex"), report);
    }
    unseen_headers(request, at, report);
}

/// Methods of RFC 9110 and RFC 5789.
const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

fn method(value: &StringMatch, at: At<'_>, report: &mut Report<'_>) {
    let (field, written) = match (&value.exact, &value.regex) {
        (Some(exact), _) => ("exact", vec![exact.as_str()]),
        (None, Some(regex)) => ("regex", plain_alternatives(regex)),
        _ => return,
    };
    for name in written {
        if METHODS.contains(&name) {
            continue;
        }
        let upper = name.to_ascii_uppercase();
        if METHODS.contains(&&*upper) {
            let message =
                format!("no client sends the method `{name}`: methods are compared with their case");
            report.warn_help(at.to(field), codes::NEVER_MATCHES, message, format!("write `{upper}`"));
        } else if http::Method::from_bytes(name.as_bytes()).is_err() {
            let message = format!("`{name}` is no method, so no request meets this");
            report.warn_help(at.to(field), codes::NEVER_MATCHES, message, "for example GET or POST");
        } else if let Some(meant) = nearest(name, METHODS) {
            let message = format!("`{name}` is not a registered method");
            report.warn_help(at.to(field), codes::UNKNOWN_VALUE, message, format!("did you mean `{meant}`?"));
        }
    }
}

/// The words of an expression such as `GET|POST` or `^(GET|POST)$`; of any other, none.
fn plain_alternatives(regex: &str) -> Vec<&str> {
    let inner = regex.strip_prefix('^').unwrap_or(regex);
    let inner = inner.strip_suffix('$').unwrap_or(inner);
    let inner = inner.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).unwrap_or(inner);
    let words: Vec<&str> = inner.split('|').collect();
    let plain = |word: &&str| !word.is_empty() && word.chars().all(|c| c.is_ascii_alphabetic());
    if words.iter().all(plain) { words } else { Vec::new() }
}

fn scheme(value: &StringMatch, at: At<'_>, report: &mut Report<'_>) {
    let (field, text, possible) = match (&value.exact, &value.prefix) {
        (Some(exact), _) => ("exact", exact, matches!(exact.as_str(), "http" | "https")),
        (None, Some(prefix)) => ("prefix", prefix, "https".starts_with(prefix.as_str())),
        _ => return,
    };
    if !possible {
        let message = format!("no request has the scheme `{text}`: it is `http` or `https`");
        report.warn(at.to(field), codes::NEVER_MATCHES, message);
    }
}

fn authority(value: &StringMatch, at: At<'_>, report: &mut Report<'_>) {
    for (field, text) in [("exact", &value.exact), ("prefix", &value.prefix)] {
        let Some(text) = text.as_deref() else { continue };
        if field == "exact" && text.starts_with("*.") {
            let message = format!("the `*` in `{text}` stands for itself: `exact` knows no wildcard");
            let help = "name the wildcard in `hosts`, or match by `regex`";
            report.warn_help(at.to(field), codes::NEVER_MATCHES, message, help);
        } else if text.contains(['/', ' ', '@', '?', '#', '*']) || (field == "exact" && text.is_empty()) {
            let message = format!("no request has the authority `{text}`: it is a host, perhaps with a port");
            report.warn(at.to(field), codes::NEVER_MATCHES, message);
        }
    }
}

/// An expression is compared with the whole path, which begins with `/` and has no query.
fn path_expression(pattern: &str, at: At<'_>, report: &mut Report<'_>) {
    if pattern.contains('|') {
        return;
    }
    let mut start = pattern.strip_prefix('^').unwrap_or(pattern).chars();
    let first_is_letter = start.next().is_some_and(|c| c.is_ascii_alphanumeric());
    let is_optional = |next: Option<char>| matches!(next, Some('?' | '*' | '{'));
    if first_is_letter && !is_optional(start.next()) {
        let message = "the whole path has to match, and no path begins like this expression";
        report.warn_help(at, codes::NEVER_MATCHES, message, "begin it with `/`, or with `.*`");
    } else if !pattern.contains(['(', '['])
        && let Some((_, after)) = pattern.split_once(r"\?")
        && !is_optional(after.chars().next())
    {
        let message = "this expression asks for a `?`, which no path holds: the query is apart";
        report.warn_help(at, codes::NEVER_MATCHES, message, "match the query with `queryParams`");
    }
}

/// Fields of one connection, which are taken off when a request arrives.
const UNSEEN: [&str; 6] =
    ["connection", "keep-alive", "proxy-connection", "upgrade", "http2-settings", "transfer-encoding"];

/// Headers that rules never see: what frames a message is taken off before.
fn unseen_headers(request: &HttpMatchRequest, at: At<'_>, report: &mut Report<'_>) {
    let headers = at.to("headers");
    for name in request.headers.keys() {
        if UNSEEN.iter().any(|unseen| unseen.eq_ignore_ascii_case(name)) {
            let message = format!("`{name}` is of one connection and taken off before rules are asked");
            let help = "match by path or host in its place";
            report.warn_help(headers.to(name.as_str()), codes::NEVER_MATCHES, message, help);
        }
    }
}
