//! How many requests in a time.

use super::{HostPattern, RouteMatch};
use http::HeaderName;
use std::{sync::Arc, time::Duration};

/// A limit on requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateLimit {
    /// `shop/orders`: the policy's.
    pub name: Arc<str>,
    /// Which hosts it is for; empty: all.
    pub hosts: Vec<HostPattern>,
    /// Which routes it is for, by name; empty: all.
    pub routes: Vec<Arc<str>>,
    /// Whether answers tell what is left.
    pub response_headers: bool,
    /// Who counts.
    pub by: RateLimitBy,
}

impl RateLimit {
    /// Whether it holds for requests to this host, in lower case and without a port, that take this route.
    pub fn holds_for(&self, host: &str, route: &str) -> bool {
        (self.hosts.is_empty() || self.hosts.iter().any(|pattern| pattern.matches(host)))
            && (self.routes.is_empty() || self.routes.iter().any(|name| **name == *route))
    }
}

/// Who counts requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RateLimitBy {
    /// This process alone.
    Local(LocalRateLimit),
    /// A service, for all.
    Service(RateLimitService),
}

/// Buckets of this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalRateLimit {
    /// Whose requests share a bucket.
    pub key: RateLimitKey,
    /// What it holds.
    pub bucket: TokenBucket,
    /// Keys that have buckets at the same time.
    pub max_keys: u32,
}

/// Whose requests share a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RateLimitKey {
    /// Everybody's.
    All,
    /// Those of a SPIFFE id; all without one are one.
    Principal,
    /// Those of a client's address; of IPv6 those of a /64.
    Address,
    /// Those with a value of a header; all without it are one.
    Header(HeaderName),
}

/// Tokens, one for each request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenBucket {
    /// That it holds at most, and at first.
    pub max_tokens: u32,
    /// That are filled in.
    pub tokens_per_fill: u32,
    /// How often.
    pub fill_interval: Duration,
}

/// A service that counts, asked by `envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateLimitService {
    /// Name of its [`super::Cluster`].
    pub cluster: Arc<str>,
    /// `host:port` of the service.
    pub authority: Arc<str>,
    /// Which of its limits.
    pub domain: Arc<str>,
    /// To an answer.
    pub timeout: Duration,
    /// Whether requests are refused when it fails.
    pub failure_mode_deny: bool,
    /// What it is told: a descriptor for each, of an entry for each action.
    pub descriptors: Vec<Vec<RateLimitAction>>,
}

/// What makes an entry of a descriptor. Keys are Envoy's where none is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RateLimitAction {
    /// This proxy's workload.
    SourceCluster(Arc<str>),
    /// Where the request goes.
    DestinationCluster,
    /// The client's address.
    RemoteAddress,
    /// The range that it is in.
    MaskedRemoteAddress {
        /// Bits that count.
        v4: u8,
        /// Bits that count.
        v6: u8,
    },
    /// The value of a header.
    RequestHeader {
        /// Which.
        header: RateLimitHeader,
        /// The entry's.
        key: Arc<str>,
        /// Whether a descriptor does without the entry where the header is not there.
        skip_if_absent: bool,
    },
    /// Always the same.
    Generic {
        /// The entry's.
        key: Arc<str>,
        /// The entry's.
        value: Arc<str>,
    },
    /// The same, where headers match, or do not.
    HeaderValueMatch {
        /// The entry's.
        key: Arc<str>,
        /// The entry's.
        value: Arc<str>,
        /// What the request has to be like.
        matches: RouteMatch,
        /// Or not.
        expect: bool,
    },
}

/// A header, or what HTTP/2 has in the place of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RateLimitHeader {
    /// `:method`.
    Method,
    /// `:path`, with the query.
    Path,
    /// `:authority`, and `host`.
    Authority,
    /// `:scheme`.
    Scheme,
    /// Any other.
    Named(HeaderName),
}

impl RateLimitHeader {
    /// By its name; `None`: it is none.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            ":method" => RateLimitHeader::Method,
            ":path" => RateLimitHeader::Path,
            ":authority" | "host" => RateLimitHeader::Authority,
            ":scheme" => RateLimitHeader::Scheme,
            other => RateLimitHeader::Named(HeaderName::from_bytes(other.as_bytes()).ok()?),
        })
    }

    /// Its name.
    pub fn as_str(&self) -> &str {
        match self {
            RateLimitHeader::Method => ":method",
            RateLimitHeader::Path => ":path",
            RateLimitHeader::Authority => ":authority",
            RateLimitHeader::Scheme => ":scheme",
            RateLimitHeader::Named(name) => name.as_str(),
        }
    }
}
