//! Metadata: which rule made a route or a cluster, which service it stands for.
//!
//! `istio` holds what Istio writes there, so that `istioctl` shows its columns; `sidle` holds file and line.

use crate::value::Object;
use serde_json::{Value, json};
use sidle_model::ir::{Cluster, Origin};

/// Metadata of a route.
pub(crate) fn route(origin: &Origin) -> Value {
    written(istio(origin), origin)
}

/// Metadata of a cluster.
pub(crate) fn cluster(cluster: &Cluster) -> Value {
    let service = &cluster.service;
    let services = (!service.host.is_empty())
        .then(|| json!([{"host": &*service.host, "name": &*service.name, "namespace": &*service.namespace}]));
    let subset = (!cluster.subset.is_empty()).then_some(&*cluster.subset);
    let istio = istio(&cluster.origin).with_some("services", services).with_some("subset", subset);
    written(istio, &cluster.origin)
}

fn written(istio: Object, origin: &Origin) -> Value {
    let entries = Object::new()
        .with_some("istio", (!istio.is_empty()).then_some(istio))
        .with("sidle", json!({"origin": origin.to_string()}));
    Object::new().with("filter_metadata", entries).into()
}

/// The rule as the path of a Kubernetes object; nothing for what no rule made.
fn istio(origin: &Origin) -> Object {
    let rule = origin.resource.split_once(' ').and_then(|(kind, name)| Some((kind, name.split_once('/')?)));
    let path = rule.map(|(kind, (namespace, name))| {
        format!("/apis/networking.istio.io/v1/namespaces/{namespace}/{}/{name}", kebab_case(kind))
    });
    Object::new().with_some("config", path)
}

fn kebab_case(kind: &str) -> String {
    let mut text = String::with_capacity(kind.len() + 2);
    for (at, character) in kind.chars().enumerate() {
        if character.is_ascii_uppercase() && at > 0 {
            text.push('-');
        }
        text.push(character.to_ascii_lowercase());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_kubernetes_paths() {
        let origin = Origin {
            resource: "VirtualService default/reviews".into(),
            file: "a.yaml".into(),
            line: 7,
            column: 3,
        };
        assert_eq!(
            route(&origin),
            json!({"filter_metadata": {
                "istio": {"config": "/apis/networking.istio.io/v1/namespaces/default/virtual-service/reviews"},
                "sidle": {"origin": "a.yaml:7"},
            }})
        );
        assert_eq!(route(&Origin::built_in()), json!({"filter_metadata": {"sidle": {"origin": "built in"}}}));
    }
}
