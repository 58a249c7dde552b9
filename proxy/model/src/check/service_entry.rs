//! ServiceEntries and WorkloadEntries.

use super::{
    http_match::labels,
    report::{At, Report},
    values,
    virtual_service::export_to,
};
use crate::{
    diagnostic::codes,
    istio::{Resolution, ServiceEntry, WorkloadEntry},
};
use std::{collections::HashSet, net::IpAddr};

pub(super) fn check(spec: &ServiceEntry, report: &mut Report<'_>) {
    let root = At::SPEC;
    hosts(spec, report);
    for (index, address) in spec.addresses.iter().enumerate() {
        let at = root.to("addresses");
        report.judge(at.to(index), codes::BAD_CIDR, values::cidr(address));
        let named =
            matches!(spec.resolution, Resolution::Dns | Resolution::DnsRoundRobin | Resolution::DynamicDns);
        if named && address.contains('/') && !address.ends_with("/32") && !address.ends_with("/128") {
            let message = "a range of addresses goes only with `resolution: NONE` or `STATIC`";
            report.error(at.to(index), codes::BAD_ENDPOINTS, message);
        }
    }
    ports(spec, report);
    export_to(&spec.export_to, root.to("exportTo"), report);
    resolution(spec, report);
    for (index, endpoint) in spec.endpoints.iter().enumerate() {
        let at = root.to("endpoints");
        let at = at.to(index);
        workload(endpoint, at, report);
        for port in endpoint.ports.keys().filter(|port| !spec.ports.iter().any(|known| known.name == **port))
        {
            let message = format!("the entry has no port that is named `{port}`");
            report.error(at.to("ports").to(port.as_str()), codes::UNKNOWN_PORT, message);
        }
    }
    if let Some(selector) = &spec.workload_selector {
        labels(&selector.labels, root.to("workloadSelector").to("labels"), report);
    }
}

fn hosts(spec: &ServiceEntry, report: &mut Report<'_>) {
    let root = At::SPEC;
    let at = root.to("hosts");
    if spec.hosts.is_empty() && report.is_written(at) {
        report.error(at, codes::EMPTY_LIST, "a ServiceEntry needs at least one host");
    }
    let mut seen = HashSet::new();
    for (index, host) in spec.hosts.iter().enumerate() {
        match host.as_str() {
            "*" => report.error(at.to(index), codes::BAD_HOST, "the host `*` cannot stand in a ServiceEntry"),
            _ => report.judge(at.to(index), codes::BAD_HOST, values::host_pattern(host)),
        }
        if !seen.insert(host.to_ascii_lowercase()) {
            report.error(at.to(index), codes::DUPLICATE_HOST, format!("the host `{host}` stands here twice"));
        }
    }
}

fn ports(spec: &ServiceEntry, report: &mut Report<'_>) {
    let root = At::SPEC;
    if spec.ports.is_empty() {
        report.warn(root, codes::EMPTY_LIST, "without `ports` no client can call this");
    }
    let (mut names, mut numbers) = (HashSet::new(), HashSet::new());
    for (index, port) in spec.ports.iter().enumerate() {
        let at = root.to("ports");
        let at = at.to(index);
        if let Some(protocol) = &port.protocol {
            report.judge(at.to("protocol"), codes::BAD_PROTOCOL, values::protocol(protocol));
        }
        if !port.name.is_empty() && !names.insert(&port.name) {
            let message = format!("the port name `{}` stands here twice", port.name);
            report.error(at.to("name"), codes::DUPLICATE_PORT, message);
        }
        if port.number != 0 && !numbers.insert(port.number) {
            report.error(
                at.to("number"),
                codes::DUPLICATE_PORT,
                format!("the port {} stands here twice", port.number),
            );
        }
    }
}

/// What endpoints go with which resolution.
fn resolution(spec: &ServiceEntry, report: &mut Report<'_>) {
    let root = At::SPEC;
    let endpoints = root.to("endpoints");
    let wildcard = spec.hosts.iter().position(|host| host.starts_with('*'));
    if spec.workload_selector.is_some() && !spec.endpoints.is_empty() {
        let message = "`endpoints` and `workloadSelector` cannot stand together";
        report.error(root.to("workloadSelector"), codes::EXCLUSIVE_FIELDS, message);
    }
    match spec.resolution {
        Resolution::None if !spec.endpoints.is_empty() => {
            let message = "with `resolution: NONE`, which is the default, there are no `endpoints`";
            report.error_help(endpoints, codes::BAD_ENDPOINTS, message, "set `resolution: STATIC` or `DNS`");
        }
        Resolution::Static => addresses_only(spec, report),
        Resolution::Dns | Resolution::DnsRoundRobin => {
            if let (Some(index), true) =
                (wildcard, spec.endpoints.is_empty() && spec.workload_selector.is_none())
            {
                let message =
                    format!("`{}` cannot be resolved: a wildcard has no address", spec.hosts[index]);
                let help = "list `endpoints`, or set `resolution: NONE` or `DYNAMIC_DNS`";
                report.error_help(root.to("hosts").to(index), codes::BAD_ENDPOINTS, message, help);
            }
            if spec.resolution == Resolution::DnsRoundRobin && spec.endpoints.len() > 1 {
                let message = "with `resolution: DNS_ROUND_ROBIN` there is at most one endpoint";
                report.error_help(
                    endpoints,
                    codes::BAD_ENDPOINTS,
                    message,
                    "set `resolution: DNS` for several",
                );
            }
            for (index, endpoint) in spec.endpoints.iter().enumerate() {
                if endpoint.address.as_deref().is_some_and(|address| address.starts_with("unix://")) {
                    let message = "a Unix socket goes only with `resolution: STATIC`";
                    report.error(endpoints.to(index).to("address"), codes::BAD_ENDPOINTS, message);
                }
            }
        }
        Resolution::DynamicDns => {
            if let Some(index) = spec.hosts.iter().position(|host| !host.starts_with('*')) {
                let message = "`resolution: DYNAMIC_DNS` is for wildcard hosts";
                report.error_help(
                    root.to("hosts").to(index),
                    codes::BAD_ENDPOINTS,
                    message,
                    "set `resolution: DNS`",
                );
            }
        }
        Resolution::None => {}
    }
}

/// Endpoints that no name is looked up for.
fn addresses_only(spec: &ServiceEntry, report: &mut Report<'_>) {
    let root = At::SPEC;
    let endpoints = root.to("endpoints");
    for (index, endpoint) in spec.endpoints.iter().enumerate() {
        let address = endpoint.address.as_deref().unwrap_or("0.0.0.0");
        if address.parse::<IpAddr>().is_err() && !address.starts_with("unix://") {
            let message = format!("with `resolution: STATIC` an endpoint is an IP address, not `{address}`");
            let at = endpoints.to(index);
            report.error_help(
                at.to("address"),
                codes::BAD_ENDPOINTS,
                message,
                "set `resolution: DNS` for names",
            );
        }
    }
}

/// A WorkloadEntry by itself.
pub(super) fn check_workload(spec: &WorkloadEntry, report: &mut Report<'_>) {
    workload(spec, At::SPEC, report);
}

fn workload(entry: &WorkloadEntry, at: At<'_>, report: &mut Report<'_>) {
    match entry.address.as_deref() {
        None if entry.network.is_none() => {
            report.error(at, codes::BAD_ENDPOINTS, "an endpoint needs an `address`");
        }
        Some(address) if address.starts_with("unix://") => {
            if !address.starts_with("unix:///") && !address.starts_with("unix://@") {
                report.error(
                    at.to("address"),
                    codes::BAD_ADDRESS,
                    format!("`{address}` is not an absolute path"),
                );
            }
            if !entry.ports.is_empty() {
                report.error(at.to("ports"), codes::BAD_ENDPOINTS, "a Unix socket has no `ports`");
            }
        }
        Some(address) if address.parse::<IpAddr>().is_err() => {
            report.judge(at.to("address"), codes::BAD_ADDRESS, values::host_name(address));
        }
        _ => {}
    }
    labels(&entry.labels, at.to("labels"), report);
    if let Some(locality) = entry.locality.as_deref().filter(|locality| locality.split('/').count() > 3) {
        report.error(
            at.to("locality"),
            codes::BAD_VALUE,
            format!("`{locality}` is not `region/zone/subzone`"),
        );
    }
}
