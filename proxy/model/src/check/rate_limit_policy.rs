//! RateLimitPolicies by themselves.

use super::{
    report::{At, Report},
    values,
};
use crate::{diagnostic::codes, sidle::RateLimitPolicy};
use std::time::Duration;

/// As Envoy has it.
const LEAST_INTERVAL: Duration = Duration::from_millis(50);

pub(super) fn check(spec: &RateLimitPolicy, report: &mut Report<'_>) {
    let root = At::SPEC;
    let hosts = root.to("hosts");
    for (index, host) in spec.hosts.iter().enumerate() {
        report.judge(hosts.to(index), codes::BAD_HOST, values::host_pattern(host));
    }
    let bucket = root.to("tokenBucket");
    if spec.token_bucket.max_tokens.is_none() && !report.is_written(bucket.to("maxTokens")) {
        report.error(bucket, codes::MISSING_FIELD, "a `tokenBucket` needs `maxTokens`");
    }
    match spec.token_bucket.fill_interval {
        None if !report.is_written(bucket.to("fillInterval")) => {
            report.error(bucket, codes::MISSING_FIELD, "a `tokenBucket` needs a `fillInterval`");
        }
        Some(interval) if interval.0 < LEAST_INTERVAL => {
            let message = format!("{interval} is less than the least that can be applied, 50ms");
            report.error(bucket.to("fillInterval"), codes::SHORT_DURATION, message);
        }
        _ => {}
    }
    let at = root.to("key");
    let Some(key) = &spec.key else { return };
    if key.source.is_some() == key.header.is_some() && !report.is_written(at.to("source")) {
        report.error(at, codes::MISSING_FIELD, "a `key` needs a `source` or a `header`");
    } else if key.source.is_some() && key.header.is_some() {
        report.error(at, codes::BAD_VALUE, "a `key` has a `source` or a `header`, not both");
    }
    if let Some(name) = &key.header {
        report.judge(at.to("header"), codes::BAD_HEADER, values::header_name(name));
    }
}
