//! FaultPolicies by themselves.

use super::{
    http_action,
    report::{At, Report},
    values,
};
use crate::{diagnostic::codes, istio::Percent, sidle::FaultPolicy};

pub(super) fn check(spec: &FaultPolicy, report: &mut Report<'_>) {
    let root = At::SPEC;
    let at = root.to("host");
    if spec.host.is_empty() && !report.is_written(at) {
        report.error(root, codes::MISSING_FIELD, "a FaultPolicy needs a `host`");
    } else {
        report.judge(at, codes::BAD_HOST, values::host_pattern(&spec.host));
    }
    if spec.http.is_none() && spec.tcp.is_none() {
        report.error(root, codes::BAD_FAULT, "a FaultPolicy needs `http` or `tcp`");
    }
    if let Some(http) = &spec.http {
        http_action::fault(http, root.to("http"), report);
    }
    let Some(tcp) = &spec.tcp else { return };
    let at = root.to("tcp");
    if tcp.delay.is_none() && tcp.reset.is_none() && tcp.cut.is_none() {
        report.error(at, codes::BAD_FAULT, "faults of connections need a `delay`, a `reset` or a `cut`");
    }
    if let Some(delay) = &tcp.delay {
        http_action::fault_delay(delay, at.to("delay"), report);
    }
    let shares = [
        ("reset", tcp.reset.as_ref().map(|reset| reset.percentage.as_ref())),
        ("cut", tcp.cut.as_ref().map(|cut| cut.percentage.as_ref())),
    ];
    for (field, share) in shares {
        if let Some(None::<&Percent>) = share {
            let help = "add `percentage: {value: 100}`";
            report.warn_help(at.to(field), codes::BAD_FAULT, http_action::NEVER, help);
        }
    }
}
