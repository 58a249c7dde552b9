//! Header operations of a rule or a destination.
//!
//! Fields that frame a message or steer its connection belong to the proxy; pseudo-headers and `Host` are not headers. Istio
//! drops operations on the latter without a word.

use super::{
    report::{At, Report},
    values,
};
use crate::{
    diagnostic::codes,
    istio::{HeaderOperations, Headers},
};

/// Fields of a message's framing or of its connection (RFC 9110 section 7.6.1), each with what to use in its place.
const FRAMING: &[(&str, &str)] = &[
    ("content-length", "leave it out: the length is that of the body"),
    ("transfer-encoding", "leave it out: each side gets the framing of its protocol"),
    ("trailer", "leave it out: trailers pass as they are"),
    ("te", "leave it out: `te: trailers` passes as it is"),
    ("connection", CONNECTION),
    ("keep-alive", CONNECTION),
    ("proxy-connection", CONNECTION),
    ("upgrade", UPGRADE),
    ("http2-settings", UPGRADE),
];
const CONNECTION: &str = "connections are governed by `connectionPool` of a DestinationRule";
const UPGRADE: &str = "leave it out: upgrades such as WebSocket pass as they are";

/// Whether a name stands for the authority.
fn is_authority(name: &str) -> bool {
    name.eq_ignore_ascii_case("host") || name.eq_ignore_ascii_case(":authority")
}

/// `headers` of a rule or a destination.
pub(super) fn check(headers: Option<&Headers>, at: At<'_>, report: &mut Report<'_>) {
    let Some(headers) = headers else { return };
    for (side, operations) in [("request", &headers.request), ("response", &headers.response)] {
        if let Some(operations) = operations {
            check_operations(operations, side, at.to(side), report);
        }
    }
}

fn check_operations(operations: &HeaderOperations, side: &str, at: At<'_>, report: &mut Report<'_>) {
    for (field, values) in [("set", &operations.set), ("add", &operations.add)] {
        let at = at.to(field);
        for (name, value) in values {
            let at = at.to(name.as_str());
            if is_authority(name) && side == "request" && field == "set" {
                report.judge(at, codes::BAD_HOST, values::authority(value));
            } else if !vain(name, side, at, report) {
                report.judge(at, codes::BAD_HEADER, values::header_name(name));
                report.judge(at, codes::BAD_HEADER, values::header_value(value));
            }
        }
    }
    for (index, name) in operations.remove.iter().enumerate() {
        let at = at.to("remove");
        if !vain(name, side, at.to(index), report) {
            report.judge(at.to(index), codes::BAD_HEADER, values::header_name(name));
        }
    }
}

/// Tells of an operation that changes nothing.
fn vain(name: &str, side: &str, at: At<'_>, report: &mut Report<'_>) -> bool {
    let framing = FRAMING.iter().find(|(framing, _)| framing.eq_ignore_ascii_case(name));
    if let Some((_, instead)) = framing {
        let message = format!("`{name}` is not changed: the proxy frames each message itself");
        report.warn_help(at, codes::NOT_APPLIED, message, *instead);
        return true;
    }
    if !name.starts_with(':') && !is_authority(name) {
        return false;
    }
    let instead = match (side, name.to_ascii_lowercase().as_str()) {
        ("request", "host" | ":authority") => "`set` it, or use `rewrite.authority`",
        ("request", ":path") => "use `rewrite.uri` or `rewrite.uriRegexRewrite`",
        ("response", ":status") => "answer with another status by `directResponse` or `fault.abort`",
        _ => "leave it out",
    };
    let message = format!("`{name}` is dropped here, by Istio too: it is not a header of a {side}");
    report.warn_help(at, codes::DROPPED, message, instead);
    true
}
