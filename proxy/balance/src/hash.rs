//! The hash of a request, for ring hash and maglev.
//!
//! In:  a route's hash policies and facts about the request.   Out: a hash, and cookies to set.
//! Invariants: bit for bit Envoy's hash, so that a key finds the same endpoint behind both. Source: Envoy's `hash_policy.cc`.
//! Not here: what a hash leads to (`selector`).

use crate::cookie;
use http::{HeaderName, HeaderValue, header::COOKIE};
use sidle_model::ir::HashPolicy;
use smallvec::SmallVec;
use std::{fmt::Write, net::IpAddr};
use xxhash_rust::xxh64::{Xxh64, xxh64};

/// What can be hashed.
pub trait HashFacts {
    /// All values of a header, in order.
    fn header_values(&self, name: &HeaderName) -> impl Iterator<Item = &[u8]>;
    /// The query, without `?`, as sent.
    fn query(&self) -> Option<&str>;
    /// The client's address; `None` on a Unix domain socket.
    fn source_ip(&self) -> Option<IpAddr>;
}

/// What the policies gave.
#[derive(Debug, Default, PartialEq)]
pub struct Hashed {
    /// `None`: the request has nothing that a policy asks for.
    pub hash: Option<u64>,
    /// `set-cookie` values to add to the response.
    pub set_cookies: Vec<HeaderValue>,
}

/// Hashes a request: each policy that finds something contributes, in order. `random` makes the value of a missing cookie.
pub fn hash(policies: &[HashPolicy], facts: &impl HashFacts, random: &mut dyn FnMut() -> u64) -> Hashed {
    let mut hashed = Hashed::default();
    for policy in policies {
        let one = match policy {
            HashPolicy::Header(name) => hash_header(facts, name),
            HashPolicy::Cookie { name, path, ttl, attributes } => {
                let value =
                    cookie::find(facts.header_values(&COOKIE), name).filter(|value| !value.is_empty());
                match (value, ttl) {
                    (Some(value), _) => Some(xxh64(value, 0)),
                    (None, Some(ttl)) => {
                        let value = format!("{:016x}", random());
                        let made = cookie::make(name, &value, *ttl, path.as_deref(), attributes);
                        hashed.set_cookies.extend(made);
                        Some(xxh64(value.as_bytes(), 0))
                    }
                    (None, None) => None,
                }
            }
            HashPolicy::SourceIp => facts.source_ip().map(hash_ip),
            HashPolicy::QueryParameter(name) => hash_query_parameter(facts.query().unwrap_or(""), name),
        };
        if let Some(one) = one {
            // The rotation keeps two equal policies from cancelling each other out.
            hashed.hash = Some(hashed.hash.unwrap_or(0).rotate_left(1) ^ one);
        }
    }
    hashed
}

/// Of all values, sorted, so that their order does not matter.
fn hash_header(facts: &impl HashFacts, name: &HeaderName) -> Option<u64> {
    let mut values: SmallVec<[&[u8]; 4]> = facts.header_values(name).collect();
    match values.as_slice() {
        [] => None,
        [value] => Some(xxh64(value, 0)),
        _ => {
            values.sort_unstable();
            let mut state = Xxh64::new(0);
            values.iter().for_each(|value| state.update(value));
            Some(state.digest())
        }
    }
}

/// Of the address as text, without the port.
fn hash_ip(ip: IpAddr) -> u64 {
    let mut hasher = HashText(Xxh64::new(0));
    // A client that came over IPv4 to a dual-stack socket is the client that it is over IPv4. Hashing cannot fail.
    let _ = write!(hasher, "{}", ip.to_canonical());
    hasher.0.digest()
}

/// Hashes what is written, so that an address needs no buffer.
struct HashText(Xxh64);

impl Write for HashText {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.0.update(text.as_bytes());
        Ok(())
    }
}

/// Of the first value, as sent; a parameter without `=` has the empty value.
fn hash_query_parameter(query: &str, name: &str) -> Option<u64> {
    let mut parameters =
        query.split('&').map(|parameter| parameter.split_once('=').unwrap_or((parameter, "")));
    let (_, value) = parameters.find(|(key, _)| *key == name)?;
    Some(xxh64(value.as_bytes(), 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderMap;
    use std::time::Duration;

    struct Request {
        headers: HeaderMap,
        query: Option<&'static str>,
        ip: Option<IpAddr>,
    }

    impl HashFacts for Request {
        fn header_values(&self, name: &HeaderName) -> impl Iterator<Item = &[u8]> {
            self.headers.get_all(name).iter().map(HeaderValue::as_bytes)
        }
        fn query(&self) -> Option<&str> {
            self.query
        }
        fn source_ip(&self) -> Option<IpAddr> {
            self.ip
        }
    }

    fn request(headers: &[(&'static str, &'static str)]) -> Request {
        let mut map = HeaderMap::new();
        for &(name, value) in headers {
            map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        Request { headers: map, query: None, ip: None }
    }

    fn hash_of(policies: &[HashPolicy], request: &Request) -> Option<u64> {
        hash(policies, request, &mut || panic!("no cookie is made")).hash
    }

    fn header(name: &'static str) -> HashPolicy {
        HashPolicy::Header(HeaderName::from_static(name))
    }

    /// The vectors that xxHash itself publishes (xxhsum): the empty string, and a sentence longer than a block.
    #[test]
    fn the_hash_is_xxhash64() {
        assert_eq!(xxh64(b"", 0), 0xef46_db37_51d8_e999);
        assert_eq!(xxh64(b"Nobody inspects the spammish repetition", 0), 0xfbce_a83c_8a37_8bf1);
    }

    #[test]
    fn header_values_count_in_any_order() {
        let one = hash_of(&[header("x-user")], &request(&[("x-user", "foo")]));
        assert_eq!(one, Some(xxh64(b"foo", 0)));
        let both = hash_of(&[header("x-user")], &request(&[("x-user", "foo"), ("x-user", "bar")]));
        assert_eq!(both, Some(xxh64(b"barfoo", 0)));
        assert_eq!(hash_of(&[header("x-user")], &request(&[("x-user", "bar"), ("x-user", "foo")])), both);
        assert_eq!(hash_of(&[header("x-user")], &request(&[])), None);
    }

    #[test]
    fn policies_combine_by_rotation() {
        let request = request(&[("a", "1"), ("b", "2")]);
        let (a, b) = (xxh64(b"1", 0), xxh64(b"2", 0));
        assert_eq!(
            hash_of(&[header("a"), header("missing"), header("b")], &request),
            Some(a.rotate_left(1) ^ b)
        );
        assert_eq!(hash_of(&[header("a"), header("a")], &request), Some(a.rotate_left(1) ^ a));
        assert_eq!(hash_of(&[], &request), None);
    }

    #[test]
    fn addresses_hash_as_text() {
        let of =
            |ip: &str| hash_of(&[HashPolicy::SourceIp], &Request { ip: ip.parse().ok(), ..request(&[]) });
        assert_eq!(of("10.1.2.3"), Some(xxh64(b"10.1.2.3", 0)));
        assert_eq!(of("::ffff:10.1.2.3"), of("10.1.2.3"));
        assert_eq!(of("2001:db8::1"), Some(xxh64(b"2001:db8::1", 0)));
        assert_eq!(of(""), None);
    }

    #[test]
    fn the_first_query_parameter_counts() {
        let of = |query| {
            hash_of(
                &[HashPolicy::QueryParameter("k".into())],
                &Request { query: Some(query), ..request(&[]) },
            )
        };
        assert_eq!(of("a=1&k=x%20y&k=z"), Some(xxh64(b"x%20y", 0)));
        assert_eq!(of("k"), Some(xxh64(b"", 0)));
        assert_eq!(of("K=1&kk=2"), None);
        assert_eq!(hash_of(&[HashPolicy::QueryParameter("k".into())], &request(&[])), None);
    }

    #[test]
    fn a_missing_cookie_is_made_if_it_has_a_lifetime() {
        let policy =
            |ttl| HashPolicy::Cookie { name: "sid".into(), path: Some("/".into()), ttl, attributes: vec![] };
        let present = request(&[("cookie", "a=b; sid=\"v\"")]);
        assert_eq!(hash_of(&[policy(Some(Duration::ZERO))], &present), Some(xxh64(b"v", 0)));
        assert_eq!(hash_of(&[policy(None)], &request(&[("cookie", "a=b")])), None);

        let made = hash(&[policy(Some(Duration::from_secs(60)))], &request(&[]), &mut || 0xabc);
        assert_eq!(made.hash, Some(xxh64(b"0000000000000abc", 0)));
        assert_eq!(made.set_cookies, ["sid=\"0000000000000abc\"; Max-Age=60; Path=/; HttpOnly"]);
        // The client sends it back, and is hashed alike.
        let back = request(&[("cookie", "sid=0000000000000abc")]);
        assert_eq!(hash_of(&[policy(None)], &back), made.hash);
    }
}
