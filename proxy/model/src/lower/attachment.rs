//! Which policies are for the node: by namespace, by labels, by the Gateway that it serves.
//!
//! Invariants: a policy holds in its own namespace, or everywhere if it stands in the root namespace; one with targets is for proxies of
//! a Gateway of the Gateway API alone, and only in its own namespace. Whoever passes over one in its own namespace says so.
//! Not here: what the policies mean (`authentication`, `authorization`).
//! Source: Istio's `model/policyattachment.go`.

use super::{notes::Notes, registry::selects};
use crate::{
    config::Resource,
    diagnostic::codes,
    ir::Node,
    istio::{Attachment, PolicyTargetReference},
};

/// Labels that name the Gateway of the Gateway API that a proxy serves.
const GATEWAY_NAME: [&str; 2] = ["gateway.networking.k8s.io/gateway-name", "istio.io/gateway-name"];
const GATEWAY_API: &str = "gateway.networking.k8s.io";

/// Whether `policy` is for the node.
pub(super) fn holds<T>(
    node: &Node,
    policy: &Resource<T>,
    attachment: Attachment<'_>,
    notes: &mut Notes,
) -> bool {
    let namespace = &policy.metadata.namespace;
    let (field, targets) = attachment.targets();
    if targets.is_empty() {
        let reaches = *namespace == node.root_namespace || *namespace == node.namespace;
        let selector = attachment.selector;
        return reaches && selector.is_none_or(|selector| selects(&selector.match_labels, &node.labels));
    }
    if *namespace != node.namespace {
        return false;
    }
    let Some(gateway) = GATEWAY_NAME.iter().find_map(|label| node.labels.get(label)) else {
        let message = "this proxy serves no Gateway of the Gateway API: as in Istio, it passes over a policy with targets";
        notes.warn(policy, codes::DROPPED, &[field.into()], message);
        return false;
    };
    let is_own = |target: &PolicyTargetReference| {
        target.group == GATEWAY_API && target.kind == "Gateway" && target.name == *gateway
    };
    targets.iter().any(is_own)
}
