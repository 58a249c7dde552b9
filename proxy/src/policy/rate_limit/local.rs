//! Buckets of this process.

use super::Told;
use crate::{codec::RequestHead, exchange::Exchange};
use http::HeaderValue;
use sidle_balance::{Allowance, RateLimiter};
use sidle_model::ir::{LocalRateLimit, RateLimitKey};
use sidle_telemetry::RateLimitMetrics;
use std::{
    hash::{BuildHasher, RandomState},
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
    time::Instant,
};

/// Of an IPv6 address: what one who has a line has all of.
const LINE: u32 = 64;

/// One policy's buckets.
pub struct Buckets {
    config: LocalRateLimit,
    limiter: Arc<RateLimiter>,
    /// Nobody outside can foresee it, so that nobody can take another's bucket.
    hasher: RandomState,
    metrics: Arc<RateLimitMetrics>,
}

impl Buckets {
    pub fn build(config: &LocalRateLimit, metrics: Arc<RateLimitMetrics>) -> Self {
        let keys = (config.key != RateLimitKey::All).then_some(config.max_keys);
        let limiter = Arc::new(RateLimiter::new(config.bucket, keys, Instant::now()));
        Buckets { limiter, hasher: RandomState::new(), metrics, config: config.clone() }
    }

    /// Has the metrics count its own keys from now on.
    pub fn show(&self) {
        let counted = Arc::downgrade(&self.limiter);
        self.metrics.count_keys(move || counted.upgrade().map_or(0, |limiter| limiter.keys()));
    }

    /// Takes a token, if there is one.
    pub fn take(&self, exchange: &Exchange, head: &RequestHead) -> (bool, Told) {
        let Allowance { allowed, remaining, reset } =
            self.limiter.take(self.key(exchange, head), Instant::now());
        self.metrics.judged(allowed);
        let reset = reset.as_secs() + u64::from(reset.subsec_nanos() > 0);
        (allowed, Told { limit: self.config.bucket.max_tokens.into(), remaining, reset })
    }

    fn key(&self, exchange: &Exchange, head: &RequestHead) -> u64 {
        let downstream = &exchange.record.downstream;
        match &self.config.key {
            RateLimitKey::All => 0,
            RateLimitKey::Principal => {
                let peer = downstream.identity.as_ref().and_then(|peer| peer.spiffe_id.as_ref());
                self.hasher.hash_one(peer.map(|id| id.as_str()))
            }
            RateLimitKey::Address => self.hasher.hash_one(exchange.record.peer.map(|peer| line(peer.ip()))),
            RateLimitKey::Header(name) => {
                let mut values = head.headers.get_all(name).map(HeaderValue::as_bytes);
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

/// What a client cannot change at will of his address.
fn line(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> LINE << LINE).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_addresses_of_a_line_are_one() {
        let same = |a: &str, b: &str| line(a.parse().unwrap()) == line(b.parse().unwrap());
        assert!(same("2001:db8:0:1::1", "2001:db8:0:1:ffff::2"));
        assert!(!same("2001:db8:0:1::1", "2001:db8:0:2::1"));
        assert!(same("::ffff:192.0.2.1", "192.0.2.1"));
        assert!(!same("192.0.2.1", "192.0.2.2"));
    }
}
