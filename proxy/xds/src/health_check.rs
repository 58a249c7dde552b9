//! Health checks.

use crate::value::{Object, duration};
use serde_json::{Value, json};
use sidle_model::ir::{Cluster, HealthAsk, HealthCheck, UpstreamProtocol};

/// `HealthCheck`s of a cluster: one, or none.
pub(crate) fn health_checks(cluster: &Cluster) -> Vec<Value> {
    cluster.health_check.iter().map(|check| health_check(cluster, check)).collect()
}

fn health_check(cluster: &Cluster, check: &HealthCheck) -> Value {
    let codec = if cluster.protocol == UpstreamProtocol::Http2 { "HTTP2" } else { "HTTP1" };
    let ask = match &check.ask {
        HealthAsk::Http { path, host, expected_statuses } => {
            // Envoy's ranges end before their end.
            let ranges =
                expected_statuses.iter().map(|(first, last)| json!({"start": first, "end": last + 1}));
            let http = Object::new()
                .with("path", &**path)
                .with("host", &**host)
                .with_list("expected_statuses", ranges.collect())
                // Else one wrong status would do.
                .with("retriable_statuses", json!([{"start": 100, "end": 600}]))
                .with("codec_client_type", codec);
            Object::new().with("http_health_check", http)
        }
        HealthAsk::Grpc { service, authority } => {
            let grpc = Object::new().with("service_name", &**service).with("authority", &**authority);
            Object::new().with("grpc_health_check", grpc)
        }
        HealthAsk::Tcp => Object::new().with("tcp_health_check", json!({})),
    };
    Object::new()
        .with("timeout", duration(check.timeout))
        .with("interval", duration(check.interval))
        .with("interval_jitter", duration(check.interval_jitter))
        .with("unhealthy_threshold", check.unhealthy_threshold)
        .with("healthy_threshold", check.healthy_threshold)
        .merge(ask)
        .into()
}
