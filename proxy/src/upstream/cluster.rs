//! A cluster at run time: its policy, its endpoints now, and what is in use.

use super::{
    Connector,
    outliers::{Alarm, Attention, Outliers},
};
use arc_swap::ArcSwap;
use sidle_balance::{
    ClusterUsage, ConcurrencyLimiter, EndpointAddr, EndpointSet, EndpointSpec, Hedge, SetPolicy,
};
use sidle_identity::{TlsError, Workload};
use sidle_model::ir;
use sidle_telemetry::{ClusterMetrics, ConcurrencyFigures, Telemetry};
use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};
use tokio::sync::Notify;

/// A cluster at run time. Replaced as a whole when its policy changes; its endpoints are swapped within it.
pub struct Cluster {
    /// Its policy. The endpoints in [`ir::Cluster::discovery`] are those of its making; see [`Self::endpoints`].
    pub config: Arc<ir::Cluster>,
    /// Where it is now.
    pub endpoints: ArcSwap<EndpointSet>,
    /// What this process uses of it. Outlives changes of policy.
    pub usage: Arc<ClusterUsage>,
    /// How to connect. Outlives changes that do not concern connections, and the pools with it.
    pub connector: Arc<Connector>,
    /// Its own figures.
    pub metrics: Arc<ClusterMetrics>,
    /// What its set of endpoints is made by.
    policy: SetPolicy,
    /// Of the one who decides about endpoints.
    pub(super) attention: Attention,
    /// Who is kept out for failing.
    pub outliers: Option<Outliers>,
    /// How many requests it takes at once. Outlives changes that do not concern it.
    pub concurrency: Option<Arc<ConcurrencyLimiter>>,
    /// When a request goes to a second endpoint as well. Outlives changes that do not concern it.
    pub hedge: Option<Arc<Hedge>>,
    /// Held while endpoints are swapped: names and outlier detection both do it. Never on a request's way.
    swapping: Mutex<()>,
    /// The set that its own was made from, until it takes the place of its predecessor.
    made_from: Mutex<Option<Arc<EndpointSet>>>,
    resolved: AtomicBool,
    resolved_first: Notify,
}

impl Cluster {
    /// Makes the cluster that follows `previous`, with its endpoints' state, its usage and, where it can, its connector. That one goes on
    /// until [`Self::take_the_place_of`] it.
    ///
    /// # Errors
    /// TLS files that cannot be used.
    pub fn build(
        config: Arc<ir::Cluster>,
        previous: Option<&Cluster>,
        telemetry: &Arc<Telemetry>,
        workload: &Workload,
        alarm: &Alarm,
    ) -> Result<Self, TlsError> {
        let connector = match previous.filter(|cluster| cluster.connector.fits(&config)) {
            Some(cluster) => cluster.connector.clone(),
            None => Arc::new(Connector::build(&config, workload)?),
        };
        let before = previous.map(|cluster| cluster.endpoints.load_full());
        let (specs, has_names) = first_endpoints(&config, before.as_deref());
        let attention = match previous {
            Some(cluster) => cluster.attention.clone(),
            None => Attention::new(alarm),
        };
        let outliers = Outliers::new(&config);
        let policy = SetPolicy::of(&config);
        let set = EndpointSet::build(&policy, specs, before.as_deref(), Instant::now());
        let metrics = telemetry.cluster_metrics(&config.name);
        let resolved = !has_names || !set.endpoints().is_empty();
        Ok(Cluster {
            endpoints: ArcSwap::from_pointee(set),
            usage: previous.map(|cluster| cluster.usage.clone()).unwrap_or_default(),
            connector,
            metrics,
            policy,
            attention,
            outliers,
            concurrency: concurrency(&config, previous),
            hedge: hedge(&config, previous),
            swapping: Mutex::default(),
            made_from: Mutex::new(before),
            resolved: AtomicBool::new(resolved),
            resolved_first: Notify::new(),
            config,
        })
    }

    /// Swaps in new endpoints.
    pub fn update_endpoints(&self, specs: Vec<EndpointSpec>) {
        self.swap_endpoints(|before| {
            let set = EndpointSet::build(&self.policy, specs, Some(before), Instant::now());
            before.leave_for(&set);
            Some(set)
        });
        let set = self.endpoints.load();
        if set.ejected() > 0 || set.next_review().is_some() {
            self.attention.call(); // of fewer endpoints, fewer may be out; those that are new get more by and by
        }
        self.mark_resolved();
    }

    /// Takes the place of `before`, whose endpoints may have changed since this one was made: then they are taken over again. Those that
    /// it does not keep are told.
    pub fn take_the_place_of(&self, before: &Cluster) {
        let now = before.endpoints.load_full();
        let made_from = self.made_from.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Of another set of the same endpoints outlier detection makes what is right, as of any.
        if made_from.is_some_and(|set| !set.is_of_same_endpoints(&now)) {
            let (specs, has_names) = first_endpoints(&self.config, Some(&now));
            let set = EndpointSet::build(&self.policy, specs, Some(&now), Instant::now());
            if has_names && !set.endpoints().is_empty() {
                self.mark_resolved();
            }
            self.swap_endpoints(|_| Some(set));
        }
        now.leave_for(&self.endpoints.load());
        self.forget_what_only_mattered_to(before);
    }

    /// Whether its endpoints are checked.
    pub fn is_checked(&self) -> bool {
        self.policy.is_checked
    }

    /// Whether anybody is to look over its endpoints, though neither files nor names change.
    pub fn is_watched(&self) -> bool {
        self.outliers.is_some() || self.policy.slow_start.is_some() || self.policy.is_checked
    }

    /// Swaps in the set that `next` makes of the one in use, if it makes one.
    pub(super) fn swap_endpoints(&self, next: impl FnOnce(&EndpointSet) -> Option<EndpointSet>) {
        let _swapping = self.swapping.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(set) = next(&self.endpoints.load()) {
            self.endpoints.store(Arc::new(set));
        }
        self.count_endpoints();
    }

    /// Tells the metrics how many endpoints there are, and how many are ejected.
    pub fn count_endpoints(&self) {
        let set = self.endpoints.load();
        self.metrics.set_endpoints(set.endpoints().len());
        if self.is_watched() {
            self.metrics.membership().set(set.endpoints().len(), set.healthy());
        }
        if self.outliers.is_some() {
            self.metrics.outliers().set_active(set.ejected());
        }
    }

    /// Has the metrics tell of its own limit from now on. For clusters that are in use: one that never comes to it leaves no trace.
    pub fn show_concurrency(&self) {
        if let Some(limiter) = &self.concurrency {
            let limiter = Arc::downgrade(limiter);
            self.metrics.concurrency().read(move || figures(limiter.upgrade().as_deref()));
        }
    }

    /// Says that names have been looked up once, whatever came of it.
    pub fn mark_resolved(&self) {
        self.resolved.store(true, Ordering::Release);
        self.resolved_first.notify_waiters();
    }

    /// Waits for the first look-up of names; at once for clusters without any.
    pub async fn resolved(&self) {
        let notified = self.resolved_first.notified();
        if !self.resolved.load(Ordering::Acquire) {
            notified.await;
        }
    }

    /// Whether [`Self::resolved`] would not wait.
    pub fn is_resolved(&self) -> bool {
        self.resolved.load(Ordering::Acquire)
    }
}

/// Of a limiter that is still in use.
fn figures(limiter: Option<&ConcurrencyLimiter>) -> ConcurrencyFigures {
    let Some(counts) = limiter.map(ConcurrencyLimiter::counts) else { return ConcurrencyFigures::default() };
    ([counts.limit.into(), counts.under_way.into(), counts.shed], [counts.min_rtt, counts.sample_rtt])
}

fn concurrency(config: &ir::Cluster, previous: Option<&Cluster>) -> Option<Arc<ConcurrencyLimiter>> {
    let policy = config.adaptive_concurrency.as_ref()?;
    let same = previous.filter(|cluster| cluster.config.adaptive_concurrency.as_ref() == Some(policy));
    let known = same.and_then(|cluster| cluster.concurrency.clone());
    Some(known.unwrap_or_else(|| Arc::new(ConcurrencyLimiter::new((**policy).clone(), Instant::now()))))
}

fn hedge(config: &ir::Cluster, previous: Option<&Cluster>) -> Option<Arc<Hedge>> {
    let policy = config.hedging.as_ref()?;
    let known = previous.and_then(|cluster| cluster.hedge.clone()).filter(|hedge| hedge.policy() == policy);
    Some(known.unwrap_or_else(|| Arc::new(Hedge::new(policy.clone()))))
}

/// The endpoints before any look-up, and whether one is needed.
fn first_endpoints(config: &ir::Cluster, before: Option<&EndpointSet>) -> (Vec<EndpointSpec>, bool) {
    match literal_endpoints(config) {
        Some(literal) => (literal, false),
        None => (known_endpoints(config, before), true),
    }
}

/// The endpoints that need no look-up; `None` if the cluster's have to be looked up.
fn literal_endpoints(config: &ir::Cluster) -> Option<Vec<EndpointSpec>> {
    match &config.discovery {
        ir::Discovery::Static(endpoints) | ir::Discovery::StrictDns(endpoints) => {
            endpoints.iter().map(EndpointSpec::literal).collect()
        }
        ir::Discovery::LogicalDns(endpoint) => EndpointSpec::literal(endpoint).map(|spec| vec![spec]),
        ir::Discovery::OriginalDestination | ir::Discovery::DynamicForwardProxy | ir::Discovery::None => {
            Some(Vec::new())
        }
    }
}

/// Of a cluster with names: what needs no look-up, and the addresses that names which are still listed had. They hold until
/// the names have been looked up anew.
fn known_endpoints(config: &ir::Cluster, before: Option<&EndpointSet>) -> Vec<EndpointSpec> {
    let listed = match &config.discovery {
        ir::Discovery::StrictDns(endpoints) => endpoints.as_slice(),
        ir::Discovery::LogicalDns(endpoint) => std::slice::from_ref(endpoint),
        _ => &[],
    };
    let mut specs = Vec::new();
    for endpoint in listed {
        let ir::EndpointAddress::Name(name, port) = &endpoint.address else {
            specs.extend(EndpointSpec::literal(endpoint));
            continue;
        };
        for known in before.iter().flat_map(|set| set.endpoints()).filter(|known| known.hostname == *name) {
            if let EndpointAddr::Socket(address) = known.address {
                let address = EndpointAddr::Socket(SocketAddr::new(address.ip(), *port));
                specs.push(EndpointSpec::resolved(endpoint, address));
            }
        }
    }
    specs
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::time::Duration;

    pub(crate) fn named(names: &[(&str, u32)]) -> Arc<ir::Cluster> {
        let endpoint = |(name, weight): &(&str, u32)| ir::Endpoint {
            address: ir::EndpointAddress::new(name, 80),
            weight: *weight,
            workload: Arc::default(),
            locality: "".into(),
            priority: 0,
            mtls: false,
        };
        Arc::new(ir::Cluster {
            name: "c".into(),
            discovery: ir::Discovery::StrictDns(names.iter().map(endpoint).collect()),
            load_balancer: ir::LoadBalancer::RoundRobin,
            protocol: ir::UpstreamProtocol::Http1,
            tls: None,
            auto_mtls: None,
            connect_timeout: Duration::from_secs(1),
            limits: ir::ClusterLimits::default(),
            locality_weights: Default::default(),
            slow_start: None,
            health_check: None,
            outlier_detection: None,
            adaptive_concurrency: None,
            hedging: None,
            compares_mirrored: false,
            faults: None,
            tcp_keepalive: None,
            idle_timeout: None,
            tunnel_idle_timeout: None,
            max_connection_duration: None,
            service: ir::ServiceIdentity::default(),
            subset: "".into(),
            origin: ir::Origin::built_in(),
        })
    }

    fn build(config: Arc<ir::Cluster>, previous: Option<&Cluster>, telemetry: &Arc<Telemetry>) -> Cluster {
        Cluster::build(config, previous, telemetry, &Workload::default(), &Alarm::default()).unwrap()
    }

    fn addresses(cluster: &Cluster) -> Vec<(String, u32)> {
        let set = cluster.endpoints.load();
        set.endpoints().iter().map(|endpoint| (endpoint.address.to_string(), endpoint.weight)).collect()
    }

    #[test]
    fn names_that_stay_keep_their_addresses_when_the_policy_changes() {
        let telemetry = Telemetry::new();
        let first = build(named(&[("a.test", 1), ("b.test", 1)]), None, &telemetry);
        assert!(!first.is_resolved() && addresses(&first).is_empty());
        let found = |name: &str, ip: [u8; 4]| {
            let address = EndpointAddr::Socket(SocketAddr::from((ip, 80)));
            EndpointSpec { hostname: name.into(), ..EndpointSpec::resolved(&endpoint(&first), address) }
        };
        first.update_endpoints(vec![found("a.test", [127, 0, 0, 2]), found("b.test", [127, 0, 0, 3])]);
        let changed = named(&[("a.test", 5), ("c.test", 1), ("127.0.0.9", 2)]);
        let next = build(changed, Some(&first), &telemetry);
        assert!(next.is_resolved());
        assert_eq!(addresses(&next), [("127.0.0.2:80".to_owned(), 5), ("127.0.0.9:80".to_owned(), 2)]);
        let state = |cluster: &Cluster| cluster.endpoints.load().endpoints()[0].state.clone();
        assert!(Arc::ptr_eq(&state(&first), &state(&next)), "and what happens there");
    }

    #[test]
    fn a_cluster_that_is_never_used_leaves_the_figures_alone() {
        let telemetry = Telemetry::new();
        let limited = |most| {
            let policy = ir::AdaptiveConcurrency { min_concurrency: most, ..Default::default() };
            Arc::new(ir::Cluster { adaptive_concurrency: Some(Arc::new(policy)), ..(*named(&[])).clone() })
        };
        let limit = || {
            let text = String::from_utf8(telemetry.encode(None).1).unwrap();
            let line = text.lines().find(|line| line.contains("concurrency_limit") && !line.starts_with('#'));
            line.and_then(|line| line.rsplit(' ').next()).map(str::to_owned)
        };
        let running = build(limited(7), None, &telemetry);
        running.show_concurrency();
        assert_eq!(limit().as_deref(), Some("7"));
        drop(build(limited(9), Some(&running), &telemetry));
        assert_eq!(limit().as_deref(), Some("7"));
        let next = build(limited(9), Some(&running), &telemetry);
        next.show_concurrency();
        assert_eq!(limit().as_deref(), Some("9"));
    }

    fn endpoint(cluster: &Cluster) -> ir::Endpoint {
        match &cluster.config.discovery {
            ir::Discovery::StrictDns(endpoints) => endpoints[0].clone(),
            _ => unreachable!(),
        }
    }

    #[test]
    fn an_endpoint_that_leaves_is_told() {
        let cluster = build(named(&[("a.test", 1)]), None, &Telemetry::new());
        let found = |last| {
            let address = EndpointAddr::Socket(SocketAddr::from(([127, 0, 0, last], 80)));
            EndpointSpec::resolved(&endpoint(&cluster), address)
        };
        cluster.update_endpoints(vec![found(2), found(3)]);
        let states: Vec<_> = cluster.endpoints.load().endpoints().iter().map(|e| e.state.clone()).collect();
        cluster.update_endpoints(vec![found(3)]);
        assert!(states[0].has_left() && !states[1].has_left());
    }
}
