//! Certificates that must be known beforehand, and cipher suites that are left out.

use super::{Authority, connect, handshake};
use crate::{Workload, peer::sha256};
use rustls::{
    CipherSuite as Id,
    pki_types::{CertificateDer, pem::PemObject},
};
use sidle_model::ir::{CertificatePin, Certificates, CipherSuite, ClientTls, ServerTls, TlsVersion, Trust};
use x509_parser::prelude::{FromDer, X509Certificate};

#[test]
fn a_client_fits_one_of_the_pins() {
    let authority = Authority::new();
    let files = authority.leaf("me.test");
    let leaf = CertificateDer::from_pem_file(&files.certificate).unwrap();
    let key = sha256(X509Certificate::from_der(&leaf).unwrap().1.public_key().raw);
    let client = ClientTls { certificate: Some(Certificates::Files(vec![files])), ..authority.client() };
    let accepts = |pins: &[CertificatePin]| {
        let server = ServerTls {
            client_ca: Some(Trust::File(authority.ca())),
            pins: pins.to_vec(),
            ..authority.server()
        };
        handshake(&client, &server).is_ok()
    };
    let other = CertificatePin::Certificate([7; 32]);
    assert!(accepts(&[CertificatePin::Certificate(sha256(&leaf))]));
    assert!(accepts(&[other, CertificatePin::Key(key)]), "any of them");
    assert!(!accepts(&[other, CertificatePin::Key([7; 32])]));
    assert!(!accepts(&[CertificatePin::Key(sha256(&leaf))]), "each is compared with its own kind");
}

#[test]
fn cipher_suites_of_tls_1_2_are_those_that_are_named() {
    let authority = Authority::new();
    let agreed = |max_version, suites: &[CipherSuite]| {
        let server = ServerTls { max_version, cipher_suites: suites.to_vec(), ..authority.server() };
        let client = crate::client_config(&authority.client(), &[], &Workload::default()).unwrap();
        let server = crate::server_config(&server, &Workload::default()).unwrap();
        let connected = connect(client.current().unwrap(), server.current().unwrap()).ok()?;
        connected.client.negotiated_cipher_suite().map(|suite| suite.suite())
    };
    let v1_2 = TlsVersion::V1_2;
    assert_eq!(
        agreed(v1_2, &[CipherSuite::EcdsaChaCha20]),
        Some(Id::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256)
    );
    assert_eq!(agreed(v1_2, &[CipherSuite::EcdsaAes128]), Some(Id::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256));
    assert_eq!(agreed(v1_2, &[CipherSuite::RsaAes128]), None, "not with this key");
    assert!(agreed(TlsVersion::V1_3, &[CipherSuite::RsaAes128]).is_some(), "TLS 1.3 has its own");
}
