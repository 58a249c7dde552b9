//! `kind: RateLimitPolicy`: how many requests in a time.

use crate::{Duration, Map, istio::StringMatch};
use schemars::JsonSchema;
use serde::Deserialize;

/// Limits how many requests come to a workload from the mesh, or to a gateway from outside, in a time. With a `tokenBucket` each proxy
/// counts by itself, with a `rateLimitService` a service counts for all. All policies that select a request hold together. Names are those
/// of Envoy's two rate limit filters.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RateLimitPolicy {
    /// Labels of the proxies; empty: all of the namespace.
    pub selector: Map<String>,
    /// Hosts, as in a VirtualService; empty: all.
    pub hosts: Vec<String>,
    /// Names of routes, `http[].name` of a VirtualService; empty: all.
    pub routes: Vec<String>,
    /// Whose requests share a bucket; absent: everybody's.
    pub key: Option<RateLimitKey>,
    /// What a bucket holds. This or `rateLimitService`.
    pub token_bucket: Option<TokenBucket>,
    /// Keys that have buckets at the same time; whoever was not seen for longest is forgotten. 10,000.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_keys: Option<u32>,
    /// Whether answers say what is left: `x-ratelimit-limit`, `x-ratelimit-remaining`, `x-ratelimit-reset`.
    pub enable_x_ratelimit_headers: bool,
    /// Who counts for all proxies. This or `tokenBucket`.
    pub rate_limit_service: Option<RateLimitService>,
}

/// A service that counts for all proxies, asked by `envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RateLimitService {
    /// `[namespace/]host` of a service.
    pub service: String,
    /// Its port.
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
    /// Which of its limits.
    pub domain: String,
    /// To an answer; 20 ms.
    pub timeout: Option<Duration>,
    /// Whether requests are refused when the service fails.
    pub failure_mode_deny: bool,
    /// What it is told; each is a descriptor.
    pub rate_limits: Vec<RateLimitDescriptor>,
}

/// Entries of one descriptor. Where one of them has none, the service is not told the descriptor.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RateLimitDescriptor {
    /// In this order.
    pub actions: Vec<RateLimitAction>,
}

/// What makes an entry: exactly one of these.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RateLimitAction {
    /// `source_cluster`: `WORKLOAD.NAMESPACE` of the proxy.
    pub source_cluster: Option<Nothing>,
    /// `destination_cluster`: where the request goes.
    pub destination_cluster: Option<Nothing>,
    /// `remote_address`: the client's.
    pub remote_address: Option<Nothing>,
    /// `masked_remote_address`: the range that the client's is in.
    pub masked_remote_address: Option<MaskedRemoteAddress>,
    /// The value of a header.
    pub request_headers: Option<RequestHeaders>,
    /// Always the same.
    pub generic_key: Option<GenericKey>,
    /// The same, where headers match.
    pub header_value_match: Option<HeaderValueMatch>,
}

/// An action without settings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Nothing {}

/// The range that the client's address is in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct MaskedRemoteAddress {
    /// Bits of an IPv4 address; 32.
    #[schemars(range(max = 32))]
    pub v4_prefix_mask_len: Option<u8>,
    /// Bits of an IPv6 address; 128.
    #[schemars(range(max = 128))]
    pub v6_prefix_mask_len: Option<u8>,
}

/// The value of a header.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RequestHeaders {
    /// Its name; also `:method`, `:path`, `:authority` and `:scheme`.
    pub header_name: String,
    /// The entry's key.
    pub descriptor_key: String,
    /// Whether a request without the header has a descriptor without the entry, in place of none.
    pub skip_if_absent: bool,
}

/// Always the same.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct GenericKey {
    /// The entry's value.
    pub descriptor_value: String,
    /// The entry's key; `generic_key`.
    pub descriptor_key: Option<String>,
}

/// The same, where headers match.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct HeaderValueMatch {
    /// The entry's value.
    pub descriptor_value: String,
    /// The entry's key; `header_match`.
    pub descriptor_key: Option<String>,
    /// Whether they have to match, or not to; `true`.
    pub expect_match: Option<bool>,
    /// As in a VirtualService; all together.
    pub headers: Map<StringMatch>,
}

/// Whose requests share a bucket: exactly one of these.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RateLimitKey {
    /// Those of one client.
    pub source: Option<RateLimitSource>,
    /// Those with one value of this header; all without it share one bucket.
    pub header: Option<String>,
}

/// What a client is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RateLimitSource {
    /// The SPIFFE id of its certificate; all without one share one bucket.
    Principal,
    /// Its address.
    Address,
}

/// Tokens, one for each request.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TokenBucket {
    /// That it holds at most, and at first.
    #[schemars(range(min = 1))]
    pub max_tokens: Option<u32>,
    /// That are filled in; 1.
    #[schemars(range(min = 1))]
    pub tokens_per_fill: Option<u32>,
    /// How often; at least 50 ms.
    pub fill_interval: Option<Duration>,
}
