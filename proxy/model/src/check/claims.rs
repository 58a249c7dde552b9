//! Rules by claims where no request has any: claims are known of tokens that were verified, and tokens are verified where requests
//! come in.

use super::report::{At, Report};
use crate::{
    config::Config,
    diagnostic::{Diagnostic, codes},
    istio::{HttpMatchRequest, VirtualService},
    lower::matches::claim_path,
    pause,
};

pub(super) fn check(config: &Config, out: &mut Vec<Diagnostic>) {
    let verified = config.request_authentications.iter().any(|policy| !policy.spec.jwt_rules.is_empty());
    for resource in &config.virtual_services {
        let report = &mut Report::new(resource, out);
        let root = At::SPEC;
        let rules = root.to("http");
        for (index, rule) in pause::each(&resource.spec.http).enumerate() {
            for (number, condition) in rule.matches.iter().enumerate() {
                let at = rules.to(index);
                let at = at.to("match");
                check_match(&resource.spec, condition, verified, at.to(number), report);
            }
        }
    }
}

fn check_match(
    spec: &VirtualService,
    condition: &HttpMatchRequest,
    verified: bool,
    at: At<'_>,
    report: &mut Report<'_>,
) {
    let gateways = if condition.gateways.is_empty() { &spec.gateways } else { &condition.gateways };
    let why = match gateways.iter().all(|gateway| gateway == "mesh") {
        true => "rules for the mesh see requests of the application, whose tokens are not verified",
        false if verified => return,
        false => "no RequestAuthentication in the files verifies tokens",
    };
    for (field, names) in [("headers", &condition.headers), ("withoutHeaders", &condition.without_headers)] {
        for name in names.keys().filter(|name| claim_path(name).is_some()) {
            let at = at.to(field);
            report.warn(
                at.to(name.as_str()),
                codes::NEVER_MATCHES,
                format!("no request has this claim: {why}"),
            );
        }
    }
}
