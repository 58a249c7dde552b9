//! The intermediate representation: one shape for everything that configures the proxy.
//!
//! In:  the lowering of manifests (`crate::lower`), or xDS.   Out: snapshots (`proxy/src/config`), Envoy JSON (`sidle-xds`).
//! Invariants: names are Envoy's; values are parsed (a [`Percent`] is at most 100 %, a regex compiles, a header name is one);
//! short names are completed; precedence has been decided. Nothing downstream interprets configuration again.
//! Not here: Istio's nouns, live state.
//! Read: `listener` -> `route` -> `cluster` -> `settings`.

mod admission;
mod authentication;
mod authority;
mod authorization;
mod cluster;
mod ext_authz;
mod fetch;
mod format;
mod identity;
mod listener;
mod overload;
mod pattern;
mod primitive;
mod rate_limit;
mod route;
mod settings;
mod share;
mod text_pattern;
mod tls;

pub use admission::*;
pub use authentication::*;
pub use authority::*;
pub use authorization::*;
pub use cluster::*;
pub use ext_authz::*;
pub use fetch::*;
pub use format::*;
pub use identity::*;
pub use listener::*;
pub use overload::*;
pub use pattern::Pattern;
pub use primitive::*;
pub use rate_limit::*;
pub use route::*;
pub use settings::*;
pub use text_pattern::*;
pub use tls::*;

use std::sync::Arc;

/// Everything one proxy needs, decided.
#[derive(Debug, Clone, PartialEq)]
pub struct Ir {
    /// Who this proxy is.
    pub node: Node,
    /// Process settings, from `kind: Proxy` and the command line's defaults.
    pub settings: Settings,
    /// Sockets to bind, in the order of their names.
    pub listeners: Vec<Arc<Listener>>,
    /// Route tables, referred to by [`HttpConnectionManager::route_configuration`].
    pub route_configurations: Vec<Arc<RouteConfiguration>>,
    /// Every cluster that a route may name, in the order of their names. Always holds [`BLACK_HOLE_CLUSTER`] and
    /// [`PASSTHROUGH_CLUSTER`].
    pub clusters: Vec<Arc<Cluster>>,
    /// What the application's ports take, in the order of their numbers.
    pub inbound_mtls: Vec<InboundMtls>,
}

/// The cluster that answers 502 to HTTP and closes TCP: what `REGISTRY_ONLY` does with unknown destinations.
pub const BLACK_HOLE_CLUSTER: &str = "BlackHoleCluster";
/// The cluster that forwards to wherever the client wanted to go.
pub const PASSTHROUGH_CLUSTER: &str = "PassthroughCluster";
/// The cluster of inbound connections to a port that no Service declares.
pub const INBOUND_PASSTHROUGH_CLUSTER: &str = "InboundPassthroughCluster";

/// Who this proxy is: decides which rules apply to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Kubernetes namespace of the workload; `default` unless given.
    pub namespace: String,
    /// Labels of the workload, for selectors and `sourceLabels`.
    pub labels: crate::Map<String>,
    /// Name of the workload in metrics (`source_workload`); `unknown` unless given.
    pub workload: String,
    /// `region/zone/subzone` of the workload; empty: what its labels say, if they do.
    pub locality: String,
    /// Suffix of cluster-local names; `cluster.local`.
    pub domain: String,
    /// Namespace of mesh-wide rules; `istio-system`.
    pub root_namespace: String,
}

impl Default for Node {
    fn default() -> Self {
        Node {
            namespace: "default".into(),
            labels: Default::default(),
            workload: "unknown".into(),
            locality: String::new(),
            domain: "cluster.local".into(),
            root_namespace: "istio-system".into(),
        }
    }
}

/// Where a piece of configuration was written.
///
/// Two origins are always equal: where a thing stands does not change what it does, so moving a route in its file
/// neither replaces a cluster nor counts as a change.
#[derive(Debug, Clone, Eq)]
pub struct Origin {
    /// `VirtualService default/reviews`, or `built in`.
    pub resource: Arc<str>,
    /// Path of the file as the user gave it, `-` for standard input, empty for built-in configuration.
    pub file: Arc<str>,
    /// First line, from 1; 0 for built-in configuration.
    pub line: u32,
    /// First column, from 1; 0 for built-in configuration.
    pub column: u32,
}

impl PartialEq for Origin {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Origin {
    /// Whether both are the same place.
    fn is(&self, other: &Origin) -> bool {
        (self.line, self.column) == (other.line, other.column)
            && self.file == other.file
            && self.resource == other.resource
    }

    /// The origin of what Sidle adds by itself.
    pub fn built_in() -> Self {
        Origin { resource: "built in".into(), file: "".into(), line: 0, column: 0 }
    }
}

/// `file:line`, or `built in`.
impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.line == 0 { f.write_str("built in") } else { write!(f, "{}:{}", self.file, self.line) }
    }
}
