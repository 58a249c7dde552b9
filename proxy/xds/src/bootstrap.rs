//! A whole Envoy bootstrap: everything static, no control plane.

use crate::{
    authority, cluster,
    context::Context,
    issuer, listener,
    value::{Object, extension, ip_address},
    workload,
};
use serde_json::{Value, json};
use sidle_model::ir::{Ir, ListenAddress, Listener};
use std::{net::SocketAddr, path::Path};

/// Says where a listener binds instead; `None`: where the IR says.
pub type Relocate = dyn Fn(&Listener) -> Option<ListenAddress>;

/// What an export may say otherwise than the IR.
#[derive(Default)]
pub struct ExportOptions<'a> {
    /// Envoy's admin; `None`: there is none.
    pub admin: Option<SocketAddr>,
    /// `node.id`; empty: `sidle`.
    pub node_id: &'a str,
    /// The bundle of the system's trusted roots where Envoy will run; `None`: Debian's place, as in Envoy's own images.
    pub system_ca: Option<&'a Path>,
    /// Moves listeners; `None`: all bind where the IR says.
    pub relocate: Option<&'a Relocate>,
}

/// An `envoy.config.bootstrap.v3.Bootstrap` that runs `ir` in Envoy.
pub fn bootstrap(ir: &Ir, options: &ExportOptions<'_>) -> Value {
    let context = Context::bootstrap(ir, options.system_ca);
    let listeners: Vec<Value> = ir
        .listeners
        .iter()
        .map(|listener| {
            let moved = options.relocate.and_then(|relocate| relocate(listener));
            listener::listener(&context, listener, moved.as_ref().unwrap_or(&listener.address))
        })
        .collect();
    let twins = authority::twins(&context);
    let own = ir.clusters.iter().map(|cluster| cluster::cluster(&context, cluster));
    let twins = ir.clusters.iter().filter(|c| twins.contains(&*c.name)).map(|c| cluster::twin(&context, c));
    let clusters: Vec<Value> =
        own.chain(twins).chain(workload::agent(ir)).chain(issuer::clusters(&context)).collect();
    common(ir, options.admin, options.node_id)
        .with("static_resources", json!({"listeners": listeners, "clusters": clusters}))
        .into()
}

/// The part of a bootstrap that is not listeners and clusters.
pub(crate) fn common(ir: &Ir, admin: Option<SocketAddr>, node_id: &str) -> Object {
    let node_id = if node_id.is_empty() { "sidle" } else { node_id };
    let labels: serde_json::Map<String, Value> =
        ir.node.labels.iter().map(|(key, value)| (key.clone(), value.as_str().into())).collect();
    Object::new()
        .with(
            "node",
            json!({
                "id": node_id,
                "cluster": format!("{}.{}", ir.node.workload, ir.node.namespace),
                "metadata": {"NAMESPACE": ir.node.namespace, "LABELS": labels},
            }),
        )
        .with_some("admin", admin.map(|address| json!({"address": ip_address(address)})))
        .with_some("overload_manager", ir.settings.limits.max_connections.map(overload_manager))
}

fn overload_manager(max_connections: u32) -> Value {
    let monitor = extension(
        "envoy.resource_monitors.global_downstream_max_connections",
        Object::typed("extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig")
            .with("max_active_downstream_connections", max_connections),
    );
    json!({"resource_monitors": [monitor]})
}
