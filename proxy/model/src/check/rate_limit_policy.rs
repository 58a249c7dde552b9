//! RateLimitPolicies by themselves.

use super::{
    extension_provider, http_match,
    report::{At, Report},
    values,
};
use crate::{
    diagnostic::codes,
    ir::RateLimitHeader,
    sidle::{RateLimitAction, RateLimitPolicy, RateLimitService, TokenBucket},
};
use std::time::Duration;

/// As Envoy has it.
const LEAST_INTERVAL: Duration = Duration::from_millis(50);

pub(super) fn check(spec: &RateLimitPolicy, report: &mut Report<'_>) {
    let root = At::SPEC;
    let hosts = root.to("hosts");
    for (index, host) in spec.hosts.iter().enumerate() {
        report.judge(hosts.to(index), codes::BAD_HOST, values::host_pattern(host));
    }
    match (&spec.token_bucket, &spec.rate_limit_service) {
        (Some(given), None) => bucket(given, report),
        (None, Some(given)) => service(given, root.to("rateLimitService"), report),
        (Some(_), Some(_)) => {
            let message = "a policy has a `tokenBucket` or a `rateLimitService`, not both";
            let help = "write two policies: both hold, and the service is only asked about what the bucket lets through";
            report.error_help(root.to("rateLimitService"), codes::EXCLUSIVE_FIELDS, message, help);
        }
        (None, None)
            if ["tokenBucket", "rateLimitService"].iter().any(|it| report.is_written(root.to(*it))) => {}
        (None, None) => {
            let message = "a RateLimitPolicy needs a `tokenBucket` or a `rateLimitService`";
            report.error(root, codes::MISSING_FIELD, message);
        }
    }
    key(spec, report);
}

fn bucket(given: &TokenBucket, report: &mut Report<'_>) {
    let bucket = At::SPEC.to("tokenBucket");
    if given.max_tokens.is_none() && !report.is_written(bucket.to("maxTokens")) {
        report.error(bucket, codes::MISSING_FIELD, "a `tokenBucket` needs `maxTokens`");
    }
    match given.fill_interval {
        None if !report.is_written(bucket.to("fillInterval")) => {
            report.error(bucket, codes::MISSING_FIELD, "a `tokenBucket` needs a `fillInterval`");
        }
        Some(interval) if interval.0 < LEAST_INTERVAL => {
            let message = format!("{interval} is less than the least that can be applied, 50ms");
            report.error(bucket.to("fillInterval"), codes::SHORT_DURATION, message);
        }
        _ => {}
    }
}

fn key(spec: &RateLimitPolicy, report: &mut Report<'_>) {
    let at = At::SPEC.to("key");
    let Some(key) = &spec.key else { return };
    if spec.rate_limit_service.is_some() {
        let message = "a `key` says whose requests share a bucket; a service is told by `rateLimits`";
        report.error(at, codes::EXCLUSIVE_FIELDS, message);
    } else if key.source.is_some() == key.header.is_some() && !report.is_written(at.to("source")) {
        report.error(at, codes::MISSING_FIELD, "a `key` needs a `source` or a `header`");
    } else if key.source.is_some() && key.header.is_some() {
        report.error(at, codes::BAD_VALUE, "a `key` has a `source` or a `header`, not both");
    }
    if let Some(name) = &key.header {
        report.judge(at.to("header"), codes::BAD_HEADER, values::header_name(name));
    }
}

fn service(given: &RateLimitService, at: At<'_>, report: &mut Report<'_>) {
    extension_provider::place(&given.service, given.port, given.timeout, at, report);
    if given.domain.is_empty() {
        report.error(at.to("domain"), codes::MISSING_FIELD, "a `rateLimitService` needs a `domain`");
    }
    let limits = at.to("rateLimits");
    if given.rate_limits.is_empty() && !report.is_written(limits) {
        report.error(at, codes::EMPTY_LIST, "without `rateLimits` the service is never asked");
    }
    for (index, limit) in given.rate_limits.iter().enumerate() {
        let at = limits.to(index);
        let actions = at.to("actions");
        if limit.actions.is_empty() && !report.is_written(actions) {
            report.error(at, codes::EMPTY_LIST, "a descriptor needs `actions`");
        }
        for (index, given) in limit.actions.iter().enumerate() {
            action(given, actions.to(index), report);
        }
    }
}

fn action(given: &RateLimitAction, at: At<'_>, report: &mut Report<'_>) {
    let kinds = [
        given.source_cluster.is_some(),
        given.destination_cluster.is_some(),
        given.remote_address.is_some(),
        given.masked_remote_address.is_some(),
        given.request_headers.is_some(),
        given.generic_key.is_some(),
        given.header_value_match.is_some(),
    ];
    if kinds.into_iter().filter(|kind| *kind).count() != 1 {
        let message = "an action is exactly one of `sourceCluster`, `destinationCluster`, `remoteAddress`, \
             `maskedRemoteAddress`, `requestHeaders`, `genericKey` and `headerValueMatch`";
        report.error(at, codes::EXCLUSIVE_FIELDS, message);
    }
    let needs = |at: At<'_>, field: &'static str, value: &str, report: &mut Report<'_>| {
        if value.is_empty() {
            report.error(at.to(field), codes::MISSING_FIELD, format!("`{field}` must be said"));
        }
    };
    if let Some(header) = &given.request_headers {
        let at = at.to("requestHeaders");
        needs(at, "descriptorKey", &header.descriptor_key, report);
        if RateLimitHeader::parse(&header.header_name).is_none() {
            let message = format!("`{}` is not a header name", header.header_name);
            report.error(at.to("headerName"), codes::BAD_HEADER, message);
        }
    }
    if let Some(generic) = &given.generic_key {
        needs(at.to("genericKey"), "descriptorValue", &generic.descriptor_value, report);
    }
    if let Some(matched) = &given.header_value_match {
        let at = at.to("headerValueMatch");
        needs(at, "descriptorValue", &matched.descriptor_value, report);
        let headers = at.to("headers");
        if matched.headers.is_empty() && !report.is_written(headers) {
            report.error(at, codes::EMPTY_LIST, "a `headerValueMatch` needs `headers`");
        }
        http_match::header_conditions(&matched.headers, headers, report);
    }
}
