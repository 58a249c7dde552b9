//! IR to snapshot: names resolved, expressions compiled, handles taken, unchanged clusters carried over.
//!
//! Invariants: building changes nothing that runs, and can be done on any thread. What runs goes on meanwhile: what names and issuers answer
//! during a build is in no snapshot yet, so that whoever publishes it begins with [`Built::take_over`], on the thread that learns of
//! the answers. What has to change within carried clusters is returned, to be done then.

use super::{
    snapshot::{
        ActionPlan, Chain, ClustersByName, Filter, ForwardPlan, HttpPlan, ListenerPlan, RoutePlan, Snapshot,
        TcpPlan, WeightedPlan,
    },
    status::ConfigVersion,
};
use crate::{
    codec::Authority,
    exchange::Wanted,
    jwks,
    policy::{
        RoutePolicy,
        authorization::{Guard, Guards},
        gate::Gate,
        headers::HeaderRules,
        jwt::TokenGates,
        rate_limit::RateLimit,
    },
    upstream::{Alarm, Cluster},
};
use bytes::Bytes;
use foldhash::{HashMap, HashMapExt};
use sidle_balance::EndpointSpec;
use sidle_identity::Workload;
use sidle_model::{ir, pause};
use sidle_routing::{Compiled, FilterChainTable, PathRewriter, RouteTable, WeightedIndex};
use sidle_telemetry::{Telemetry, WorkloadLabels, log::AccessLog};
use std::sync::Arc;

/// Why a configuration that was lowered cannot run here.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// TLS files.
    #[error("{place}: {source}")]
    Tls {
        /// A cluster or listener.
        place: String,
        /// What is wrong with them.
        source: sidle_identity::TlsError,
    },
    /// The access log cannot be opened.
    #[error("access log {path}: {source}")]
    AccessLog {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A defect of the lowering: the IR names what it does not hold.
    #[error("{0}")]
    Inconsistent(String),
}

/// A snapshot, and what to do when it is published.
pub struct Built {
    /// To be swapped in.
    pub snapshot: Snapshot,
    /// Of the snapshot.
    pub version: ConfigVersion,
    /// Clusters that were made, each beside the one whose place it takes.
    pub made: Vec<(Arc<Cluster>, Option<Arc<Cluster>>)>,
    /// New endpoints of carried clusters.
    pub endpoint_updates: Vec<(Arc<Cluster>, Vec<EndpointSpec>)>,
    /// Places whose keys have to be fetched from now on, each beside the one whose place it takes.
    pub to_fetch: Vec<(Arc<jwks::Source>, Option<Arc<jwks::Source>>)>,
}

impl Built {
    /// Has what was made take the place of what was there, as that is by now.
    pub fn take_over(&self) {
        for (cluster, before) in &self.made {
            if let Some(before) = before {
                cluster.take_the_place_of(before);
            }
        }
        for (source, before) in &self.to_fetch {
            if let Some(before) = before {
                source.take_over(before);
            }
        }
    }
}

/// Builds snapshots.
#[derive(Clone)]
pub struct Builder {
    /// Counts.
    pub telemetry: Arc<Telemetry>,
    /// Who we are.
    pub workload: Workload,
    /// Of endpoints that fail.
    pub outliers: Alarm,
}

#[cfg(test)]
impl Builder {
    /// One that nobody counts with.
    pub(super) fn alone() -> Self {
        Builder { telemetry: Telemetry::new(), workload: Workload::default(), outliers: Alarm::default() }
    }
}

impl Builder {
    /// Builds the snapshot that follows `previous`, but for its access log.
    ///
    /// # Errors
    /// [`BuildError`].
    pub fn build(&self, ir: ir::Ir, hash: u64, previous: Option<&Snapshot>) -> Result<Built, BuildError> {
        let (ir, telemetry, workload) = (Arc::new(ir), &self.telemetry, &self.workload);
        let mut clusters =
            Clusters { builder: self, previous, made: Vec::new(), endpoint_updates: Vec::new() };
        let mut by_name = HashMap::with_capacity(ir.clusters.len());
        for config in pause::each(&ir.clusters) {
            by_name.insert(config.name.clone(), (config.clone(), clusters.carry_or_build(config)?));
        }
        let Clusters { made, endpoint_updates, .. } = clusters;
        let compiled = compiled_before(previous, &by_name);
        let guards = Guards::new(telemetry);
        let (keys, to_fetch) = jwks::sources(&ir, previous.map(|previous| &previous.keys), telemetry);
        let tokens = TokenGates::new(&keys, previous, telemetry);
        let mut compile = Compiler {
            clusters: &by_name,
            tables: HashMap::new(),
            compiled,
            guards,
            ir: &ir,
            previous,
            workload,
            tokens,
            telemetry,
            rate_limits: Vec::new(),
        };
        let mut listeners = HashMap::with_capacity(ir.listeners.len());
        for listener in &ir.listeners {
            listeners.insert(listener.name.clone(), Arc::new(compile.listener(listener)?));
        }
        let rate_limits = compile.rate_limits;
        let token_gates = compile.tokens.finish();
        let version =
            ConfigVersion { hash, generation: previous.map_or(1, |snapshot| snapshot.generation + 1) };
        let snapshot = Snapshot {
            generation: version.generation,
            version: version.to_string().into(),
            listeners,
            access_log: None,
            node: Arc::new(WorkloadLabels::of_node(&ir.node)),
            connectors: pause::each(by_name.values()).map(|(_, cluster)| cluster.connector.id).collect(),
            clusters: by_name,
            workload: workload.clone(),
            keys,
            token_gates,
            rate_limits,
            ir,
        };
        Ok(Built { snapshot, version, made, endpoint_updates, to_fetch })
    }
}

/// Opens the access log of a snapshot that follows `previous`: the same if it is where it was.
///
/// # Errors
/// [`BuildError::AccessLog`].
pub fn access_log(
    ir: &ir::Ir,
    previous: Option<&Snapshot>,
    telemetry: &Telemetry,
) -> Result<Option<(AccessLog, Wanted)>, BuildError> {
    let Some(settings) = &ir.settings.access_log else { return Ok(None) };
    let before = previous.and_then(|snapshot| snapshot.access_log.as_ref()).map(|(log, _)| log);
    let log = AccessLog::open(settings, telemetry, before)
        .map_err(|source| BuildError::AccessLog { path: settings.path.display().to_string(), source })?;
    Ok(Some((log, Wanted::by(settings))))
}

struct Clusters<'a> {
    builder: &'a Builder,
    previous: Option<&'a Snapshot>,
    made: Vec<(Arc<Cluster>, Option<Arc<Cluster>>)>,
    endpoint_updates: Vec<(Arc<Cluster>, Vec<EndpointSpec>)>,
}

impl Clusters<'_> {
    /// The cluster as it runs if it is the same or differs in given endpoints only; else a new one.
    fn carry_or_build(&mut self, config: &Arc<ir::Cluster>) -> Result<Arc<Cluster>, BuildError> {
        let before = self.previous.and_then(|snapshot| snapshot.clusters.get(&config.name));
        if let Some((known, cluster)) = before {
            if known == config {
                return Ok(cluster.clone());
            }
            if let (ir::Discovery::Static(_), ir::Discovery::Static(endpoints)) =
                (&known.discovery, &config.discovery)
                && differs_in_discovery_only(known, config)
            {
                let specs = endpoints.iter().filter_map(EndpointSpec::literal).collect();
                self.endpoint_updates.push((cluster.clone(), specs));
                return Ok(cluster.clone());
            }
        }
        let Builder { telemetry, workload, outliers } = self.builder;
        let before = before.map(|(_, cluster)| cluster.clone());
        let cluster = Cluster::build(config.clone(), before.as_deref(), telemetry, workload, outliers)
            .map_err(|source| BuildError::Tls { place: format!("cluster {}", config.name), source })?;
        let cluster = Arc::new(cluster);
        self.made.push((cluster.clone(), before));
        Ok(cluster)
    }
}

fn differs_in_discovery_only(known: &ir::Cluster, config: &ir::Cluster) -> bool {
    ir::Cluster { discovery: config.discovery.clone(), ..known.clone() } == *config
}

/// The routes of `previous` whose clusters are still the same.
fn compiled_before(previous: Option<&Snapshot>, clusters: &ClustersByName) -> Compiled<RoutePlan> {
    let mut compiled = Compiled::default();
    let Some(previous) = previous else { return compiled };
    let stays = |cluster: &Arc<Cluster>| {
        clusters.get(&cluster.config.name).is_some_and(|(_, now)| Arc::ptr_eq(now, cluster))
    };
    let all_stay = previous.clusters.values().all(|(_, cluster)| stays(cluster));
    let mut seen = Vec::new();
    for chain in previous.listeners.values().flat_map(|listener| listener.chains.chains()) {
        let Filter::Http(http) = &chain.filter else { continue };
        if !seen.contains(&Arc::as_ptr(&http.routes)) {
            seen.push(Arc::as_ptr(&http.routes));
            compiled.keep(&http.routes, |plan| all_stay || plan.clusters().all(&stays));
        }
    }
    compiled
}

struct Compiler<'a> {
    clusters: &'a ClustersByName,
    tables: HashMap<Arc<str>, Arc<RouteTable<RoutePlan>>>,
    compiled: Compiled<RoutePlan>,
    guards: Guards<'a>,
    ir: &'a ir::Ir,
    previous: Option<&'a Snapshot>,
    workload: &'a Workload,
    tokens: TokenGates<'a>,
    telemetry: &'a Arc<Telemetry>,
    rate_limits: Vec<Arc<RateLimit>>,
}

impl Compiler<'_> {
    fn listener(&mut self, listener: &Arc<ir::Listener>) -> Result<ListenerPlan, BuildError> {
        let previous = self.previous.and_then(|snapshot| snapshot.listeners.get(&listener.name)).cloned();
        let chains = FilterChainTable::build(listener, |chain| {
            self.chain(listener, chain, previous.as_deref()).map(Arc::new)
        })?;
        Ok(ListenerPlan { config: listener.clone(), chains })
    }

    fn chain(
        &mut self,
        listener: &ir::Listener,
        chain: &ir::FilterChain,
        previous: Option<&ListenerPlan>,
    ) -> Result<Chain, BuildError> {
        let tls = chain.tls.as_ref().map(|tls| {
            let known = previous.into_iter().flat_map(|plan| plan.chains.chains());
            // An equal configuration keeps its session tickets.
            match known.filter_map(|known| known.tls.as_ref()).find(|(known, _)| **known == *tls) {
                Some(known) => Ok(known.clone()),
                None => sidle_identity::server_config(tls, self.workload)
                    .map(|config| (Arc::new(tls.clone()), config))
                    .map_err(|source| BuildError::Tls {
                        place: format!("listener {}", listener.name),
                        source,
                    }),
            }
        });
        let filter = match &chain.filter {
            ir::NetworkFilter::Http(http) => Filter::Http(Arc::new(self.http(listener, http)?)),
            ir::NetworkFilter::Tcp(tcp) => Filter::Tcp(Arc::new(self.tcp(listener, tcp)?)),
        };
        Ok(Chain { name: chain.name.clone(), tls: tls.transpose()?, filter })
    }

    fn http(
        &mut self,
        listener: &ir::Listener,
        http: &ir::HttpConnectionManager,
    ) -> Result<HttpPlan, BuildError> {
        Ok(HttpPlan {
            routes: self.table(&http.route_configuration)?,
            direction: listener.direction,
            edge: http.edge,
            server_name: http.server_name.clone(),
            preserve_header_case: http.preserve_header_case,
            options: Arc::new(http.options.clone()),
            gate: Gate::build(
                self.tokens.of(&http.admission.authentication),
                self.guard(listener, http.admission.authorization.as_ref())?,
            ),
            rate_limits: (http.admission.rate_limits.iter())
                .map(|limit| self.rate_limit(limit))
                .collect::<Result<_, _>>()?,
        })
    }

    /// One for all listeners, and the one before if it is the same.
    fn rate_limit(&mut self, config: &ir::RateLimit) -> Result<Arc<RateLimit>, BuildError> {
        let before = self.previous.into_iter().flat_map(|previous| &previous.rate_limits);
        let known = self.rate_limits.iter().chain(before);
        let limit = RateLimit::build(config, known, self.telemetry, |name| find(self.clusters, name))?;
        if !self.rate_limits.iter().any(|known| Arc::ptr_eq(known, &limit)) {
            self.rate_limits.push(limit.clone());
        }
        Ok(limit)
    }

    fn tcp(&mut self, listener: &ir::Listener, tcp: &ir::TcpProxy) -> Result<TcpPlan, BuildError> {
        Ok(TcpPlan {
            clusters: tcp.clusters.iter().map(|w| self.cluster(&w.cluster)).collect::<Result<_, _>>()?,
            index: weights(&tcp.clusters)?,
            guard: self.guard(listener, tcp.authorization.as_ref())?,
            idle_timeout: tcp.idle_timeout,
            route_name: tcp.route_name.clone(),
            origin: tcp.origin.clone(),
        })
    }

    fn guard(
        &mut self,
        listener: &ir::Listener,
        given: Option<&ir::Authorization>,
    ) -> Result<Option<Guard>, BuildError> {
        let clusters = self.clusters;
        let cluster = |name: &Arc<str>| find(clusters, name);
        given.map(|given| self.guards.of(given, &listener.name, cluster)).transpose()
    }

    fn table(&mut self, name: &Arc<str>) -> Result<Arc<RouteTable<RoutePlan>>, BuildError> {
        if let Some(table) = self.tables.get(name) {
            return Ok(table.clone());
        }
        let config = self.ir.route_configurations.iter().find(|config| config.name == *name);
        let config =
            config.ok_or_else(|| BuildError::Inconsistent(format!("no route configuration {name}")))?;
        let mut compiled = std::mem::take(&mut self.compiled);
        let table = RouteTable::build_with(&mut compiled, config, |route| self.route(route));
        self.compiled = compiled;
        let table = Arc::new(table?);
        self.tables.insert(name.clone(), table.clone());
        Ok(table)
    }

    fn route(&self, route: &ir::Route) -> Result<RoutePlan, BuildError> {
        let policy = RoutePolicy::build(route)
            .map_err(|error| BuildError::Inconsistent(format!("{}: {error}", route.origin)))?;
        let action = match &route.action {
            ir::RouteAction::Forward(forward) => ActionPlan::Forward(Box::new(self.forward(route, forward)?)),
            ir::RouteAction::Redirect(redirect) => {
                ActionPlan::Redirect(Box::new(sidle_routing::Redirect::new(redirect, &route.matches)))
            }
            ir::RouteAction::Direct(direct) => {
                ActionPlan::Direct(direct.status, Bytes::copy_from_slice(&direct.body))
            }
        };
        Ok(RoutePlan { policy, action })
    }

    fn forward(&self, route: &ir::Route, forward: &ir::Forward) -> Result<ForwardPlan, BuildError> {
        let mirrors =
            forward.mirrors.iter().map(|mirror| Ok((self.cluster(&mirror.cluster)?, mirror.percent)));
        Ok(ForwardPlan {
            clusters: forward.clusters.iter().map(|w| self.weighted(w)).collect::<Result<_, _>>()?,
            index: weights(&forward.clusters)?,
            path_rewrite: forward
                .path_rewrite
                .as_ref()
                .map(|rewrite| PathRewriter::new(rewrite, &route.matches)),
            authority_rewrite: authority(forward.authority_rewrite.as_ref())?,
            timeout: forward.timeout,
            retry: forward.retry.clone(),
            hash_policies: forward.hash_policies.as_slice().into(),
            mirrors: mirrors.collect::<Result<_, BuildError>>()?,
        })
    }

    fn weighted(&self, weighted: &ir::WeightedCluster) -> Result<WeightedPlan, BuildError> {
        Ok(WeightedPlan {
            cluster: self.cluster(&weighted.cluster)?,
            request_headers: HeaderRules::build(&weighted.request_headers),
            response_headers: HeaderRules::build(&weighted.response_headers),
            authority: authority(weighted.authority.as_ref())?,
        })
    }

    fn cluster(&self, name: &Arc<str>) -> Result<Arc<Cluster>, BuildError> {
        find(self.clusters, name)
    }
}

fn find(clusters: &ClustersByName, name: &Arc<str>) -> Result<Arc<Cluster>, BuildError> {
    let found = clusters.get(name).map(|(_, cluster)| cluster.clone());
    found.ok_or_else(|| BuildError::Inconsistent(format!("no cluster {name}")))
}

fn weights(clusters: &[ir::WeightedCluster]) -> Result<WeightedIndex, BuildError> {
    WeightedIndex::new(clusters.iter().map(|cluster| cluster.weight))
        .ok_or_else(|| BuildError::Inconsistent("weights sum to 0".into()))
}

fn authority(text: Option<&Arc<str>>) -> Result<Option<Box<Authority>>, BuildError> {
    text.map(|text| {
        Authority::from_config(text)
            .map(Box::new)
            .ok_or_else(|| BuildError::Inconsistent(format!("`{text}` is not an authority")))
    })
    .transpose()
}

#[cfg(test)]
#[path = "build_tests.rs"]
mod tests;
