//! HealthPolicies by themselves.

use super::{
    report::{At, Report},
    values,
};
use crate::{
    diagnostic::codes,
    sidle::{HealthCheck, HealthPolicy},
};

pub(super) fn check(spec: &HealthPolicy, report: &mut Report<'_>) {
    let at = At::SPEC.to("host");
    if spec.host.is_empty() && !report.is_written(at) {
        report.error(At::SPEC, codes::MISSING_FIELD, "a HealthPolicy needs a `host`");
    } else {
        report.judge(at, codes::BAD_HOST, values::host_pattern(&spec.host));
    }
    if *spec == (HealthPolicy { host: spec.host.clone(), ..HealthPolicy::default() }) {
        report.warn(At::SPEC, codes::NO_ACTION, "this health policy says nothing");
    }
    if let Some(check) = &spec.health_check {
        health_check(check, At::SPEC.to("healthCheck"), report);
    }
}

fn health_check(check: &HealthCheck, at: At<'_>, report: &mut Report<'_>) {
    if check.http.is_none() && check.grpc.is_none() && check.tcp.is_none() {
        let message = "this does not say what to ask";
        report.error_help(at, codes::MISSING_FIELD, message, "set one of `http`, `grpc` and `tcp: {}`");
    }
    for (field, value) in [("interval", check.interval), ("timeout", check.timeout)] {
        if let Some(duration) = value {
            report.judge(at.to(field), codes::SHORT_DURATION, values::at_least_a_millisecond(duration));
        }
    }
    let path = check.http.as_ref().and_then(|http| http.path.as_deref());
    if let Some(path) = path.filter(|path| !path.starts_with('/') || path.contains([' ', '#'])) {
        let message =
            format!("`{path}` is not a path: it begins with a slash, and has neither spaces nor `#`");
        report.error(at.to("http").to("path"), codes::BAD_VALUE, message);
    }
    let names = [
        ("http", "host", check.http.as_ref().and_then(|http| http.host.as_deref())),
        ("grpc", "authority", check.grpc.as_ref().and_then(|grpc| grpc.authority.as_deref())),
    ];
    for (block, field, name) in names {
        if let Some(name) = name
            && name.parse::<http::uri::Authority>().is_err()
        {
            let message = format!("`{name}` is not a host");
            report.error(at.to(block).to(field), codes::BAD_HOST, message);
        }
    }
}
