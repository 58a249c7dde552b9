//! UpstreamPolicies by themselves.

use super::{
    report::{At, Report},
    values,
};
use crate::{diagnostic::codes, sidle::UpstreamPolicy};

pub(super) fn check(spec: &UpstreamPolicy, report: &mut Report<'_>) {
    let at = At::SPEC.to("host");
    if spec.host.is_empty() && !report.is_written(at) {
        report.error(At::SPEC, codes::MISSING_FIELD, "an UpstreamPolicy needs a `host`");
    } else {
        report.judge(at, codes::BAD_HOST, values::host_pattern(&spec.host));
    }
    if *spec == (UpstreamPolicy { host: spec.host.clone(), ..UpstreamPolicy::default() }) {
        report.warn(At::SPEC, codes::NO_ACTION, "this upstream policy says nothing");
    }
    let decay = spec.peak_ewma.as_ref().and_then(|ewma| ewma.decay);
    let after = spec.hedging.as_ref().and_then(|hedging| hedging.after);
    for (block, field, value) in [("peakEwma", "decay", decay), ("hedging", "after", after)] {
        if let Some(duration) = value {
            let at = At::SPEC.to(block);
            report.judge(at.to(field), codes::SHORT_DURATION, values::at_least_a_millisecond(duration));
        }
    }
}
