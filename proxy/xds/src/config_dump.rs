//! What `/config_dump` answers: the IR as Envoy would show it, had a control plane sent it.
//!
//! Invariant: `istioctl proxy-config`, which reads names, versions and `@type`s, finds what it looks for.

use crate::{bootstrap, cluster, context::Context, endpoint, issuer, listener, route, value::Object};
use serde_json::{Value, json};
use sidle_model::ir::Ir;

/// An `envoy.admin.v3.ConfigDump` of `ir`, applied as `version`.
pub fn config_dump(ir: &Ir, version: &str) -> Value {
    let context = Context::dump(ir);
    let section = |name: &str| Object::typed(&format!("admin.v3.{name}"));
    let bootstrap =
        typed("config.bootstrap.v3.Bootstrap", bootstrap::common(ir, Some(ir.settings.admin), "").into());
    let clusters = ir.clusters.iter().map(|one| cluster::cluster(&context, one));
    let clusters = clusters.chain(issuer::clusters(&context)).map(|one| {
        let cluster = typed("config.cluster.v3.Cluster", one);
        json!({"version_info": version, "cluster": cluster})
    });
    let listeners = ir.listeners.iter().map(|one| {
        let listener = typed("config.listener.v3.Listener", listener::listener(&context, one, &one.address));
        json!({"name": &*one.name, "active_state": {"version_info": version, "listener": listener}})
    });
    let routes = ir.route_configurations.iter().map(|one| {
        let table = route::route_configuration(&context.dumped_table(one), one);
        let table = typed("config.route.v3.RouteConfiguration", table);
        json!({"version_info": version, "route_config": table})
    });
    let endpoints = ir.clusters.iter().filter(|one| !endpoint::configured(one).is_empty()).map(|one| {
        let assignment = typed("config.endpoint.v3.ClusterLoadAssignment", endpoint::load_assignment(one));
        json!({"version_info": version, "endpoint_config": assignment})
    });
    let list = |values: &mut dyn Iterator<Item = Value>| values.collect::<Vec<_>>();
    json!({"configs": [
        Value::from(section("BootstrapConfigDump").with("bootstrap", bootstrap)),
        Value::from(
            section("ClustersConfigDump")
                .with("version_info", version)
                .with("dynamic_active_clusters", list(&mut { clusters })),
        ),
        Value::from(section("EndpointsConfigDump").with("dynamic_endpoint_configs", list(&mut { endpoints }))),
        Value::from(
            section("ListenersConfigDump")
                .with("version_info", version)
                .with("dynamic_listeners", list(&mut { listeners })),
        ),
        Value::from(section("RoutesConfigDump").with("dynamic_route_configs", list(&mut { routes }))),
    ]})
}

/// `message` packed as an `Any`.
fn typed(name: &str, message: Value) -> Value {
    let packed = Object::typed(name);
    match message {
        Value::Object(fields) => packed.merge(fields.into()).into(),
        _ => packed.into(),
    }
}
