//! Endpoints.

use crate::value::{Object, ip_address, pipe, socket_address};
use serde_json::{Value, json};
use sidle_model::ir::{Cluster, Discovery, Endpoint, EndpointAddress, Workload};
use std::collections::BTreeMap;

/// The endpoints of a cluster that Envoy is given, in the order of the IR.
pub(crate) fn configured(cluster: &Cluster) -> &[Endpoint] {
    match &cluster.discovery {
        Discovery::Static(endpoints) | Discovery::StrictDns(endpoints) => endpoints,
        Discovery::LogicalDns(endpoint) => std::slice::from_ref(endpoint),
        Discovery::OriginalDestination | Discovery::DynamicForwardProxy | Discovery::None => &[],
    }
}

/// A `ClusterLoadAssignment`, one `LocalityLbEndpoints` for each locality and priority.
pub(crate) fn load_assignment(cluster: &Cluster) -> Value {
    let mut localities: BTreeMap<(u32, &str), Vec<Value>> = BTreeMap::new();
    for one in configured(cluster) {
        localities.entry((one.priority, &one.locality)).or_default().push(endpoint(one, cluster));
    }
    let localities = localities.into_iter().map(|((priority, name), endpoints)| {
        let group = Object::new()
            .with_some("locality", locality(name))
            .with("lb_endpoints", endpoints)
            .with_some("load_balancing_weight", cluster.locality_weights.get(name).copied())
            .with_some("priority", (priority > 0).then_some(priority));
        Value::from(group)
    });
    Object::new().with("cluster_name", &*cluster.name).with_list("endpoints", localities.collect()).into()
}

fn endpoint(endpoint: &Endpoint, cluster: &Cluster) -> Value {
    let address = match &endpoint.address {
        EndpointAddress::Socket(address) => ip_address(*address),
        EndpointAddress::Name(name, port) => socket_address(name, *port),
        EndpointAddress::Unix(path) => pipe(path),
    };
    let tls_mode = endpoint.mtls.then(|| json!({"tlsMode": "istio"}));
    let metadata = Object::new()
        .with("istio", json!({"workload": workload(&endpoint.workload)}))
        .with_some("envoy.transport_socket_match", tls_mode);
    // Envoy refuses a port where there are none.
    let has_port = !matches!(endpoint.address, EndpointAddress::Unix(_));
    let port = cluster.health_check.as_ref().and_then(|check| check.port).filter(|_| has_port);
    let place = Object::new()
        .with("address", address)
        .with_some("health_check_config", port.map(|port| json!({"port_value": port})));
    json!({
        "endpoint": Value::from(place),
        "load_balancing_weight": endpoint.weight,
        "metadata": {"filter_metadata": Value::from(metadata)},
    })
}

/// `region/zone/subzone`.
fn locality(text: &str) -> Option<Value> {
    let mut parts = text.splitn(3, '/');
    let mut part = || parts.next().filter(|part| !part.is_empty());
    let (region, zone, subzone) = (part(), part(), part());
    region.or(zone).or(subzone)?;
    let locality =
        Object::new().with_some("region", region).with_some("zone", zone).with_some("sub_zone", subzone);
    Some(locality.into())
}

/// Istio's text of who answers: name, namespace, canonical service and revision, cluster.
fn workload(workload: &Workload) -> String {
    let label = |keys: [&str; 3]| {
        keys.iter().find_map(|key| workload.labels.get(key)).map(String::as_str).unwrap_or_default()
    };
    let service = label(["service.istio.io/canonical-name", "app.kubernetes.io/name", "app"]);
    let revision = label(["service.istio.io/canonical-revision", "app.kubernetes.io/version", "version"]);
    format!("{};{};{service};{revision};", workload.name, workload.namespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn localities_have_up_to_three_parts() {
        assert_eq!(locality(""), None);
        assert_eq!(locality("eu"), Some(json!({"region": "eu"})));
        assert_eq!(locality("/a"), Some(json!({"zone": "a"})));
        assert_eq!(locality("eu/a/1"), Some(json!({"region": "eu", "zone": "a", "sub_zone": "1"})));
    }
}
