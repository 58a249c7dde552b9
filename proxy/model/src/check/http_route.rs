//! One HTTP rule: exactly one action, and what goes with it.

use super::{
    headers, http_action, http_match,
    report::{At, Report},
    values,
};
use crate::{
    diagnostic::codes,
    istio::{Destination, HttpRoute, VirtualService},
};

pub(super) fn check(route: &HttpRoute, spec: &VirtualService, at: At<'_>, report: &mut Report<'_>) {
    actions(route, spec, at, report);
    for (index, request) in route.matches.iter().enumerate() {
        http_match::check(request, at.to("match").to(index), report);
    }
    for (index, share) in route.route.iter().enumerate() {
        let at = at.to("route");
        let at = at.to(index);
        destination(&share.destination, at.to("destination"), report);
        headers::check(share.headers.as_deref(), at.to("headers"), report);
    }
    weights(&route.route.iter().map(|share| share.weight).collect::<Vec<_>>(), at.to("route"), report);
    headers::check(route.headers.as_deref(), at.to("headers"), report);
    if let Some(timeout) = route.timeout {
        report.judge(at.to("timeout"), codes::SHORT_DURATION, values::zero_or_a_millisecond(timeout));
    }
    mirrors(route, at, report);
    http_action::check(route, at, report);
}

/// One of route, redirect, directResponse and delegate; and what cannot stand beside the last three.
fn actions(route: &HttpRoute, spec: &VirtualService, at: At<'_>, report: &mut Report<'_>) {
    let given: Vec<&str> = [
        ("route", !route.route.is_empty()),
        ("redirect", route.redirect.is_some()),
        ("directResponse", route.direct_response.is_some()),
        ("delegate", route.delegate.is_some()),
    ]
    .into_iter()
    .filter_map(|(name, given)| given.then_some(name))
    .collect();
    const ONE_OF: &str = "a rule has one of `route`, `redirect`, `directResponse` and `delegate`";
    match given.as_slice() {
        [] => report.error_help(
            at,
            codes::NO_ACTION,
            "this rule does not say what to do with a request",
            ONE_OF,
        ),
        [first, others @ ..] => {
            for other in others {
                let message = format!("this rule has both `{first}` and `{other}`");
                report.error_help(at.to(*other), codes::EXCLUSIVE_FIELDS, message, ONE_OF);
            }
        }
    }
    let local = route.redirect.is_some().then_some("redirect");
    let local = local.or(route.direct_response.is_some().then_some("directResponse"));
    for (name, given) in [("fault", route.fault.is_some()), ("rewrite", route.rewrite.is_some())] {
        if let (Some(action), true) = (local, given) {
            let message = format!("`{name}` has no effect beside `{action}`");
            report.error(at.to(name), codes::EXCLUSIVE_FIELDS, message);
        }
    }
    if let Some(delegate) = &route.delegate {
        if spec.hosts.is_empty() {
            let message = "a delegate cannot delegate again: only one level is allowed";
            report.error(at.to("delegate"), codes::EXCLUSIVE_FIELDS, message);
        }
        if delegate.name.is_empty() {
            report.error(at.to("delegate"), codes::MISSING_FIELD, "a delegate needs a `name`");
        }
    }
}

/// A destination by itself; whether it exists: `references`.
pub(super) fn destination(destination: &Destination, at: At<'_>, report: &mut Report<'_>) {
    // A host that is not there at all was told with the types.
    let written = !destination.host.is_empty() || report.is_written(at.to("host"));
    if written && destination.host.parse::<std::net::IpAddr>().is_err() {
        report.judge(at.to("host"), codes::BAD_HOST, values::host_name(&destination.host));
    }
    if let Some(subset) = &destination.subset {
        report.judge(at.to("subset"), codes::BAD_NAME, values::label_name(subset, "the name of a subset"));
    }
}

/// Weights of which traffic can be made (R9).
pub(super) fn weights(weights: &[u32], at: At<'_>, report: &mut Report<'_>) {
    let sum: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
    if weights.len() > 1 && sum == 0 {
        let message = "the weights of these destinations sum to 0: none would get traffic";
        report.error_help(
            at,
            codes::BAD_WEIGHT,
            message,
            "give each destination a `weight`, for example 90 and 10",
        );
    } else if sum > u64::from(u32::MAX) {
        report.error(at, codes::BAD_WEIGHT, format!("the weights sum to {sum}, more than {}", u32::MAX));
    } else if weights.len() > 1 {
        for (index, _) in weights.iter().enumerate().filter(|(_, weight)| **weight == 0) {
            report.info(at.to(index), codes::BAD_WEIGHT, "this destination has weight 0 and gets no traffic");
        }
    } else if weights == [0] && report.is_written(at.to(0).to("weight")) {
        let message = "the only destination gets all traffic, even with weight 0";
        report.warn(at.to(0).to("weight"), codes::DEFAULTED, message);
    }
}

fn mirrors(route: &HttpRoute, at: At<'_>, report: &mut Report<'_>) {
    if let Some(mirror) = &route.mirror {
        destination(mirror, at.to("mirror"), report);
        if !route.mirrors.is_empty() {
            let message = "this rule has both `mirror` and `mirrors`";
            report.error(at.to("mirrors"), codes::EXCLUSIVE_FIELDS, message);
        }
    }
    for (index, mirror) in route.mirrors.iter().enumerate() {
        destination(&mirror.destination, at.to("mirrors").to(index).to("destination"), report);
    }
    if let Some(percent) = route.mirror_percent.filter(|percent| *percent > 100) {
        report.error(at.to("mirrorPercent"), codes::OUT_OF_RANGE, format!("{percent} is more than 100 %"));
    }
    for name in ["mirrorPercentage", "mirrorPercent", "mirror_percent"] {
        if route.mirror.is_none() && report.is_written(at.to(name)) {
            report.warn(at.to(name), codes::NO_ACTION, format!("`{name}` has no effect without `mirror`"));
        }
    }
}
