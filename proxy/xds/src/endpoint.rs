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

/// A `ClusterLoadAssignment`, one `LocalityLbEndpoints` for each locality.
pub(crate) fn load_assignment(cluster: &Cluster) -> Value {
    let mut localities: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for one in configured(cluster) {
        localities.entry(&one.locality).or_default().push(endpoint(one));
    }
    let localities = localities.into_iter().map(|(name, endpoints)| {
        Value::from(Object::new().with_some("locality", locality(name)).with("lb_endpoints", endpoints))
    });
    Object::new().with("cluster_name", &*cluster.name).with_list("endpoints", localities.collect()).into()
}

fn endpoint(endpoint: &Endpoint) -> Value {
    let address = match &endpoint.address {
        EndpointAddress::Socket(address) => ip_address(*address),
        EndpointAddress::Name(name, port) => socket_address(name, *port),
        EndpointAddress::Unix(path) => pipe(path),
    };
    let tls_mode = endpoint.mtls.then(|| json!({"tlsMode": "istio"}));
    let metadata = Object::new()
        .with("istio", json!({"workload": workload(&endpoint.workload)}))
        .with_some("envoy.transport_socket_match", tls_mode);
    json!({
        "endpoint": {"address": address},
        "load_balancing_weight": endpoint.weight,
        "metadata": {"filter_metadata": Value::from(metadata)},
    })
}

/// `region/zone/subzone`.
fn locality(text: &str) -> Option<Value> {
    let mut parts = text.splitn(3, '/').filter(|part| !part.is_empty());
    let region = parts.next()?;
    Some(
        Object::new()
            .with("region", region)
            .with_some("zone", parts.next())
            .with_some("sub_zone", parts.next())
            .into(),
    )
}

/// Istio's text of who answers: name, namespace, canonical service and revision, cluster.
fn workload(workload: &Workload) -> String {
    let label = |keys: [&str; 3]| {
        keys.iter().find_map(|key| workload.labels.get(*key)).map(String::as_str).unwrap_or_default()
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
        assert_eq!(locality("eu/a/1"), Some(json!({"region": "eu", "zone": "a", "sub_zone": "1"})));
    }
}
