//! `/clusters`: clusters, their limits and their endpoints with live figures, as Envoy shows them.

use super::{
    ClusterView,
    answer::{Answer, json, text},
    listeners::socket,
    table::Ask,
};
use http::StatusCode;
use serde_json::{Value, json as value};
use sidle_balance::{ActiveCheck, Endpoint, EndpointAddr, Resource};
use std::fmt::Write;

pub(super) fn clusters(ask: &Ask) -> Answer {
    let mut clusters = ask.source.clusters();
    clusters.sort_by(|a, b| a.config.name.cmp(&b.config.name));
    if ask.query.wants_json() {
        let statuses: Vec<_> = clusters.iter().map(cluster_json).collect();
        return json(StatusCode::OK, &value!({ "cluster_statuses": statuses }));
    }
    let mut lines = String::new();
    for cluster in &clusters {
        // Writing to a string does not fail.
        let _ = cluster_text(cluster, &mut lines);
    }
    text(lines)
}

/// The limits with Envoy's names, and what is in use of them.
fn limits(cluster: &ClusterView) -> [(&'static str, &'static str, u32, u32); 4] {
    let (limits, usage) = (&cluster.config.limits, &cluster.usage);
    let of = |resource| usage.count(resource);
    [
        ("max_connections", "active_connections", limits.max_connections, of(Resource::Connection)),
        (
            "max_pending_requests",
            "active_pending_requests",
            limits.max_pending_requests,
            of(Resource::Pending),
        ),
        ("max_requests", "active_requests", limits.max_requests, of(Resource::Request)),
        ("max_retries", "active_retries", usage.retry_limit(limits), of(Resource::Retry)),
    ]
}

/// The limit by latency, where there is one; times in milliseconds.
fn concurrency(cluster: &ClusterView) -> impl Iterator<Item = (&'static str, f64)> {
    let figures = cluster.concurrency.map(|counts| {
        [
            ("concurrency_limit", counts.limit.into()),
            ("rq_active", counts.under_way.into()),
            ("rq_blocked", counts.shed as f64),
            ("min_rtt_msecs", counts.min_rtt.as_secs_f64() * 1e3),
            ("sample_rtt_msecs", counts.sample_rtt.as_secs_f64() * 1e3),
        ]
    });
    figures.into_iter().flatten()
}

/// The figures of an endpoint with Envoy's names; `true`: it goes up and down.
fn figures(endpoint: &Endpoint) -> [(&'static str, bool, u64); 8] {
    let counts = endpoint.state.counts();
    [
        ("cx_active", true, counts.active_connections.into()),
        ("cx_connect_fail", false, counts.connect_failures),
        ("cx_total", false, counts.connections),
        ("rq_active", true, counts.active_requests.into()),
        ("rq_error", false, counts.errors),
        ("rq_success", false, counts.successes),
        ("rq_timeout", false, counts.timeouts),
        ("rq_total", false, counts.requests),
    ]
}

/// `region/zone/subzone`, each maybe empty.
fn locality(endpoint: &Endpoint) -> [&str; 3] {
    let mut parts = endpoint.locality.splitn(3, '/');
    std::array::from_fn(|_| parts.next().unwrap_or_default())
}

/// Why it is not well: Envoy's names in text and in JSON. Envoy too says of one that was not checked yet that its check failed.
fn failed(endpoint: &Endpoint) -> impl Iterator<Item = (&'static str, &'static str)> {
    let check = endpoint.state.active_check();
    let pending = check == ActiveCheck::Pending;
    [
        (pending || check == ActiveCheck::Failed, "/failed_active_hc", "failed_active_health_check"),
        (endpoint.state.is_ejected(), "/failed_outlier_check", "failed_outlier_check"),
        (pending, "/pending_active_hc", "pending_active_hc"),
    ]
    .into_iter()
    .filter_map(|(holds, text, json)| holds.then_some((text, json)))
}

fn health_flags(endpoint: &Endpoint) -> String {
    let flags: String = failed(endpoint).map(|(flag, _)| flag).collect();
    if flags.is_empty() { "healthy".into() } else { flags }
}

fn cluster_text(cluster: &ClusterView, out: &mut String) -> std::fmt::Result {
    let name = &cluster.config.name;
    writeln!(out, "{name}::observability_name::{name}")?;
    for (limit, used, most, count) in limits(cluster) {
        writeln!(out, "{name}::default_priority::{limit}::{most}")?;
        writeln!(out, "{name}::default_priority::{used}::{count}")?;
    }
    for (figure, value) in concurrency(cluster) {
        writeln!(out, "{name}::adaptive_concurrency::{figure}::{value}")?;
    }
    for endpoint in cluster.endpoints.endpoints() {
        let address = &endpoint.address;
        for (figure, _, count) in figures(endpoint) {
            writeln!(out, "{name}::{address}::{figure}::{count}")?;
        }
        let [region, zone, sub_zone] = locality(endpoint);
        writeln!(out, "{name}::{address}::hostname::{}", endpoint.hostname)?;
        writeln!(out, "{name}::{address}::health_flags::{}", health_flags(endpoint))?;
        writeln!(out, "{name}::{address}::weight::{}", endpoint.weight)?;
        writeln!(out, "{name}::{address}::region::{region}")?;
        writeln!(out, "{name}::{address}::zone::{zone}")?;
        writeln!(out, "{name}::{address}::sub_zone::{sub_zone}")?;
        writeln!(out, "{name}::{address}::priority::{}", endpoint.priority)?;
    }
    Ok(())
}

/// An `envoy.admin.v3.ClusterStatus`; `usage` and `adaptive_concurrency` are ours.
fn cluster_json(cluster: &ClusterView) -> Value {
    let thresholds = limits(cluster).map(|(limit, _, most, _)| (limit.to_owned(), Value::from(most)));
    let usage = limits(cluster).map(|(_, used, _, count)| (used.to_owned(), Value::from(count)));
    let hosts: Vec<_> = cluster.endpoints.endpoints().iter().map(|endpoint| host_json(endpoint)).collect();
    let figures = concurrency(cluster).map(|(figure, value)| (figure.to_owned(), Value::from(value)));
    value!({
        "name": &*cluster.config.name,
        "observability_name": &*cluster.config.name,
        "adaptive_concurrency": serde_json::Map::from_iter(figures),
        "added_via_api": true,
        "circuit_breakers": { "thresholds": [serde_json::Map::from_iter(thresholds)] },
        "usage": serde_json::Map::from_iter(usage),
        "host_statuses": hosts,
    })
}

/// An `envoy.admin.v3.HostStatus`. 64-bit numbers are strings in protobuf JSON.
fn host_json(endpoint: &Endpoint) -> Value {
    let address = match &endpoint.address {
        EndpointAddr::Socket(address) => socket(*address),
        EndpointAddr::Unix(path) => value!({ "pipe": { "path": path.display().to_string() } }),
    };
    let stats: Vec<_> = figures(endpoint)
        .iter()
        .map(|(name, is_gauge, count)| {
            let kind = if *is_gauge { "GAUGE" } else { "COUNTER" };
            value!({ "name": name, "type": kind, "value": count.to_string() })
        })
        .collect();
    let [region, zone, sub_zone] = locality(endpoint);
    let mut health = value!({ "eds_health_status": "HEALTHY" });
    for (_, flag) in failed(endpoint) {
        health[flag] = true.into();
    }
    value!({
        "address": address,
        "stats": stats,
        "health_status": health,
        "weight": endpoint.weight,
        "priority": endpoint.priority,
        "hostname": &*endpoint.hostname,
        "locality": { "region": region, "zone": zone, "sub_zone": sub_zone },
    })
}
