//! Lowering: what users wrote becomes what one proxy runs.
//!
//! In:  a [`Config`] that `check` found no error in, and the [`Node`] that it is for.   Out: an [`Ir`], and notes on everything
//! that Istio's rules drop or ignore.
//! Invariants: precedence and defaults (R1 to R9, R17 to R21, R24, R25) are decided here and nowhere else; every cluster that
//! a route names exists; no two virtual hosts of a table share a domain; the same input gives the same output; it never
//! fails: what is wrong although `check` let it pass becomes a cluster without endpoints.
//! Not here: mistakes in single fields and dangling references (`crate::check`), regex compilation for speed, sockets.
//! Read: `registry` (services and endpoints) -> `destination_rules` -> `clusters` -> `virtual_services` -> `routes` ->
//! `outbound`, `inbound`, `gateways`.

mod actions;
mod attachment;
mod authentication;
pub(crate) mod authorization;
mod captured;
pub(crate) mod client_tls;
mod cluster_policy;
mod clusters;
mod concurrency_policies;
mod delegates;
mod destination_rules;
mod domains;
mod egress;
mod extension_providers;
mod fault_policies;
mod gateways;
pub(crate) mod headers;
mod health_policies;
mod host_policies;
mod identity;
mod inbound;
mod locality;
pub(crate) mod matches;
mod memo;
mod name_table;
pub(crate) mod names;
mod notes;
mod outbound;
pub(crate) mod peer_authentications;
pub(crate) mod policies;
mod ports;
mod protocol;
mod rate_limits;
mod registry;
mod retries;
mod routes;
pub(crate) mod secrets;
mod server_tls;
mod settings;
mod sidecars;
mod table;
mod tcp;
mod upstream_policies;
mod view;
mod virtual_services;

#[cfg(test)]
mod tests;

use crate::{
    config::{Config, Resource},
    diagnostic::Diagnostic,
    ir::{
        Direction, InboundMtls, Ir, JwtProvider, KeyFetching, ListenAddress, Listener, MtlsMode, NameServer,
        Node, PathNormalization, RetryPolicy, RouteConfiguration,
    },
    pause,
    sidle::{HealthPolicy, Proxy, UpstreamPolicy},
};
pub use authorization::Policies;
pub(crate) use extension_providers::status_code;
pub use memo::Memo;
pub(crate) use policies::base64;

use destination_rules::DestinationRules;
use fault_policies::FaultPolicies;
use host_policies::HostPolicies;
use notes::Notes;
use peer_authentications::PeerAuthentications;
use registry::Registry;
use routes::Routes;
use secrets::Secrets;
use sidecars::Scope;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use virtual_services::VirtualServices;

/// What lowering gives.
#[derive(Debug, Clone)]
pub struct Lowered {
    /// Everything the proxy runs.
    pub ir: Ir,
    /// What was dropped or ignored on the way; never an error.
    pub diagnostics: Vec<Diagnostic>,
}

/// The authorization policies that hold for one proxy, and how it normalises the paths that they ask about.
pub fn authorization_policies(config: &Config, node: &Node) -> (Policies, PathNormalization) {
    let (proxy, node) = settled(config, node);
    let proxy = proxy.map(|proxy| &*proxy.spec);
    (authorization::of_node(config, &node, proxy), settings::path_normalization(proxy))
}

/// Whose tokens one proxy believes, by the RequestAuthentications that hold for it.
pub fn token_providers(config: &Config, node: &Node) -> Arc<[JwtProvider]> {
    let (_, node) = settled(config, node);
    authentication::providers(config, &node, &KeyFetching::default(), &mut Notes::default())
}

/// What PeerAuthentications say that a port of a proxy's workload takes, whether or not the workload is known to have it; `None`: one of
/// which they say nothing of its own.
pub fn inbound_mtls(config: &Config, node: &Node, port: Option<u16>) -> InboundMtls {
    let (_, node) = settled(config, node);
    let policies = PeerAuthentications::new(config, &node);
    let port = port.unwrap_or_default(); // no policy speaks of port 0
    InboundMtls {
        port,
        mode: policies.of(&node.namespace, &node.labels, port),
        origin: policies.origin(&node.namespace, &node.labels, port),
    }
}

/// Makes the IR of one proxy.
pub fn lower(config: &Config, node: &Node) -> Lowered {
    lower_again(config, node, &mut Memo::default())
}

/// As [`lower`], faster by what `memo` holds of the last time.
pub fn lower_again(config: &Config, node: &Node, memo: &mut Memo) -> Lowered {
    let mut notes = Notes::default();
    let mesh = Mesh::new(config, node, &mut notes);
    let mut routes = Routes::new(&mesh, notes, memo);
    for service in mesh.registry.visible().filter(|s| mesh.scope.imports_service(s.namespace, &s.host)) {
        routes.clusters.add_service(service, &mut routes.notes);
    }
    let mut plan = Plan::default();
    outbound::add(&mut routes, &mut plan);
    gateways::add(&mut routes, &mut plan);
    inbound::add(&mut routes, &mut plan);
    authorization::apply(&mut routes, &mut plan);
    mesh.destination_rules.note_unused(&mesh.registry, &mut routes.notes);
    mesh.destination_rules.note_lost_blocks(&mut routes.notes);
    settings::apply_http(mesh.proxy.map(|proxy| &*proxy.spec), &mut plan.listeners);
    rate_limits::apply(&mut routes, &mut plan);
    let mut settings = settings::lower(mesh.proxy.map(|proxy| &*proxy.spec), &mesh.node);
    settings.name_server = mesh.proxy.and_then(|proxy| proxy.spec.dns.as_ref()).map(|dns| NameServer {
        address: settings::address(dns.address.as_ref(), ([127, 0, 0, 1], 15053).into()),
        names: Arc::new(name_table::names(&mesh)),
    });
    let tokens = authentication::providers(config, &mesh.node, &settings.key_fetching, &mut routes.notes);
    authentication::apply(&tokens, &mut plan.listeners);
    ports::note_taken(&mesh, &plan.listeners, &settings, &mut routes.notes);
    let mut inbound_mtls = std::mem::take(&mut plan.mtls);
    inbound_mtls.sort_by_key(|one| one.port);
    let (listeners, route_configurations) = plan.finish();
    routes.memo.end();
    pause::drop_each(routes.made);
    let ir = Ir {
        node: mesh.node.clone(),
        settings,
        listeners,
        route_configurations,
        clusters: routes.clusters.into_vec(),
        inbound_mtls,
    };
    let diagnostics = routes.notes.into_diagnostics();
    pause::drop_each(mesh.virtual_services.list);
    pause::drop_each(mesh.registry.services);
    Lowered { ir, diagnostics }
}

/// The Proxy resource of a node, and the node with what that says of it.
pub(crate) fn settled<'a>(config: &'a Config, node: &Node) -> (Option<&'a Resource<Proxy>>, Node) {
    let proxy = settings::choose(config, node);
    let mut node = node.clone();
    if let Some(root) = proxy.and_then(|proxy| proxy.spec.root_namespace.clone()) {
        node.root_namespace = root;
    }
    (proxy, node)
}

/// Whether hosts without an address get one.
fn allocates(proxy: Option<&Proxy>) -> bool {
    proxy.and_then(|proxy| proxy.dns.as_ref()).is_some_and(|dns| dns.auto_allocate != Some(false))
}

/// All that rules are looked up in: what does not change while routes are made.
#[derive(Debug)]
struct Mesh<'a> {
    config: &'a Config,
    /// With the root namespace that a Proxy resource may set.
    node: Node,
    proxy: Option<&'a Resource<Proxy>>,
    scope: Scope<'a>,
    registry: Registry<'a>,
    destination_rules: DestinationRules<'a>,
    health_policies: HostPolicies<'a, HealthPolicy>,
    upstream_policies: HostPolicies<'a, UpstreamPolicy>,
    fault_policies: FaultPolicies<'a>,
    virtual_services: VirtualServices<'a>,
    peer_authentications: PeerAuthentications<'a>,
    connect_timeout: Duration,
    detection_timeout: Duration,
    /// For routes without `retries`.
    default_retry: Option<Arc<RetryPolicy>>,
}

impl<'a> Mesh<'a> {
    fn new(config: &'a Config, node: &Node, notes: &mut Notes) -> Self {
        let (proxy, node) = settled(config, node);
        let spec = proxy.map(|proxy| &*proxy.spec);
        let scope = Scope::new(config, &node);
        let retry = spec.and_then(|spec| spec.default_http_retry_policy.as_ref());
        Mesh {
            config,
            proxy,
            registry: Registry::new(config, &node, allocates(spec), notes),
            destination_rules: DestinationRules::new(config, &node, notes),
            health_policies: HostPolicies::new(config.health_policies.iter(), &node, |policy| &policy.host),
            upstream_policies: HostPolicies::new(config.upstream_policies.iter(), &node, |policy| {
                &policy.host
            }),
            fault_policies: FaultPolicies::new(config, &node),
            virtual_services: VirtualServices::new(config, &node, &scope, notes),
            peer_authentications: PeerAuthentications::new(config, &node),
            scope,
            connect_timeout: spec
                .and_then(|s| s.connect_timeout)
                .map_or(Duration::from_secs(10), |timeout| timeout.0),
            detection_timeout: settings::detection_timeout(spec),
            default_retry: retry.map_or_else(|| Some(retries::built_in()), retries::lower).map(Arc::new),
            node,
        }
    }

    /// The Secrets that the node may use.
    fn secrets(&self) -> Secrets<'_> {
        Secrets::new(self.config, &self.node.namespace)
    }

    /// Whether the node has an identity to speak mTLS with.
    fn has_identity(&self) -> bool {
        self.proxy.is_some_and(|proxy| proxy.spec.identity.is_some())
    }

    /// The mesh's own trust domain, then its aliases.
    fn trust_domains(&self) -> impl Iterator<Item = &str> {
        let spec = self.proxy.map(|proxy| &*proxy.spec);
        let own = spec.and_then(|spec| spec.trust_domain.as_deref()).unwrap_or("cluster.local");
        let aliases = spec.map_or(&[][..], |spec| &spec.trust_domain_aliases);
        std::iter::once(own).chain(aliases.iter().map(String::as_str))
    }

    /// What a port of the node takes. Without an identity there is no mTLS to take, and where it is demanded nothing is.
    fn inbound_mode(&self, port: u16) -> MtlsMode {
        match self.peer_authentications.of(&self.node.namespace, &self.node.labels, port) {
            MtlsMode::Permissive if !self.has_identity() => MtlsMode::Disable,
            mode => mode,
        }
    }

    /// The number of a port that the node's own containers have under this name: from a Pod with all the node's labels, or
    /// from the template of one.
    fn container_port(&self, name: &str) -> Option<u16> {
        let own = |namespace: &str, labels| {
            namespace == self.node.namespace && registry::selects(&self.node.labels, labels)
        };
        let pods = self.config.pods.iter().filter(|pod| own(&pod.metadata.namespace, &pod.metadata.labels));
        let templates = self.config.workloads.iter().map(|workload| (workload, workload.spec.pod_template()));
        let templates = templates
            .filter(|(workload, template)| own(&workload.metadata.namespace, &template.metadata.labels));
        let specs = pods.map(|pod| &pod.spec.spec).chain(templates.map(|(_, template)| &template.spec));
        let mut ports = specs.flat_map(|spec| &spec.containers).flat_map(|container| &container.ports);
        ports.find(|port| port.name.as_deref() == Some(name)).map(|port| port.container_port)
    }
}

/// Listeners and route tables so far.
#[derive(Debug, Default)]
struct Plan {
    mtls: Vec<InboundMtls>,
    listeners: Vec<Listener>,
    route_configurations: Vec<RouteConfiguration>,
    /// The workload's ports, by the clusters that lead to them.
    inbound_ports: BTreeMap<Arc<str>, u16>,
    /// Ports of the workload that cannot be served as they are to be.
    inbound_closed: Vec<u16>,
}

impl Plan {
    /// Whether a Gateway opens this port.
    fn is_gateway_port(&self, port: u16) -> bool {
        self.listeners.iter().any(|listener| match (listener.direction, &listener.address) {
            (Direction::Gateway, ListenAddress::Socket(address)) => address.port() == port,
            _ => false,
        })
    }

    /// Sorted by name, and shared.
    fn finish(mut self) -> (Vec<Arc<Listener>>, Vec<Arc<RouteConfiguration>>) {
        self.listeners.sort_by(|a, b| a.name.cmp(&b.name));
        self.route_configurations.sort_by(|a, b| a.name.cmp(&b.name));
        let listeners = self.listeners.into_iter().map(Arc::new).collect();
        (listeners, self.route_configurations.into_iter().map(Arc::new).collect())
    }
}
