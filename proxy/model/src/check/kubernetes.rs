//! Kubernetes kinds: what would make a proxy misread them.

use super::report::{At, Report};
use crate::{
    diagnostic::codes,
    kubernetes::{AddressType, EndpointSlice, Endpoints, Pod, Secret, Service, ServiceType},
    lower::base64,
};
use std::{collections::HashSet, net::IpAddr};

pub(super) fn check_service(spec: &Service, report: &mut Report<'_>) {
    let root = At::SPEC;
    if spec.kind == ServiceType::ExternalName && spec.external_name.is_none() {
        report.error(root, codes::BAD_ENDPOINTS, "`type: ExternalName` needs an `externalName`");
    }
    let headless = spec.cluster_ip.as_deref() == Some("None");
    if spec.ports.is_empty() && spec.kind != ServiceType::ExternalName && !headless {
        report.warn(root, codes::EMPTY_LIST, "without `ports` no client can call this Service");
    }
    let (mut names, mut numbers) = (HashSet::new(), HashSet::new());
    for (index, port) in spec.ports.iter().enumerate() {
        let at = root.to("ports");
        let at = at.to(index);
        let name = port.name.as_deref().unwrap_or_default();
        if name.is_empty() && spec.ports.len() > 1 {
            report.error(at, codes::MISSING_FIELD, "each of several ports needs a `name`");
        } else if !names.insert(name) {
            report.error(
                at.to("name"),
                codes::DUPLICATE_PORT,
                format!("the port name `{name}` stands here twice"),
            );
        }
        if port.port != 0 && !numbers.insert((port.port, port.protocol.as_deref().unwrap_or("TCP"))) {
            report.error(
                at.to("port"),
                codes::DUPLICATE_PORT,
                format!("the port {} stands here twice", port.port),
            );
        }
    }
}

fn address(text: &str, at: At<'_>, report: &mut Report<'_>) {
    if text.parse::<IpAddr>().is_err() {
        report.error(at, codes::BAD_ADDRESS, format!("`{text}` is not an IP address"));
    }
}

pub(super) fn check_endpoints(spec: &Endpoints, report: &mut Report<'_>) {
    let root = At::SPEC;
    for (index, subset) in spec.subsets.iter().enumerate() {
        let at = root.to("subsets");
        let at = at.to(index);
        for (field, list) in
            [("addresses", &subset.addresses), ("notReadyAddresses", &subset.not_ready_addresses)]
        {
            for (index, endpoint) in list.iter().enumerate().filter(|(_, endpoint)| !endpoint.ip.is_empty()) {
                address(&endpoint.ip, at.to(field).to(index).to("ip"), report);
            }
        }
    }
}

pub(super) fn check_slice(spec: &EndpointSlice, report: &mut Report<'_>) {
    let root = At::SPEC;
    if spec.address_type == AddressType::Fqdn {
        return;
    }
    for (index, endpoint) in spec.endpoints.iter().enumerate() {
        let at = root.to("endpoints");
        let at = at.to(index);
        for (index, text) in endpoint.addresses.iter().enumerate() {
            address(text, at.to("addresses").to(index), report);
        }
    }
}

pub(super) fn check_secret(spec: &Secret, report: &mut Report<'_>) {
    for (name, value) in &spec.data {
        let value: String = value.split_ascii_whitespace().collect();
        if base64(&value).is_none() {
            let message = format!("`{name}` is not base64");
            let help = "values of `data` are base64; `stringData` takes them as they are";
            report.error_help(At::SPEC.to("data").to(&**name), codes::UNUSABLE_FILE, message, help);
        }
    }
}

pub(super) fn check_pod(spec: &Pod, report: &mut Report<'_>) {
    let root = At::SPEC;
    let status = root.to("status");
    if let Some(ip) = spec.status.pod_ip.as_deref().filter(|ip| !ip.is_empty()) {
        address(ip, status.to("podIP"), report);
    }
    for (index, ip) in spec.status.pod_ips.iter().enumerate() {
        address(&ip.ip, status.to("podIPs").to(index).to("ip"), report);
    }
}
