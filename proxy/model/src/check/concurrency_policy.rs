//! ConcurrencyPolicies by themselves.

use super::{
    report::{At, Report},
    values,
};
use crate::{diagnostic::codes, ir::AdaptiveConcurrency, sidle::ConcurrencyPolicy};

pub(super) fn check(spec: &ConcurrencyPolicy, report: &mut Report<'_>) {
    let root = At::SPEC;
    let min_rtt = root.to("minRtt");
    for (at, value) in [
        (root.to("concurrencyUpdateInterval"), spec.concurrency_update_interval),
        (min_rtt.to("interval"), spec.min_rtt.interval),
    ] {
        if let Some(duration) = value {
            report.judge(at, codes::SHORT_DURATION, values::at_least_a_millisecond(duration));
        }
    }
    let defaults = AdaptiveConcurrency::default();
    let least = spec.min_rtt.min_concurrency.unwrap_or(defaults.min_concurrency);
    let most = spec.max_concurrency_limit.unwrap_or(defaults.max_concurrency);
    if least > most {
        let message = format!("the limit cannot be at least {least} and at most {most}");
        let at = if spec.max_concurrency_limit.is_some() { root.to("maxConcurrencyLimit") } else { min_rtt };
        report.error(at, codes::BAD_VALUE, message);
    }
    let paths = root.to("healthCheckPaths");
    for (index, path) in spec.health_check_paths.iter().enumerate().filter(|(_, p)| !p.starts_with('/')) {
        report.error(
            paths.to(index),
            codes::BAD_VALUE,
            format!("`{path}` is no path: it has no `/` in front"),
        );
    }
}
