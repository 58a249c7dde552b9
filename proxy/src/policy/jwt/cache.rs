//! Tokens that a worker has verified, so that the next request with the same one costs a hash.
//!
//! Invariants: only what was believed is kept, under the issuer's settings and the very keys that it was verified with; the token
//! itself is not kept, only its fingerprint; times are looked at again each time; there is a bound.

use sidle_jwt::VerifiedToken;
use std::{
    cell::RefCell,
    collections::HashMap,
    rc::Rc,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

/// A token that was verified, and the values of the claims that are told on.
pub struct Known {
    pub token: Rc<VerifiedToken>,
    pub told: Vec<Option<String>>,
}

/// Whose settings, which keys, which token.
pub type Key = (u64, u64, sidle_jwt::Fingerprint);

/// Tokens of a generation, and bytes of their payloads: there are two generations.
const MOST: usize = 512;
const MOST_BYTES: usize = 1 << 20;

thread_local! {
    /// A worker is a thread.
    static CACHE: RefCell<Cache> = RefCell::default();
}

#[derive(Default)]
struct Cache {
    young: HashMap<Key, Rc<Known>>,
    young_bytes: usize,
    /// What was young before; it goes unless it is asked for.
    old: HashMap<Key, Rc<Known>>,
}

impl Cache {
    fn find(&mut self, key: &Key) -> Option<Rc<Known>> {
        if let Some(known) = self.young.get(key) {
            return Some(known.clone());
        }
        let known = self.old.remove(key)?;
        self.remember(*key, known.clone());
        Some(known)
    }

    fn remember(&mut self, key: Key, known: Rc<Known>) {
        if self.young.len() >= MOST || self.young_bytes >= MOST_BYTES {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        self.young_bytes += known.token.payload.len();
        self.young.insert(key, known);
    }
}

/// What is known of a token.
pub fn find(key: &Key) -> Option<Rc<Known>> {
    CACHE.with_borrow_mut(|cache| cache.find(key))
}

/// Remembers a token.
pub fn remember(key: Key, known: Rc<Known>) {
    CACHE.with_borrow_mut(|cache| cache.remember(key, known));
}

/// A number for the settings of an issuer.
pub fn number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u64) -> Key {
        (number, 0, sidle_jwt::fingerprint("a"))
    }

    fn known() -> Rc<Known> {
        Rc::new(Known { token: Rc::new(VerifiedToken::default()), told: Vec::new() })
    }

    #[test]
    fn what_is_asked_for_stays_and_there_is_a_bound() {
        let mut cache = Cache::default();
        for number in 0..10_000 {
            cache.remember(key(number), known());
            assert!(cache.find(&key(0)).is_some(), "{number}");
            assert!(cache.young.len() + cache.old.len() <= 2 * MOST);
        }
        assert!(cache.find(&key(9_000)).is_none() && cache.find(&key(9_999)).is_some());
        assert!(cache.find(&(0, 1, sidle_jwt::fingerprint("a"))).is_none());
        assert!(cache.find(&(0, 0, sidle_jwt::fingerprint("b"))).is_none());
    }

    #[test]
    fn large_tokens_are_fewer() {
        let mut cache = Cache::default();
        for number in 0..1000 {
            let payload = "a".repeat(16 * 1024);
            let mut token = VerifiedToken::default();
            token.payload = payload;
            cache.remember(key(number), Rc::new(Known { token: Rc::new(token), told: Vec::new() }));
        }
        assert!(cache.young.len() + cache.old.len() <= 130);
    }
}
