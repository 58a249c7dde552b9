//! A map from host patterns, looked up by host: exact beats the longest suffix beats `*`.
//!
//! In:  [`HostPattern`]s.   Out: the value of the most specific pattern that covers a host.
//! Invariants: a look-up hashes at most once for each label of the longest suffix in the map, however many patterns there
//! are and however long the host is. Of equal patterns the first stays.
//! Not here: ports and case, see [`crate::host`]; the caller normalises.

use crate::host;
use foldhash::fast::FixedState;
use sidle_model::{ir::HostPattern, pause};
use std::{collections::HashMap, net::Ipv6Addr};

/// Keys come from configuration, so the hash needs no random seed.
type Map<T> = HashMap<Box<str>, T, FixedState>;

/// Values by host pattern.
#[derive(Debug)]
pub(crate) struct HostMap<T> {
    exact: Map<T>,
    /// Keys begin with the dot.
    suffixes: Map<T>,
    longest_suffix: usize,
    any: Option<T>,
}

impl<T> Default for HostMap<T> {
    fn default() -> Self {
        HostMap { exact: Map::default(), suffixes: Map::default(), longest_suffix: 0, any: None }
    }
}

/// Large: whoever takes it apart may pause.
impl<T> Drop for HostMap<T> {
    fn drop(&mut self) {
        pause::drop_each(self.exact.drain());
    }
}

impl<T> HostMap<T> {
    /// Makes room for so many hosts.
    pub(crate) fn reserve(&mut self, hosts: usize) {
        self.exact.reserve(hosts);
    }

    /// The value of `pattern`, made if it is new.
    pub(crate) fn entry(&mut self, pattern: &HostPattern, make: impl FnOnce() -> T) -> &mut T {
        match pattern {
            HostPattern::Exact(name) => self.exact.entry(exact_key(name)).or_insert_with(make),
            HostPattern::Suffix(suffix) => {
                let key: Box<str> = host::normalise(suffix, false).into();
                self.longest_suffix = self.longest_suffix.max(key.len());
                self.suffixes.entry(key).or_insert_with(make)
            }
            HostPattern::Any => self.any.get_or_insert_with(make),
        }
    }

    /// The value of the most specific pattern that covers `host`.
    pub(crate) fn find(&self, host: &str) -> Option<&T> {
        self.covering(host).next()
    }

    /// The values of all patterns that cover `host`, most specific first.
    pub(crate) fn covering(&self, host: &str) -> impl Iterator<Item = &T> {
        // A suffix needs something before it, and what is longer than all in the map is not worth hashing.
        let first = host.len().saturating_sub(self.longest_suffix).max(1);
        let suffixes = (first..host.len())
            .filter(|&at| host.as_bytes()[at] == b'.')
            .filter_map(|at| self.suffixes.get(&host[at..]));
        self.exact.get(host).into_iter().chain(suffixes).chain(&self.any)
    }

    /// Whether nothing but `*` can match.
    pub(crate) fn is_indifferent(&self) -> bool {
        self.exact.is_empty() && self.suffixes.is_empty()
    }

    /// Every value, in no order.
    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.exact.values().chain(self.suffixes.values()).chain(&self.any)
    }
}

/// As [`host::normalise`] makes it of a request's authority; a bare IPv6 address gets the brackets that it has there.
fn exact_key(name: &str) -> Box<str> {
    match name.parse::<Ipv6Addr>() {
        Ok(_) => format!("[{name}]").into(),
        Err(_) => host::normalise(name, false).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn map(patterns: &[&str]) -> HostMap<String> {
        let mut map = HostMap::default();
        for text in patterns {
            map.entry(&HostPattern::new(text).unwrap(), || text.to_string());
        }
        map
    }

    #[test]
    fn exact_beats_longest_suffix_beats_any() {
        let map = map(&["*", "*.com", "*.b.com", "a.b.com", "c.com."]);
        for (host, wanted) in [
            ("a.b.com", "a.b.com"),
            ("x.b.com", "*.b.com"),
            ("x.y.b.com", "*.b.com"),
            ("b.com", "*.com"),
            ("c.com", "c.com."),
            ("com", "*"),
            (".com", "*"),
            ("", "*"),
        ] {
            assert_eq!(map.find(host).map(String::as_str), Some(wanted), "{host}");
        }
        assert_eq!(map.covering("a.b.com").collect::<Vec<_>>(), ["a.b.com", "*.b.com", "*.com", "*"]);
    }

    #[test]
    fn a_domain_with_a_port_covers_only_that_port() {
        let map = map(&["*.b:8080", "a.b:8080", "::1"]);
        assert_eq!(map.find("a.b:8080").map(String::as_str), Some("a.b:8080"));
        assert_eq!(map.find("x.b:8080").map(String::as_str), Some("*.b:8080"));
        assert_eq!(map.find("a.b"), None);
        assert_eq!(map.find("[::1]").map(String::as_str), Some("::1"));
    }

    proptest! {
        /// The look-up agrees with asking every pattern in order of specificity.
        #[test]
        fn agrees_with_a_scan(
            patterns in proptest::collection::vec("(\\*|\\*\\.)?[ab](\\.[ab]){0,3}|\\*", 0..12),
            host in "[abé]{0,2}(\\.?[abé]){0,5}",
        ) {
            let patterns: Vec<_> = patterns.iter().filter_map(|text| HostPattern::new(text)).collect();
            let mut map = HostMap::default();
            for pattern in &patterns {
                map.entry(pattern, || pattern.clone());
            }
            let rank = |pattern: &HostPattern| match pattern {
                HostPattern::Exact(_) => usize::MAX,
                HostPattern::Suffix(suffix) => suffix.len(),
                HostPattern::Any => 0,
            };
            let wanted = patterns.iter().filter(|pattern| pattern.matches(&host)).max_by_key(|p| rank(p));
            prop_assert_eq!(map.find(&host), wanted);
        }
    }
}
