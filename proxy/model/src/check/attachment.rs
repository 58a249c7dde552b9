//! Which workloads a policy is for: labels, or resources that it is attached to.

use super::{
    http_match::labels,
    report::{At, Report},
};
use crate::{diagnostic::codes, istio::Attachment};

/// What a policy can be attached to: API group and kind.
const TARGETS: [(&str, &str); 5] = [
    ("gateway.networking.k8s.io", "Gateway"),
    ("gateway.networking.k8s.io", "GatewayClass"),
    ("", "Service"),
    ("core", "Service"),
    ("networking.istio.io", "ServiceEntry"),
];

pub(super) fn check(attachment: Attachment<'_>, report: &mut Report<'_>) {
    let root = At::SPEC;
    if let Some(selector) = attachment.selector {
        let at = root.to("selector");
        labels(&selector.match_labels, at.to("matchLabels"), report);
        if selector.match_labels.is_empty() {
            let message = "a selector without labels picks every workload of the namespace";
            report.warn(at, codes::EMPTY_LIST, message);
        }
    }
    let (list, targets) = attachment.targets();
    let Attachment { selector, target_ref, target_refs } = attachment;
    let ways = [selector.is_some(), target_ref.is_some(), !target_refs.is_empty()];
    if ways.into_iter().filter(|way| *way).count() > 1 {
        let message = "only one of `selector`, `targetRef` and `targetRefs` may be set";
        report.error(root.to(list), codes::EXCLUSIVE_FIELDS, message);
    }
    let at = root.to(list);
    for (index, target) in targets.iter().enumerate() {
        let at = if list == "targetRef" { at } else { at.to(index) };
        if !TARGETS.contains(&(&target.group, &target.kind)) {
            let message = format!("a policy cannot be attached to {} of `{}`", target.kind, target.group);
            let help = "Gateway, GatewayClass, Service, ServiceEntry";
            report.error_help(at.to("kind"), codes::UNKNOWN_VALUE, message, help);
        }
        if target.name.is_empty() {
            report.error(at, codes::MISSING_FIELD, "a target needs a `name`");
        }
        if target.namespace.is_some() {
            let message =
                "a policy is attached to resources of its own namespace only: leave `namespace` out";
            report.error(at.to("namespace"), codes::BAD_VALUE, message);
        }
    }
}
