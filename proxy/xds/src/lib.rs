//! Envoy's words for the IR: what Sidle runs, as protobuf JSON that Envoy and `istioctl` read.
//!
//! In:  an [`Ir`].   Out: a static bootstrap ([`bootstrap()`]), or what `/config_dump` answers ([`config_dump()`]).
//! Invariants: pure; the same IR gives the same JSON; a bootstrap needs no control plane.
//! Not here: sockets, the admin server (`proxy/src/admin`), the decisions themselves (`sidle_model::lower`).
//! Read: `bootstrap` -> `listener` -> `connection_manager` -> `route` -> `forward` -> `cluster`; `value` has the small words.
//!
//! What maps to what, and where Envoy cannot say what Sidle does, stands in the README of this folder.

mod access_log;
mod authentication;
mod authority;
mod bootstrap;
mod cluster;
mod config_dump;
mod connection_manager;
mod context;
mod endpoint;
mod ext_authz;
mod filter;
mod format;
mod forward;
mod header;
mod health_check;
mod issuer;
mod limit;
mod listener;
mod matcher;
mod metadata;
mod rbac;
mod redirect;
mod retry;
mod route;
mod tls;
mod value;
mod workload;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;

pub use bootstrap::{ExportOptions, Relocate, bootstrap};
pub use config_dump::config_dump;

use context::Context;
use serde_json::Value;
use sidle_model::ir::{Cluster, Ir, Listener, RouteConfiguration};

/// An `envoy.config.listener.v3.Listener` that refers to its route tables by name.
pub fn listener_json(listener: &Listener, ir: &Ir) -> Value {
    listener::listener(&Context::dump(ir), listener, &listener.address)
}

/// An `envoy.config.cluster.v3.Cluster`.
pub fn cluster_json(cluster: &Cluster, ir: &Ir) -> Value {
    cluster::cluster(&Context::dump(ir), cluster)
}

/// An `envoy.config.route.v3.RouteConfiguration`.
pub fn route_configuration_json(table: &RouteConfiguration, ir: &Ir) -> Value {
    route::route_configuration(&Context::dump(ir).dumped_table(table), table)
}

/// An `envoy.config.endpoint.v3.ClusterLoadAssignment`; empty for clusters whose endpoints are not configured.
pub fn endpoints_json(cluster: &Cluster) -> Value {
    endpoint::load_assignment(cluster)
}
