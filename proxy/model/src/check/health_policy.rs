//! HealthPolicies by themselves.

use super::{
    report::{At, Report},
    values,
};
use crate::{diagnostic::codes, sidle::HealthPolicy};

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
}
