//! Sidecars: what a proxy listens on, and what it sees.

use super::{
    destination_rule::connection_pool,
    gateway::server_tls,
    http_match::labels,
    http_route::destination,
    report::{At, Report},
    values,
};
use crate::{
    diagnostic::codes,
    istio::{
        CaptureMode, IstioEgressListener, IstioIngressListener, OutboundTrafficPolicy, Port, ServerTlsMode,
        ServerTlsSettings, Sidecar,
    },
};
use std::collections::HashSet;

pub(super) fn check(spec: &Sidecar, report: &mut Report<'_>) {
    let root = At::SPEC;
    if let Some(selector) = &spec.workload_selector {
        labels(&selector.labels, root.to("workloadSelector").to("labels"), report);
    }
    let mut ports = HashSet::new();
    for (index, listener) in spec.ingress.iter().enumerate() {
        let at = root.to("ingress");
        ingress(listener, at.to(index), report);
        if listener.port.number != 0 && !ports.insert(listener.port.number) {
            let message = format!("the port {} stands here twice", listener.port.number);
            report.error(at.to(index).to("port"), codes::DUPLICATE_PORT, message);
        }
    }
    egress(&spec.egress, root.to("egress"), report);
    connection_pool(spec.inbound_connection_pool.as_ref(), root.to("inboundConnectionPool"), report);
    if let Some(policy) = &spec.outbound_traffic_policy {
        outbound_traffic_policy(policy, root.to("outboundTrafficPolicy"), report);
    }
}

/// What is done with unknown destinations, by a Sidecar or a Proxy (R20).
pub(super) fn outbound_traffic_policy(policy: &OutboundTrafficPolicy, at: At<'_>, report: &mut Report<'_>) {
    if !report.is_written(at.to("mode")) {
        let message =
            "`outboundTrafficPolicy` without a `mode` means REGISTRY_ONLY: unknown hosts are refused";
        report.warn_help(at, codes::DEFAULTED, message, "write the `mode`: REGISTRY_ONLY or ALLOW_ANY");
    }
    if let Some(proxy) = &policy.egress_proxy {
        destination(proxy, at.to("egressProxy"), report);
    }
}

fn port(port: &Port, at: At<'_>, report: &mut Report<'_>) {
    if !port.protocol.is_empty() {
        report.judge(at.to("protocol"), codes::BAD_PROTOCOL, values::protocol(&port.protocol));
    }
}

fn ingress(listener: &IstioIngressListener, at: At<'_>, report: &mut Report<'_>) {
    port(&listener.port, at.to("port"), report);
    if let Some(bind) = &listener.bind {
        report.judge(at.to("bind"), codes::BAD_ADDRESS, values::bind_address(bind));
    }
    if let Some(endpoint) = &listener.default_endpoint {
        default_endpoint(endpoint, at.to("defaultEndpoint"), report);
    }
    if let Some(tls) = &listener.tls {
        ingress_tls(tls, &listener.port, at, report);
    }
    connection_pool(listener.connection_pool.as_ref(), at.to("connectionPool"), report);
}

/// As Istio's admission has it.
fn ingress_tls(tls: &ServerTlsSettings, port: &Port, at: At<'_>, report: &mut Report<'_>) {
    let place = at.to("tls");
    match tls.mode {
        ServerTlsMode::Simple | ServerTlsMode::Mutual | ServerTlsMode::OptionalMutual => {
            server_tls(tls, place, report);
        }
        ServerTlsMode::Passthrough | ServerTlsMode::AutoPassthrough | ServerTlsMode::IstioMutual => {
            let message = "a port of a Sidecar opens TLS by SIMPLE, MUTUAL or OPTIONAL_MUTUAL";
            report.error_help(place.to("mode"), codes::BAD_TLS, message, "leave `tls` out to pass TLS on");
        }
    }
    if !["https", "tls"].contains(&&*port.protocol.to_ascii_lowercase()) {
        let message = "TLS is opened on a port whose protocol is HTTPS or TLS";
        report.error(at.to("port").to("protocol"), codes::BAD_TLS, message);
    }
    if tls.https_redirect {
        report.error(place.to("httpsRedirect"), codes::BAD_TLS, "a port of a Sidecar redirects nobody");
    }
}

fn default_endpoint(endpoint: &str, at: At<'_>, report: &mut Report<'_>) {
    let socket = endpoint.starts_with("unix:///") || endpoint.starts_with("unix://@");
    let local =
        ["127.0.0.1:", "0.0.0.0:", "[::1]:", "[::]:"].iter().find_map(|start| endpoint.strip_prefix(start));
    let port = local.and_then(|port| port.parse::<u16>().ok()).filter(|port| *port != 0);
    if !socket && port.is_none() {
        let message = format!("`{endpoint}` is not a place on this machine");
        let help = "write 127.0.0.1:PORT, 0.0.0.0:PORT, [::1]:PORT or unix:///PATH";
        report.error_help(at, codes::BAD_ADDRESS, message, help);
    }
}

fn egress(listeners: &[IstioEgressListener], at: At<'_>, report: &mut Report<'_>) {
    let mut without_port = None;
    let mut ports = HashSet::new();
    for (index, listener) in listeners.iter().enumerate() {
        let at = at.to(index);
        let hosts = at.to("hosts");
        if listener.hosts.is_empty() && report.is_written(hosts) {
            report.error_help(
                hosts,
                codes::EMPTY_LIST,
                "an egress needs at least one host",
                "write `\"*/*\"` for all",
            );
        }
        for (index, host) in listener.hosts.iter().enumerate() {
            report.judge(hosts.to(index), codes::BAD_VISIBILITY, values::namespaced_host(host, true));
        }
        if let Some(bind) = &listener.bind {
            report.judge(at.to("bind"), codes::BAD_ADDRESS, values::bind_address(bind));
        }
        match &listener.port {
            Some(value) => {
                port(value, at.to("port"), report);
                if value.number != 0 && !ports.insert((value.number, &listener.bind)) {
                    let message = format!("the port {} stands here twice", value.number);
                    report.error(at.to("port"), codes::DUPLICATE_PORT, message);
                }
            }
            None if listener.capture_mode == CaptureMode::None => {
                report.error(at, codes::MISSING_FIELD, "`captureMode: NONE` needs a `port` to listen on");
            }
            None if listener.bind.as_deref().is_some_and(|bind| !bind.starts_with("unix://")) => {
                report.error(at.to("bind"), codes::MISSING_FIELD, "`bind` needs a `port` beside it");
            }
            None => {
                if without_port.replace(index).is_some() {
                    let message = "only one egress may be without a `port`: it takes what no other does";
                    report.error(at, codes::DUPLICATE_PORT, message);
                }
            }
        }
    }
    if let Some(index) = without_port.filter(|index| index + 1 < listeners.len()) {
        report.error(at.to(index), codes::BAD_VALUE, "an egress without a `port` must be the last");
    }
}
