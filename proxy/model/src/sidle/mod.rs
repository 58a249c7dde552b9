//! Sidle's own kinds, under `sidle.dev/v1`: only what Istio has no kind for.
//!
//! In:  a positioned tree (`crate::yaml`).   Out: [`Proxy`], [`HealthPolicy`], [`ConcurrencyPolicy`], [`RateLimitPolicy`], [`UpstreamPolicy`], [`FaultPolicy`];
//! [`AuthorizationCase`]s, which are no manifests.
//! Invariants: names are those of Istio's mesh configuration where it has the setting; an absent field keeps its default.
//! Not here: the defaults themselves (`crate::ir::Settings`).

mod authorization_case;
mod concurrency_policy;
mod extension_provider;
mod fault_policy;
mod health_policy;
mod identity;
mod rate_limit_policy;
#[cfg(test)]
mod tests;
mod upstream_policy;

pub use authorization_case::{AuthorizationCase, Expected};
pub use concurrency_policy::{ConcurrencyPolicy, MinRtt};
pub use extension_provider::{Asked, ExtAuthzGrpc, ExtAuthzHttp, ExtensionProvider, RequestBodyInCheck};
pub use fault_policy::{FaultPolicy, TcpCut, TcpFaults, TcpReset};
pub use health_policy::{
    FailurePercentage, GrpcHealthCheck, HealthCheck, HealthPolicy, HttpHealthCheck, Latency, Probing,
    SuccessRate, TcpHealthCheck,
};
pub use identity::{CertificateAuthority, Identity, Sds, TrustBundle, WorkloadApi};
pub use rate_limit_policy::{
    GenericKey, HeaderValueMatch, MaskedRemoteAddress, Nothing, RateLimitAction, RateLimitDescriptor,
    RateLimitKey, RateLimitPolicy, RateLimitService, RateLimitSource, RequestHeaders, TokenBucket,
};
pub use upstream_policy::{Hedging, MirrorComparison, PeakEwma, UpstreamPolicy};

use crate::{
    Duration, Map,
    istio::{HttpRetry, OutboundTrafficPolicy, non_empty},
};
use schemars::JsonSchema;
use serde::Deserialize;

/// Settings of the proxy process. Of several that select a proxy, the oldest holds.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Proxy {
    /// Labels of the proxies; empty: all of the namespace.
    pub selector: Map<String>,
    /// Address of admin; `127.0.0.1:15000`.
    #[serde(deserialize_with = "non_empty")]
    pub admin: Option<String>,
    /// Address of `/stats/prometheus`; `[::]:15090`, which is IPv4 as well.
    #[serde(deserialize_with = "non_empty")]
    pub metrics: Option<String>,
    /// Address of `/healthz/ready`; `[::]:15021`, which is IPv4 as well.
    #[serde(deserialize_with = "non_empty")]
    pub health: Option<String>,
    /// Address of the outbound listener; `127.0.0.1:15001`.
    #[serde(deserialize_with = "non_empty")]
    pub outbound: Option<String>,
    /// Address of the inbound listener; `0.0.0.0:15006`.
    #[serde(deserialize_with = "non_empty")]
    pub inbound: Option<String>,
    /// How connections to the workload are brought to the proxy, where they are. Istio's `interceptionMode`.
    pub interception_mode: InterceptionMode,
    /// Worker threads; 0 or absent: one for each core.
    #[schemars(range(max = 1024))]
    pub concurrency: Option<u16>,
    /// How the process ends.
    pub drain: Option<Drain>,
    /// What one client may take.
    pub limits: Option<Limits>,
    /// A file, `/dev/stdout` or `/dev/stderr`; absent: no access log.
    #[serde(deserialize_with = "non_empty")]
    pub access_log_file: Option<String>,
    /// Text or JSON.
    pub access_log_encoding: AccessLogEncoding,
    /// For `TEXT`, Envoy's format; for `JSON`, an object from key to format, as JSON text. Absent: Istio's default.
    #[serde(deserialize_with = "non_empty")]
    pub access_log_format: Option<String>,
    /// What happens to unknown destinations, unless a Sidecar says.
    pub outbound_traffic_policy: Option<OutboundTrafficPolicy>,
    /// To upstreams, unless a DestinationRule says; 10 s.
    pub connect_timeout: Option<Duration>,
    /// Namespace of mesh-wide rules; `istio-system`.
    #[serde(deserialize_with = "non_empty")]
    pub root_namespace: Option<String>,
    /// The trust domain of the mesh; `cluster.local`. In policies, `cluster.local` stands for it, too.
    #[serde(deserialize_with = "non_empty")]
    pub trust_domain: Option<String>,
    /// Trust domains whose principals are the mesh's own, too.
    pub trust_domain_aliases: Vec<String>,
    /// Whether a request that authorization policies refuse is told by which rule, in `x-sidle-authorization`.
    pub authorization_header: Option<bool>,
    /// How long to wait for the bytes that tell the protocol.
    pub protocol_detection_timeout: Option<Duration>,
    /// For routes without `retries`.
    pub default_http_retry_policy: Option<HttpRetry>,
    /// Headers that the proxy adds or changes by itself.
    pub proxy_headers: Option<ProxyHeaders>,
    /// How paths are normalised before they are matched.
    pub path_normalization: Option<PathNormalization>,
    /// Whether HTTP/1.0 is spoken to clients; `false`: 426.
    pub accept_http10: Option<bool>,
    /// What becomes of a request header with `_` in its name. Default: `REJECT_REQUEST` at gateways, `ALLOW` elsewhere.
    pub headers_with_underscores_action: Option<HeadersWithUnderscoresAction>,
    /// What stands in front of gateways.
    pub gateway_topology: Option<GatewayTopology>,
    /// Where the workload's identity comes from.
    pub identity: Option<Identity>,
    /// Services that policies name as their providers.
    pub extension_providers: Vec<ExtensionProvider>,
    /// How keys of issuers are fetched.
    pub jwks: Option<Jwks>,
    /// DNS for the application; absent: it asks others.
    pub dns: Option<Dns>,
}

impl Proxy {
    /// What policies may call its providers.
    pub fn provider_names(&self) -> impl Iterator<Item = &str> {
        self.extension_providers.iter().map(|provider| &*provider.name)
    }
}

/// DNS for the application.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Dns {
    /// Where it is asked, by UDP and TCP; `127.0.0.1:15053`.
    #[serde(deserialize_with = "non_empty")]
    pub address: Option<String>,
    /// Whether hosts of ServiceEntries without an address get one, of 240.240.0.0/16 and 2001:2::/48; `true`.
    pub auto_allocate: Option<bool>,
}

/// How connections to the workload are brought to the proxy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum InterceptionMode {
    /// By rewriting their destination, or not at all.
    #[default]
    Redirect,
    /// As they are; the application sees the client's address. Needs CAP_NET_ADMIN.
    Tproxy,
    /// Not at all.
    None,
}

/// How keys of issuers are fetched.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Jwks {
    /// Whether addresses of private networks and of this machine may be asked.
    pub allow_private: bool,
    /// Addresses and ranges that may be asked, whatever they are.
    pub allow_addresses: Vec<String>,
    /// PEM bundle of those whose certificates are believed, in place of the system's.
    #[serde(deserialize_with = "non_empty")]
    pub ca_certificates: Option<String>,
}

/// How paths are normalised before they are matched. Istio's `pathNormalization`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PathNormalization {
    /// How far.
    pub normalization: NormalizationType,
}

/// How far a path is normalised; each does what the one before it does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum NormalizationType {
    /// `BASE`.
    #[default]
    Default,
    /// Not at all.
    None,
    /// RFC 3986, and `\` as `/`.
    Base,
    /// Also `//` as `/`.
    MergeSlashes,
    /// Also `%2f` and `%5c` as `/`.
    DecodeAndMergeSlashes,
}

/// What becomes of a request header with `_` in its name, which many applications cannot tell from `-`. Envoy's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum HeadersWithUnderscoresAction {
    /// It passes.
    Allow,
    /// 400.
    RejectRequest,
    /// The request passes without it.
    DropHeader,
}

/// What stands in front of gateways. Istio's `gatewayTopology`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct GatewayTopology {
    /// Proxies in front whose `x-forwarded-for` is believed; 0: the peer is the client.
    pub num_trusted_proxies: Option<u32>,
    /// Whether connections begin with a PROXY protocol header (version 1 or 2). Those that do not are closed.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// What becomes of `x-forwarded-client-cert`; `SANITIZE_SET`.
    pub forward_client_cert_details: ForwardClientCertDetails,
}

/// What becomes of `x-forwarded-client-cert`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ForwardClientCertDetails {
    /// The default.
    #[default]
    Undefined,
    /// It goes.
    Sanitize,
    /// From a client with a certificate it passes as it is; from others it goes.
    ForwardOnly,
    /// A client's certificate is added to what it sends; from others it goes.
    AppendForward,
    /// A client's certificate stands in place of what it sends; from others it goes.
    SanitizeSet,
    /// It passes as it is, from anybody.
    AlwaysForwardOnly,
}

/// The PROXY protocol has no settings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ProxyProtocol {}

/// Headers that the proxy adds or changes by itself. Istio's `proxyHeaders`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ProxyHeaders {
    /// Whether HTTP/1 header names keep the case that they were written in; `false`: lower-case.
    pub preserve_http1_header_case: Option<bool>,
    /// The `server` header of responses.
    pub server: Option<ServerHeader>,
    /// The name of this proxy in `via` (RFC 9110 section 7.6.3), both ways; absent: no `via`.
    #[serde(deserialize_with = "non_empty")]
    pub via: Option<String>,
}

/// The `server` header of responses.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ServerHeader {
    /// Whether the upstream's passes through.
    pub disabled: Option<bool>,
    /// In place of `envoy` and `istio-envoy`.
    #[serde(deserialize_with = "non_empty")]
    pub value: Option<String>,
}

/// How the process ends.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Drain {
    /// From SIGTERM to exit at the latest; 30 s.
    pub deadline: Option<Duration>,
    /// From SIGTERM to the earliest exit; 0.
    pub minimum: Option<Duration>,
    /// From a takeover to the exit of the old process at the latest; 10 min.
    pub takeover_deadline: Option<Duration>,
}

/// What one client may take. Defaults: [`crate::ir::Limits`].
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Limits {
    /// Request head in bytes.
    #[schemars(range(min = 1024, max = 8388608))]
    pub max_request_headers_bytes: Option<u32>,
    /// Header fields.
    #[schemars(range(min = 1, max = 10000))]
    pub max_request_headers_count: Option<u32>,
    /// From the first byte of a head to its last.
    pub request_headers_timeout: Option<Duration>,
    /// Without a byte of a body either way; zero: no bound.
    pub stream_idle_timeout: Option<Duration>,
    /// A downstream connection without a request; zero: no bound.
    pub connection_idle_timeout: Option<Duration>,
    /// A downstream HTTP connection, whatever is on it: then its client is to come again, on another one; absent or zero: no bound.
    pub max_connection_duration: Option<Duration>,
    /// Streams of one downstream HTTP/2 connection.
    #[schemars(range(min = 1))]
    pub http2_max_concurrent_streams: Option<u32>,
    /// HTTP/2 window of a stream.
    #[schemars(range(min = 65535, max = 2147483647))]
    pub http2_initial_stream_window: Option<u32>,
    /// HTTP/2 window of a connection.
    #[schemars(range(min = 65535, max = 2147483647))]
    pub http2_initial_connection_window: Option<u32>,
    /// Bytes kept for a retry or a mirror.
    pub replay_buffer_bytes: Option<u32>,
    /// Downstream connections.
    #[schemars(range(min = 1))]
    pub max_connections: Option<u32>,
    /// A TLS handshake.
    pub tls_handshake_timeout: Option<Duration>,
    /// Downstream connections of one client address.
    #[schemars(range(min = 1))]
    pub max_connections_per_source: Option<u32>,
    /// A whole request, from the first byte of its head to the last of its body; absent or zero: no bound.
    pub request_timeout: Option<Duration>,
    /// Streams that an HTTP/2 client may reset, or make the proxy reset, in a second.
    #[schemars(range(min = 1))]
    pub http2_max_resets_per_second: Option<u32>,
    /// Frames of an HTTP/2 peer in a second that carry nothing: SETTINGS, PING, PRIORITY, empty DATA, unknown ones.
    #[schemars(range(min = 1))]
    pub http2_max_control_frames_per_second: Option<u32>,
    /// Memory in bytes at which requests are shed; absent: the control group's limit.
    #[schemars(range(min = 1))]
    pub max_memory_bytes: Option<u64>,
}

/// Text or JSON.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum AccessLogEncoding {
    /// A line.
    #[default]
    Text,
    /// An object.
    Json,
}
