//! How many requests in a time.

use super::HostPattern;
use http::HeaderName;
use std::{sync::Arc, time::Duration};

/// A limit on requests, kept by this process alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateLimit {
    /// `shop/orders`: the policy's.
    pub name: Arc<str>,
    /// Which hosts it is for; empty: all.
    pub hosts: Vec<HostPattern>,
    /// Which routes it is for, by name; empty: all.
    pub routes: Vec<Arc<str>>,
    /// Whose requests share a bucket.
    pub key: RateLimitKey,
    /// What it holds.
    pub bucket: TokenBucket,
    /// Keys that have buckets at the same time.
    pub max_keys: u32,
    /// Whether answers tell what is left.
    pub response_headers: bool,
}

/// Whose requests share a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RateLimitKey {
    /// Everybody's.
    All,
    /// Those of a SPIFFE id; all without one are one.
    Principal,
    /// Those of a client's address.
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
