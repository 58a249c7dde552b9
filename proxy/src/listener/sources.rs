//! How many connections each client address has open.
//!
//! Invariants: an address is known for as long as it has a connection, so that there are never more of them than connections; the
//! workers share the count. Loopback addresses are not counted: they are the application beside the proxy and what captures
//! for it (a sidecar's inbound connections all come from 127.0.0.6), and one limit would stand for all clients.
//! Not here: networks. Addresses of IPv6 are counted one by one, since the pods of a node share its /64.

use foldhash::{HashMap, HashMapExt, fast::FixedState};
use std::{
    hash::BuildHasher,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Enough that workers seldom meet at one.
const SHARDS: usize = 64;
/// A shard that had many addresses gives their memory back.
const ROOM_KEPT: usize = 64;

type Shard = HashMap<IpAddr, u32>;

/// How many connections each client address has open.
pub struct Sources(Box<[Mutex<Shard>]>);

impl Default for Sources {
    fn default() -> Self {
        Sources((0..SHARDS).map(|_| Mutex::new(Shard::new())).collect())
    }
}

impl Sources {
    /// One more connection of `address`; `None`: it has `limit` already.
    pub fn admit(self: &Arc<Self>, address: IpAddr, limit: u32) -> Option<Source> {
        let address = address.to_canonical();
        if address.is_loopback() {
            return Some(Source(None));
        }
        let mut shard = self.shard(address);
        let count = shard.entry(address).or_default();
        if *count >= limit.max(1) {
            return None;
        }
        *count += 1;
        Some(Source(Some((self.clone(), address))))
    }

    fn shard(&self, address: IpAddr) -> MutexGuard<'_, Shard> {
        let at = FixedState::default().hash_one(address) as usize % SHARDS;
        self.0[at].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn leave(&self, address: IpAddr) {
        let mut shard = self.shard(address);
        if let Some(count) = shard.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                shard.remove(&address);
            }
        }
        if shard.capacity() > ROOM_KEPT && shard.len() < shard.capacity() / 4 {
            let room = (shard.len() * 2).max(ROOM_KEPT / 2);
            shard.shrink_to(room);
        }
    }
}

/// One connection of an address, counted for as long as this lives.
pub struct Source(Option<(Arc<Sources>, IpAddr)>);

impl Drop for Source {
    fn drop(&mut self) {
        if let Some((sources, address)) = &self.0 {
            sources.leave(*address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_has_its_limit_and_others_have_theirs() {
        let sources = Arc::new(Sources::default());
        let first: Vec<_> = (0..3).map(|_| sources.admit(ip("10.0.0.1"), 3).unwrap()).collect();
        assert!(sources.admit(ip("10.0.0.1"), 3).is_none());
        assert!(
            sources.admit(ip("::ffff:10.0.0.1"), 3).is_none(),
            "the same, as a dual-stack socket writes it"
        );
        assert!(sources.admit(ip("10.0.0.2"), 3).is_some());
        drop(first);
        assert!(sources.admit(ip("10.0.0.1"), 3).is_some());
    }

    #[test]
    fn loopback_is_not_counted() {
        let sources = Arc::new(Sources::default());
        for address in ["127.0.0.1", "127.0.0.6", "::1"] {
            let held: Vec<_> = (0..10).map(|_| sources.admit(ip(address), 1)).collect();
            assert!(held.iter().all(Option::is_some), "{address}");
        }
    }

    #[test]
    fn who_has_left_takes_no_memory() {
        let sources = Arc::new(Sources::default());
        let held: Vec<_> =
            (0..100_000u32).map(|n| sources.admit(IpAddr::from((n + (10 << 24)).to_be_bytes()), 1)).collect();
        let room = || sources.0.iter().map(|shard| shard.lock().unwrap().capacity()).sum::<usize>();
        assert!(room() >= 100_000);
        drop(held);
        assert!(sources.0.iter().all(|shard| shard.lock().unwrap().is_empty()));
        assert!(room() <= SHARDS * 2 * ROOM_KEPT, "{}", room());
    }
}
