//! One `tls` or `tcp` rule of a VirtualService.

use super::{
    http_match::labels,
    http_route::{destination, weights},
    report::{At, Report},
    values,
    virtual_service::gateways,
};
use crate::{
    diagnostic::codes,
    ir::HostPattern,
    istio::{RouteDestination, TcpRoute, TlsRoute, VirtualService},
};

pub(super) fn check_tls(route: &TlsRoute, spec: &VirtualService, at: At<'_>, report: &mut Report<'_>) {
    if route.matches.is_empty() && report.is_written(at.to("match")) {
        report.error(
            at.to("match"),
            codes::EMPTY_LIST,
            "a TLS rule needs at least one match, with `sniHosts`",
        );
    }
    for (index, connection) in route.matches.iter().enumerate() {
        let at = at.to("match");
        let at = at.to(index);
        if connection.sni_hosts.is_empty() && report.is_written(at.to("sniHosts")) {
            report.error(at.to("sniHosts"), codes::EMPTY_LIST, "a TLS match needs at least one server name");
        }
        for (index, name) in connection.sni_hosts.iter().enumerate() {
            server_name(name, spec, at.to("sniHosts").to(index), report);
        }
        subnets(&connection.destination_subnets, at.to("destinationSubnets"), report);
        labels(&connection.source_labels, at.to("sourceLabels"), report);
        gateways(&connection.gateways, at.to("gateways"), report);
    }
    destinations(&route.route, at, report);
}

/// A server name must be covered by one of the VirtualService's hosts (R25).
fn server_name(name: &str, spec: &VirtualService, at: At<'_>, report: &mut Report<'_>) {
    if let Err(message) = values::host_pattern(name) {
        return report.error(at, codes::BAD_HOST, message);
    }
    // A wildcard is covered where a name below it is.
    let sample = name.to_ascii_lowercase().replacen('*', "x", 1);
    let covers = |host: &String| {
        host.eq_ignore_ascii_case(name)
            || HostPattern::new(host).is_some_and(|pattern| pattern.matches(&sample))
    };
    if !spec.hosts.iter().any(covers) {
        let message =
            format!("the server name `{name}` is not covered by `hosts`, so this match never holds");
        report.error_help(at, codes::BAD_HOST, message, format!("add `{name}` to `hosts`"));
    }
}

pub(super) fn check_tcp(route: &TcpRoute, at: At<'_>, report: &mut Report<'_>) {
    for (index, connection) in route.matches.iter().enumerate() {
        let at = at.to("match");
        let at = at.to(index);
        subnets(&connection.destination_subnets, at.to("destinationSubnets"), report);
        labels(&connection.source_labels, at.to("sourceLabels"), report);
        gateways(&connection.gateways, at.to("gateways"), report);
    }
    destinations(&route.route, at, report);
}

fn destinations(shares: &[RouteDestination], at: At<'_>, report: &mut Report<'_>) {
    if shares.is_empty() {
        report.error(at, codes::NO_ACTION, "this rule needs a `route` with at least one destination");
    }
    for (index, share) in shares.iter().enumerate() {
        destination(&share.destination, at.to("route").to(index).to("destination"), report);
    }
    weights(&shares.iter().map(|share| share.weight).collect::<Vec<_>>(), at.to("route"), report);
}

fn subnets(subnets: &[String], at: At<'_>, report: &mut Report<'_>) {
    for (index, subnet) in subnets.iter().enumerate() {
        report.judge(at.to(index), codes::BAD_CIDR, values::cidr(subnet));
    }
}
