//! Clusters.
//!
//! Not here: endpoints (`endpoint`), bounds (`limit`), TLS (`tls`), why some have a twin (`authority`).

use crate::{
    authority,
    connection_manager::preserve_case,
    context::{Context, Form},
    endpoint, health_check, limit, metadata, tls,
    value::{Object, duration, duration_or_never, extension},
};
use serde_json::{Value, json};
use sidle_model::ir::{Cluster, Discovery, LoadBalancer, SlowStart, TcpKeepalive, UpstreamProtocol};

/// IPv4 where a name has both, as Istio does outside dual-stack clusters.
pub(crate) const DNS_LOOKUP_FAMILY: &str = "V4_PREFERRED";

const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// A `Cluster`.
pub(crate) fn cluster(context: &Context<'_>, cluster: &Cluster) -> Value {
    Object::new()
        .with("name", &*cluster.name)
        .merge(discovery(context.form, cluster))
        .merge(policy(context, cluster))
        .into()
}

/// The twin of a cluster of the original destination that goes to the request's authority.
pub(crate) fn twin(context: &Context<'_>, cluster: &Cluster) -> Value {
    Object::new()
        .with("name", authority::twin_name(&cluster.name))
        .with("alt_stat_name", &*cluster.name)
        .merge(by_authority(cluster))
        .merge(policy(context, cluster))
        .into()
}

/// Where endpoints come from, and how one is chosen where there is a choice.
fn discovery(form: Form, cluster: &Cluster) -> Object {
    let given = || Object::new().with("load_assignment", endpoint::load_assignment(cluster));
    match &cluster.discovery {
        Discovery::Static(_) | Discovery::None => {
            given().with("type", "STATIC").merge(load_balancer(cluster))
        }
        Discovery::StrictDns(_) => given().merge(dns(form, false)).merge(load_balancer(cluster)),
        Discovery::LogicalDns(_) => given().merge(dns(form, true)).merge(load_balancer(cluster)),
        Discovery::OriginalDestination => {
            Object::new().with("type", "ORIGINAL_DST").with("lb_policy", "CLUSTER_PROVIDED")
        }
        Discovery::DynamicForwardProxy => by_authority(cluster),
    }
}

fn by_authority(cluster: &Cluster) -> Object {
    Object::new().with("cluster_type", authority::cluster_type(cluster)).with("lb_policy", "CLUSTER_PROVIDED")
}

/// Envoy has deprecated the short form, and `istioctl` reads no other.
fn dns(form: Form, logical: bool) -> Object {
    match form {
        Form::Dump => Object::new()
            .with("type", if logical { "LOGICAL_DNS" } else { "STRICT_DNS" })
            .with("dns_lookup_family", DNS_LOOKUP_FAMILY)
            .with("respect_dns_ttl", true),
        Form::Bootstrap => {
            let config = Object::typed("extensions.clusters.dns.v3.DnsCluster")
                .with("dns_lookup_family", DNS_LOOKUP_FAMILY)
                .with("respect_dns_ttl", true)
                .with_true("all_addresses_in_single_endpoint", logical);
            Object::new().with("cluster_type", extension("envoy.cluster.dns", config))
        }
    }
}

fn load_balancer(cluster: &Cluster) -> Object {
    let named = |name: &str| Object::new().with("lb_policy", name);
    let slow_start =
        cluster.slow_start.as_ref().map(|settings| json!({"slow_start_config": slow_start(settings)}));
    match &cluster.load_balancer {
        LoadBalancer::LeastRequest | LoadBalancer::PeakEwma { .. } => {
            named("LEAST_REQUEST").with_some("least_request_lb_config", slow_start)
        }
        LoadBalancer::RoundRobin => named("ROUND_ROBIN").with_some("round_robin_lb_config", slow_start),
        LoadBalancer::Random => named("RANDOM"),
        LoadBalancer::RingHash { minimum_ring_size } => {
            named("RING_HASH").with("ring_hash_lb_config", json!({"minimum_ring_size": minimum_ring_size}))
        }
        LoadBalancer::Maglev { table_size } => {
            named("MAGLEV").with("maglev_lb_config", json!({"table_size": table_size}))
        }
    }
}

fn slow_start(settings: &SlowStart) -> Value {
    json!({
        "slow_start_window": duration(settings.window),
        "aggression": {"default_value": settings.aggression, "runtime_key": "upstream.slow_start.aggression"},
        "min_weight_percent": {"value": settings.minimum_percent},
    })
}

/// When all endpoints are used, and how localities share, where either is said.
fn common(cluster: &Cluster) -> Option<Object> {
    let panic =
        cluster.outlier_detection.as_ref().map(|detection| json!({"value": detection.min_health_percent}));
    let weighted = (!cluster.locality_weights.is_empty()).then(|| json!({}));
    (panic.is_some() || weighted.is_some()).then(|| {
        Object::new()
            .with_some("healthy_panic_threshold", panic)
            .with_some("locality_weighted_lb_config", weighted)
    })
}

/// All that does not depend on where the endpoints come from.
fn policy(context: &Context<'_>, cluster: &Cluster) -> Object {
    Object::new()
        .with("connect_timeout", duration(cluster.connect_timeout))
        .with("circuit_breakers", limit::circuit_breakers(&cluster.limits))
        .with_some("outlier_detection", cluster.outlier_detection.as_ref().map(limit::outlier_detection))
        .with_some("common_lb_config", common(cluster))
        .with_list("health_checks", health_check::health_checks(cluster))
        .with_some("upstream_connection_options", cluster.tcp_keepalive.as_ref().map(keepalive))
        .with_some(
            "transport_socket",
            cluster.tls.as_ref().map(|tls| tls::upstream(context, tls, cluster.protocol)),
        )
        .with_some(
            "transport_socket_matches",
            cluster.auto_mtls.as_ref().map(|tls| tls::by_endpoint(context, tls, cluster.protocol)),
        )
        .with(
            "typed_extension_protocol_options",
            Object::new().with(HTTP_OPTIONS, http_options(context, cluster)),
        )
        .with("metadata", metadata::cluster(cluster))
}

fn keepalive(keepalive: &TcpKeepalive) -> Value {
    let seconds = |time: std::time::Duration| time.as_secs();
    let settings = Object::new()
        .with_some("keepalive_probes", keepalive.probes)
        .with_some("keepalive_time", keepalive.time.map(seconds))
        .with_some("keepalive_interval", keepalive.interval.map(seconds));
    Object::new().with("tcp_keepalive", settings).into()
}

fn http_options(context: &Context<'_>, cluster: &Cluster) -> Object {
    let limits = &cluster.limits;
    let http1 = || Value::from(if context.preserve_header_case { preserve_case() } else { Object::new() });
    let http2 = || json!({"max_concurrent_streams": limits.max_concurrent_streams});
    let protocol = match cluster.protocol {
        UpstreamProtocol::Http1 => {
            Object::new().with("explicit_http_config", json!({"http_protocol_options": http1()}))
        }
        UpstreamProtocol::Http2 => {
            Object::new().with("explicit_http_config", json!({"http2_protocol_options": http2()}))
        }
        UpstreamProtocol::AsDownstream => Object::new().with(
            "use_downstream_protocol_config",
            json!({"http_protocol_options": http1(), "http2_protocol_options": http2()}),
        ),
    };
    let bound = limits.max_requests_per_connection;
    let common = Object::new()
        .with("idle_timeout", duration_or_never(cluster.idle_timeout))
        .with_some("max_connection_duration", cluster.max_connection_duration.map(duration))
        .with_some("max_requests_per_connection", (bound > 0).then_some(bound));
    let detection = cluster.outlier_detection.as_ref();
    Object::typed("extensions.upstreams.http.v3.HttpProtocolOptions")
        .merge(protocol)
        .with("common_http_protocol_options", common)
        .with_some("upstream_http_protocol_options", cluster.tls.as_ref().and_then(tls::automatic_names))
        .with_some("outlier_detection", detection.and_then(limit::error_matcher))
}
