//! Host names: completion, the names that a service answers to, wildcards, and who may see what.
//!
//! In:  names as written, the namespaces of the rule, of the service and of the client.   Out: lower-case full names.
//! Invariants: a [`HostIndex`] lookup costs one hash per label of the name, however many hosts there are.
//! Not here: which services exist (`registry`), what a Sidecar imports (`sidecars`).
//! Source: R2, R4, R5.

use crate::pause;
use std::collections::HashMap;

/// Completes a short name with the namespace of the rule that names it, and lower-cases.
pub(super) fn complete(host: &str, namespace: &str, domain: &str) -> String {
    let host = host.to_ascii_lowercase();
    if host.contains(['.', ':']) || host.starts_with('*') {
        host
    } else {
        format!("{host}.{namespace}.svc.{domain}")
    }
}

/// The names that clients of `client_namespace` may call a service by, besides its full name: `reviews` (from the same
/// namespace only), `reviews.default`, `reviews.default.svc`. Empty for a name outside the cluster's domain.
pub(super) fn short_names(host: &str, client_namespace: &str, domain: &str) -> Vec<String> {
    let Some(rest) = host.strip_suffix(domain).and_then(|rest| rest.strip_suffix(".svc.")) else {
        return Vec::new();
    };
    let mut names = Vec::with_capacity(3);
    if let Some(name) = rest.strip_suffix(client_namespace).and_then(|name| name.strip_suffix('.'))
        && name != "*"
    {
        names.push(name.to_owned());
    }
    names.push(rest.to_owned());
    names.push(format!("{rest}.svc"));
    names
}

/// Name and namespace of a cluster-local host: `reviews`, `default` of `reviews.default.svc.cluster.local`.
pub(super) fn cluster_local<'h>(host: &'h str, domain: &str) -> Option<(&'h str, &'h str)> {
    host.strip_suffix(domain)?.strip_suffix(".svc.")?.rsplit_once('.')
}

/// Whether `exportTo` of a resource in `owner` lets `client` see it. Empty: everybody.
pub(super) fn exported(export_to: &[String], owner: &str, client: &str) -> bool {
    export_to.is_empty()
        || export_to.iter().any(|to| match to.as_str() {
            "*" => true,
            "." => owner == client,
            "~" => false,
            namespace => namespace == client,
        })
}

/// Whether every name that `inner` stands for is covered by `outer`; both lower-case, both may be wildcards.
pub(super) fn covers(outer: &str, inner: &str) -> bool {
    match outer.strip_prefix('*') {
        Some(suffix) => inner.strip_prefix('*').unwrap_or(inner).ends_with(suffix),
        None => outer == inner,
    }
}

/// The more specific of two patterns of which one covers the other.
pub(crate) fn intersection<'h>(a: &'h str, b: &'h str) -> Option<&'h str> {
    if covers(a, b) {
        Some(b)
    } else if covers(b, a) {
        Some(a)
    } else {
        None
    }
}

/// Values by host pattern; a lookup finds the most specific: exact, then the longest suffix, then `*`.
#[derive(Debug)]
pub(super) struct HostIndex<T> {
    exact: HashMap<String, T>,
    suffix: HashMap<String, T>,
}

impl<T> Default for HostIndex<T> {
    fn default() -> Self {
        HostIndex { exact: HashMap::new(), suffix: HashMap::new() }
    }
}

/// Large: whoever takes it apart may pause.
impl<T> Drop for HostIndex<T> {
    fn drop(&mut self) {
        pause::drop_each(self.exact.drain());
    }
}

impl<T: Default> HostIndex<T> {
    /// Makes room for so many hosts.
    pub fn reserve(&mut self, hosts: usize) {
        self.exact.reserve(hosts);
    }

    /// The value of exactly this pattern, made if it is new.
    pub fn entry(&mut self, pattern: &str) -> &mut T {
        match pattern.strip_prefix('*') {
            Some(suffix) => self.suffix.entry(suffix.to_owned()).or_default(),
            None => self.exact.entry(pattern.to_owned()).or_default(),
        }
    }
}

impl<T> HostIndex<T> {
    /// The value of exactly this pattern.
    pub fn exact(&self, pattern: &str) -> Option<&T> {
        match pattern.strip_prefix('*') {
            Some(suffix) => self.suffix.get(suffix),
            None => self.exact.get(pattern),
        }
    }

    /// The most specific value for `host`, which may itself be a wildcard.
    pub fn most_specific(&self, host: &str) -> Option<&T> {
        self.covering(host).next()
    }

    /// All values for `host`, most specific first.
    pub fn covering<'s, 'h>(&'s self, host: &'h str) -> impl Iterator<Item = &'s T> + use<'s, 'h, T> {
        let name = host.strip_prefix('*');
        let exact = if name.is_none() { self.exact.get(host) } else { None };
        let text = name.unwrap_or(host);
        let suffixes = if self.suffix.is_empty() { "" } else { text };
        let dots = suffixes.match_indices('.').map(|(at, _)| &suffixes[at..]);
        // A pattern never covers the bare name that it would be without its star.
        let dots = dots.filter(move |suffix| name.is_some() || suffix.len() < text.len());
        exact.into_iter().chain(dots.chain([""]).filter_map(|suffix| self.suffix.get(suffix)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_are_completed_with_the_namespace_of_the_rule() {
        for (host, full) in [
            ("Reviews", "reviews.blue.svc.cluster.local"),
            ("reviews.default", "reviews.default"),
            ("*.Example.com", "*.example.com"),
            ("*", "*"),
            ("::1", "::1"),
        ] {
            assert_eq!(complete(host, "blue", "cluster.local"), full);
        }
    }

    #[test]
    fn the_bare_name_is_for_clients_of_the_same_namespace() {
        let host = "reviews.blue.svc.cluster.local";
        assert_eq!(
            short_names(host, "blue", "cluster.local"),
            ["reviews", "reviews.blue", "reviews.blue.svc"]
        );
        assert_eq!(short_names(host, "green", "cluster.local"), ["reviews.blue", "reviews.blue.svc"]);
        assert!(short_names("example.com", "blue", "cluster.local").is_empty());
        assert_eq!(
            short_names("*.blue.svc.cluster.local", "blue", "cluster.local"),
            ["*.blue", "*.blue.svc"]
        );
    }

    #[test]
    fn patterns_cover() {
        assert!(covers("*.a.com", "x.a.com"));
        assert!(covers("*.a.com", "*.x.a.com"));
        assert!(covers("*", "*.a.com"));
        assert!(covers("*.a.com", "*.a.com"));
        assert!(!covers("*.a.com", "a.com"));
        assert!(!covers("*.x.a.com", "*.a.com"));
        assert_eq!(intersection("*.com", "*.a.com"), Some("*.a.com"));
        assert_eq!(intersection("a.com", "*"), Some("a.com"));
        assert_eq!(intersection("a.com", "b.com"), None);
    }

    #[test]
    fn export_to() {
        let list = |names: &[&str]| names.iter().map(|n| n.to_string()).collect::<Vec<_>>();
        assert!(exported(&[], "a", "b"));
        assert!(exported(&list(&["."]), "a", "a"));
        assert!(!exported(&list(&["."]), "a", "b"));
        assert!(exported(&list(&[".", "b"]), "a", "b"));
        assert!(!exported(&list(&["~"]), "a", "a"));
    }

    #[test]
    fn the_most_specific_host_is_found() {
        let mut index = HostIndex::<u8>::default();
        for (pattern, value) in [("a.b.com", 1), ("*.b.com", 2), ("*.com", 3), ("*", 4)] {
            *index.entry(pattern) = value;
        }
        for (host, value) in [
            ("a.b.com", 1),
            ("x.b.com", 2),
            ("b.com", 3),
            ("x.y.b.com", 2),
            ("org", 4),
            ("*.b.com", 2),
            ("*.x.com", 3),
        ] {
            assert_eq!(index.most_specific(host), Some(&value), "{host}");
        }
    }
}
