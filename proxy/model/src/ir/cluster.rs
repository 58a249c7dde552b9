//! Clusters: groups of endpoints with one policy.

use super::ClientTls;
use crate::Map;
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

/// A group of endpoints with one policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// Unique: `outbound|9080|v1|reviews.default.svc.cluster.local`, `inbound|8080||`, `PassthroughCluster`.
    pub name: Arc<str>,
    /// Where endpoints come from.
    pub discovery: Discovery,
    /// How one is chosen.
    pub load_balancer: LoadBalancer,
    /// When a request is sent to a second endpoint as well.
    pub hedging: Option<Hedging>,
    /// Whether its answers to copies of requests are compared with those to the requests.
    pub compares_mirrored: bool,
    /// What is spoken to it.
    pub protocol: UpstreamProtocol,
    /// TLS to it.
    pub tls: Option<ClientTls>,
    /// TLS to those of its endpoints that take mTLS ([`Endpoint::mtls`]), where no rule says what is spoken to it (R14).
    pub auto_mtls: Option<ClientTls>,
    /// TCP connect, TLS included; 10 s unless said.
    pub connect_timeout: Duration,
    /// Bounds.
    pub limits: ClusterLimits,
    /// Shares of localities of its endpoints, where they do not follow from the endpoints (R16); empty: they do.
    pub locality_weights: BTreeMap<Arc<str>, u32>,
    /// How new endpoints get their share by and by; only with `LeastRequest` and `RoundRobin`.
    pub slow_start: Option<SlowStart>,
    /// Checks of its endpoints, whether there are requests or not.
    pub health_check: Option<HealthCheck>,
    /// Passive ejection.
    pub outlier_detection: Option<OutlierDetection>,
    /// How many requests at once, of the workload's own ports; `None`: no limit of this kind.
    pub adaptive_concurrency: Option<Arc<super::AdaptiveConcurrency>>,
    /// Injected as if its endpoints had them.
    pub faults: Option<Arc<super::UpstreamFaults>>,
    /// SO_KEEPALIVE.
    pub tcp_keepalive: Option<TcpKeepalive>,
    /// Idle pooled HTTP connections close after this; 1 h unless said, 3 s inbound.
    pub idle_timeout: Option<Duration>,
    /// CONNECT tunnels end when nothing moves for so long; 1 h unless said; `None`: never.
    pub tunnel_idle_timeout: Option<Duration>,
    /// Connections close at this age; `None`: never.
    pub max_connection_duration: Option<Duration>,
    /// The service that it stands for, in metrics.
    pub service: ServiceIdentity,
    /// The subset's name, or empty.
    pub subset: Arc<str>,
    /// What made it: the DestinationRule if there is one, else the Service or ServiceEntry.
    pub origin: super::Origin,
}

/// Names of a service in metrics. Source: Istio standard metrics.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct ServiceIdentity {
    /// `reviews.default.svc.cluster.local`.
    pub host: Arc<str>,
    /// `reviews`; the host for a ServiceEntry outside the cluster domain.
    pub name: Arc<str>,
    /// `default`.
    pub namespace: Arc<str>,
}

/// Where endpoints come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Discovery {
    /// Given.
    Static(Vec<Endpoint>),
    /// Each host name's addresses are all endpoints; refreshed by TTL; a failed refresh keeps the last set.
    StrictDns(Vec<Endpoint>),
    /// The first address of a name is used for new connections (`DNS_ROUND_ROBIN`).
    LogicalDns(Endpoint),
    /// Where the client wanted to go: the original destination of a redirected connection, else the authority.
    OriginalDestination,
    /// The host and port of the authority, resolved when first used (wildcard ServiceEntries, HTTP_PROXY use).
    DynamicForwardProxy,
    /// Nowhere.
    None,
}

/// One place to send to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Where.
    pub address: EndpointAddress,
    /// Relative; at least 1.
    pub weight: u32,
    /// Who answers there, shared by the endpoints of a workload.
    pub workload: Arc<Workload>,
    /// `region/zone/subzone`, or empty.
    pub locality: Arc<str>,
    /// 0 is the first; those after it are for when endpoints of the ones before are not well (R16). Without gaps in a cluster.
    pub priority: u32,
    /// Whether a proxy of the mesh takes mTLS there.
    pub mtls: bool,
}

/// Where an endpoint is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EndpointAddress {
    /// An address.
    Socket(SocketAddr),
    /// A name to resolve, and a port.
    Name(Arc<str>, u16),
    /// A Unix domain socket.
    Unix(PathBuf),
}

impl std::fmt::Display for EndpointAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            EndpointAddress::Socket(address) => address.fmt(f),
            EndpointAddress::Name(name, port) => write!(f, "{name}:{port}"),
            EndpointAddress::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

/// Who answers at an endpoint, in metrics and for mTLS.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Workload {
    /// Deployment, WorkloadEntry or Pod name; `unknown` if it cannot be told.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// All its labels (`app`, `version`, `security.istio.io/tlsMode`, …).
    pub labels: Map<String>,
    /// Its service account, or empty.
    pub service_account: String,
}

impl Workload {
    /// Whether its proxy takes mTLS: it has the label that Istio's injector gives to Pods.
    pub fn takes_mtls(&self) -> bool {
        self.labels.get("security.istio.io/tlsMode").is_some_and(|mode| mode == "istio")
    }
}

/// How an endpoint is chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoadBalancer {
    /// Power of two choices over active requests, weighted: the default.
    LeastRequest,
    /// Power of two choices over expected waits, weighted: latencies of late times active requests.
    PeakEwma {
        /// How long a latency is remembered; 10 s unless said.
        decay: Duration,
    },
    /// In turn, weighted.
    RoundRobin,
    /// By chance, weighted.
    Random,
    /// Ketama ring of xxHash64, at least this many entries (1,024 unless said).
    RingHash {
        /// At most 8 Mi.
        minimum_ring_size: u64,
    },
    /// Maglev table of this prime size (65,537 unless said).
    Maglev {
        /// At most 5,000,011.
        table_size: u64,
    },
}

/// What is spoken to a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UpstreamProtocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, prior knowledge or ALPN.
    Http2,
    /// What the client speaks (undeclared ports, `useClientProtocol`).
    AsDownstream,
}

/// Bounds on the use of a cluster by this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterLimits {
    /// TCP connections.
    pub max_connections: u32,
    /// Requests waiting for a connection.
    pub max_pending_requests: u32,
    /// Active requests.
    pub max_requests: u32,
    /// Active retries, unless there is a budget.
    pub max_retries: u32,
    /// Share of active requests that may be retries.
    pub retry_budget: Option<RetryBudget>,
    /// Whether retries also have to be earned, by tries that go well; not where a rule says how many there may be.
    pub earned_retries: bool,
    /// Requests on one connection; 0: no bound.
    pub max_requests_per_connection: u32,
    /// Streams on one HTTP/2 connection.
    pub max_concurrent_streams: u32,
}

impl Default for ClusterLimits {
    /// 1,024 connections, pending and active requests are Envoy's defaults (Istio lifts them to 2^32 - 1; `check` says
    /// so); retries are bounded by a budget,
    /// and have to be earned.
    fn default() -> Self {
        ClusterLimits {
            max_connections: 1024,
            max_pending_requests: 1024,
            max_requests: 1024,
            max_retries: u32::MAX,
            retry_budget: Some(RetryBudget { percent: 20.0, min_concurrency: 3 }),
            earned_retries: true,
            max_requests_per_connection: 0,
            max_concurrent_streams: 100,
        }
    }
}

/// When a request that may be repeated is sent to a second endpoint as well. With neither: after the route's time for one try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hedging {
    /// After so long; with a percentile, not before.
    pub after: Option<Duration>,
    /// After what so many percent of the answers took of late, 50 to 99.
    pub percentile: Option<u8>,
}

/// Share of active requests that may be retries.
#[derive(Debug, Clone, Copy)]
pub struct RetryBudget {
    /// Of active and pending requests, 0 to 100; 20 unless said.
    pub percent: f64,
    /// Always allowed; 3 unless said.
    pub min_concurrency: u32,
}

impl PartialEq for RetryBudget {
    fn eq(&self, other: &Self) -> bool {
        self.percent.to_bits() == other.percent.to_bits() && self.min_concurrency == other.min_concurrency
    }
}

impl Eq for RetryBudget {}

/// Slow start: a new endpoint gets `max(minimum_percent, (age / window)^(1 / aggression))` of its weight.
#[derive(Debug, Clone)]
pub struct SlowStart {
    /// How long an endpoint is new.
    pub window: Duration,
    /// 0 to 100; 10 unless said.
    pub minimum_percent: f64,
    /// 1 (the share grows evenly) unless said; more is quicker at the beginning.
    pub aggression: f64,
}

impl PartialEq for SlowStart {
    fn eq(&self, other: &Self) -> bool {
        let bits = |of: &Self| (of.window, of.minimum_percent.to_bits(), of.aggression.to_bits());
        bits(self) == bits(other)
    }
}

impl Eq for SlowStart {}

/// Checks of endpoints, from this proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// What is asked.
    pub ask: HealthAsk,
    /// Of another port than requests go to.
    pub port: Option<u16>,
    /// From the end of a check to the next; 10 s unless said.
    pub interval: Duration,
    /// At most so much is added to the interval, by chance; 1 s unless said.
    pub interval_jitter: Duration,
    /// Of a check, connecting included; 3 s unless said.
    pub timeout: Duration,
    /// Checks in a row that fail before the endpoint is kept out; 3 unless said. The first one decides at once.
    pub unhealthy_threshold: u32,
    /// Checks in a row that pass before it is used again; 2 unless said. The first one decides at once.
    pub healthy_threshold: u32,
}

/// What a health check asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HealthAsk {
    /// A GET.
    Http {
        /// Path and query; `/` unless said.
        path: Arc<str>,
        /// `Host`; the service's unless said.
        host: Arc<str>,
        /// Statuses that are good: 200 unless said. First and last of each range.
        expected_statuses: Vec<(u16, u16)>,
    },
    /// `grpc.health.v1.Health/Check`.
    Grpc {
        /// Whose health; empty: the server's.
        service: Arc<str>,
        /// `:authority`; the service's unless said.
        authority: Arc<str>,
    },
    /// That a connection can be made.
    Tcp,
}

/// Passive ejection (R15).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutlierDetection {
    /// 5 unless said; `None`: off.
    pub consecutive_5xx: Option<u32>,
    /// `None`: off.
    pub consecutive_gateway_errors: Option<u32>,
    /// Only with the split; 5 unless said.
    pub consecutive_local_origin_failures: Option<u32>,
    /// Whether connection failures are counted apart.
    pub split_external_local_origin_errors: bool,
    /// 10 s unless said.
    pub interval: Duration,
    /// 30 s unless said.
    pub base_ejection_time: Duration,
    /// 10 unless said.
    pub max_ejection_percent: u8,
    /// Panic threshold; 0 (off) unless said.
    pub min_health_percent: u8,
    /// In place of "5xx"; empty: 5xx.
    pub error_codes: Vec<u16>,
    /// Who answers well less often than the others; `None`: off.
    pub success_rate: Option<SuccessRate>,
    /// Who answers badly too often; `None`: off.
    pub failure_percentage: Option<FailurePercentage>,
    /// Who is slow; `None`: off.
    pub latency: Option<Latency>,
    /// Good answers, one request at a time, that who comes back gives before it is trusted; 0: off.
    pub probes: u32,
}

/// Ejects whose answers take longer than those of the others, in the mean of an interval, to the head of the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Latency {
    /// Thousandths of the endpoints' median; 3,000 unless said.
    pub factor: u32,
    /// Whoever is faster is fast enough; 50 ms unless said.
    pub minimum: Duration,
    /// Endpoints with enough requests; 3 unless said.
    pub minimum_hosts: u32,
    /// Requests of an endpoint in an interval, for it to count; 50 unless said.
    pub request_volume: u32,
}

/// Ejects whose share of good answers in an interval is so many standard deviations below the mean of all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SuccessRate {
    /// Endpoints with enough requests, for the mean to tell anything; 5 unless said.
    pub minimum_hosts: u32,
    /// Requests of an endpoint in an interval, for it to count; 100 unless said.
    pub request_volume: u32,
    /// Thousandths of a standard deviation; 1,900 unless said.
    pub stdev_factor: u32,
}

/// Ejects whose share of bad answers in an interval is so many percent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailurePercentage {
    /// Percent; 85 unless said.
    pub threshold: u8,
    /// Endpoints with enough requests; 5 unless said.
    pub minimum_hosts: u32,
    /// Requests of an endpoint in an interval, for it to count; 50 unless said.
    pub request_volume: u32,
}

/// SO_KEEPALIVE; `None` leaves the system's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcpKeepalive {
    /// TCP_KEEPCNT.
    pub probes: Option<u32>,
    /// TCP_KEEPIDLE.
    pub time: Option<Duration>,
    /// TCP_KEEPINTVL.
    pub interval: Option<Duration>,
}

impl EndpointAddress {
    /// The port; `None` for a Unix domain socket.
    pub fn port(&self) -> Option<u16> {
        match self {
            EndpointAddress::Socket(address) => Some(address.port()),
            EndpointAddress::Name(_, port) => Some(*port),
            EndpointAddress::Unix(_) => None,
        }
    }

    /// From text: an IP address, `unix:///path`, or a name; with the port.
    pub fn new(text: &str, port: u16) -> Self {
        if let Some(path) = text.strip_prefix("unix://") {
            return EndpointAddress::Unix(path.into());
        }
        match text.parse::<IpAddr>() {
            Ok(ip) => EndpointAddress::Socket(SocketAddr::new(ip, port)),
            Err(_) => EndpointAddress::Name(text.to_ascii_lowercase().into(), port),
        }
    }
}
