//! What a list of values is compared with: the vocabulary of AuthorizationPolicies.
//!
//! In:  the name of a list (`notPrincipals`) or the key of a condition (`request.headers[x]`), and values.   Out: a [`Test`].
//! Invariants: a value that `judge` takes is part of the test.
//! Not here: which lists a rule may hold (`crate::check`).
//! Source: R10; Istio's "Authorization Policy Conditions".

use super::trust_domain::TrustDomains;
use crate::ir::{Glob, HeaderField, PathPattern, Test, TextPattern};
use ipnet::IpNet;
use std::net::IpAddr;

/// What values are compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Attribute {
    Principal,
    Namespace,
    ServiceAccount,
    TrustDomain,
    SourceIp,
    RemoteIp,
    DestinationIp,
    Port,
    ServerName,
    RequestPrincipal,
    Claim(Vec<Box<str>>),
    Host,
    Path,
    Method,
    Header(HeaderField),
}

/// Keys of conditions, for those who misspell them.
pub(crate) const KEYS: [&str; 15] = [
    "request.headers[NAME]",
    "source.ip",
    "remote.ip",
    "source.namespace",
    "source.principal",
    "source.serviceAccount",
    "source.trustDomain",
    "request.auth.principal",
    "request.auth.audiences",
    "request.auth.presenter",
    "request.auth.claims[NAME]",
    "destination.ip",
    "destination.port",
    "connection.sni",
    "request.auth.claims[NAME][NAME]",
];

impl Attribute {
    /// Of a list of a source or operation, negative or not.
    pub fn of_list(name: &str) -> Option<Self> {
        Some(match name {
            "principals" | "notPrincipals" => Attribute::Principal,
            "requestPrincipals" | "notRequestPrincipals" => Attribute::RequestPrincipal,
            "namespaces" | "notNamespaces" => Attribute::Namespace,
            "serviceAccounts" | "notServiceAccounts" => Attribute::ServiceAccount,
            "trustDomains" | "notTrustDomains" => Attribute::TrustDomain,
            "ipBlocks" | "notIpBlocks" => Attribute::SourceIp,
            "remoteIpBlocks" | "notRemoteIpBlocks" => Attribute::RemoteIp,
            "hosts" | "notHosts" => Attribute::Host,
            "ports" | "notPorts" => Attribute::Port,
            "methods" | "notMethods" => Attribute::Method,
            "paths" | "notPaths" => Attribute::Path,
            _ => return None,
        })
    }

    /// Of a condition's key.
    ///
    /// # Errors
    /// What is wrong with the key.
    pub fn of_key(key: &str) -> Result<Self, String> {
        Ok(match key {
            "source.ip" => Attribute::SourceIp,
            "remote.ip" => Attribute::RemoteIp,
            "source.namespace" => Attribute::Namespace,
            "source.principal" => Attribute::Principal,
            "source.serviceAccount" => Attribute::ServiceAccount,
            "source.trustDomain" => Attribute::TrustDomain,
            "request.auth.principal" => Attribute::RequestPrincipal,
            "request.auth.audiences" => Attribute::Claim(vec!["aud".into()]),
            "request.auth.presenter" => Attribute::Claim(vec!["azp".into()]),
            "destination.ip" => Attribute::DestinationIp,
            "destination.port" => Attribute::Port,
            "connection.sni" => Attribute::ServerName,
            _ => return Self::of_named_key(key),
        })
    }

    fn of_named_key(key: &str) -> Result<Self, String> {
        if let Some(rest) = key.strip_prefix("request.headers") {
            let name = match &names(rest)?[..] {
                [name] => HeaderField::parse(name)?,
                _ => return Err(format!("`{key}`: a header has one name")),
            };
            return match name {
                HeaderField::Status => Err(format!("`{key}`: a request has no status")),
                // The authority is the one truth about the host.
                HeaderField::Named(name) if name == http::header::HOST => {
                    Ok(Attribute::Header(HeaderField::Authority))
                }
                name => Ok(Attribute::Header(name)),
            };
        }
        if let Some(rest) = key.strip_prefix("request.auth.claims") {
            return names(rest).map(Attribute::Claim);
        }
        Err(match key {
            _ if key.starts_with("experimental.envoy.filters.") => {
                format!("`{key}`: there are no Envoy filters here, so nothing could be compared")
            }
            "destination.namespace" => {
                "`destination.namespace` is the policy's own `metadata.namespace`".into()
            }
            "destination.name" | "destination.user" => {
                format!("`{key}` is of Istio's v1alpha1: use a `selector`")
            }
            _ if key.starts_with("destination.labels") => format!("`{key}`: use a `selector`"),
            _ => match crate::yaml::nearest(key, KEYS) {
                Some(near) => format!("there is no condition `{key}`; did you mean `{near}`?"),
                None => format!("there is no condition `{key}`"),
            },
        })
    }

    /// Whether only HTTP has it.
    pub fn is_http_only(&self) -> bool {
        self.test(&[], "", &TrustDomains::of(None)).is_http_only()
    }

    /// The comparison with `values`; short service accounts are of `namespace`. Values that `check` refuses are left out.
    pub fn test(&self, values: &[String], namespace: &str, domains: &TrustDomains) -> Test {
        let patterns = || values.iter().map(|value| TextPattern::parse(value));
        match self {
            Attribute::Principal => {
                let expanded = values.iter().flat_map(|value| domains.principals(value));
                Test::Principal(expanded.map(|value| TextPattern::parse(&value)).collect())
            }
            Attribute::TrustDomain => {
                let expanded = values.iter().flat_map(|value| domains.domains(value));
                Test::TrustDomain(expanded.map(|value| TextPattern::parse(&value)).collect())
            }
            Attribute::Namespace => Test::Namespace(values.iter().map(|value| Glob::new(value)).collect()),
            Attribute::ServiceAccount => {
                let complete = |value: &String| match value.contains('/') {
                    true => value.as_str().into(),
                    false => format!("{namespace}/{value}").into(),
                };
                Test::ServiceAccount(values.iter().map(complete).collect())
            }
            Attribute::SourceIp => Test::SourceIp(ranges(values)),
            Attribute::RemoteIp => Test::RemoteIp(ranges(values)),
            Attribute::DestinationIp => Test::DestinationIp(ranges(values)),
            Attribute::Port => Test::Port(values.iter().filter_map(|value| value.parse().ok()).collect()),
            Attribute::ServerName => Test::ServerName(patterns().collect()),
            Attribute::RequestPrincipal => {
                Test::RequestPrincipal(values.iter().filter_map(|value| request_principal(value)).collect())
            }
            Attribute::Claim(path) => Test::Claim(path.clone(), patterns().collect()),
            Attribute::Host => {
                let lower = values.iter().map(|value| TextPattern::parse(&value.to_ascii_lowercase()));
                Test::Host(lower.collect())
            }
            Attribute::Path => {
                Test::Path(values.iter().filter_map(|value| PathPattern::parse(value).ok()).collect())
            }
            Attribute::Method => Test::Method(patterns().collect()),
            Attribute::Header(name) => Test::Header(name.clone(), patterns().collect()),
        }
    }
}

/// `[a]` or `[a][b]`.
fn names(brackets: &str) -> Result<Vec<Box<str>>, String> {
    let inner = brackets.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let names = inner.map(|inner| inner.split("][").collect::<Vec<_>>()).unwrap_or_default();
    match !names.is_empty() && names.iter().all(|name| !name.is_empty() && !name.contains(['[', ']'])) {
        true => Ok(names.into_iter().map(Box::from).collect()),
        false => Err(format!("`{brackets}` is not a name in brackets: `[NAME]`")),
    }
}

/// An address, or a range of them.
pub(crate) fn range(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

fn ranges(values: &[String]) -> Vec<IpNet> {
    values.iter().filter_map(|value| range(value)).collect()
}

/// Issuer and subject, between which stands the last `/`. A `*` at the front is the issuer's, one at the end the subject's; without
/// a `/` it is the other's.
pub(crate) fn request_principal(value: &str) -> Option<(TextPattern, TextPattern)> {
    use TextPattern::Present;
    let of = TextPattern::parse;
    match value.rsplit_once('/') {
        Some((issuer, subject)) if !issuer.is_empty() && !subject.is_empty() => {
            Some((of(issuer), of(subject)))
        }
        Some(_) => None,
        None => match of(value) {
            Present => Some((Present, Present)),
            subject @ TextPattern::Suffix(_) => Some((Present, subject)),
            issuer @ TextPattern::Prefix(_) => Some((issuer, Present)),
            TextPattern::Exact(_) => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys() {
        let claim =
            |names: &[&str]| Ok(Attribute::Claim(names.iter().map(|name| Box::from(*name)).collect()));
        for (key, attribute) in [
            ("request.auth.claims[a]", claim(&["a"])),
            ("request.auth.claims[a][https://b.c/d]", claim(&["a", "https://b.c/d"])),
            ("request.auth.audiences", claim(&["aud"])),
            (
                "request.headers[User-Agent]",
                Ok(Attribute::Header(HeaderField::Named(http::header::USER_AGENT))),
            ),
            ("request.headers[Host]", Ok(Attribute::Header(HeaderField::Authority))),
            ("request.headers[:method]", Ok(Attribute::Header(HeaderField::Method))),
            ("destination.port", Ok(Attribute::Port)),
        ] {
            assert_eq!(Attribute::of_key(key), attribute, "{key}");
        }
        for key in [
            "",
            "source.IP",
            "request.headers",
            "request.headers[]",
            "request.headers[a",
            "request.headers[a][b]",
            "request.headers[a b]",
            "request.headers[:status]",
            "request.auth.claims[a][]",
            "request.auth.claims[[a]]",
            "experimental.envoy.filters.a[b]",
            "destination.labels[a]",
            "any",
        ] {
            assert!(Attribute::of_key(key).is_err(), "{key}");
        }
        assert!(Attribute::of_key("source.namespaces").unwrap_err().contains("`source.namespace`"));
    }

    #[test]
    fn request_principals() {
        let shown = |value| request_principal(value).map(|(issuer, subject)| format!("{issuer} {subject}"));
        for (value, expected) in [
            ("*", Some("* *")),
            ("https://a.b/c/sub", Some("https://a.b/c sub")),
            ("a/*", Some("a *")),
            ("*/b", Some("* b")),
            ("a/b*", Some("a b*")),
            ("*a/b", Some("*a b")),
            ("*b", Some("* *b")),
            ("a*", Some("a* *")),
            ("a", None),
            ("a/", None),
            ("/b", None),
        ] {
            assert_eq!(shown(value).as_deref(), expected, "{value}");
        }
    }
}
