//! What an HTTP rule does besides choosing a destination: redirect, direct response, rewrite, retries, faults, CORS.

use super::{
    report::{At, Report},
    values,
};
use crate::{
    Duration,
    diagnostic::codes,
    istio::{
        CorsPolicy, FaultAbort, FaultDelay, GRPC_STATUSES, HttpDirectResponse, HttpFaultInjection,
        HttpMatchRequest, HttpRedirect, HttpRetry, HttpRewrite, HttpRoute,
    },
};

/// The largest body of a direct response: 1 MiB.
const MOST_BODY_BYTES: usize = 1 << 20;

pub(super) fn check(route: &HttpRoute, at: At<'_>, report: &mut Report<'_>) {
    if let Some(value) = &route.redirect {
        redirect(value, route, at.to("redirect"), report);
    }
    if let Some(value) = &route.direct_response {
        direct_response(value, at.to("directResponse"), report);
    }
    if let Some(value) = &route.rewrite {
        rewrite(value, route, at.to("rewrite"), report);
    }
    if let Some(value) = &route.retries {
        retries(value, route.timeout, at.to("retries"), report);
    }
    if let Some(value) = &route.fault {
        fault(value, at.to("fault"), report);
    }
    if let Some(value) = &route.cors_policy {
        cors(value, at.to("corsPolicy"), report);
    }
}

fn redirect(redirect: &HttpRedirect, route: &HttpRoute, at: At<'_>, report: &mut Report<'_>) {
    let HttpRedirect { uri, prefix_rewrite, authority, port, derive_port, scheme, redirect_code } = redirect;
    let says_where = uri.is_some() || prefix_rewrite.is_some() || authority.is_some() || scheme.is_some();
    if !says_where && port.is_none() && derive_port.is_none() {
        report.error(
            at,
            codes::NO_ACTION,
            "a redirect needs a `uri`, `prefixRewrite`, `authority`, `scheme` or `port`",
        );
    }
    if let Some(code) = redirect_code.filter(|code| !matches!(code, 0 | 301 | 302 | 303 | 307 | 308)) {
        let message = format!("{code} is not the status of a redirect: 301, 302, 303, 307 or 308");
        report.error(at.to("redirectCode"), codes::BAD_STATUS, message);
    }
    if let Some(scheme) = scheme.as_deref().filter(|scheme| !matches!(*scheme, "http" | "https")) {
        report.error(at.to("scheme"), codes::BAD_VALUE, format!("`{scheme}` is not `http` or `https`"));
    }
    if let Some(authority) = authority {
        report.judge(at.to("authority"), codes::BAD_HOST, values::authority(authority));
    }
    for (field, value) in [("uri", uri), ("prefixRewrite", prefix_rewrite)] {
        let Some(text) = value else { continue };
        report.judge(at.to(field), codes::BAD_VALUE, values::path_text(text));
        if text.contains("://") {
            let message = format!("`{text}` is put in the place of the path: the host stays");
            let help = "write the scheme to `scheme`, the host to `authority`, and only the path here";
            report.warn_help(at.to(field), codes::BAD_VALUE, message, help);
        }
    }
    let is_prefix = |m: &HttpMatchRequest| m.uri.as_ref().is_some_and(|uri| uri.prefix.is_some());
    let prefixes = !route.matches.is_empty() && route.matches.iter().all(is_prefix);
    if prefix_rewrite.is_some() && !prefixes {
        let message = "`prefixRewrite` needs a `uri.prefix` in every match of the rule";
        report.error(at.to("prefixRewrite"), codes::BAD_VALUE, message);
    }
}

fn direct_response(response: &HttpDirectResponse, at: At<'_>, report: &mut Report<'_>) {
    report.judge(at.to("status"), codes::BAD_STATUS, values::status(response.status));
    let Some(body) = &response.body else { return };
    let text = body.string.as_deref().map(str::len);
    let bytes = body.bytes.as_deref().map(|text| text.trim_end_matches('=').len() / 4 * 3);
    if text.or(bytes).unwrap_or_default() > MOST_BODY_BYTES {
        report.error(at.to("body"), codes::LARGE_BODY, "the body is larger than 1 MiB");
    }
    let base64 = |byte: u8| byte.is_ascii_alphanumeric() || b"+/-_=".contains(&byte);
    if body.bytes.as_deref().is_some_and(|text| !text.bytes().all(base64)) {
        report.error(at.to("body").to("bytes"), codes::BAD_VALUE, "`bytes` is not base64");
    }
}

fn rewrite(rewrite: &HttpRewrite, route: &HttpRoute, at: At<'_>, report: &mut Report<'_>) {
    let HttpRewrite { uri, authority, uri_regex_rewrite } = rewrite;
    match (uri, uri_regex_rewrite) {
        (None, None) if authority.is_none() => {
            report.error(at, codes::NO_ACTION, "a rewrite needs a `uri`, `uriRegexRewrite` or `authority`");
        }
        (Some(_), Some(_)) => {
            let message = "a rewrite has one of `uri` and `uriRegexRewrite`";
            report.error(at.to("uriRegexRewrite"), codes::EXCLUSIVE_FIELDS, message);
        }
        _ => {}
    }
    if let Some(authority) = authority {
        report.judge(at.to("authority"), codes::BAD_HOST, values::authority(authority));
    }
    if let Some(regex) = uri_regex_rewrite {
        let at = at.to("uriRegexRewrite");
        report.judge(at.to("match"), codes::BAD_REGEX, values::regex(&regex.pattern));
        report.judge(at.to("rewrite"), codes::BAD_VALUE, values::path_text(&regex.rewrite));
    }
    if let Some(uri) = uri {
        report.judge(at.to("uri"), codes::BAD_VALUE, values::path_text(uri));
        if uri.contains(['?', '#']) {
            let message =
                format!("`{uri}` holds a query or a fragment; the request's own query is put after it");
            report.warn(at.to("uri"), codes::BAD_VALUE, message);
        }
    }
    let to_slash = uri.as_deref() == Some("/");
    for request in &route.matches {
        let prefix = request.uri.as_ref().and_then(|uri| uri.prefix.as_deref());
        if let Some(prefix) = prefix.filter(|prefix| to_slash && prefix.len() > 1 && !prefix.ends_with('/')) {
            let message = format!("the prefix `{prefix}` becomes `/`, so `{prefix}/x` becomes `//x`");
            let help =
                format!("match `{prefix}/` with the prefix rewritten to `/`, and `{prefix}` by itself");
            report.warn_help(at.to("uri"), codes::BAD_VALUE, message, help);
            break;
        }
    }
}

/// Conditions of `retryOn` besides statuses by number.
const RETRY_CONDITIONS: &[&str] = &[
    "5xx",
    "gateway-error",
    "reset",
    "reset-before-request",
    "connect-failure",
    "retriable-4xx",
    "refused-stream",
    "retriable-status-codes",
    "retriable-headers",
    "envoy-ratelimited",
    "http3-post-connect-failure",
    "cancelled",
    "deadline-exceeded",
    "internal",
    "resource-exhausted",
    "unavailable",
];

/// A retry policy, of a route or of the whole mesh.
pub(super) fn retries(retry: &HttpRetry, timeout: Option<Duration>, at: At<'_>, report: &mut Report<'_>) {
    if retry.attempts == 0 && (retry.retry_on.is_some() || retry.per_try_timeout.is_some()) {
        let message =
            "`attempts` is 0 or absent, which turns retries off: the rest of this policy has no effect";
        report.error_help(at, codes::BAD_RETRY, message, "set `attempts`, for example to 2");
    }
    for condition in retry.retry_on.iter().flat_map(|list| list.split(',')).map(str::trim) {
        let is_status = condition.parse::<u32>().is_ok_and(|status| values::status(status).is_ok());
        if condition.is_empty() || is_status || RETRY_CONDITIONS.contains(&condition) {
            continue;
        }
        let message = format!("`{condition}` is not a condition for a retry");
        let help = match crate::yaml::nearest(condition, RETRY_CONDITIONS.iter().copied()) {
            Some(known) => format!("did you mean `{known}`?"),
            None => format!("known conditions: {}, or a status such as 503", RETRY_CONDITIONS.join(", ")),
        };
        report.error_help(at.to("retryOn"), codes::BAD_RETRY, message, help);
    }
    for (field, value) in [("perTryTimeout", retry.per_try_timeout), ("backoff", retry.backoff)] {
        if let Some(duration) = value {
            report.judge(at.to(field), codes::SHORT_DURATION, values::zero_or_a_millisecond(duration));
        }
    }
    if let (Some(per_try), Some(total)) =
        (retry.per_try_timeout, timeout.filter(|timeout| !timeout.0.is_zero()))
        && per_try > total
    {
        let message = format!("a try may take {per_try}, longer than the {total} of all tries together");
        report.warn(at.to("perTryTimeout"), codes::BAD_RETRY, message);
    }
}

/// Faults of HTTP, wherever they are injected.
pub(super) fn fault(fault: &HttpFaultInjection, at: At<'_>, report: &mut Report<'_>) {
    if fault.delay.is_none() && fault.abort.is_none() {
        report.error(at, codes::BAD_FAULT, "a fault needs a `delay` or an `abort`");
    }
    if let Some(delay) = &fault.delay {
        fault_delay(delay, at.to("delay"), report);
    }
    if let Some(abort) = &fault.abort {
        fault_abort(abort, at.to("abort"), report);
    }
}

/// What has no share.
pub(super) const NEVER: &str = "without a `percentage` this fault is never injected";

/// A wait.
pub(super) fn fault_delay(delay: &FaultDelay, at: At<'_>, report: &mut Report<'_>) {
    match delay.fixed_delay {
        Some(duration) => {
            report.judge(
                at.to("fixedDelay"),
                codes::SHORT_DURATION,
                values::at_least_a_millisecond(duration),
            );
        }
        None if delay.exponential_delay.is_none() => {
            report.error(at, codes::BAD_FAULT, "a delay needs a `fixedDelay`");
        }
        None => {}
    }
    if delay.percentage.is_none() && delay.percent.is_none() {
        report.warn_help(at, codes::BAD_FAULT, NEVER, "add `percentage: {value: 100}`");
    }
}

fn fault_abort(abort: &FaultAbort, at: At<'_>, report: &mut Report<'_>) {
    if abort.http_status.is_none() && abort.grpc_status.is_none() && abort.http2_error.is_none() {
        report.error(at, codes::BAD_FAULT, "an abort needs a `httpStatus` or a `grpcStatus`");
    }
    if let Some(status) = abort.http_status {
        report.judge(at.to("httpStatus"), codes::BAD_STATUS, values::status(status));
    }
    if let Some(name) = &abort.grpc_status
        && !GRPC_STATUSES.contains(&name.to_ascii_uppercase().as_str())
        && !name.parse::<u8>().is_ok_and(|number| number <= 16)
    {
        let message = format!("`{name}` is not the name of a gRPC status");
        report.error_help(at.to("grpcStatus"), codes::BAD_STATUS, message, GRPC_STATUSES.join(", "));
    }
    if abort.percentage.is_none() {
        report.warn_help(at, codes::BAD_FAULT, NEVER, "add `percentage: {value: 100}`");
    }
}

fn cors(cors: &CorsPolicy, at: At<'_>, report: &mut Report<'_>) {
    for (index, origin) in cors.allow_origins.iter().enumerate() {
        let at = at.to("allowOrigins");
        let at = at.to(index);
        report.judge(at.to("regex"), codes::BAD_REGEX, values::string_match(origin, false));
        if *origin == Default::default() {
            report.error(at, codes::BAD_VALUE, "an origin needs one of `exact`, `prefix` and `regex`");
        }
    }
    for (index, method) in cors.allow_methods.iter().enumerate() {
        if http::Method::from_bytes(method.as_bytes()).is_err()
            || method.contains(|c: char| c.is_ascii_lowercase())
        {
            let message = format!("`{method}` is not a method such as GET or POST");
            report.error(at.to("allowMethods").to(index), codes::BAD_VALUE, message);
        }
    }
    for (field, names) in [("allowHeaders", &cors.allow_headers), ("exposeHeaders", &cors.expose_headers)] {
        for (index, name) in names.iter().enumerate().filter(|(_, name)| *name != "*") {
            report.judge(at.to(field).to(index), codes::BAD_HEADER, values::header_name(name));
        }
    }
    if let Some(age) = cors.max_age
        && age.0.subsec_nanos() != 0
    {
        report.error(
            at.to("maxAge"),
            codes::SHORT_DURATION,
            format!("{age} is not a number of whole seconds"),
        );
    }
}
