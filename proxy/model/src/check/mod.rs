//! Rules between fields and between resources: everything that types do not say.
//!
//! In:  a [`Config`].   Out: diagnostics, each at the value that is wrong.
//! Invariants: what passes without an error can be lowered; a field that is accepted and not applied is told, from one table
//! (`not_applied`); a mistake of form or type that was told before is not told again by what follows from it.
//! Not here: fields and types (`crate::yaml`), the file system (but for `files`, which only [`crate::load()`] asks), what depends on the proxy's place in the mesh (`crate::lower`).
//! Read: `report` -> `virtual_service`, `http_route` -> `destination_rule` … -> `references` -> `unreachable`.

mod attachment;
mod authorization_policy;
mod authorization_value;
mod claims;
mod concurrency_policy;
mod conditions;
mod destination_rule;
mod extension_provider;
mod fault_policy;
pub(crate) mod files;
mod gateway;
mod gateway_hosts;
mod headers;
mod health_policy;
mod http_action;
mod http_match;
mod http_route;
mod identity;
mod kubernetes;
mod l4_route;
mod metadata;
mod mutual_tls;
mod not_applied;
mod peer_authentication;
mod proxy;
mod rate_limit_policy;
mod references;
mod report;
mod request_authentication;
mod selectors;
mod service_entry;
mod sidecar;
#[cfg(test)]
mod tests;
mod unreachable;
mod upstream_policy;
mod values;
mod virtual_service;

use crate::{config::Config, diagnostic::Diagnostic, ir::Node};
pub use files::{NamedFile, named as named_files};
use report::Report;

/// Everything that is wrong or surprising in `config`, for the proxy `node`.
pub fn check(config: &Config, node: &Node) -> Vec<Diagnostic> {
    let mut out = each(config);
    out.extend(together(config, node));
    out
}

/// What is wrong with each resource by itself: the same whatever other resources and proxies there are.
pub(crate) fn each(config: &Config) -> Vec<Diagnostic> {
    let mut out = Vec::new();
    macro_rules! each {
        ($list:ident, $check:path) => {
            for resource in &config.$list {
                $check(&resource.spec, &mut Report::new(resource, &mut out));
            }
        };
    }
    each!(virtual_services, virtual_service::check);
    each!(virtual_services, unreachable::check);
    each!(destination_rules, destination_rule::check);
    each!(service_entries, service_entry::check);
    each!(workload_entries, service_entry::check_workload);
    each!(gateways, gateway::check);
    each!(sidecars, sidecar::check);
    each!(request_authentications, request_authentication::check);
    each!(peer_authentications, peer_authentication::check);
    each!(authorization_policies, authorization_policy::check);
    for resource in &config.authorization_policies {
        authorization_policy::check_dry_run(resource, &mut out);
    }
    each!(services, kubernetes::check_service);
    each!(endpoints, kubernetes::check_endpoints);
    each!(endpoint_slices, kubernetes::check_slice);
    each!(pods, kubernetes::check_pod);
    each!(secrets, kubernetes::check_secret);
    each!(proxies, proxy::check);
    each!(health_policies, health_policy::check);
    each!(concurrency_policies, concurrency_policy::check);
    each!(rate_limit_policies, rate_limit_policy::check);
    each!(upstream_policies, upstream_policy::check);
    each!(fault_policies, fault_policy::check);
    not_applied::check(config, &mut out);
    out
}

/// What is wrong with the resources beside one another, for the proxy `node`.
pub(crate) fn together(config: &Config, node: &Node) -> Vec<Diagnostic> {
    let mut out = Vec::new();
    metadata::check(config, &mut out);
    references::check(config, node, &mut out);
    claims::check(config, &mut out);
    gateway_hosts::check(config, &mut out);
    selectors::check(config, node, &mut out);
    mutual_tls::check(config, node, &mut out);
    out
}
