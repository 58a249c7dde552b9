//! What the proxy tells about itself: metrics, response flags and the access log.
//!
//! In:  what `Exchange::finish` measured.   Out: Prometheus text, access log lines.
//! Invariants: every metric name stands once, in [`names`]; labels are names from the configuration, never a path or a
//! host that a client sent; after its first use a series is a pointer, so that counting is a few relaxed additions.
//! Not here: the proxy's own log (`tracing`), serving the text (`proxy/src/admin`).
//! Read: `names` -> `metrics` (labels -> cells -> text) -> `flags`, `grpc`, `trace_context` -> `log` (format -> line -> file).

pub mod flags;
pub mod grpc;
pub mod log;
pub mod metrics;
pub mod names;
mod trace_context;

pub use flags::ResponseFlags;
pub use grpc::grpc_status_from_http;
pub use metrics::{
    Authorized, ClusterMetrics, Compared, ConcurrencyFigures, ConnectionSecurityPolicy, Doorkeeper,
    ExtAuthzMetrics, ExtAuthzOutcome, HealthCheckMetrics, HealthCheckResult, Http2Flood, IdentityMetrics,
    JwksMetrics, ListenerMetrics, MembershipMetrics, Outlier, OutlierMetrics, Overflow, ProcessUsage,
    RateLimitMetrics, RateLimitOutcome, RateLimitServiceMetrics, Reload, Reporter, RequestLabels,
    RequestMetrics, RequestProtocol, RequestRecord, Takeover, TcpLabels, TcpMetrics, Telemetry, TokenMetrics,
    WorkloadLabels,
};
pub use trace_context::TraceParent;
