//! Metrics: what is counted, by whom, and the text that Prometheus reads.
//!
//! In:  labels when a snapshot is built, measurements while requests are served.   Out: Prometheus text format 0.0.4.
//! Invariants: handles are taken from a table under a lock, once; counting through a handle takes none. Series leave with
//! the configuration that made them: when nobody holds a handle any more, its series go five minutes later.
//! Not here: names (`crate::names`), serving over HTTP.
//! Read: `labels` -> `requests` -> `series` (one for each outcome) -> `sharded` (cells) -> `table` (life) -> `export`.

mod authorization;
mod cluster;
mod concurrency;
mod export;
mod ext_authz;
mod health;
mod histogram;
mod identity;
mod labels;
mod mirror;
mod outlier;
mod owned;
mod process;
mod rate_limit;
mod requests;
mod series;
mod sharded;
mod table;
mod tcp;
#[cfg(test)]
mod tests;
mod tokens;

pub use authorization::Authorized;
pub use cluster::{ClusterMetrics, Overflow};
pub use concurrency::ConcurrencyFigures;
pub use ext_authz::{ExtAuthzMetrics, ExtAuthzOutcome};
pub use health::{HealthCheckMetrics, HealthCheckResult, MembershipMetrics};
pub use identity::IdentityMetrics;
pub use labels::{
    ConnectionSecurityPolicy, Reporter, RequestLabels, RequestProtocol, TcpLabels, WorkloadLabels,
};
pub use mirror::{Compared, MirrorMetrics};
pub use outlier::{Outlier, OutlierMetrics};
pub use owned::{Doorkeeper, Http2Flood, ListenerMetrics};
pub use process::ProcessUsage;
pub use rate_limit::{RateLimitMetrics, RateLimitOutcome, RateLimitServiceMetrics};
pub use requests::{RequestMetrics, RequestRecord};
pub(crate) use sharded::own_shard;
pub use tcp::TcpMetrics;
pub use tokens::{JwksMetrics, TokenMetrics};

use crate::names::{self, Family};
use owned::Owned;
use prometheus::{
    Encoder, Gauge, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
    core::{Collector, Desc},
    proto::MetricFamily,
};
use requests::Requests;
use series::Budget;
use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tcp::Tcp;

/// `Content-Type` of [`Telemetry::encode`].
pub const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Label sets of `istio_*` metrics unless said otherwise.
pub const DEFAULT_SERIES_LIMIT: usize = 20_000;

/// All metrics of the process.
pub struct Telemetry {
    registry: Registry,
    hops: Arc<Hops>,
    started: Instant,
    process: ProcessWide,
    identity: IdentityMetrics,
}

/// Metrics that come and go with the configuration.
struct Hops {
    budget: Arc<Budget>,
    requests: Requests,
    tcp: Tcp,
    owned: Owned,
    descs: Vec<Desc>,
}

/// Metrics that are always there.
struct ProcessWide {
    uptime: IntGauge,
    workers: IntGauge,
    ready: IntGauge,
    draining: IntGauge,
    memory_pressure: Gauge,
    takeovers: IntCounterVec,
    panics: IntCounter,
    dns_failures: IntCounter,
    config_successful: IntGauge,
    config_success_time: IntGauge,
    config_reloads: IntCounterVec,
    config_info: IntGaugeVec,
    tokens: TokenMetrics,
    jwks: tokens::Families,
    log_lines: IntCounter,
    log_dropped: IntCounter,
    own_log_dropped: IntCounter,
}

/// How an attempt to load the configuration ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reload<'a> {
    /// This version is now in force.
    Applied(&'a str),
    /// It is what was in force already.
    Unchanged,
    /// It has errors; what was in force stays.
    Rejected,
}

/// How the attempt of a process to take another's place ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takeover {
    /// This process has taken the other's.
    Taken,
    /// The new process did not become ready.
    Failed,
    /// It was not let.
    Refused,
}

impl Takeover {
    fn name(self) -> &'static str {
        match self {
            Takeover::Taken => "taken",
            Takeover::Failed => "failed",
            Takeover::Refused => "refused",
        }
    }
}

impl Telemetry {
    /// With the usual bound on series.
    pub fn new() -> Arc<Self> {
        Self::with_series_limit(DEFAULT_SERIES_LIMIT)
    }

    /// With another bound on the label sets of `istio_*` metrics; a histogram counts as one.
    pub fn with_series_limit(limit: usize) -> Arc<Self> {
        let registry = Registry::new();
        let budget = Budget::new(limit);
        let hops = Arc::new(Hops::new(Arc::clone(&budget)));
        let process = ProcessWide::new(&registry);
        let identity = IdentityMetrics::new(&registry);
        register(&registry, process::Process);
        register(&registry, Shared(Arc::clone(&hops)));
        Arc::new(Telemetry { registry, hops, started: Instant::now(), process, identity })
    }

    /// Everything as text, and its content type. Whatever the client would like, it gets text 0.0.4, which every
    /// Prometheus reads.
    pub fn encode(&self, _accept: Option<&str>) -> (&'static str, Vec<u8>) {
        self.sweep(Instant::now());
        self.process.uptime.set(self.uptime().as_secs() as i64);
        self.identity.reckon();
        let mut text = Vec::new();
        // The encoder only fails on empty families, which the registry leaves out, and on a broken writer.
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            text.extend_from_slice(format!("# incomplete: {error}\n").as_bytes());
        }
        (TEXT_FORMAT, text)
    }

    /// The metrics of requests with these labels; the same for equal labels. Take it when a snapshot is built, or when an
    /// endpoint is first used, and keep it.
    pub fn request_metrics(&self, labels: &RequestLabels) -> Arc<RequestMetrics> {
        self.hops.requests.take(labels)
    }

    /// The metrics of TCP connections with these labels.
    pub fn tcp_metrics(&self, labels: &TcpLabels) -> Arc<TcpMetrics> {
        self.hops.tcp.take(labels)
    }

    /// The metrics of a cluster.
    pub fn cluster_metrics(&self, name: &Arc<str>) -> Arc<ClusterMetrics> {
        self.hops.owned.cluster(name)
    }

    /// The metrics of the workload's identity.
    pub fn identity(&self) -> &IdentityMetrics {
        &self.identity
    }

    /// The metrics of a listener.
    pub fn listener_metrics(&self, name: &Arc<str>) -> Arc<ListenerMetrics> {
        self.hops.owned.listener(name)
    }

    /// The metrics of an external authoriser.
    pub fn ext_authz_metrics(&self, provider: &Arc<str>) -> Arc<ExtAuthzMetrics> {
        self.hops.owned.provider(provider)
    }

    /// The metrics of a RateLimitPolicy.
    pub fn rate_limit_metrics(&self, policy: &Arc<str>) -> Arc<RateLimitMetrics> {
        self.hops.owned.rate_limit(policy)
    }

    /// An attempt to load the configuration has ended.
    pub fn reloaded(&self, outcome: Reload<'_>) {
        let (result, successful) = match outcome {
            Reload::Applied(_) => ("applied", true),
            Reload::Unchanged => ("unchanged", true),
            Reload::Rejected => ("rejected", false),
        };
        let process = &self.process;
        process.config_reloads.with_label_values(&[result]).inc();
        process.config_successful.set(successful.into());
        if successful {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            process.config_success_time.set(now.as_secs() as i64);
        }
        if let Reload::Applied(version) = outcome {
            process.config_info.reset();
            process.config_info.with_label_values(&[version]).set(1);
        }
        // Without scrapes, changes of configuration are what makes owners unused.
        self.sweep(Instant::now());
    }

    /// Since the start.
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// How many workers serve.
    pub fn set_workers(&self, workers: usize) {
        self.process.workers.set(workers as i64);
    }

    /// Whether the process is ready.
    pub fn set_ready(&self, ready: bool) {
        self.process.ready.set(ready.into());
    }

    /// Whether the process is on its way out.
    pub fn set_draining(&self, draining: bool) {
        self.process.draining.set(draining.into());
    }

    /// Which share of its memory the process uses.
    pub fn set_memory_pressure(&self, share: f64) {
        self.process.memory_pressure.set(share);
    }

    /// A process took over, or tried to.
    pub fn taken_over(&self, result: Takeover) {
        self.process.takeovers.with_label_values(&[result.name()]).inc();
    }

    /// A panic was caught.
    pub fn panicked(&self) {
        self.process.panics.inc();
    }

    /// A line of the proxy's own log is lost.
    pub fn log_dropped(&self) {
        self.process.own_log_dropped.inc();
    }

    /// A name could not be looked up.
    pub fn dns_failed(&self) {
        self.process.dns_failures.inc();
    }

    /// The metrics of keys that are fetched from `uri`; they go with the last holder. One who takes over keeps the same.
    pub fn jwks_metrics(&self, uri: &str) -> JwksMetrics {
        self.process.jwks.of(uri)
    }

    /// The metrics of tokens that requests bring.
    pub fn token_metrics(&self) -> TokenMetrics {
        self.process.tokens.clone()
    }

    /// Counters of the access log: lines written, lines lost.
    pub(crate) fn access_log_counters(&self) -> (IntCounter, IntCounter) {
        (self.process.log_lines.clone(), self.process.log_dropped.clone())
    }

    fn sweep(&self, now: Instant) {
        self.hops.requests.sweep(now);
        self.hops.tcp.sweep(now);
        self.hops.owned.sweep(now);
    }
}

impl ProcessWide {
    fn new(registry: &Registry) -> Self {
        let build_info = gauges(registry, &names::BUILD_INFO);
        build_info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let config_reloads = counters(registry, &names::CONFIG_RELOADS);
        for result in ["applied", "unchanged", "rejected"] {
            config_reloads.with_label_values(&[result]);
        }
        ProcessWide {
            uptime: gauge(registry, &names::UPTIME),
            workers: gauge(registry, &names::WORKERS),
            ready: gauge(registry, &names::READY),
            draining: gauge(registry, &names::DRAINING),
            memory_pressure: {
                let of = &names::MEMORY_PRESSURE;
                let gauge = Gauge::with_opts(opts(of)).expect("names are valid by a test");
                register(registry, gauge.clone());
                gauge
            },
            takeovers: {
                let takeovers = counters(registry, &names::TAKEOVERS);
                for result in [Takeover::Taken, Takeover::Failed, Takeover::Refused] {
                    takeovers.with_label_values(&[result.name()]);
                }
                takeovers
            },
            panics: counter(registry, &names::PANICS),
            dns_failures: counter(registry, &names::DNS_FAILURES),
            config_successful: gauge(registry, &names::CONFIG_SUCCESSFUL),
            config_success_time: gauge(registry, &names::CONFIG_SUCCESS_TIME),
            config_reloads,
            config_info: gauges(registry, &names::CONFIG_INFO),
            tokens: TokenMetrics::new(registry),
            jwks: tokens::Families::new(registry),
            log_lines: counter(registry, &names::ACCESS_LOG_LINES),
            log_dropped: counter(registry, &names::ACCESS_LOG_DROPPED),
            own_log_dropped: counter(registry, &names::LOG_DROPPED),
        }
    }
}

impl Hops {
    fn new(budget: Arc<Budget>) -> Self {
        let families = requests::FAMILIES.iter().chain(tcp::FAMILIES).chain(Owned::families());
        let own = [&names::SERIES, &names::SERIES_DROPPED];
        Hops {
            requests: Requests::new(Arc::clone(&budget)),
            tcp: Tcp::new(Arc::clone(&budget)),
            owned: Owned::default(),
            descs: families.chain(own).map(export::desc).collect(),
            budget,
        }
    }
}

/// [`Hops`] as the registry wants it.
struct Shared(Arc<Hops>);

impl Collector for Shared {
    fn desc(&self) -> Vec<&Desc> {
        self.0.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let Hops { budget, requests, tcp, owned, .. } = &*self.0;
        let number = |of: &Family, value| export::family(of, vec![export::number(of, Vec::new(), value)]);
        let mut families = requests.collect();
        families.extend(tcp.collect());
        families.extend(owned.collect());
        families.push(number(&names::SERIES, budget.used() as f64));
        families.push(number(&names::SERIES_DROPPED, budget.dropped() as f64));
        families
    }
}

fn register(registry: &Registry, collector: impl Collector + 'static) {
    registry.register(Box::new(collector)).expect("names are unique by a test");
}

fn opts(of: &Family) -> Opts {
    Opts::new(of.name, of.help)
}

fn gauge(registry: &Registry, of: &Family) -> IntGauge {
    let gauge = IntGauge::with_opts(opts(of)).expect("names are valid by a test");
    register(registry, gauge.clone());
    gauge
}

fn counter(registry: &Registry, of: &Family) -> IntCounter {
    let counter = IntCounter::with_opts(opts(of)).expect("names are valid by a test");
    register(registry, counter.clone());
    counter
}

fn gauges(registry: &Registry, of: &Family) -> IntGaugeVec {
    let gauges = IntGaugeVec::new(opts(of), of.labels).expect("names are valid by a test");
    register(registry, gauges.clone());
    gauges
}

fn counters(registry: &Registry, of: &Family) -> IntCounterVec {
    let counters = IntCounterVec::new(opts(of), of.labels).expect("names are valid by a test");
    register(registry, counters.clone());
    counters
}
