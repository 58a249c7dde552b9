//! Cookies of affinity: whatever a client sends, the same client is hashed to the same place.

use http::{HeaderName, HeaderValue};
use sidle_balance::HashFacts;
use sidle_model::ir::HashPolicy;
use std::net::IpAddr;

struct Facts(HeaderValue);

impl HashFacts for Facts {
    fn header_values(&self, _: &HeaderName) -> impl Iterator<Item = &[u8]> {
        std::iter::once(self.0.as_bytes())
    }

    fn query(&self) -> Option<&str> {
        None
    }

    fn source_ip(&self) -> Option<IpAddr> {
        None
    }
}

/// Hashes a `cookie` field twice.
pub fn run(data: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(data) else { return };
    let facts = Facts(value);
    let policies =
        [HashPolicy::Cookie { name: "user".into(), path: None, ttl: None, attributes: Vec::new() }];
    let hashed = |random: u64| {
        let hashed = sidle_balance::hash(&policies, &facts, &mut || random);
        (hashed.hash, hashed.set_cookies.len())
    };
    let (first, second) = (hashed(1), hashed(2));
    assert!(first == second || first.1 > 0 || first.0.is_none(), "only a client without the cookie is moved");
}
