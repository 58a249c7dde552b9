//! What workers follow: everything resolved, nothing looked up by name on a request's way.

use crate::{
    codec::Authority,
    exchange::Wanted,
    jwks,
    policy::{
        RoutePolicy, authorization::Guard, gate::Gate, headers::HeaderRules, jwt::TokenGate,
        rate_limit::RateLimit,
    },
    upstream::Cluster,
};
use bytes::Bytes;
use foldhash::{HashMap, HashSet};
use http::{HeaderValue, StatusCode};
use sidle_identity::{Live, Workload};
use sidle_model::{ir, pause};
use sidle_routing::{FilterChainTable, PathRewriter, RouteTable, WeightedIndex};
use sidle_telemetry::{WorkloadLabels, log::AccessLog};
use std::{sync::Arc, time::Duration};

/// One configuration, ready to serve.
pub struct Snapshot {
    /// Who we are, now.
    pub workload: Workload,
    /// Grows with each; lets a connection see that its plan is of another one.
    pub generation: u64,
    /// For people.
    pub version: Arc<str>,
    /// What it was built from.
    pub ir: Arc<ir::Ir>,
    /// By name.
    pub listeners: HashMap<Arc<str>, Arc<ListenerPlan>>,
    /// By name, beside the configuration that each was last given.
    pub clusters: ClustersByName,
    /// The ids of their connectors.
    pub connectors: HashSet<u64>,
    /// Where keys of issuers are.
    pub keys: jwks::Sources,
    /// What was compiled for tokens; listeners share it.
    pub token_gates: Vec<(Arc<[ir::JwtProvider]>, Arc<TokenGate>)>,
    /// Limits on requests, with what they have counted.
    pub rate_limits: Vec<Arc<RateLimit>>,
    /// The access log, and what it wants to know.
    pub access_log: Option<(AccessLog, Wanted)>,
    /// This workload in metrics.
    pub node: Arc<WorkloadLabels>,
}

/// Large: whoever takes it apart may pause.
impl Drop for Snapshot {
    fn drop(&mut self) {
        pause::drop_each(self.clusters.drain());
    }
}

/// Clusters by name, beside the configuration that each was last given.
pub type ClustersByName = HashMap<Arc<str>, (Arc<ir::Cluster>, Arc<Cluster>)>;

/// A listener.
pub struct ListenerPlan {
    /// What it was built from.
    pub config: Arc<ir::Listener>,
    /// Which connections are treated how.
    pub chains: FilterChainTable<Arc<Chain>>,
}

/// How the connections of one kind are treated.
pub struct Chain {
    /// Unique in its listener.
    pub name: Arc<str>,
    /// Terminates TLS, as it is to be spoken when a handshake begins.
    pub tls: Option<(Arc<ir::ServerTls>, Arc<Live<rustls::ServerConfig>>)>,
    /// What reads the bytes.
    pub filter: Filter,
}

/// What reads the bytes.
#[derive(Clone)]
pub enum Filter {
    /// HTTP.
    Http(Arc<HttpPlan>),
    /// Bytes.
    Tcp(Arc<TcpPlan>),
}

/// How HTTP connections are served.
pub struct HttpPlan {
    /// Which route.
    pub routes: Arc<RouteTable<RoutePlan>>,
    /// Outbound, inbound or gateway.
    pub direction: ir::Direction,
    /// Gateways.
    pub edge: bool,
    /// `server` of responses; `None`: the upstream's.
    pub server_name: Option<HeaderValue>,
    /// Whether HTTP/1 header names keep their case.
    pub preserve_header_case: bool,
    /// What is taken from clients, and how. Connections keep those that they began with.
    pub options: Arc<ir::HttpOptions>,
    /// Who may ask at all.
    pub gate: Gate,
    /// How many may.
    pub rate_limits: Box<[Arc<RateLimit>]>,
}

/// How TCP connections are served.
pub struct TcpPlan {
    /// Where to.
    pub clusters: Box<[Arc<Cluster>]>,
    /// Chooses among them.
    pub index: WeightedIndex,
    /// Who may connect.
    pub guard: Option<Guard>,
    /// Closes a silent connection.
    pub idle_timeout: Option<Duration>,
    /// For logs.
    pub route_name: Arc<str>,
    /// The rule.
    pub origin: ir::Origin,
}

/// One route.
pub struct RoutePlan {
    /// Besides the action.
    pub policy: RoutePolicy,
    /// What to do.
    pub action: ActionPlan,
}

impl RoutePlan {
    /// Every cluster that a request may be sent to.
    pub fn clusters(&self) -> impl Iterator<Item = &Arc<Cluster>> {
        let forward = match &self.action {
            ActionPlan::Forward(forward) => Some(forward),
            ActionPlan::Redirect(_) | ActionPlan::Direct(..) => None,
        };
        forward.into_iter().flat_map(|forward| {
            let mirrors = forward.mirrors.iter().map(|(cluster, _)| cluster);
            forward.clusters.iter().map(|weighted| &weighted.cluster).chain(mirrors)
        })
    }
}

/// What to do.
pub enum ActionPlan {
    /// Send it on.
    Forward(Box<ForwardPlan>),
    /// Answer with a redirect.
    Redirect(Box<sidle_routing::Redirect>),
    /// Answer with this.
    Direct(StatusCode, Bytes),
}

/// Send it on.
pub struct ForwardPlan {
    /// Where to.
    pub clusters: Box<[WeightedPlan]>,
    /// Chooses among them.
    pub index: WeightedIndex,
    /// Changes the path.
    pub path_rewrite: Option<PathRewriter>,
    /// Changes the authority.
    pub authority_rewrite: Option<Box<Authority>>,
    /// Covers all tries.
    pub timeout: Option<Duration>,
    /// When to try again.
    pub retry: Option<Arc<ir::RetryPolicy>>,
    /// What to hash.
    pub hash_policies: Box<[ir::HashPolicy]>,
    /// Copies.
    pub mirrors: Box<[(Arc<Cluster>, ir::Percent)]>,
}

/// A share of a route's traffic.
pub struct WeightedPlan {
    /// Where to.
    pub cluster: Arc<Cluster>,
    /// Before the route's, as in Envoy.
    pub request_headers: HeaderRules,
    /// Before the route's.
    pub response_headers: HeaderRules,
    /// Changes the authority, unless the route does.
    pub authority: Option<Box<Authority>>,
}
