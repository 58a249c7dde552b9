//! What is told of a destination's cluster.

use super::outcome::{faults as faults_of_tries, percent, time};
use sidle_model::ir::{
    self, Certificates, ClientTls, Cluster, ClusterLimits, Discovery, TcpFaults, UpstreamFaults,
};

/// Which bounds hold, and which of them are what they would be if nobody had written any.
pub(super) fn limits(cluster: &Cluster) -> String {
    let (ours, defaults) = (&cluster.limits, ClusterLimits::default());
    let bounds = [
        (ours.max_connections, defaults.max_connections, "connections"),
        (ours.max_pending_requests, defaults.max_pending_requests, "waiting"),
        (ours.max_requests, defaults.max_requests, "requests"),
    ];
    let bound = |(number, default, what)| match number == default {
        true => format!("{number} {what} (as by default)"),
        false => format!("{number} {what}"),
    };
    format!("at most {}", bounds.map(bound).join(", "))
}

pub(super) fn concurrency(cluster: &Cluster) -> String {
    let Some(policy) = &cluster.adaptive_concurrency else { return String::new() };
    format!("requests at once by latency, {} to {}", policy.min_concurrency, policy.max_concurrency)
}

pub(super) fn upstream_faults(faults: &UpstreamFaults) -> Vec<String> {
    let mut told = faults.http.as_ref().map(faults_of_tries).unwrap_or_default();
    told.iter_mut().for_each(|fault| *fault = format!("of tries {fault}"));
    let UpstreamFaults { tcp: TcpFaults { delay, reset, cut }, .. } = faults;
    let of_bytes = [
        delay.map(|(length, share)| format!("{} waits {}", percent(share), time(length))),
        reset.map(|share| format!("{} is reset", percent(share))),
        cut.map(|(bytes, share)| format!("{} is cut after {bytes} bytes", percent(share))),
    ];
    told.extend(of_bytes.into_iter().flatten().map(|fault| format!("of connections {fault}")));
    told
}

pub(super) fn load_balancer(cluster: &Cluster) -> String {
    if matches!(
        cluster.discovery,
        Discovery::OriginalDestination | Discovery::DynamicForwardProxy | Discovery::None
    ) {
        return String::new();
    }
    let how: String = match &cluster.load_balancer {
        ir::LoadBalancer::LeastRequest => "least request".into(),
        ir::LoadBalancer::PeakEwma { decay } => format!("peak EWMA of {decay:?}"),
        ir::LoadBalancer::RoundRobin => "round robin".into(),
        ir::LoadBalancer::Random => "random".into(),
        ir::LoadBalancer::RingHash { minimum_ring_size } => format!("ring hash of {minimum_ring_size}"),
        ir::LoadBalancer::Maglev { table_size } => format!("maglev of {table_size}"),
    };
    let more = [
        cluster.slow_start.as_ref().map(|slow| format!(", new ones warm up for {:?}", slow.window)),
        cluster.health_check.as_ref().map(|check| format!(", checked every {:?}", check.interval)),
        cluster.hedging.as_ref().map(hedging),
    ];
    more.into_iter().flatten().fold(how, |how, more| how + &more)
}

fn hedging(hedging: &ir::Hedging) -> String {
    let percentile = hedging.percentile.map(|percent| format!("what {percent} % take"));
    let after = hedging.after.map(|after| format!("{after:?}"));
    let when = match (percentile, after) {
        (Some(percentile), Some(after)) => format!("{percentile}, and {after} at least"),
        (when, None) | (None, when) => when.unwrap_or_else(|| "the time for one try".into()),
    };
    format!(", hedged after {when}")
}

pub(super) fn endpoints(cluster: &Cluster) -> Vec<String> {
    let all: f64 = cluster.locality_weights.values().map(|weight| f64::from(*weight)).sum();
    let named = |how: &str, endpoint: &ir::Endpoint| {
        let version = endpoint.workload.labels.get("version").map(|version| format!(" {version}"));
        let weight =
            if endpoint.weight == 1 { String::new() } else { format!(" weight {}", endpoint.weight) };
        let locality = Some(&endpoint.locality).filter(|locality| !locality.is_empty());
        let locality = locality.map(|locality| match cluster.locality_weights.get(locality) {
            Some(weight) if all > 0.0 => {
                format!(" in {locality} ({:.0} % together)", f64::from(*weight) * 100.0 / all)
            }
            _ => format!(" in {locality}"),
        });
        let priority = match endpoint.priority {
            0 => String::new(),
            priority => format!(" priority {priority}"),
        };
        let (version, locality) = (version.unwrap_or_default(), locality.unwrap_or_default());
        format!("{how}{}{version}{weight}{locality}{priority}", endpoint.address)
    };
    match &cluster.discovery {
        Discovery::Static(endpoints) => endpoints.iter().map(|endpoint| named("", endpoint)).collect(),
        Discovery::StrictDns(endpoints) => endpoints.iter().map(|endpoint| named("dns ", endpoint)).collect(),
        Discovery::LogicalDns(endpoint) => vec![named("dns, one address ", endpoint)],
        Discovery::OriginalDestination => vec!["where the client wanted to go".into()],
        Discovery::DynamicForwardProxy => vec!["the request's host, by DNS".into()],
        Discovery::None => Vec::new(),
    }
}

/// What is spoken to a cluster's endpoints.
pub(super) fn tls(cluster: &Cluster) -> String {
    let name = |tls: &ClientTls| tls.sni.as_deref().map(|sni| format!(" as {sni}")).unwrap_or_default();
    match (&cluster.tls, &cluster.auto_mtls) {
        (Some(tls), _) if tls.certificate == Some(Certificates::Workload) => format!("mTLS{}", name(tls)),
        (Some(tls), _) => format!("TLS{}", name(tls)),
        (None, Some(auto)) => {
            let endpoints = match &cluster.discovery {
                Discovery::Static(endpoints) | Discovery::StrictDns(endpoints) => &endpoints[..],
                Discovery::LogicalDns(endpoint) => std::slice::from_ref(endpoint),
                _ => &[],
            };
            let takers = endpoints.iter().filter(|endpoint| endpoint.mtls).count();
            format!("mTLS{} to {takers} of {} endpoints, automatically", name(auto), endpoints.len())
        }
        (None, None) => String::new(),
    }
}
