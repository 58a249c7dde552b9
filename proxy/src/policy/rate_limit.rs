//! How many requests in a time, where RateLimitPolicies say.
//!
//! In:  a request whose route is chosen.   Out: it goes on, or is refused.
//! Invariants: a policy's buckets are the same for all listeners and workers, and outlive reloads that do not change it; who lacks
//! what a key is made of shares one bucket with all who do.
//! Not here: buckets (`sidle_balance`).
//! Source: Envoy's local rate limit filter for status, words, headers and metrics.

use crate::{codec::RequestHead, error::ProxyError, exchange::Exchange};
use http::{HeaderName, HeaderValue};
use sidle_balance::{Allowance, RateLimiter};
use sidle_model::ir::{self, RateLimitKey};
use sidle_routing::host::normalise;
use sidle_telemetry::{RateLimitMetrics, Telemetry};
use std::{
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::Instant,
};

const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// One policy, and what it has counted.
pub struct RateLimit {
    config: ir::RateLimit,
    limiter: RateLimiter,
    /// Nobody outside can foresee it, so that nobody can take another's bucket.
    hasher: RandomState,
    metrics: Arc<RateLimitMetrics>,
}

impl RateLimit {
    /// As `config` says: one of `known`, or a new one.
    pub fn build<'a>(
        config: &ir::RateLimit,
        mut known: impl Iterator<Item = &'a Arc<RateLimit>>,
        telemetry: &Telemetry,
    ) -> Arc<Self> {
        if let Some(known) = known.find(|known| known.config == *config) {
            return known.clone();
        }
        let keys = (config.key != RateLimitKey::All).then_some(config.max_keys);
        Arc::new(RateLimit {
            limiter: RateLimiter::new(config.bucket, keys, Instant::now()),
            hasher: RandomState::new(),
            metrics: telemetry.rate_limit_metrics(&config.name),
            config: config.clone(),
        })
    }

    fn holds_for(&self, host: &str, route: &str) -> bool {
        let ir::RateLimit { hosts, routes, .. } = &self.config;
        (hosts.is_empty() || hosts.iter().any(|pattern| pattern.matches(host)))
            && (routes.is_empty() || routes.iter().any(|name| **name == *route))
    }

    fn key(&self, exchange: &Exchange, head: &RequestHead) -> u64 {
        let downstream = &exchange.record.downstream;
        match &self.config.key {
            RateLimitKey::All => 0,
            RateLimitKey::Principal => {
                let peer = downstream.identity.as_ref().and_then(|peer| peer.spiffe_id.as_ref());
                self.hasher.hash_one(peer.map(|id| id.as_str()))
            }
            RateLimitKey::Address => {
                self.hasher.hash_one(exchange.record.peer.map(|peer| peer.ip().to_canonical()))
            }
            RateLimitKey::Header(name) => {
                let mut values = head.headers.get_all(name).iter().map(HeaderValue::as_bytes);
                match (values.next(), values.next()) {
                    (first, None) => self.hasher.hash_one(first),
                    (first, second) => self
                        .hasher
                        .hash_one(first.into_iter().chain(second).chain(values).collect::<Vec<_>>()),
                }
            }
        }
    }
}

/// Takes a token of each policy that holds for the request.
///
/// # Errors
/// There was none.
pub fn admit(
    limits: &[Arc<RateLimit>],
    exchange: &mut Exchange,
    head: &RequestHead,
    route: &str,
) -> Result<(), ProxyError> {
    let authority = head.authority.as_ref().map_or("", |authority| authority.as_str());
    let host = normalise(authority, true);
    let now = Instant::now();
    let mut told: Option<(&RateLimit, Allowance)> = None;
    for limit in limits.iter().filter(|limit| limit.holds_for(&host, route)) {
        let allowance = limit.limiter.take(limit.key(exchange, head), now);
        limit.metrics.judged(allowance.allowed);
        limit.metrics.set_keys(limit.limiter.keys());
        if limit.config.response_headers
            && told.is_none_or(|(_, least)| !allowance.allowed || allowance.remaining < least.remaining)
        {
            told = Some((limit, allowance));
        }
        if !allowance.allowed {
            tell(exchange, told);
            return Err(ProxyError::RateLimited);
        }
    }
    tell(exchange, told);
    Ok(())
}

fn tell(exchange: &mut Exchange, told: Option<(&RateLimit, Allowance)>) {
    let Some((limit, Allowance { remaining, reset, .. })) = told else { return };
    let seconds = reset.as_secs() + u64::from(reset.subsec_nanos() > 0);
    exchange.add_response_headers([
        (LIMIT, limit.config.bucket.max_tokens.into()),
        (REMAINING, remaining.into()),
        (RESET, seconds.into()),
    ]);
}
