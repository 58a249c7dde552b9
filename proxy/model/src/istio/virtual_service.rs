//! `VirtualService`: which requests go where.
//!
//! Source: Istio's `networking/v1/virtual_service.proto`; each type has the name and fields of its message.

use super::{Headers, Percent, PortSelector, TcpRoute, TlsRoute, non_empty};
use crate::{Duration, Map};
use schemars::JsonSchema;
use serde::Deserialize;

/// Routing rules for hosts.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct VirtualService {
    /// Names that clients call; empty only for a delegate.
    pub hosts: Vec<String>,
    /// Where the rules hold; empty: `mesh`.
    pub gateways: Vec<String>,
    /// HTTP rules, the first match wins.
    pub http: Vec<HttpRoute>,
    /// TLS rules, by server name.
    pub tls: Vec<TlsRoute>,
    /// TCP rules.
    pub tcp: Vec<TcpRoute>,
    /// Namespaces that see it; empty: `*`.
    pub export_to: Vec<String>,
}

/// One HTTP rule. What few rules have stands in boxes: a mesh has many rules.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct HttpRoute {
    /// In logs and metrics.
    #[serde(deserialize_with = "non_empty")]
    pub name: Option<String>,
    /// ORed; empty: every request.
    #[serde(rename = "match")]
    pub matches: Vec<HttpMatchRequest>,
    /// Weighted destinations.
    pub route: Vec<HttpRouteDestination>,
    /// Answer with a redirect.
    pub redirect: Option<Box<HttpRedirect>>,
    /// Answer with fixed content.
    pub direct_response: Option<Box<HttpDirectResponse>>,
    /// Continue in another VirtualService.
    pub delegate: Option<Box<Delegate>>,
    /// Change path and authority.
    pub rewrite: Option<Box<HttpRewrite>>,
    /// For the request with all its retries; absent or zero: none.
    pub timeout: Option<Duration>,
    /// Try again.
    pub retries: Option<Box<HttpRetry>>,
    /// Inject faults.
    pub fault: Option<Box<HttpFaultInjection>>,
    /// Copy requests.
    pub mirror: Option<Box<Destination>>,
    /// Copy requests to several.
    pub mirrors: Vec<HttpMirrorPolicy>,
    /// Deprecated: whole percentage for `mirror`.
    #[schemars(extend("x-aliases" = ["mirror_percent"]))]
    #[serde(alias = "mirror_percent")]
    pub mirror_percent: Option<u32>,
    /// Percentage for `mirror`; absent: 100.
    pub mirror_percentage: Option<Percent>,
    /// Cross-origin policy.
    pub cors_policy: Option<Box<CorsPolicy>>,
    /// Change headers.
    pub headers: Option<Box<Headers>>,
}

/// Conditions on a request, ANDed.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct HttpMatchRequest {
    /// Appended to the route's name.
    #[serde(deserialize_with = "non_empty")]
    pub name: Option<String>,
    /// The path, query excluded.
    pub uri: Option<StringMatch>,
    /// `:scheme`.
    pub scheme: Option<Box<StringMatch>>,
    /// `:method`.
    pub method: Option<Box<StringMatch>>,
    /// `:authority`.
    pub authority: Option<Box<StringMatch>>,
    /// By lower-case name.
    pub headers: Map<StringMatch>,
    /// By lower-case name; must not match.
    pub without_headers: Map<StringMatch>,
    /// By name.
    pub query_params: Map<StringMatch>,
    /// Port of the service, or of the gateway's server.
    #[schemars(range(min = 1))]
    pub port: Option<u16>,
    /// Labels of the client workload.
    pub source_labels: Map<String>,
    /// Namespace of the client workload.
    #[serde(deserialize_with = "non_empty")]
    pub source_namespace: Option<String>,
    /// In place of the VirtualService's own.
    pub gateways: Vec<String>,
    /// Whether exact and prefix paths compare without regard to case.
    pub ignore_uri_case: bool,
    /// Prefix of per-route statistics.
    #[serde(deserialize_with = "non_empty")]
    pub stat_prefix: Option<String>,
}

/// One of the three; none: the value must be present.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(extend("x-oneof" = [["exact", "prefix", "regex"]]))]
pub struct StringMatch {
    /// The whole value.
    pub exact: Option<String>,
    /// Its start.
    pub prefix: Option<String>,
    /// The whole value, RE2 syntax.
    pub regex: Option<String>,
}

/// A share of the traffic.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(extend("required" = ["destination"]))]
pub struct HttpRouteDestination {
    /// Where to.
    pub destination: Destination,
    /// Relative to the sum.
    #[schemars(range(max = 2147483647))]
    pub weight: u32,
    /// Change headers.
    pub headers: Option<Box<Headers>>,
}

/// A service, or a part of it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(extend("required" = ["host"]))]
pub struct Destination {
    /// A host of the registry; a short name is of the rule's namespace.
    pub host: String,
    /// A subset of its DestinationRule.
    #[serde(deserialize_with = "non_empty")]
    pub subset: Option<String>,
    /// A port of the service; absent: its only one.
    pub port: Option<PortSelector>,
}

/// Answer with a redirect.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(extend("x-oneof" = [["port", "derivePort"], ["uri", "prefixRewrite"]]))]
pub struct HttpRedirect {
    /// The whole new path.
    #[serde(deserialize_with = "non_empty")]
    pub uri: Option<String>,
    /// In place of the matched prefix.
    #[serde(deserialize_with = "non_empty")]
    pub prefix_rewrite: Option<String>,
    /// New host.
    #[serde(deserialize_with = "non_empty")]
    pub authority: Option<String>,
    /// New port.
    #[schemars(range(min = 1))]
    pub port: Option<u16>,
    /// New port, from the context.
    pub derive_port: Option<RedirectPortSelection>,
    /// New scheme.
    #[serde(deserialize_with = "non_empty")]
    pub scheme: Option<String>,
    /// 301 unless said.
    pub redirect_code: Option<u32>,
}

/// How a redirect finds its port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RedirectPortSelection {
    /// 80 or 443.
    FromProtocolDefault,
    /// The port that the request came in on.
    FromRequestPort,
}

/// Answer with fixed content.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(extend("required" = ["status"]))]
pub struct HttpDirectResponse {
    /// Status.
    pub status: u32,
    /// Content.
    pub body: Option<HttpBody>,
}

/// Content of a direct response.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(extend("x-oneof" = [["string", "bytes"]]))]
pub struct HttpBody {
    /// Text.
    pub string: Option<String>,
    /// Base64.
    pub bytes: Option<String>,
}

/// Continue in another VirtualService.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Delegate {
    /// Its name.
    pub name: String,
    /// Its namespace; absent: the root's.
    #[serde(deserialize_with = "non_empty")]
    pub namespace: Option<String>,
}

/// Change path and authority.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct HttpRewrite {
    /// In place of the matched prefix, or of the whole path.
    #[serde(deserialize_with = "non_empty")]
    pub uri: Option<String>,
    /// New authority.
    #[serde(deserialize_with = "non_empty")]
    pub authority: Option<String>,
    /// By expression; wins over `uri`.
    pub uri_regex_rewrite: Option<RegexRewrite>,
}

/// Replacement by expression.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(extend("required" = ["match", "rewrite"]))]
pub struct RegexRewrite {
    /// RE2, searched anywhere.
    #[serde(rename = "match")]
    pub pattern: String,
    /// `\1` stands for a group.
    pub rewrite: String,
}

/// Try again.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct HttpRetry {
    /// Retries after the first try; 0: none.
    #[schemars(range(max = 2147483647))]
    pub attempts: u32,
    /// For each try.
    pub per_try_timeout: Option<Duration>,
    /// Conditions, comma separated.
    #[serde(deserialize_with = "non_empty")]
    pub retry_on: Option<String>,
    /// Whether a retry may go to another locality.
    pub retry_remote_localities: Option<bool>,
    /// Whether a retry looks for a host that was not tried.
    pub retry_ignore_previous_hosts: Option<bool>,
    /// Base of the back-off; 25 ms unless said.
    pub backoff: Option<Duration>,
}

/// Inject faults.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct HttpFaultInjection {
    /// Wait first.
    pub delay: Option<FaultDelay>,
    /// Answer with an error.
    pub abort: Option<FaultAbort>,
}

/// Wait first.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(extend("x-oneof" = [["fixedDelay", "exponentialDelay"]]))]
pub struct FaultDelay {
    /// This long.
    pub fixed_delay: Option<Duration>,
    /// Never implemented, by Istio either.
    pub exponential_delay: Option<Duration>,
    /// Deprecated: whole percentage, used without `percentage`.
    #[schemars(range(max = 100))]
    pub percent: Option<u32>,
    /// Share of requests; absent: none.
    pub percentage: Option<Percent>,
}

/// Answer with an error.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(extend("x-oneof" = [["httpStatus", "grpcStatus", "http2Error"]]))]
pub struct FaultAbort {
    /// HTTP status.
    pub http_status: Option<u32>,
    /// gRPC status by name.
    #[serde(deserialize_with = "non_empty")]
    pub grpc_status: Option<String>,
    /// Never implemented, by Istio either.
    #[serde(deserialize_with = "non_empty")]
    pub http2_error: Option<String>,
    /// Share of requests; absent: none.
    pub percentage: Option<Percent>,
}

/// Copy requests.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(extend("required" = ["destination"]))]
pub struct HttpMirrorPolicy {
    /// Where to.
    pub destination: Destination,
    /// Share of requests; absent: all.
    pub percentage: Option<Percent>,
}

/// Cross-origin policy.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CorsPolicy {
    /// Deprecated: exact origins, used without `allow_origins`.
    pub allow_origin: Vec<String>,
    /// ORed.
    pub allow_origins: Vec<StringMatch>,
    /// Methods.
    pub allow_methods: Vec<String>,
    /// Request headers.
    pub allow_headers: Vec<String>,
    /// Response headers.
    pub expose_headers: Vec<String>,
    /// How long a preflight's answer holds; whole seconds.
    pub max_age: Option<Duration>,
    /// Whether credentials may be sent.
    pub allow_credentials: Option<bool>,
    /// What happens to a preflight whose origin does not match.
    pub unmatched_preflights: UnmatchedPreflights,
}

/// What happens to a preflight whose origin does not match.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum UnmatchedPreflights {
    /// As `FORWARD`.
    #[default]
    Unspecified,
    /// It goes on to the upstream.
    Forward,
    /// It is answered without CORS headers.
    Ignore,
}

/// Names of `grpcStatus`, by number.
pub const GRPC_STATUSES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];
