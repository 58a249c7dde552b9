//! `kind: Proxy`: addresses, formats and durations of the process.

use super::{
    extension_provider,
    http_action::retries,
    http_match::labels,
    identity,
    report::{At, Report},
    sidecar::outbound_traffic_policy,
    values,
};
use crate::{
    diagnostic::codes,
    ir::Format,
    sidle::{AccessLogEncoding, Drain, Limits, Proxy},
};
use std::{collections::HashMap, net::SocketAddr};

pub(super) fn check(spec: &Proxy, report: &mut Report<'_>) {
    let root = At::SPEC;
    labels(&spec.selector, root.to("selector"), report);
    addresses(spec, report);
    access_log(spec, report);
    extension_provider::check(&spec.extension_providers, root.to("extensionProviders"), report);
    if let Some(drain) = &spec.drain {
        check_drain(drain, root.to("drain"), report);
    }
    if let Some(limits) = &spec.limits {
        check_limits(limits, root.to("limits"), report);
    }
    if let Some(identity) = &spec.identity {
        identity::check(identity, root.to("identity"), report);
    }
    if let Some(policy) = &spec.outbound_traffic_policy {
        outbound_traffic_policy(policy, root.to("outboundTrafficPolicy"), report);
    }
    if let Some(timeout) = spec.connect_timeout {
        let judgement = values::at_least_a_millisecond(timeout);
        report.judge(root.to("connectTimeout"), codes::SHORT_DURATION, judgement);
    }
    if let Some(timeout) = spec.protocol_detection_timeout {
        let judgement = values::zero_or_a_millisecond(timeout);
        report.judge(root.to("protocolDetectionTimeout"), codes::SHORT_DURATION, judgement);
    }
    if let Some(namespace) = &spec.root_namespace {
        report.judge(root.to("rootNamespace"), codes::BAD_NAME, values::label_name(namespace, "a namespace"));
    }
    trust_domains(spec, report);
    for (index, network) in spec.jwks.iter().flat_map(|jwks| &jwks.allow_addresses).enumerate() {
        let at = root.to("jwks");
        report.judge(at.to("allowAddresses").to(index), codes::BAD_CIDR, values::cidr(network));
    }
    if let Some(policy) = &spec.default_http_retry_policy {
        retries(policy, None, root.to("defaultHttpRetryPolicy"), report);
    }
}

fn trust_domains(spec: &Proxy, report: &mut Report<'_>) {
    let root = At::SPEC;
    if let Some(domain) = &spec.trust_domain {
        report.judge(root.to("trustDomain"), codes::BAD_NAME, values::trust_domain(domain));
    }
    let aliases = root.to("trustDomainAliases");
    for (index, alias) in spec.trust_domain_aliases.iter().enumerate() {
        report.judge(aliases.to(index), codes::BAD_NAME, values::trust_domain(alias));
    }
}

fn addresses(spec: &Proxy, report: &mut Report<'_>) {
    let root = At::SPEC;
    let mut seen: HashMap<SocketAddr, &str> = HashMap::new();
    for (field, value) in [
        ("admin", &spec.admin),
        ("metrics", &spec.metrics),
        ("health", &spec.health),
        ("outbound", &spec.outbound),
        ("inbound", &spec.inbound),
        ("dns", spec.dns.as_ref().map_or(&None, |dns| &dns.address)),
    ] {
        let Some(text) = value else { continue };
        let Ok(address) = text.parse::<SocketAddr>() else {
            let message = format!("`{text}` is not an IP address with a port");
            report.error_help(
                root.to(field),
                codes::BAD_ADDRESS,
                message,
                "for example 127.0.0.1:15000 or \"[::]:15090\"",
            );
            continue;
        };
        if let Some(other) = seen.insert(address, field).filter(|_| address.port() != 0) {
            report.error(root.to(field), codes::BAD_ADDRESS, format!("`{other}` has the same address"));
        }
        if field == "admin" && !address.ip().is_loopback() {
            let message = "admin can stop the proxy and shows its configuration: whoever reaches this address may do so";
            report.warn_help(root.to(field), codes::BAD_ADDRESS, message, "use 127.0.0.1");
        }
    }
}

fn access_log(spec: &Proxy, report: &mut Report<'_>) {
    let root = At::SPEC;
    let at = root.to("accessLogFormat");
    let Some(format) = &spec.access_log_format else { return };
    if spec.access_log_file.is_none() {
        report.warn(at, codes::NO_ACTION, "`accessLogFormat` has no effect without `accessLogFile`");
    }
    match spec.access_log_encoding {
        AccessLogEncoding::Text => report.judge(at, codes::BAD_FORMAT, Format::parse(format).map(drop)),
        AccessLogEncoding::Json => match serde_json::from_str::<HashMap<String, String>>(format) {
            Ok(fields) => {
                for value in fields.values() {
                    report.judge(at, codes::BAD_FORMAT, Format::parse(value).map(drop));
                }
            }
            Err(error) => {
                let message =
                    format!("for JSON the format is an object of names and texts, as JSON: {error}");
                report.error(at, codes::BAD_FORMAT, message);
            }
        },
    }
}

fn check_drain(drain: &Drain, at: At<'_>, report: &mut Report<'_>) {
    let deadline = drain.deadline.map_or(crate::ir::Drain::default().deadline, |deadline| deadline.0);
    if let Some(minimum) = drain.minimum.filter(|minimum| minimum.0 > deadline) {
        let message = format!("{minimum} is after the deadline, {}", humantime::format_duration(deadline));
        report.error(at.to("minimum"), codes::BAD_VALUE, message);
    }
}

fn check_limits(limits: &Limits, at: At<'_>, report: &mut Report<'_>) {
    for (field, value, judge) in [
        (
            "requestHeadersTimeout",
            limits.request_headers_timeout,
            values::at_least_a_millisecond as fn(_) -> _,
        ),
        ("tlsHandshakeTimeout", limits.tls_handshake_timeout, values::at_least_a_millisecond),
        ("streamIdleTimeout", limits.stream_idle_timeout, values::zero_or_a_millisecond),
        ("connectionIdleTimeout", limits.connection_idle_timeout, values::zero_or_a_millisecond),
        ("requestTimeout", limits.request_timeout, values::zero_or_a_millisecond),
        ("maxConnectionDuration", limits.max_connection_duration, values::zero_or_a_millisecond),
    ] {
        if let Some(duration) = value {
            report.judge(at.to(field), codes::SHORT_DURATION, judge(duration));
        }
    }
}
