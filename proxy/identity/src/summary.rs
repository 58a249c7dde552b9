//! What people want to know of a certificate: who, from when, until when.

use crate::Moment;
use rustls::pki_types::CertificateDer;
use std::net::IpAddr;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// What people want to know of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// RFC 4514 text.
    pub subject: String,
    /// Hexadecimal.
    pub serial_number: String,
    /// URIs, in order.
    pub uris: Vec<String>,
    /// DNS names, in order.
    pub dns_names: Vec<String>,
    /// IP addresses, in order.
    pub addresses: Vec<IpAddr>,
    /// Whether it may sign others.
    pub is_authority: bool,
    /// From when it is valid.
    pub not_before: Moment,
    /// Until when.
    pub not_after: Moment,
}

impl Summary {
    /// Reads a certificate; `None`: it is none.
    pub fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, x509) = X509Certificate::from_der(certificate).ok()?;
        let moment = |seconds: i64| Moment(seconds.max(0).unsigned_abs());
        let mut summary = Summary {
            subject: x509.subject().to_string(),
            serial_number: x509.raw_serial_as_string().replace(':', ""),
            uris: Vec::new(),
            dns_names: Vec::new(),
            addresses: Vec::new(),
            is_authority: x509.is_ca(),
            not_before: moment(x509.validity().not_before.timestamp()),
            not_after: moment(x509.validity().not_after.timestamp()),
        };
        let alternatives = x509.subject_alternative_name().ok().flatten();
        for name in alternatives.iter().flat_map(|names| &names.value.general_names) {
            match name {
                GeneralName::URI(uri) => summary.uris.push((*uri).to_owned()),
                GeneralName::DNSName(name) => summary.dns_names.push((*name).to_owned()),
                GeneralName::IPAddress(bytes) => summary.addresses.extend(address(bytes)),
                _ => {}
            }
        }
        Some(summary)
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let short = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    short.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}
