//! The `loadBalancer` block of a traffic policy.
//!
//! Source: Istio's `networking/v1/destination_rule.proto`.

use super::non_empty;
use crate::{Duration, Map};
use schemars::JsonSchema;
use serde::Deserialize;

/// Balancing.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(extend("x-oneof" = [["simple", "consistentHash"], ["warmup", "warmupDurationSecs"]]))]
pub struct LoadBalancerSettings {
    /// A standard one.
    pub simple: Option<SimpleLoadBalancer>,
    /// By a property of the request.
    pub consistent_hash: Option<ConsistentHashLoadBalancer>,
    /// Preference for near endpoints.
    pub locality_lb_setting: Option<LocalityLoadBalancerSetting>,
    /// Zone-aware routing.
    pub zone_aware_lb_setting: Option<ZoneAwareLoadBalancerSetting>,
    /// Deprecated: window of the slow start.
    pub warmup_duration_secs: Option<Duration>,
    /// Slow start.
    pub warmup: Option<WarmupConfiguration>,
}

/// The standard balancers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum SimpleLoadBalancer {
    /// As `LEAST_REQUEST`.
    #[default]
    Unspecified,
    /// Deprecated name of `LEAST_REQUEST`.
    LeastConn,
    /// By chance.
    Random,
    /// Where the client wanted to go.
    Passthrough,
    /// In turn.
    RoundRobin,
    /// Power of two choices over active requests.
    LeastRequest,
}

/// Balancing by a property of the request.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(extend("x-oneof" = [
    ["httpHeaderName", "httpCookie", "useSourceIp", "httpQueryParameterName"],
    ["ringHash", "maglev"]
]))]
pub struct ConsistentHashLoadBalancer {
    /// A header.
    #[serde(deserialize_with = "non_empty")]
    pub http_header_name: Option<String>,
    /// A cookie.
    pub http_cookie: Option<HttpCookie>,
    /// The client's address.
    pub use_source_ip: Option<bool>,
    /// A query parameter.
    #[serde(deserialize_with = "non_empty")]
    pub http_query_parameter_name: Option<String>,
    /// Ketama ring; the default.
    pub ring_hash: Option<RingHash>,
    /// Maglev table.
    pub maglev: Option<Maglev>,
    /// Deprecated: as in `ring_hash`.
    pub minimum_ring_size: Option<u64>,
}

/// A cookie to hash.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(extend("required" = ["name"]))]
pub struct HttpCookie {
    /// Its name.
    pub name: String,
    /// `Path` of a made cookie.
    #[serde(deserialize_with = "non_empty")]
    pub path: Option<String>,
    /// Absent: never made; zero: a session cookie.
    pub ttl: Option<Duration>,
    /// More attributes of a made cookie.
    pub attributes: Vec<HttpCookieAttribute>,
}

/// An attribute of a made cookie.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(extend("required" = ["name"]))]
pub struct HttpCookieAttribute {
    /// `SameSite`, …
    pub name: String,
    /// `Strict`, …
    pub value: String,
}

/// Ketama ring.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RingHash {
    /// 1,024 unless said.
    pub minimum_ring_size: Option<u64>,
}

/// Maglev table.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Maglev {
    /// A prime; 65,537 unless said.
    pub table_size: Option<u64>,
}

/// Preference for near endpoints.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LocalityLoadBalancerSetting {
    /// By weight.
    pub distribute: Vec<LocalityDistribute>,
    /// By region.
    pub failover: Vec<LocalityFailover>,
    /// By label.
    pub failover_priority: Vec<String>,
    /// Whether it holds; yes unless said.
    pub enabled: Option<bool>,
}

/// Shares of the traffic from one locality.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LocalityDistribute {
    /// `region/zone/subzone`, with `*`.
    pub from: String,
    /// Locality to weight; the sum is 100.
    pub to: Map<u32>,
}

/// Where a region's traffic goes when it fails.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LocalityFailover {
    /// Region.
    pub from: String,
    /// Region.
    pub to: String,
}

/// Zone-aware routing.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ZoneAwareLoadBalancerSetting {
    /// Whether it holds.
    pub enabled: Option<bool>,
    /// Order of regions.
    pub failover: Vec<LocalityFailover>,
    /// Label tiers above the regions.
    pub failover_priority: Vec<String>,
    /// 6 unless said.
    pub min_cluster_size: Option<u32>,
}

/// Slow start.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(extend("required" = ["duration"]))]
pub struct WarmupConfiguration {
    /// Window.
    pub duration: Option<Duration>,
    /// 10 unless said.
    #[schemars(range(min = 0, max = 100))]
    pub minimum_percent: Option<f64>,
    /// 1 (linear) unless said.
    pub aggression: Option<f64>,
}
