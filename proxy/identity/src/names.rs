//! Whether a certificate has one of the names that were asked for.
//!
//! In:  `subjectAltNames` as written, and a certificate whose chain was checked.   Out: yes or no.
//! Invariants: a name is compared with alternative names of its own kind only, so that a certificate authority that lets
//! clients choose one kind does not give away another. The common name never counts.
//! Not here: chains, validity, signatures (`verifier`).

use rustls::{
    client::verify_server_name,
    pki_types::{CertificateDer, ServerName},
    server::ParsedCertificate,
};
use std::net::IpAddr;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// Names of which a peer must have one.
#[derive(Debug)]
pub(crate) struct AcceptedNames(Vec<AcceptedName>);

/// One of them. What is written tells the kind: an IP address, something with a colon (a URI), something with an `@` (an
/// email address), else a DNS name.
#[derive(Debug, PartialEq)]
enum AcceptedName {
    /// Compared by webpki; a DNS name may be covered by a wildcard of the certificate.
    Server(ServerName<'static>),
    /// Byte for byte.
    Uri(String),
    /// Byte for byte.
    Email(String),
    /// A DNS name that is no host name (`*.example.com`), without regard to case.
    DnsText(String),
}

impl AcceptedName {
    fn new(text: &str) -> Self {
        match ServerName::try_from(text) {
            _ if text.parse::<IpAddr>().is_err() && text.contains(':') => AcceptedName::Uri(text.into()),
            _ if text.contains('@') => AcceptedName::Email(text.into()),
            Ok(name) => AcceptedName::Server(name.to_owned()),
            Err(_) => AcceptedName::DnsText(text.into()),
        }
    }
}

impl AcceptedNames {
    pub fn new<S: AsRef<str>>(names: &[S]) -> Self {
        AcceptedNames(names.iter().map(|name| AcceptedName::new(name.as_ref())).collect())
    }

    /// Whether the certificate has one of the names.
    pub fn accept(&self, certificate: &CertificateDer<'_>) -> bool {
        let Ok(parsed) = ParsedCertificate::try_from(certificate) else { return false };
        let Ok((_, x509)) = X509Certificate::from_der(certificate) else { return false };
        // Twice in one certificate, or malformed: refused as a whole.
        let Ok(Some(alternatives)) = x509.subject_alternative_name() else { return false };
        let alternatives = &alternatives.value.general_names;
        self.0.iter().any(|accepted| match accepted {
            AcceptedName::Server(name) => verify_server_name(&parsed, name).is_ok(),
            AcceptedName::Uri(uri) => has_uri(alternatives, uri),
            AcceptedName::Email(email) => {
                alternatives.iter().any(|name| matches!(name, GeneralName::RFC822Name(text) if text == email))
            }
            AcceptedName::DnsText(dns) => alternatives
                .iter()
                .any(|name| matches!(name, GeneralName::DNSName(text) if text.eq_ignore_ascii_case(dns))),
        })
    }
}

/// A SPIFFE id only counts if it is the only URI, as its standard demands: which of two a reader takes must not matter.
fn has_uri(alternatives: &[GeneralName<'_>], expected: &str) -> bool {
    let uris = || {
        alternatives
            .iter()
            .filter_map(|name| if let GeneralName::URI(uri) = name { Some(*uri) } else { None })
    };
    let ambiguous = expected.starts_with("spiffe://") && uris().count() > 1;
    !ambiguous && uris().any(|uri| uri == expected)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, SanType};

    fn certificate(names: Vec<SanType>) -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names;
        let key = KeyPair::generate().expect("a key");
        params.self_signed(&key).expect("a certificate").der().clone()
    }

    fn dns(text: &str) -> SanType {
        SanType::DnsName(text.try_into().expect("ASCII"))
    }
    fn uri(text: &str) -> SanType {
        SanType::URI(text.try_into().expect("ASCII"))
    }
    fn email(text: &str) -> SanType {
        SanType::Rfc822Name(text.try_into().expect("ASCII"))
    }
    fn ip(text: &str) -> SanType {
        SanType::IpAddress(text.parse().expect("an address"))
    }

    fn accept(accepted: &[&str], certificate: &CertificateDer<'_>) -> bool {
        AcceptedNames::new(accepted).accept(certificate)
    }

    #[test]
    fn each_kind_is_compared_with_its_own() {
        let names = ["a.example.com", "spiffe://td/ns/a/sa/b", "x@example.com", "10.0.0.1", "2001:db8::1"];
        let made = [dns(names[0]), uri(names[1]), email(names[2]), ip(names[3]), ip(names[4])];
        for (have, made) in made.into_iter().enumerate() {
            let certificate = certificate(vec![made]);
            for (want, name) in names.iter().enumerate() {
                assert_eq!(accept(&[name], &certificate), want == have, "{name} of {}", names[have]);
            }
            assert!(accept(&names, &certificate), "one of many");
            assert!(!accept(&[], &certificate));
        }
    }

    #[test]
    fn dns_names_follow_webpki_and_the_rest_is_exact() {
        let wildcard = certificate(vec![dns("*.example.com")]);
        assert!(accept(&["A.Example.com"], &wildcard));
        assert!(!accept(&["a.b.example.com"], &wildcard) && !accept(&["example.com"], &wildcard));
        assert!(accept(&["*.EXAMPLE.com"], &wildcard), "the text itself, as Envoy's exact match");
        assert!(!accept(&["*.example.org"], &wildcard));
        assert!(!accept(&["y@example.com"], &certificate(vec![email("x@example.com")])));
        let spiffe = certificate(vec![uri("spiffe://td/ns/a/sa/b")]);
        for near in [
            "spiffe://td/ns/a/sa/B",
            "spiffe://td/ns/a/sa/b/",
            "spiffe://td/ns/a/sa",
            "spiffe://TD/ns/a/sa/b",
        ] {
            assert!(!accept(&[near], &spiffe), "{near}");
        }
    }

    #[test]
    fn a_zero_byte_does_not_end_a_name() {
        let evil = certificate(vec![uri("spiffe://td/ns/a/sa/b\0evil")]);
        assert!(!accept(&["spiffe://td/ns/a/sa/b"], &evil));
        let evil = certificate(vec![dns("a.example.com\0.evil.com")]);
        assert!(!accept(&["a.example.com"], &evil));
    }

    #[test]
    fn a_kind_cannot_pose_as_another() {
        // What a client might ask a lenient authority for.
        let posing = certificate(vec![dns("spiffe://td/ns/a/sa/b"), dns("10.0.0.1"), email("a.example.com")]);
        for name in ["spiffe://td/ns/a/sa/b", "10.0.0.1", "a.example.com"] {
            assert!(!accept(&[name], &posing), "{name}");
        }
    }

    #[test]
    fn two_uris_are_no_spiffe_id() {
        let two = certificate(vec![uri("spiffe://td/ns/a/sa/b"), uri("https://example.com/")]);
        assert!(!accept(&["spiffe://td/ns/a/sa/b"], &two));
        assert!(accept(&["https://example.com/"], &two));
    }

    #[test]
    fn the_common_name_does_not_count() {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, "a.example.com");
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate").der().clone();
        assert!(!accept(&["a.example.com"], &certificate));
    }

    #[test]
    fn rubbish_is_refused() {
        assert!(!accept(&["a"], &CertificateDer::from(b"rubbish".to_vec())));
    }
}
