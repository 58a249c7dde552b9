//! One entry of an HTTP rule's `match`.

use super::{
    conditions,
    report::{At, Report},
    values,
    virtual_service::gateways,
};
use crate::{
    Map,
    diagnostic::codes,
    istio::{HttpMatchRequest, StringMatch},
    lower::matches::claim_path,
};

pub(super) fn check(request: &HttpMatchRequest, at: At<'_>, report: &mut Report<'_>) {
    let texts = [
        ("uri", request.uri.as_ref()),
        ("scheme", request.scheme.as_deref()),
        ("method", request.method.as_deref()),
        ("authority", request.authority.as_deref()),
    ];
    for (field, value) in texts {
        if let Some(value) = value {
            text(value, at.to(field), report);
        }
    }
    if let Some(uri) = &request.uri {
        path(uri, at.to("uri"), report);
    }
    for (field, names) in [("headers", &request.headers), ("withoutHeaders", &request.without_headers)] {
        header_names(names, at.to(field), report);
        values_of(names, at.to(field), report);
    }
    values_of(&request.query_params, at.to("queryParams"), report);
    labels(&request.source_labels, at.to("sourceLabels"), report);
    gateways(&request.gateways, at.to("gateways"), report);
    conditions::check(request, at, report);
}

fn text(value: &StringMatch, at: At<'_>, report: &mut Report<'_>) {
    report.judge(at.to("regex"), codes::BAD_REGEX, values::string_match(value, false));
    if *value == StringMatch::default() {
        let message = "an empty condition holds for every request";
        report.warn_help(
            at,
            codes::BAD_VALUE,
            message,
            "write one of `exact`, `prefix` and `regex` below it, indented more",
        );
    }
}

fn path(uri: &StringMatch, at: At<'_>, report: &mut Report<'_>) {
    if uri.prefix.as_deref() == Some("") {
        report.error(
            at.to("prefix"),
            codes::BAD_VALUE,
            "a path prefix cannot be empty; for every path, write `/`",
        );
    }
    for (field, value) in [("exact", &uri.exact), ("prefix", &uri.prefix)] {
        let Some(value) = value.as_deref().filter(|value| !value.is_empty()) else { continue };
        if !value.starts_with(['/', '*']) {
            let message = format!("no path begins like `{value}`: a path begins with `/`");
            report.warn(at.to(field), codes::NEVER_MATCHES, message);
        } else if value.contains(['?', '#']) {
            let message = format!("`{value}` holds a query or a fragment, which a path never has");
            report.warn_help(
                at.to(field),
                codes::NEVER_MATCHES,
                message,
                "match the query with `queryParams`",
            );
        } else if value.ends_with('*') {
            let message = format!("the `*` in `{value}` stands for itself: `{field}` knows no wildcard");
            report.warn_help(
                at.to(field),
                codes::NEVER_MATCHES,
                message,
                "leave it out; `prefix` needs none",
            );
        }
    }
}

fn header_names(headers: &Map<StringMatch>, at: At<'_>, report: &mut Report<'_>) {
    for name in headers.keys() {
        let at = at.to(name.as_str());
        if let Some(claim) = claim_path(name) {
            report.judge(at, codes::BAD_HEADER, claim.map(drop));
            continue;
        }
        if matches!(name.as_str(), ":method" | ":authority" | ":path" | ":scheme") {
            continue;
        }
        if let Err(message) = values::header_name(name) {
            report.error(at, codes::BAD_HEADER, message);
        } else if matches!(name.as_str(), "uri" | "scheme" | "method" | "authority") {
            let message = format!("`{name}` under `headers` is ignored");
            let help = format!("write `{name}` beside `headers`, in the match itself");
            report.warn_help(at, codes::BAD_HEADER, message, help);
        } else if matches!(name.as_str(), "exact" | "prefix" | "regex") {
            let message = format!("this matches a header that is named `{name}`");
            report.warn_help(
                at,
                codes::BAD_HEADER,
                message,
                "is it meant for the header above it? Indent it more",
            );
        } else if name.contains(|c: char| c.is_ascii_uppercase()) {
            let message = format!("header names are compared in lower case: `{}`", name.to_ascii_lowercase());
            report.info(at, codes::BAD_HEADER, message);
        }
    }
}

/// Headers with their conditions.
pub(super) fn header_conditions(headers: &Map<StringMatch>, at: At<'_>, report: &mut Report<'_>) {
    header_names(headers, at, report);
    values_of(headers, at, report);
}

fn values_of(values: &Map<StringMatch>, at: At<'_>, report: &mut Report<'_>) {
    for (name, value) in values {
        let at = at.to(name.as_str());
        report.judge(at.to("regex"), codes::BAD_REGEX, values::string_match(value, true));
    }
}

/// Labels of any selector.
pub(super) fn labels(labels: &Map<String>, at: At<'_>, report: &mut Report<'_>) {
    for (key, value) in labels {
        let judgement = values::label_key(key).and_then(|()| values::label_value(value));
        report.judge(at.to(key.as_str()), codes::BAD_LABEL, judgement);
    }
}
