//! Who the other end proved to be.
//!
//! In:  a certificate whose chain was checked.   Out: a [`Peer`]: its SPIFFE id and what `x-forwarded-client-cert` shows.
//! Invariants: an id is exactly one URI, compared byte for byte; a certificate with two URIs, or with one that is no SPIFFE id,
//! proves no identity; nothing is decoded, so that no two spellings of an id are the same.
//! Not here: chains, validity, signatures (`verifier`).
//! Source: SPIFFE ID and X.509-SVID specifications.

use crate::subject;
use rustls::{crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256, pki_types::CertificateDer};
use sidle_model::ir::CertificatePin;
use std::{fmt, sync::Arc};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// The longest id that the specification lets a receiver demand.
const LONGEST: usize = 2048;
const SCHEME: &str = "spiffe://";

/// `spiffe://trust-domain/path`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpiffeId(Arc<str>);

impl SpiffeId {
    /// Takes what keeps to the specification: lower-case trust domain, no port, no empty or dot segments, no escapes.
    pub fn parse(uri: &str) -> Option<Self> {
        let rest = uri.strip_prefix(SCHEME).filter(|_| uri.len() <= LONGEST)?;
        let (domain, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let of_domain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_');
        let of_path = |byte: u8| of_domain(byte) || byte.is_ascii_uppercase();
        let segment = |segment: &str| !matches!(segment, "" | "." | "..") && segment.bytes().all(of_path);
        let good = !domain.is_empty()
            && domain.len() <= 255
            && domain.bytes().all(of_domain)
            && (path.is_empty() || path[1..].split('/').all(segment));
        good.then(|| SpiffeId(uri.into()))
    }

    /// The id of a chain's leaf: its only URI. Nobody vouches for it yet.
    pub fn of(chain: &[CertificateDer<'_>]) -> Option<Self> {
        chain.first().and_then(spiffe_id)
    }

    /// The whole URI.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The URI without `spiffe://`: what Istio calls a principal.
    pub fn principal(&self) -> &str {
        &self.0[SCHEME.len()..]
    }

    /// `example.org`.
    pub fn trust_domain(&self) -> &str {
        self.principal().split('/').next().unwrap_or_default()
    }

    /// Namespace and service account, of an id of the form `td/ns/NAMESPACE/sa/ACCOUNT`.
    pub fn service_account(&self) -> Option<(&str, &str)> {
        let mut segments = self.principal().split('/').skip(1);
        match (segments.next(), segments.next(), segments.next(), segments.next(), segments.next()) {
            (Some("ns"), Some(namespace), Some("sa"), Some(account), None) => Some((namespace, account)),
            _ => None,
        }
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The other end, by its certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The one URI of the certificate, if it is a SPIFFE id.
    pub spiffe_id: Option<SpiffeId>,
    /// URIs, in order.
    pub uris: Vec<Box<str>>,
    /// DNS names, in order.
    pub dns_names: Vec<Box<str>>,
    /// RFC 4514 text of the subject.
    pub subject: Box<str>,
    /// The leaf, DER.
    pub certificate: CertificateDer<'static>,
}

impl Peer {
    /// Reads the leaf of a chain that was verified; `None`: it cannot be read.
    pub fn of(leaf: &CertificateDer<'_>) -> Option<Self> {
        let (_, x509) = X509Certificate::from_der(leaf).ok()?;
        // Malformed, or twice: as if there were none.
        let alternatives = x509.subject_alternative_name().ok().flatten();
        let names = alternatives.iter().flat_map(|names| &names.value.general_names);
        let (mut uris, mut dns_names) = (Vec::new(), Vec::new());
        for name in names {
            match name {
                GeneralName::URI(uri) => uris.push(Box::from(*uri)),
                GeneralName::DNSName(name) => dns_names.push(Box::from(*name)),
                _ => {}
            }
        }
        let spiffe_id = match &uris[..] {
            [uri] => SpiffeId::parse(uri),
            _ => None,
        };
        let subject = subject::text(x509.subject()).into();
        Some(Peer { spiffe_id, uris, dns_names, subject, certificate: leaf.clone().into_owned() })
    }

    /// SHA-256 of the certificate.
    pub fn fingerprint(&self) -> [u8; 32] {
        sha256(&self.certificate)
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let rustls::SupportedCipherSuite::Tls13(suite) = TLS13_AES_128_GCM_SHA256 else {
        unreachable!("its name says that it is one of TLS 1.3")
    };
    let mut hash = [0; 32];
    hash.copy_from_slice(suite.common.hash_provider.hash(bytes).as_ref());
    hash
}

/// Whether a certificate is one of those, or holds one of those keys.
pub(crate) fn fits(leaf: &CertificateDer<'_>, pins: &[CertificatePin]) -> bool {
    let key = X509Certificate::from_der(leaf).ok().map(|(_, x509)| sha256(x509.public_key().raw));
    pins.iter().any(|pin| match pin {
        CertificatePin::Certificate(hash) => *hash == sha256(leaf),
        CertificatePin::Key(hash) => Some(*hash) == key,
    })
}

/// The id of a leaf: its only URI. Nobody vouches for it yet.
pub(crate) fn spiffe_id(leaf: &CertificateDer<'_>) -> Option<SpiffeId> {
    let (_, x509) = X509Certificate::from_der(leaf).ok()?;
    let alternatives = x509.subject_alternative_name().ok()??;
    let mut uris = alternatives
        .value
        .general_names
        .iter()
        .filter_map(|name| if let GeneralName::URI(uri) = name { Some(*uri) } else { None });
    match (uris.next(), uris.next()) {
        (Some(uri), None) => SpiffeId::parse(uri),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, SanType};

    #[test]
    fn ids_keep_to_the_specification() {
        for good in ["spiffe://td", "spiffe://td.example-1_x/ns/a/sa/B.c-d_e", "spiffe://td/x"] {
            assert_eq!(SpiffeId::parse(good).map(|id| id.to_string()).as_deref(), Some(good));
        }
        for bad in [
            "",
            "spiffe://",
            "spiffe:///x",
            "SPIFFE://td/x",
            "https://td/x",
            "spiffe://TD/x",
            "spiffe://td:80/x",
            "spiffe://user@td/x",
            "spiffe://td/",
            "spiffe://td//x",
            "spiffe://td/./x",
            "spiffe://td/../x",
            "spiffe://td/x?y",
            "spiffe://td/x#y",
            "spiffe://td/%61",
            "spiffe://td/ns/a/sa/b\0evil",
            "spiffe://td/\u{e9}",
        ] {
            assert_eq!(SpiffeId::parse(bad), None, "{bad:?}");
        }
        assert!(SpiffeId::parse(&format!("spiffe://td/{}", "x".repeat(2036))).is_some());
        assert!(SpiffeId::parse(&format!("spiffe://td/{}", "x".repeat(2037))).is_none());
    }

    #[test]
    fn the_parts_of_an_id() {
        let id = SpiffeId::parse("spiffe://td/ns/a/sa/b").unwrap();
        assert_eq!((id.trust_domain(), id.principal()), ("td", "td/ns/a/sa/b"));
        assert_eq!(id.service_account(), Some(("a", "b")));
        for other in ["spiffe://td/ns/a/sa/b/c", "spiffe://td/x/a/sa/b", "spiffe://td/ns/a", "spiffe://td"] {
            assert_eq!(SpiffeId::parse(other).unwrap().service_account(), None, "{other}");
        }
    }

    fn peer(names: &[SanType]) -> Peer {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names.to_vec();
        let key = KeyPair::generate().unwrap();
        Peer::of(params.self_signed(&key).unwrap().der()).unwrap()
    }

    fn uri(text: &str) -> SanType {
        SanType::URI(text.try_into().unwrap())
    }

    #[test]
    fn one_uri_proves_an_identity_and_two_prove_none() {
        let one = peer(&[uri("spiffe://td/a"), SanType::DnsName("a.test".try_into().unwrap())]);
        assert_eq!(one.spiffe_id, SpiffeId::parse("spiffe://td/a"));
        assert_eq!(one.dns_names, ["a.test".into()]);
        assert_eq!(peer(&[uri("spiffe://td/a"), uri("spiffe://td/b")]).spiffe_id, None);
        assert_eq!(peer(&[uri("spiffe://td/a"), uri("https://td/b")]).spiffe_id, None);
        assert_eq!(peer(&[uri("spiffe://TD/a")]).spiffe_id, None);
        assert_eq!(peer(&[]).spiffe_id, None);
    }
}
