//! Trust domain aliases: the names that one mesh has had.
//!
//! Invariants: a principal of one of the names is one of all of them; `cluster.local` is always such a name.
//! Source: Istio's "Trust Domain Migration". Istio leaves principals with other than five segments as they are, so that a policy for
//! `cluster.local/ns/a/*` would mean nobody in a mesh of another name; here they are expanded as well.

use crate::sidle::Proxy;

/// What `cluster.local` in a policy stands for, whatever the mesh is called.
const LOCAL: &str = "cluster.local";

/// The mesh's trust domain, then its aliases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TrustDomains(Vec<String>);

impl TrustDomains {
    /// Of a proxy.
    pub fn of(proxy: Option<&Proxy>) -> Self {
        let own = proxy.and_then(|proxy| proxy.trust_domain.clone()).unwrap_or_else(|| LOCAL.to_owned());
        let mut domains = vec![own];
        for alias in proxy.into_iter().flat_map(|proxy| &proxy.trust_domain_aliases) {
            if !domains.contains(alias) {
                domains.push(alias.clone());
            }
        }
        TrustDomains(domains)
    }

    /// A principal under every name that its trust domain has.
    pub fn principals(&self, value: &str) -> Vec<String> {
        let Some((domain, rest)) = value.split_once('/') else { return vec![value.to_owned()] };
        let covered = |known: &String| domain.strip_prefix('*').is_some_and(|suffix| known.ends_with(suffix));
        let known = domain == LOCAL || self.0.iter().any(|known| known == domain || covered(known));
        if domain == "*" || !known {
            return vec![value.to_owned()];
        }
        let mut principals = Vec::new();
        for known in &self.0 {
            let principal = if covered(known) { value.to_owned() } else { format!("{known}/{rest}") };
            if !principals.contains(&principal) {
                principals.push(principal);
            }
        }
        principals
    }

    /// A trust domain under every name that it has.
    pub fn domains(&self, value: &str) -> Vec<String> {
        match value == LOCAL || self.0.iter().any(|known| known == value) {
            true => self.0.clone(),
            false => vec![value.to_owned()],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn principals_have_every_name_of_the_mesh() {
        let proxy = Proxy {
            trust_domain: Some("new-td".into()),
            trust_domain_aliases: vec!["old-td".into(), "other".into(), "new-td".into()],
            ..Proxy::default()
        };
        let domains = TrustDomains::of(Some(&proxy));
        for (value, expected) in [
            ("new-td/ns/a/sa/b", &["new-td/ns/a/sa/b", "old-td/ns/a/sa/b", "other/ns/a/sa/b"][..]),
            ("other/ns/a/sa/b", &["new-td/ns/a/sa/b", "old-td/ns/a/sa/b", "other/ns/a/sa/b"]),
            ("cluster.local/ns/a/*", &["new-td/ns/a/*", "old-td/ns/a/*", "other/ns/a/*"]),
            ("*-td/ns/a/sa/b", &["*-td/ns/a/sa/b", "other/ns/a/sa/b"]),
            ("*/ns/a/sa/b", &["*/ns/a/sa/b"]),
            ("stranger/ns/a/sa/b", &["stranger/ns/a/sa/b"]),
            ("*", &["*"]),
            ("*/sa/b", &["*/sa/b"]),
        ] {
            assert_eq!(domains.principals(value), expected, "{value}");
        }
        assert_eq!(domains.domains("old-td"), ["new-td", "old-td", "other"]);
        assert_eq!(domains.domains("old*"), ["old*"]);
        let none = TrustDomains::of(None);
        assert_eq!(none.principals("cluster.local/ns/a/sa/b"), ["cluster.local/ns/a/sa/b"]);
        assert_eq!(none.principals("td/ns/a/sa/b"), ["td/ns/a/sa/b"]);
    }
}
