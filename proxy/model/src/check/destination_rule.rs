//! DestinationRules: host, subsets, and the blocks of traffic policies.

use super::{
    http_match::labels,
    report::{At, Report},
    values,
    virtual_service::export_to,
};
use crate::{
    Duration,
    diagnostic::codes,
    istio::{
        ClientTlsMode, ClientTlsSettings, ConnectionPoolSettings, ConsistentHashLoadBalancer,
        DestinationRule, H2UpgradePolicy, LoadBalancerSettings, OutlierDetection, SimpleLoadBalancer,
        TrafficPolicy,
    },
};
use std::collections::HashSet;

pub(super) fn check(spec: &DestinationRule, report: &mut Report<'_>) {
    let root = At::SPEC;
    if !spec.host.is_empty() || report.is_written(root.to("host")) {
        report.judge(root.to("host"), codes::BAD_HOST, values::host_pattern(&spec.host));
    }
    export_to(&spec.export_to, root.to("exportTo"), report);
    if let Some(policy) = &spec.traffic_policy {
        traffic_policy(policy, root.to("trafficPolicy"), report);
    }
    let mut seen = HashSet::new();
    for (index, subset) in spec.subsets.iter().enumerate() {
        let at = root.to("subsets");
        let at = at.to(index);
        if !subset.name.is_empty() {
            report.judge(
                at.to("name"),
                codes::BAD_NAME,
                values::label_name(&subset.name, "the name of a subset"),
            );
            if !seen.insert(&subset.name) {
                let message = format!("the subset `{}` stands here twice", subset.name);
                report.error(at.to("name"), codes::DUPLICATE_SUBSET, message);
            }
        }
        labels(&subset.labels, at.to("labels"), report);
        if subset.labels.is_empty() {
            report.info(
                at,
                codes::DEFAULTED,
                format!("the subset `{}` has no labels: it is all endpoints", subset.name),
            );
        }
        if let Some(policy) = &subset.traffic_policy {
            traffic_policy(policy, at.to("trafficPolicy"), report);
        }
    }
    if let Some(selector) = &spec.workload_selector {
        labels(&selector.match_labels, root.to("workloadSelector").to("matchLabels"), report);
    }
}

fn traffic_policy(policy: &TrafficPolicy, at: At<'_>, report: &mut Report<'_>) {
    if *policy == TrafficPolicy::default() {
        report.warn(at, codes::NO_ACTION, "this traffic policy says nothing");
    }
    load_balancer(policy.load_balancer.as_ref(), at.to("loadBalancer"), report);
    connection_pool(policy.connection_pool.as_ref(), at.to("connectionPool"), report);
    outlier_detection(policy.outlier_detection.as_ref(), at.to("outlierDetection"), report);
    tls(policy.tls.as_ref(), at.to("tls"), report);
    let mut seen = HashSet::new();
    for (index, port) in policy.port_level_settings.iter().enumerate() {
        let at = at.to("portLevelSettings");
        let at = at.to(index);
        match &port.port {
            None => {
                report.error(at, codes::MISSING_FIELD, "settings of a port need a `port` with a `number`")
            }
            Some(selector) if !seen.insert(selector.number) => {
                let message = format!("the port {} stands here twice", selector.number);
                report.error(at.to("port"), codes::DUPLICATE_PORT, message);
            }
            Some(_) => {}
        }
        load_balancer(port.load_balancer.as_ref(), at.to("loadBalancer"), report);
        connection_pool(port.connection_pool.as_ref(), at.to("connectionPool"), report);
        outlier_detection(port.outlier_detection.as_ref(), at.to("outlierDetection"), report);
        tls(port.tls.as_ref(), at.to("tls"), report);
    }
    if let Some(tunnel) = &policy.tunnel
        && !matches!(tunnel.protocol.as_deref(), None | Some("CONNECT" | "POST"))
    {
        report.error(
            at.to("tunnel").to("protocol"),
            codes::UNKNOWN_VALUE,
            "a tunnel's protocol is CONNECT or POST",
        );
    }
}

fn load_balancer(settings: Option<&LoadBalancerSettings>, at: At<'_>, report: &mut Report<'_>) {
    let Some(settings) = settings else { return };
    if let Some(hash) = &settings.consistent_hash {
        consistent_hash(hash, at.to("consistentHash"), report);
    }
    slow_start(settings, at, report);
    let Some(locality) = &settings.locality_lb_setting else { return };
    let at = at.to("localityLbSetting");
    let fails_over = !locality.failover.is_empty() || !locality.failover_priority.is_empty();
    if !locality.distribute.is_empty() && fails_over {
        report.error(
            at,
            codes::EXCLUSIVE_FIELDS,
            "`distribute` cannot stand beside `failover` or `failoverPriority`",
        );
    }
    for (index, distribute) in locality.distribute.iter().enumerate() {
        let sum: u64 = distribute.to.values().map(|weight| u64::from(*weight)).sum();
        if sum != 100 {
            let message = format!("the weights of a distribution sum to 100, these to {sum}");
            report.error(at.to("distribute").to(index).to("to"), codes::BAD_WEIGHT, message);
        }
    }
    for (index, failover) in locality.failover.iter().enumerate() {
        if failover.from == failover.to {
            report.error(
                at.to("failover").to(index),
                codes::BAD_VALUE,
                "a region cannot fail over to itself",
            );
        }
    }
}

fn slow_start(settings: &LoadBalancerSettings, at: At<'_>, report: &mut Report<'_>) {
    let (field, window) = match &settings.warmup {
        Some(warmup) => ("warmup", warmup.duration),
        None => ("warmupDurationSecs", settings.warmup_duration_secs),
    };
    let Some(window) = window else { return };
    let judgement = values::at_least_a_millisecond(window);
    match field {
        "warmup" => report.judge(at.to(field).to("duration"), codes::SHORT_DURATION, judgement),
        _ => report.judge(at.to(field), codes::SHORT_DURATION, judgement),
    }
    let aggression = settings.warmup.as_ref().and_then(|warmup| warmup.aggression);
    if let Some(aggression) = aggression.filter(|aggression| aggression.is_nan() || *aggression < 1.0) {
        let message = format!("the aggression of a warm-up is 1 or more, not {aggression}");
        report.error(at.to(field).to("aggression"), codes::OUT_OF_RANGE, message);
    }
    let simple = settings.simple.unwrap_or_default();
    let grows = settings.consistent_hash.is_none()
        && !matches!(simple, SimpleLoadBalancer::Random | SimpleLoadBalancer::Passthrough);
    if !grows {
        let message =
            format!("`{field}` has no effect: only ROUND_ROBIN and LEAST_REQUEST give new endpoints less");
        report.warn(at.to(field), codes::NO_ACTION, message);
    }
}

/// Envoy's bounds.
const MOST_RING_SIZE: u64 = 8 << 20;
const MOST_TABLE_SIZE: u64 = 5_000_011;

fn consistent_hash(hash: &ConsistentHashLoadBalancer, at: At<'_>, report: &mut Report<'_>) {
    let source_ip = hash.use_source_ip == Some(true);
    if hash.http_header_name.is_none()
        && hash.http_cookie.is_none()
        && hash.http_query_parameter_name.is_none()
        && !source_ip
    {
        let message = "this does not say what to hash";
        let help = "set one of `httpHeaderName`, `httpCookie`, `useSourceIp` and `httpQueryParameterName`";
        report.error_help(at, codes::NO_ACTION, message, help);
    }
    if let Some(name) = &hash.http_header_name {
        report.judge(at.to("httpHeaderName"), codes::BAD_HEADER, values::header_name(name));
    }
    let ring = hash.ring_hash.as_ref().and_then(|ring| ring.minimum_ring_size);
    if let Some(size) = ring.or(hash.minimum_ring_size).filter(|size| *size > MOST_RING_SIZE) {
        report.error(
            at,
            codes::OUT_OF_RANGE,
            format!("a ring of {size} entries is larger than {MOST_RING_SIZE}"),
        );
    }
    if let Some(size) = hash.maglev.as_ref().and_then(|maglev| maglev.table_size)
        && !(size <= MOST_TABLE_SIZE && is_prime(size))
    {
        let message = format!("a Maglev table's size is a prime of at most {MOST_TABLE_SIZE}, not {size}");
        report.error(at.to("maglev").to("tableSize"), codes::OUT_OF_RANGE, message);
    }
}

fn is_prime(number: u64) -> bool {
    number > 1
        && (2..).take_while(|factor| factor * factor <= number).all(|factor| !number.is_multiple_of(factor))
}

/// Bounds, of a DestinationRule or a Sidecar.
pub(super) fn connection_pool(
    settings: Option<&ConnectionPoolSettings>,
    at: At<'_>,
    report: &mut Report<'_>,
) {
    let Some(settings) = settings else { return };
    let mut durations: Vec<(&str, &str, Option<Duration>)> = Vec::new();
    if let Some(tcp) = &settings.tcp {
        if let Some(timeout) = tcp.connect_timeout {
            let judgement = values::at_least_a_millisecond(timeout);
            report.judge(at.to("tcp").to("connectTimeout"), codes::SHORT_DURATION, judgement);
        }
        durations.push(("tcp", "idleTimeout", tcp.idle_timeout));
        durations.push(("tcp", "maxConnectionDuration", tcp.max_connection_duration));
    }
    if let Some(http) = &settings.http {
        durations.push(("http", "idleTimeout", http.idle_timeout));
        if http.use_client_protocol && http.h2_upgrade_policy == H2UpgradePolicy::Upgrade {
            let message = "`useClientProtocol` and `h2UpgradePolicy: UPGRADE` contradict each other";
            report.error(at.to("http").to("useClientProtocol"), codes::EXCLUSIVE_FIELDS, message);
        }
    }
    for (block, field, value) in durations {
        if let Some(duration) = value {
            let judgement = values::zero_or_a_millisecond(duration);
            report.judge(at.to(block).to(field), codes::SHORT_DURATION, judgement);
        }
    }
}

fn outlier_detection(settings: Option<&OutlierDetection>, at: At<'_>, report: &mut Report<'_>) {
    let Some(settings) = settings else { return };
    for (field, value) in [("interval", settings.interval), ("baseEjectionTime", settings.base_ejection_time)]
    {
        if let Some(duration) = value {
            report.judge(at.to(field), codes::SHORT_DURATION, values::at_least_a_millisecond(duration));
        }
    }
    if settings.consecutive_local_origin_failures.is_some() && !settings.split_external_local_origin_errors {
        let message =
            "`consecutiveLocalOriginFailures` has no effect without `splitExternalLocalOriginErrors: true`";
        report.warn(at.to("consecutiveLocalOriginFailures"), codes::NO_ACTION, message);
    }
    let any = settings.consecutive_5xx_errors.unwrap_or(5);
    let gateway = settings.consecutive_gateway_errors.unwrap_or(0);
    let local = match settings.split_external_local_origin_errors {
        true => settings.consecutive_local_origin_failures.unwrap_or(5),
        false => 0,
    };
    if any == 0 && gateway == 0 && local == 0 {
        report.warn(at, codes::NO_ACTION, "every detector is off: no endpoint is ever ejected");
    } else if any > 0 && gateway > any {
        let message = format!(
            "`consecutiveGatewayErrors` has no effect: each is an error too, and {any} of those are enough"
        );
        report.warn(at.to("consecutiveGatewayErrors"), codes::NO_ACTION, message);
    }
}

fn tls(settings: Option<&ClientTlsSettings>, at: At<'_>, report: &mut Report<'_>) {
    let Some(settings) = settings else { return };
    let ClientTlsSettings { mode, client_certificate, private_key, ca_certificates, credential_name, .. } =
        settings;
    let own_certificate = client_certificate.is_some() || private_key.is_some();
    match mode {
        ClientTlsMode::Mutual if credential_name.is_none() => {
            for (field, given) in [("clientCertificate", client_certificate), ("privateKey", private_key)] {
                if given.is_none() {
                    report.error(
                        at,
                        codes::BAD_TLS,
                        format!("`mode: MUTUAL` needs a `{field}`, or a `credentialName`"),
                    );
                }
            }
        }
        ClientTlsMode::IstioMutual
            if own_certificate || ca_certificates.is_some() || credential_name.is_some() =>
        {
            let message = "`mode: ISTIO_MUTUAL` uses the workload's own certificate: no other can be set";
            report.error(at, codes::BAD_TLS, message);
        }
        ClientTlsMode::Disable => {
            if !report.is_written(at.to("mode")) {
                let message = "`tls` without a `mode` means DISABLE: plain text is sent";
                report.warn_help(at, codes::BAD_TLS, message, "set `mode: SIMPLE` to use TLS");
            } else if own_certificate || ca_certificates.is_some() || settings.sni.is_some() {
                report.warn(at, codes::BAD_TLS, "with `mode: DISABLE` the other settings have no effect");
            }
        }
        ClientTlsMode::Simple if own_certificate => {
            let message = "`mode: SIMPLE` presents no client certificate";
            report.error_help(
                at,
                codes::BAD_TLS,
                message,
                "set `mode: MUTUAL`, or leave the certificate out",
            );
        }
        _ => {}
    }
    if credential_name.is_some() && (own_certificate || ca_certificates.is_some()) {
        let message = "a `credentialName` cannot stand beside certificate files";
        report.error(at.to("credentialName"), codes::EXCLUSIVE_FIELDS, message);
    }
}
