//! A certificate authority for development: on one machine, its key in a file.
//!
//! In:  a trust domain.   Out: PEM certificates and keys for workloads.
//! Invariants: what it issues is what [`crate::Svid`] takes: one SPIFFE id, and both uses. Keys are wiped when dropped.
//! Not here: files (`proxy/src/cli/certs`).

use crate::{Moment, SpiffeId, TlsError, certified_from_pem};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType,
};
use std::{path::Path, time::Duration};
use zeroize::{Zeroize, Zeroizing};

/// Of the authority.
const AUTHORITY_LIFE: Duration = Duration::from_secs(10 * 365 * 86_400);
/// Of a workload: nobody renews what was made on a laptop.
const WORKLOAD_LIFE: Duration = Duration::from_secs(365 * 86_400);
/// Clocks differ.
const BACKDATE: Duration = Duration::from_secs(60);

/// A certificate authority for development.
pub struct DevelopmentAuthority {
    domain: String,
    key: KeyPair,
    /// Its certificate, PEM.
    pub certificate: String,
}

/// A certificate and its key.
pub struct Issued {
    /// PEM.
    pub certificate: String,
    /// PEM.
    pub key: Zeroizing<String>,
}

fn failed(error: rcgen::Error) -> TlsError {
    TlsError::Issue(error.to_string())
}

impl DevelopmentAuthority {
    /// A new one for a trust domain.
    ///
    /// # Errors
    /// When it is no trust domain.
    pub fn new(domain: &str) -> Result<Self, TlsError> {
        let key = KeyPair::generate().map_err(failed)?;
        let certificate = authority_params(domain)?.self_signed(&key).map_err(failed)?.pem();
        Ok(DevelopmentAuthority { domain: domain.to_owned(), key, certificate })
    }

    /// One that was made before, from its PEM certificate and key. `place` names them in errors.
    ///
    /// # Errors
    /// When they do not belong together, or were not made here.
    pub fn from_pem(certificate: &str, key: &str, place: &Path) -> Result<Self, TlsError> {
        let certified = certified_from_pem(certificate.as_bytes(), key.as_bytes(), place)?;
        let id = SpiffeId::of(&certified.cert);
        let id =
            id.ok_or(TlsError::NoSvid("an authority's only URI has to be its trust domain, spiffe://NAME"))?;
        let key = KeyPair::from_pem(key).map_err(failed)?;
        Ok(DevelopmentAuthority { domain: id.trust_domain().into(), key, certificate: certificate.into() })
    }

    /// `cluster.local`.
    pub fn trust_domain(&self) -> &str {
        &self.domain
    }

    /// Its key, PEM.
    pub fn key(&self) -> Zeroizing<String> {
        Zeroizing::new(self.key.serialize_pem())
    }

    /// A certificate of the workload `id`, and of servers of these names.
    ///
    /// # Errors
    /// When a name is none.
    pub fn issue(&self, id: &SpiffeId, dns_names: &[String]) -> Result<Issued, TlsError> {
        let mut params = CertificateParams::new(dns_names.to_vec()).map_err(failed)?;
        params.subject_alt_names.insert(0, uri(id.as_str())?);
        params.distinguished_name = DistinguishedName::new();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        lives(&mut params, WORKLOAD_LIFE);
        let mut key = KeyPair::generate().map_err(failed)?;
        let authority = authority_params(&self.domain)?;
        let issuer = Issuer::from_params(&authority, &self.key);
        let certificate = params.signed_by(&key, &issuer).map_err(failed)?.pem();
        let issued = Issued { certificate, key: Zeroizing::new(key.serialize_pem()) };
        key.zeroize();
        Ok(issued)
    }
}

impl Drop for DevelopmentAuthority {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

/// The same for the same domain, so that what is issued names its issuer.
fn authority_params(domain: &str) -> Result<CertificateParams, TlsError> {
    let id = format!("spiffe://{domain}");
    SpiffeId::parse(&id)
        .ok_or(TlsError::NoSvid("a trust domain is lower-case letters, digits, `.`, `-`, `_`"))?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "Sidle development CA");
    params.distinguished_name.push(DnType::OrganizationName, domain);
    params.subject_alt_names = vec![uri(&id)?];
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    lives(&mut params, AUTHORITY_LIFE);
    Ok(params)
}

fn uri(text: &str) -> Result<SanType, TlsError> {
    text.try_into().map(SanType::URI).map_err(failed)
}

fn lives(params: &mut CertificateParams, life: Duration) {
    let now = Moment::now().system_time();
    params.not_before = (now - BACKDATE).into();
    params.not_after = (now + life).into();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Bundle, Svid};
    use std::sync::Arc;

    #[test]
    fn what_it_issues_is_an_identity_also_when_it_was_read_again() {
        let first = DevelopmentAuthority::new("td").unwrap();
        let place = Path::new("test");
        let again = DevelopmentAuthority::from_pem(&first.certificate, &first.key(), place).unwrap();
        assert_eq!(again.trust_domain(), "td");
        let id = SpiffeId::parse("spiffe://td/ns/a/sa/b").unwrap();
        for authority in [&first, &again] {
            let issued = authority.issue(&id, &["b.a.svc".into()]).unwrap();
            let certified =
                certified_from_pem(issued.certificate.as_bytes(), issued.key.as_bytes(), place).unwrap();
            let own = Bundle::from_pem(first.certificate.as_bytes(), place).unwrap();
            assert_eq!(Svid::new(Arc::new(certified), Arc::new(own)).unwrap().id, id);
        }
    }

    #[test]
    fn what_is_no_trust_domain_or_no_authority_is_refused() {
        assert!(DevelopmentAuthority::new("TD").is_err());
        assert!(DevelopmentAuthority::new("").is_err());
        let (one, other) =
            (DevelopmentAuthority::new("td").unwrap(), DevelopmentAuthority::new("td").unwrap());
        let mixed = DevelopmentAuthority::from_pem(&one.certificate, &other.key(), Path::new("test"));
        assert!(matches!(mixed, Err(TlsError::Mismatch { .. })));
    }
}
