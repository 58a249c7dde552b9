//! VirtualServices: hosts, gateways, and that there is something to do. Rules: `http_route`, `l4_route`.

use super::{
    http_route, l4_route,
    report::{At, Report},
    values,
};
use crate::{diagnostic::codes, istio::VirtualService, pause};
use std::collections::HashSet;

pub(super) fn check(spec: &VirtualService, report: &mut Report<'_>) {
    let root = At::SPEC;
    hosts(spec, report);
    gateways(&spec.gateways, root.to("gateways"), report);
    export_to(&spec.export_to, root.to("exportTo"), report);
    if spec.http.is_empty() && spec.tls.is_empty() && spec.tcp.is_empty() {
        report.error(
            root,
            codes::NO_ACTION,
            "a VirtualService needs at least one rule in `http`, `tls` or `tcp`",
        );
    }
    for (index, route) in pause::each(&spec.http).enumerate() {
        http_route::check(route, spec, root.to("http").to(index), report);
    }
    for (index, route) in spec.tls.iter().enumerate() {
        l4_route::check_tls(route, spec, root.to("tls").to(index), report);
    }
    for (index, route) in spec.tcp.iter().enumerate() {
        l4_route::check_tcp(route, root.to("tcp").to(index), report);
    }
}

fn hosts(spec: &VirtualService, report: &mut Report<'_>) {
    let root = At::SPEC;
    let hosts = root.to("hosts");
    let in_mesh = spec.gateways.is_empty() || spec.gateways.iter().any(|gateway| gateway == "mesh");
    let mut seen = HashSet::new();
    for (index, host) in spec.hosts.iter().enumerate() {
        report.judge(hosts.to(index), codes::BAD_HOST, values::host_pattern(host));
        if host == "*" && in_mesh {
            report.error_help(
                hosts.to(index),
                codes::BAD_HOST,
                "the host `*` cannot stand in a VirtualService for the gateway `mesh`",
                "name the hosts, or list only gateways other than `mesh` under `gateways`",
            );
        }
        if !seen.insert(host.to_ascii_lowercase()) {
            report.error(
                hosts.to(index),
                codes::DUPLICATE_HOST,
                format!("the host `{host}` stands here twice"),
            );
        }
    }
    if !spec.hosts.is_empty() {
        return;
    }
    // Without hosts it can only be a delegate.
    if !spec.gateways.is_empty() {
        report.error(
            root.to("gateways"),
            codes::EMPTY_LIST,
            "without `hosts` this is a delegate, which has no `gateways`",
        );
    } else if !spec.tls.is_empty() || !spec.tcp.is_empty() {
        report.error(
            root,
            codes::EMPTY_LIST,
            "without `hosts` this is a delegate, which has no `tls` and no `tcp` rules",
        );
    }
}

/// Names of gateways: `mesh`, `name` or `namespace/name`.
pub(super) fn gateways(names: &[String], at: At<'_>, report: &mut Report<'_>) {
    for (index, name) in names.iter().enumerate() {
        report.judge(at.to(index), codes::BAD_GATEWAY_NAME, values::gateway_name(name));
    }
}

/// `exportTo` of any kind.
pub(super) fn export_to(namespaces: &[String], at: At<'_>, report: &mut Report<'_>) {
    let mut seen = HashSet::new();
    for (index, namespace) in namespaces.iter().enumerate() {
        report.judge(at.to(index), codes::BAD_VISIBILITY, values::visibility(namespace));
        if !seen.insert(namespace) {
            report.error(at.to(index), codes::BAD_VISIBILITY, format!("`{namespace}` stands here twice"));
        }
    }
    let all_or_none = namespaces.iter().position(|namespace| namespace == "*" || namespace == "~");
    if let (Some(index), true) = (all_or_none, namespaces.len() > 1) {
        let message = format!("`{}` cannot stand beside others", namespaces[index]);
        report.error(at.to(index), codes::BAD_VISIBILITY, message);
    }
}
