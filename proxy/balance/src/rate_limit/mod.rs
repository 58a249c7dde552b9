//! How many requests in a time: token buckets, one for all or one for each key.
//!
//! In:  the time, and whose request it is.   Out: a token, or none.
//! Invariants: a bucket begins full and never holds more than it may; it is filled in steps, at times that do not depend on who asks;
//! a table of keys never has more than it may, and forgets whoever was not seen for longest. One bucket for all is one atomic
//! number; a table has locks, of which each holds a few of the keys, for as long as it takes to find one.
//! Not here: what a key is (`proxy/src/policy/rate_limit`).
//! Source: Envoy's local rate limit filter.

mod keyed;

use sidle_model::ir::TokenBucket;
use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use keyed::Keyed;

/// What a bucket says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// Whether there was a token.
    pub allowed: bool,
    /// Tokens that are left.
    pub remaining: u32,
    /// Until the next are filled in.
    pub reset: Duration,
}

/// The buckets of one policy, shared by all workers.
#[derive(Debug)]
pub struct RateLimiter {
    bucket: TokenBucket,
    origin: Instant,
    tokens: Tokens,
}

#[derive(Debug)]
enum Tokens {
    /// A [`Level`], packed.
    Shared(AtomicU64),
    Keyed(Keyed),
}

/// How full a bucket is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Level {
    /// Fills since the origin that it has had.
    fills: u32,
    tokens: u32,
}

impl Level {
    fn pack(self) -> u64 {
        u64::from(self.fills) << 32 | u64::from(self.tokens)
    }

    fn unpack(packed: u64) -> Self {
        Level { fills: (packed >> 32) as u32, tokens: packed as u32 }
    }

    /// Filled as often as it has been time to; one that another has filled since stays as it is.
    fn filled(self, bucket: &TokenBucket, fills: u32) -> Self {
        let Some(missed) = fills.checked_sub(self.fills) else { return self };
        let more = missed.saturating_mul(bucket.tokens_per_fill);
        Level { fills, tokens: self.tokens.saturating_add(more).min(bucket.max_tokens) }
    }

    /// With a token less, if there is one.
    fn taken(self) -> Option<Self> {
        self.tokens.checked_sub(1).map(|tokens| Level { tokens, ..self })
    }
}

impl RateLimiter {
    /// Full buckets: one for all, or at most so many keys' own.
    pub fn new(bucket: TokenBucket, keys: Option<u32>, now: Instant) -> Self {
        let full = Level { fills: 0, tokens: bucket.max_tokens };
        let tokens = match keys {
            None => Tokens::Shared(AtomicU64::new(full.pack())),
            Some(most) => Tokens::Keyed(Keyed::new(most)),
        };
        RateLimiter { bucket, origin: now, tokens }
    }

    /// Takes a token, if there is one. `key` is a hash that nobody outside can foresee, and counts where each has a bucket.
    pub fn take(&self, key: u64, now: Instant) -> Allowance {
        let since = now.saturating_duration_since(self.origin);
        let interval = self.bucket.fill_interval.as_nanos().max(1);
        let fills = u32::try_from(since.as_nanos() / interval).unwrap_or(u32::MAX);
        let left = interval - since.as_nanos() % interval;
        let (allowed, level) = match &self.tokens {
            Tokens::Shared(packed) => self.take_shared(packed, fills),
            Tokens::Keyed(keyed) => keyed.take(key, &self.bucket, fills),
        };
        let reset = Duration::from_nanos(u64::try_from(left).unwrap_or(u64::MAX));
        Allowance { allowed, remaining: level.tokens, reset }
    }

    /// Keys that have a bucket; 0 where there is one for all.
    pub fn keys(&self) -> usize {
        match &self.tokens {
            Tokens::Shared(_) => 0,
            Tokens::Keyed(keyed) => keyed.len(),
        }
    }

    fn take_shared(&self, packed: &AtomicU64, fills: u32) -> (bool, Level) {
        let mut seen = packed.load(Relaxed);
        loop {
            let level = Level::unpack(seen).filled(&self.bucket, fills);
            // An empty one is not written to, so that a flood costs its workers no cache line.
            let Some(next) = level.taken() else { return (false, level) };
            match packed.compare_exchange_weak(seen, next.pack(), Relaxed, Relaxed) {
                Ok(_) => return (true, next),
                Err(other) => seen = other,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bucket(max_tokens: u32, tokens_per_fill: u32) -> TokenBucket {
        TokenBucket { max_tokens, tokens_per_fill, fill_interval: Duration::from_secs(1) }
    }

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn it_begins_full_and_is_filled_in_steps() {
        for keys in [None, Some(10)] {
            let now = Instant::now();
            let limiter = RateLimiter::new(bucket(3, 2), keys, now);
            let ask = |after: u32| limiter.take(7, now + after * MS);
            let remaining: Vec<_> = (0..4).map(|_| (ask(0).allowed, ask(0).remaining)).take(2).collect();
            assert_eq!(remaining, [(true, 1), (true, 0)]);
            let empty = ask(400);
            assert_eq!(empty, Allowance { allowed: false, remaining: 0, reset: 600 * MS });
            assert!(!ask(999).allowed);
            assert_eq!((ask(1_000).allowed, ask(1_000).allowed, ask(1_000).allowed), (true, true, false));
            assert_eq!(ask(9_000).remaining, 2, "never more than it may hold");
        }
    }

    #[test]
    fn each_key_has_its_own_and_whoever_was_not_seen_for_longest_is_forgotten() {
        let now = Instant::now();
        let limiter = RateLimiter::new(bucket(1, 1), Some(64), now);
        let allowed = |key: u64| limiter.take(key, now).allowed;
        assert!(allowed(1) && allowed(2) && !allowed(1) && !allowed(2));
        for key in 100..10_100 {
            assert!(allowed(key));
            assert!(!allowed(1), "seen all the time");
        }
        assert!(limiter.keys() <= 64, "{}", limiter.keys());
        assert!(allowed(2), "forgotten");
    }

    #[test]
    fn workers_share_it() {
        let now = Instant::now();
        for keys in [None, Some(10)] {
            let limiter = RateLimiter::new(bucket(1000, 1), keys, now);
            let taken = std::thread::scope(|scope| {
                let worker = || (0..500).filter(|_| limiter.take(7, now).allowed).count();
                let workers: Vec<_> = (0..4).map(|_| scope.spawn(worker)).collect();
                workers.into_iter().map(|worker| worker.join().unwrap()).sum::<usize>()
            });
            assert_eq!(taken, 1000);
        }
    }

    proptest! {
        /// Beside the plainest bucket there is.
        #[test]
        fn no_more_than_the_bucket_and_its_fills(
            max in 1_u32..20, per_fill in 1_u32..5, asks in prop::collection::vec(0_u32..700, 1..200),
            keyed in any::<bool>(),
        ) {
            let begin = Instant::now();
            let limiter = RateLimiter::new(bucket(max, per_fill), keyed.then_some(4), begin);
            let (mut now, mut tokens, mut fills) = (begin, max, 0);
            for after in asks {
                now += after * MS;
                let due = (now - begin).as_secs() as u32;
                tokens = (tokens + (due - fills) * per_fill).min(max);
                fills = due;
                let allowance = limiter.take(1, now);
                prop_assert_eq!(allowance.allowed, tokens > 0);
                tokens = tokens.saturating_sub(1);
                prop_assert_eq!(allowance.remaining, tokens);
            }
        }
    }
}
