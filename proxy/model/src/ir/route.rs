//! Routes: which requests go where, changed how.

use super::{HostPattern, Origin, Pattern, Percent, StringMatch};
use crate::pause;
use http::{HeaderName, StatusCode};
use std::{ops::Deref, sync::Arc, time::Duration};

/// A table of virtual hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteConfiguration {
    /// Unique; a port number (`9080`), `http_proxy` for the uncaptured outbound listener, `inbound|8080||`, or
    /// `http.8080` for a gateway port.
    pub name: Arc<str>,
    /// No two share a domain.
    pub virtual_hosts: Vec<Arc<VirtualHost>>,
    /// Whether the port of `:authority` is cut off before the host is looked up (R2). When it is not, a domain without a
    /// port only matches an authority without one.
    pub ignore_port_in_host: bool,
}

/// Large: whoever takes it apart may pause.
impl Drop for RouteConfiguration {
    fn drop(&mut self) {
        pause::drop_each(std::mem::take(&mut self.virtual_hosts));
    }
}

/// The routes of one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VirtualHost {
    /// Unique in its table: `reviews.default.svc.cluster.local:9080`, `allow_any`, `block_all`.
    pub name: Arc<str>,
    /// Exact beats the longest suffix beats `*`.
    pub domains: Vec<HostPattern>,
    /// First match wins.
    pub routes: Vec<Arc<Route>>,
    /// The VirtualService that made the routes; built in for a Service without one.
    pub origin: Origin,
}

/// Large: whoever takes it apart may pause.
impl Drop for VirtualHost {
    fn drop(&mut self) {
        pause::drop_each(std::mem::take(&mut self.routes));
    }
}

/// One rule. What few rules have stands in boxes: a mesh has many rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// `default`, or VirtualService `http[].name` with `.match[].name`; in access logs and metrics.
    pub name: Arc<str>,
    /// All must hold.
    pub matches: RouteMatch,
    /// What to do.
    pub action: RouteAction,
    /// Applied to the request after the cluster's own, as in Envoy. Those of a lone destination are here too.
    pub request_headers: RareOperations,
    /// Applied to the response after the cluster's own.
    pub response_headers: RareOperations,
    /// Injected before the action; not for redirects and direct responses.
    pub fault: Option<Box<Fault>>,
    /// Cross-origin policy.
    pub cors: Option<Box<Cors>>,
    /// File and line of the `match` entry, or of the `http` entry that has none.
    pub origin: Origin,
}

/// Conditions on a request; all must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteMatch {
    /// On the path, query excluded.
    pub path: PathMatch,
    /// Whether exact and prefix paths compare without regard to ASCII case. A regex does not.
    pub ignore_case: bool,
    /// On `:scheme`.
    pub scheme: Option<Box<StringMatch>>,
    /// On `:method`, case-sensitive.
    pub method: Option<Box<StringMatch>>,
    /// On `:authority`, case-sensitive, with the port if the client sent one.
    pub authority: Option<Box<StringMatch>>,
    /// On headers. Of a repeated header one value has to match; none may, where the match is inverted.
    pub headers: Vec<HeaderMatch>,
    /// On query parameters; the first value of a repeated one counts.
    pub query: Vec<QueryMatch>,
    /// On claims of the token that the request brought.
    pub claims: Vec<ClaimMatch>,
}

/// On the path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathMatch {
    /// Every path; not CONNECT.
    Any,
    /// The whole path.
    Exact(Arc<str>),
    /// A raw string prefix: `/foo` matches `/foobar`.
    Prefix(Arc<str>),
    /// The whole path.
    Regex(Pattern),
    /// Only CONNECT requests without a path (HTTP/1 CONNECT, HTTP/2 CONNECT without `:protocol`); those match nothing else.
    Connect,
}

/// On one claim. A text has to match, or one of a list of texts; no other value does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimMatch {
    /// Names of members, each below the one before.
    pub path: Arc<[String]>,
    /// On the text.
    pub value: StringMatch,
    /// `withoutHeaders`: must not match.
    pub invert: bool,
}

/// On one header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderMatch {
    /// Lower-case.
    pub name: HeaderName,
    /// On the value.
    pub value: StringMatch,
    /// `withoutHeaders`: must not match. A missing header counts as an empty value, except for [`StringMatch::Present`].
    pub invert: bool,
}

/// On one query parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryMatch {
    /// Case-sensitive.
    pub name: Arc<str>,
    /// On the value as sent, still percent-encoded, as in Envoy.
    pub value: StringMatch,
}

/// What to do with a request that matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteAction {
    /// Send it to an endpoint of a cluster.
    Forward(Box<Forward>),
    /// Answer with a redirect.
    Redirect(Box<Redirect>),
    /// Answer with fixed content.
    Direct(DirectResponse),
}

/// Send to a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forward {
    /// Chosen per request by weight; never empty, weights sum to more than 0.
    pub clusters: Vec<WeightedCluster>,
    /// On the path; the query is kept.
    pub path_rewrite: Option<PathRewrite>,
    /// New `:authority`.
    pub authority_rewrite: Option<Arc<str>>,
    /// Covers all tries and their back-off; `None`: none. Also the most that `grpc-timeout` may ask for.
    pub timeout: Option<Duration>,
    /// `None`: no retries. Shared: most routes have the same.
    pub retry: Option<Arc<RetryPolicy>>,
    /// In order; the first that gives a hash and is terminal, or all combined, as in Envoy.
    pub hash_policies: Vec<HashPolicy>,
    /// Copies.
    pub mirrors: Vec<Mirror>,
}

/// A share of the traffic of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeightedCluster {
    /// Name of the [`super::Cluster`].
    pub cluster: Arc<str>,
    /// Relative to the sum.
    pub weight: u32,
    /// Applied before the route's.
    pub request_headers: RareOperations,
    /// Applied before the route's.
    pub response_headers: RareOperations,
    /// New `:authority` from this destination's `headers.request.set: {Host}`; a route's rewrite wins.
    pub authority: Option<Arc<str>>,
}

/// On the path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathRewrite {
    /// Replaces the matched prefix.
    Prefix(Arc<str>),
    /// Replaces the whole path.
    Full(Arc<str>),
    /// Replaces each place where the expression matches; `\1` stands for a group.
    Regex {
        /// Searched anywhere, all occurrences.
        pattern: Pattern,
        /// With `\0`…`\9`.
        substitution: Arc<str>,
    },
}

/// Answer with a redirect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308.
    pub status: StatusCode,
    /// New scheme; `None`: the request's.
    pub scheme: Option<Arc<str>>,
    /// New host (may hold a port); `None`: the request's.
    pub authority: Option<Arc<str>>,
    /// New port.
    pub port: RedirectPort,
    /// New path; the query is kept unless the new path has one.
    pub path: Option<PathRewrite>,
}

/// The port of a redirect's `location`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RedirectPort {
    /// As in the request's authority; dropped when the scheme changes and it was that scheme's default.
    Keep,
    /// This one; left out when it is the default of the scheme.
    Number(u16),
    /// The scheme's default: none in `location`.
    SchemeDefault,
    /// The port that the connection came in on.
    Listener,
}

/// Answer with fixed content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectResponse {
    /// 200 to 599.
    pub status: StatusCode,
    /// At most 1 MiB.
    pub body: Arc<[u8]>,
}

/// When and how to try again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Tries after the first; at least 1.
    pub attempts: u32,
    /// Waits for response headers of each try; `None`: the route's timeout.
    pub per_try_timeout: Option<Duration>,
    /// Conditions, ORed.
    pub on: RetryOn,
    /// Base of the back-off; 25 ms unless said. Full jitter in `[0, (2^n - 1) * base)`, at most ten times the base.
    pub back_off: Duration,
    /// Whether a retry looks for a host that was not tried yet (up to 5 picks).
    pub avoid_previous_hosts: bool,
    /// Whether a retry may move to the next priority.
    pub remote_localities: bool,
}

/// Conditions for a retry. Source: Istio `retryOn`, Envoy `x-envoy-retry-on` and `x-envoy-retry-grpc-on`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RetryOn {
    /// Any 5xx, or no response at all.
    pub server_error: bool,
    /// 502, 503, 504.
    pub gateway_error: bool,
    /// No response at all.
    pub reset: bool,
    /// A reset before the request was sent.
    pub reset_before_request: bool,
    /// Before the connection stood.
    pub connect_failure: bool,
    /// 409.
    pub retriable_4xx: bool,
    /// HTTP/2 REFUSED_STREAM.
    pub refused_stream: bool,
    /// `x-envoy-ratelimited` in the response.
    pub envoy_ratelimited: bool,
    /// Statuses given by number.
    pub status_codes: Vec<StatusCode>,
    /// `grpc-status` values in response headers: cancelled 1, deadline-exceeded 4, internal 13, resource-exhausted 8,
    /// unavailable 14.
    pub grpc_statuses: Vec<u8>,
}

/// What consistent hashing hashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HashPolicy {
    /// The values of a header.
    Header(HeaderName),
    /// A cookie, made by the proxy if it is missing and has a `ttl`.
    Cookie {
        /// Its name.
        name: Arc<str>,
        /// `Path` attribute of a made cookie.
        path: Option<Arc<str>>,
        /// `None`: never made. Zero: a session cookie.
        ttl: Option<Duration>,
        /// Further attributes of a made cookie.
        attributes: Vec<(Arc<str>, Arc<str>)>,
    },
    /// The client's address.
    SourceIp,
    /// A query parameter.
    QueryParameter(Arc<str>),
}

/// A copy of requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// Name of the [`super::Cluster`].
    pub cluster: Arc<str>,
    /// Share of requests.
    pub percent: Percent,
}

/// Injected faults; delay and abort are independent coins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Waits first.
    pub delay: Option<(Duration, Percent)>,
    /// Then answers.
    pub abort: Option<(FaultAbort, Percent)>,
}

/// Faults that look like an upstream's.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UpstreamFaults {
    /// Of each try of a request.
    pub http: Option<Fault>,
    /// Of connections of bytes.
    pub tcp: TcpFaults,
}

/// Faults of connections of bytes, each by its own coin.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TcpFaults {
    /// Waits before it connects.
    pub delay: Option<(Duration, Percent)>,
    /// Resets the client's connection in place of connecting.
    pub reset: Option<Percent>,
    /// Resets both connections once the client has got so many bytes.
    pub cut: Option<(u64, Percent)>,
}

/// What an injected abort answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultAbort {
    /// This status.
    Http(StatusCode),
    /// 200 with this `grpc-status`.
    Grpc(u8),
}

/// Cross-origin policy. Source: the Fetch standard, Envoy's CORS filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cors {
    /// ORed; the request's Origin is echoed.
    pub allow_origins: Vec<StringMatch>,
    /// `access-control-allow-methods`, comma-joined; empty: not sent.
    pub allow_methods: String,
    /// `access-control-allow-headers`.
    pub allow_headers: String,
    /// `access-control-expose-headers`.
    pub expose_headers: String,
    /// `access-control-max-age`.
    pub max_age: Option<Duration>,
    /// `access-control-allow-credentials: true`.
    pub allow_credentials: bool,
    /// Whether a preflight whose origin does not match goes on to the upstream.
    pub forward_unmatched_preflights: bool,
}

/// Changes to headers: remove, then set, then add.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HeaderOperations {
    /// Overwrites.
    pub set: Vec<(HeaderName, HeaderFormat)>,
    /// Appends.
    pub add: Vec<(HeaderName, HeaderFormat)>,
    /// Removes.
    pub remove: Vec<HeaderName>,
}

impl HeaderOperations {
    const NONE: HeaderOperations = HeaderOperations { set: Vec::new(), add: Vec::new(), remove: Vec::new() };

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.add.is_empty() && self.remove.is_empty()
    }
}

/// [`HeaderOperations`] where most have none: then it is a pointer to nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RareOperations(Option<Box<HeaderOperations>>);

impl Deref for RareOperations {
    type Target = HeaderOperations;

    fn deref(&self) -> &HeaderOperations {
        static NONE: HeaderOperations = HeaderOperations::NONE;
        self.0.as_deref().unwrap_or(&NONE)
    }
}

impl From<HeaderOperations> for RareOperations {
    fn from(operations: HeaderOperations) -> Self {
        RareOperations((!operations.is_empty()).then(|| Box::new(operations)))
    }
}

impl From<RareOperations> for HeaderOperations {
    fn from(operations: RareOperations) -> Self {
        operations.0.map_or(HeaderOperations::NONE, |operations| *operations)
    }
}

/// A header value with Envoy's command operators (`%REQ(x)%`, `%%`), checked to parse; see [`super::Format`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderFormat(pub super::Format);
