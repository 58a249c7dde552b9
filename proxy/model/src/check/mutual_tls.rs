//! mTLS of the mesh, where this proxy has an identity or has none.
//!
//! Invariant: a proxy that must take nothing but mTLS, and cannot, does not start.
//! Not here: what is wrong with a policy wherever it holds (`peer_authentication`).

use super::report::{At, Report};
use crate::{
    config::{Config, Resource},
    diagnostic::{Diagnostic, codes},
    ir::Node,
    istio::{ClientTlsMode, ClientTlsSettings, MutualTls, MutualTlsMode, PeerAuthentication, TrafficPolicy},
    lower::{self, peer_authentications::PeerAuthentications},
};

const HELP: &str = "give it one: `identity` of a resource of `kind: Proxy`";

pub(super) fn check(config: &Config, node: &Node, out: &mut Vec<Diagnostic>) {
    let (proxy, node) = lower::settled(config, node);
    let picked_nowhere = |policy: &&Resource<PeerAuthentication>| {
        policy.metadata.namespace == node.root_namespace && policy.spec.labels().is_some()
    };
    for policy in config.peer_authentications.iter().filter(picked_nowhere) {
        let message =
            "a selector in the root namespace picks no workload: this policy is ignored, as in Istio";
        Report::new(policy, out).warn(At::SPEC.to("selector"), codes::DROPPED, message);
    }
    if proxy.is_some_and(|proxy| proxy.spec.identity.is_some()) {
        return;
    }
    inbound(config, &node, out);
    for rule in &config.destination_rules {
        let report = &mut Report::new(rule, out);
        if let Some(policy) = &rule.spec.traffic_policy {
            outbound(policy, At::SPEC.to("trafficPolicy"), report);
        }
        for (index, subset) in rule.spec.subsets.iter().enumerate() {
            if let Some(policy) = &subset.traffic_policy {
                outbound(policy, At::SPEC.to("subsets").to(index).to("trafficPolicy"), report);
            }
        }
    }
}

/// Policies that decide for this proxy.
fn inbound(config: &Config, node: &Node, out: &mut Vec<Diagnostic>) {
    let policies = PeerAuthentications::new(config, node);
    if let Some(policy) = policies.of_all_ports(&node.namespace, &node.labels) {
        let at = At::SPEC.to("mtls");
        judge(policy.spec.mtls.as_ref(), at.to("mode"), &mut Report::new(policy, out));
    }
    if let Some(policy) = policies.selecting(&node.namespace, &node.labels) {
        for (port, settings) in &policy.spec.port_level_mtls {
            let at = At::SPEC.to("portLevelMtls");
            judge(Some(settings), at.to(port.as_str()).to("mode"), &mut Report::new(policy, out));
        }
    }
}

fn judge(settings: Option<&MutualTls>, at: At<'_>, report: &mut Report<'_>) {
    match settings.map(|settings| settings.mode) {
        Some(MutualTlsMode::Strict) => {
            let message = "this proxy must take nothing but mTLS, and has no identity to show";
            report.error_help(at, codes::NO_IDENTITY, message, HELP);
        }
        Some(MutualTlsMode::Permissive) => {
            let message = "this proxy has no identity to show: it takes plain text alone";
            report.info(at, codes::NO_IDENTITY, message);
        }
        _ => {}
    }
}

fn outbound(policy: &TrafficPolicy, at: At<'_>, report: &mut Report<'_>) {
    let mut judge = |tls: &Option<ClientTlsSettings>, at: At<'_>| {
        if tls.as_ref().is_some_and(|tls| tls.mode == ClientTlsMode::IstioMutual) {
            let message = "this proxy has no identity to show: requests get 503, and nothing is sent";
            report.warn_help(at.to("mode"), codes::NO_IDENTITY, message, HELP);
        }
    };
    judge(&policy.tls, at.to("tls"));
    for (index, port) in policy.port_level_settings.iter().enumerate() {
        judge(&port.tls, at.to("portLevelSettings").to(index).to("tls"));
    }
}
