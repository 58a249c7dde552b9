//! `DestinationRule`: how a service is called.
//!
//! Source: Istio's `networking/v1/destination_rule.proto`.

use super::{LoadBalancerSettings, MatchLabels, PortSelector, non_empty};
use crate::{Duration, Map};
use schemars::JsonSchema;
use serde::Deserialize;

/// Policies for a host, after routing.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(extend("required" = ["host"]))]
pub struct DestinationRule {
    /// A host of the registry, or a wildcard; a short name is of the rule's namespace.
    pub host: String,
    /// For the whole host.
    pub traffic_policy: Option<TrafficPolicy>,
    /// Named parts of the host's endpoints.
    pub subsets: Vec<Subset>,
    /// Namespaces that see it; empty: `*`.
    pub export_to: Vec<String>,
    /// Only for clients with these labels, in the same namespace.
    pub workload_selector: Option<MatchLabels>,
}

/// A named part of a host's endpoints.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(extend("required" = ["name"]))]
pub struct Subset {
    /// Unique in the host.
    pub name: String,
    /// That endpoints must have; empty: all endpoints.
    pub labels: Map<String>,
    /// Overrides the host's, block by block.
    pub traffic_policy: Option<TrafficPolicy>,
}

/// How connections are balanced, bounded and secured.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TrafficPolicy {
    /// Balancing.
    pub load_balancer: Option<LoadBalancerSettings>,
    /// Bounds.
    pub connection_pool: Option<ConnectionPoolSettings>,
    /// Ejection.
    pub outlier_detection: Option<OutlierDetection>,
    /// TLS to the endpoints.
    pub tls: Option<ClientTlsSettings>,
    /// In place of all of the above for single ports.
    pub port_level_settings: Vec<PortTrafficPolicy>,
    /// TCP through an HTTP proxy.
    pub tunnel: Option<TunnelSettings>,
    /// PROXY protocol to the endpoints.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Share of requests that may be retries.
    pub retry_budget: Option<RetryBudget>,
}

/// The policy of one port.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PortTrafficPolicy {
    /// Of the service.
    pub port: Option<PortSelector>,
    /// Balancing.
    pub load_balancer: Option<LoadBalancerSettings>,
    /// Bounds.
    pub connection_pool: Option<ConnectionPoolSettings>,
    /// Ejection.
    pub outlier_detection: Option<OutlierDetection>,
    /// TLS to the endpoints.
    pub tls: Option<ClientTlsSettings>,
}

/// Bounds.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ConnectionPoolSettings {
    /// On connections.
    pub tcp: Option<TcpSettings>,
    /// On requests.
    pub http: Option<HttpSettings>,
}

/// Bounds on connections.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TcpSettings {
    /// Connections; 0: as if absent.
    #[schemars(range(max = 2147483647))]
    pub max_connections: Option<u32>,
    /// 10 s unless said.
    pub connect_timeout: Option<Duration>,
    /// SO_KEEPALIVE.
    pub tcp_keepalive: Option<TcpKeepalive>,
    /// Age at which a connection closes.
    pub max_connection_duration: Option<Duration>,
    /// 1 h unless said; 0: never.
    pub idle_timeout: Option<Duration>,
}

/// SO_KEEPALIVE.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TcpKeepalive {
    /// Unanswered probes.
    pub probes: Option<u32>,
    /// Idle time before the first.
    pub time: Option<Duration>,
    /// Between two.
    pub interval: Option<Duration>,
}

/// Bounds on requests.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct HttpSettings {
    /// Requests waiting for a connection.
    #[schemars(range(max = 2147483647))]
    pub http1_max_pending_requests: Option<u32>,
    /// Active requests.
    #[schemars(range(max = 2147483647))]
    pub http2_max_requests: Option<u32>,
    /// 0: no bound; 1: no keep-alive.
    #[schemars(range(max = 2147483647))]
    pub max_requests_per_connection: Option<u32>,
    /// Active retries.
    #[schemars(range(max = 2147483647))]
    pub max_retries: Option<u32>,
    /// 1 h unless said.
    pub idle_timeout: Option<Duration>,
    /// Whether HTTP/1 clients reach the endpoints over HTTP/2.
    pub h2_upgrade_policy: H2UpgradePolicy,
    /// Whether the client's protocol is kept.
    pub use_client_protocol: bool,
    /// Streams on one HTTP/2 connection.
    #[schemars(range(max = 2147483647))]
    pub max_concurrent_streams: Option<u32>,
    /// HTTP/2 PING.
    pub http2_keep_alive: Option<Http2KeepAlive>,
}

/// Whether HTTP/1 clients reach the endpoints over HTTP/2.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum H2UpgradePolicy {
    /// The mesh's: no.
    #[default]
    Default,
    /// No.
    DoNotUpgrade,
    /// Yes.
    Upgrade,
}

/// HTTP/2 PING.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(extend("required" = ["interval", "timeout"]))]
pub struct Http2KeepAlive {
    /// Between two.
    pub interval: Option<Duration>,
    /// For the answer.
    pub timeout: Option<Duration>,
}

/// Ejection.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct OutlierDetection {
    /// Deprecated and ignored.
    pub consecutive_errors: Option<u32>,
    /// Whether connection failures count apart.
    pub split_external_local_origin_errors: bool,
    /// Connection failures in a row; 5 unless said.
    pub consecutive_local_origin_failures: Option<u32>,
    /// 502, 503, 504 in a row; off unless said.
    pub consecutive_gateway_errors: Option<u32>,
    /// 5xx in a row; 5 unless said, 0: off.
    #[serde(rename = "consecutive5xxErrors")]
    pub consecutive_5xx_errors: Option<u32>,
    /// Sweep; 10 s unless said.
    pub interval: Option<Duration>,
    /// 30 s unless said.
    pub base_ejection_time: Option<Duration>,
    /// 10 unless said.
    #[schemars(range(max = 100))]
    pub max_ejection_percent: Option<u8>,
    /// Panic threshold; 0 unless said.
    #[schemars(range(max = 100))]
    pub min_health_percent: Option<u8>,
    /// In place of every 5xx.
    #[schemars(inner(range(min = 100, max = 599)))]
    pub outlier_detection_http_error_codes: Vec<u16>,
}

/// TLS to the endpoints.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ClientTlsSettings {
    /// Whether, and with which certificates.
    pub mode: ClientTlsMode,
    /// PEM file; `MUTUAL` only.
    #[serde(deserialize_with = "non_empty")]
    pub client_certificate: Option<String>,
    /// PEM file; `MUTUAL` only.
    #[serde(deserialize_with = "non_empty")]
    pub private_key: Option<String>,
    /// PEM bundle to trust; absent: the system's.
    #[serde(deserialize_with = "non_empty")]
    pub ca_certificates: Option<String>,
    /// Secret.
    #[serde(deserialize_with = "non_empty")]
    pub credential_name: Option<String>,
    /// Names of which the server must have one.
    pub subject_alt_names: Vec<String>,
    /// Server name; absent: the host of the request.
    #[serde(deserialize_with = "non_empty")]
    pub sni: Option<String>,
    /// No checks at all.
    pub insecure_skip_verify: Option<bool>,
    /// Revocation list, PEM file.
    #[serde(deserialize_with = "non_empty")]
    pub ca_crl: Option<String>,
}

/// Whether, and with which certificates.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ClientTlsMode {
    /// Plain text.
    #[default]
    Disable,
    /// TLS.
    Simple,
    /// TLS with the given client certificate.
    Mutual,
    /// TLS with the workload's own certificate.
    IstioMutual,
}

/// TCP through an HTTP proxy.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(extend("required" = ["targetHost", "targetPort"]))]
pub struct TunnelSettings {
    /// `CONNECT` (unless said) or `POST`.
    #[serde(deserialize_with = "non_empty")]
    pub protocol: Option<String>,
    /// Where the proxy shall connect.
    pub target_host: String,
    /// Where the proxy shall connect.
    #[schemars(range(min = 1))]
    pub target_port: u16,
}

/// PROXY protocol to the endpoints.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ProxyProtocol {
    /// Version.
    pub version: ProxyProtocolVersion,
}

/// Version of the PROXY protocol.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum ProxyProtocolVersion {
    /// Text.
    #[default]
    V1,
    /// Binary.
    V2,
}

/// Share of requests that may be retries.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RetryBudget {
    /// Of active and pending requests; 20 unless said.
    #[schemars(range(min = 0, max = 100))]
    pub percent: Option<f64>,
    /// Always allowed; 3 unless said.
    pub min_retry_concurrency: Option<u32>,
    /// How long a request counts; 0 unless said.
    pub budget_interval: Option<Duration>,
}
