//! `kind: RateLimitPolicy`: how many requests in a time.

use crate::Duration;
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Limits how many requests come to a workload from the mesh, or to a gateway from outside, in a time. Each proxy counts by itself. All
/// policies that select a request hold together. Names are those of Envoy's local rate limit filter.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RateLimitPolicy {
    /// Labels of the proxies; empty: all of the namespace.
    pub selector: BTreeMap<String, String>,
    /// Hosts, as in a VirtualService; empty: all.
    pub hosts: Vec<String>,
    /// Names of routes, `http[].name` of a VirtualService; empty: all.
    pub routes: Vec<String>,
    /// Whose requests share a bucket; absent: everybody's.
    pub key: Option<RateLimitKey>,
    /// What a bucket holds.
    pub token_bucket: TokenBucket,
    /// Keys that have buckets at the same time; whoever was not seen for longest is forgotten. 10,000.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_keys: Option<u32>,
    /// Whether answers say what is left: `x-ratelimit-limit`, `x-ratelimit-remaining`, `x-ratelimit-reset`.
    pub enable_x_ratelimit_headers: bool,
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
