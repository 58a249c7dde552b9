//! TLS that needs an identity or a Secret which this proxy may not have.
//!
//! Invariant: a proxy that must take nothing but mTLS, and cannot, does not start.
//! Not here: what is wrong with a policy wherever it holds (`peer_authentication`).

use super::report::{At, Report};
use crate::{
    config::{Config, Resource},
    diagnostic::{Diagnostic, codes},
    ir::Node,
    istio::{ClientTlsMode, ClientTlsSettings, MutualTls, MutualTlsMode, PeerAuthentication, TrafficPolicy},
    lower::{self, client_tls::by_settings, peer_authentications::PeerAuthentications, secrets::Secrets},
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
    let has_identity = proxy.is_some_and(|proxy| proxy.spec.identity.is_some());
    if !has_identity {
        inbound(config, &node, out);
    }
    let secrets = Secrets::new(config, &node.namespace);
    for rule in &config.destination_rules {
        let report = &mut Report::new(rule, out);
        let mut judge =
            |tls: &ClientTlsSettings, at: At<'_>| outbound(tls, at, has_identity, secrets, report);
        if let Some(policy) = &rule.spec.traffic_policy {
            each_block(policy, At::SPEC.to("trafficPolicy"), &mut judge);
        }
        for (index, subset) in rule.spec.subsets.iter().enumerate() {
            if let Some(policy) = &subset.traffic_policy {
                each_block(policy, At::SPEC.to("subsets").to(index).to("trafficPolicy"), &mut judge);
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

/// The `tls` blocks of a policy.
fn each_block(policy: &TrafficPolicy, at: At<'_>, judge: &mut impl FnMut(&ClientTlsSettings, At<'_>)) {
    if let Some(tls) = &policy.tls {
        judge(tls, at.to("tls"));
    }
    for (index, port) in policy.port_level_settings.iter().enumerate() {
        if let Some(tls) = &port.tls {
            judge(tls, at.to("portLevelSettings").to(index).to("tls"));
        }
    }
}

fn outbound(
    tls: &ClientTlsSettings,
    at: At<'_>,
    has_identity: bool,
    secrets: Secrets<'_>,
    report: &mut Report<'_>,
) {
    match tls.mode {
        ClientTlsMode::IstioMutual if !has_identity => {
            let message = "this proxy has no identity to show: requests get 503, and nothing is sent";
            report.warn_help(at.to("mode"), codes::NO_IDENTITY, message, HELP);
        }
        ClientTlsMode::Simple | ClientTlsMode::Mutual if tls.credential_name.is_some() => {
            if let Err(message) = by_settings(tls, &[], secrets) {
                let message = format!("{message}: requests get 503, and nothing is sent");
                report.warn(at.to("credentialName"), codes::BAD_SECRET, message);
            }
        }
        _ => {}
    }
}
