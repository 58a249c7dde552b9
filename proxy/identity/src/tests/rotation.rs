//! What is shown and believed changes under configurations that stand.

use super::{
    Authority, connect, dns, handshake,
    mesh::{HOUR, mesh_client, mesh_server, uri},
    serve,
};
use crate::{Svid, Workload};
use rcgen::{
    CertificateParams, CertificateRevocationListParams, KeyIdMethod, KeyPair, RevocationReason,
    RevokedCertParams, SerialNumber,
};
use rustls::{CertificateError, Error, HandshakeKind};
use sidle_model::ir::{CertificateFiles, Certificates, ClientTls, ServerTls, Trust};
use std::{
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

/// Moves `new` over `old`, and says what the store made of that.
fn replace(workload: &Workload, old: &Path, new: &Path) -> Vec<bool> {
    fs::copy(new, old).unwrap();
    workload.reload_files().into_iter().map(|file| file.outcome.is_ok()).collect()
}

#[test]
fn a_pair_changes_as_a_pair() {
    let authority = Authority::new();
    let (pair, next) = (authority.leaf("server.test"), authority.leaf("next"));
    let workload = Workload::default();
    let live = crate::server_config(&serve(vec![pair.clone()]), &workload).unwrap();
    let first = live.current().unwrap();
    assert!(Arc::ptr_eq(&first, &live.current().unwrap()), "nothing changed");
    assert_eq!(workload.reload_files().len(), 0);
    assert_eq!(workload.file_paths().len(), 2);
    assert_eq!(
        replace(&workload, &pair.certificate, &next.certificate),
        [false],
        "the key is still the old one"
    );
    assert_eq!(workload.reload_files().len(), 0, "which is said once");
    assert!(Arc::ptr_eq(&first, &live.current().unwrap()), "and what was read before stays");
    assert_eq!(replace(&workload, &pair.key, &next.key), [true]);
    let second = live.current().unwrap();
    assert!(!Arc::ptr_eq(&first, &second));
    let client = ClientTls { subject_alt_names: vec!["next".into()], ..authority.client() };
    assert!(connect(super::client_config(&client, &[]).unwrap(), second).is_ok());
    drop(live);
    assert_eq!(workload.file_paths().len(), 0, "what nobody needs is not watched");
}

#[test]
fn a_pair_that_is_not_valid_now_does_not_take_the_place_of_one_that_is() {
    let authority = Authority::new();
    let now = SystemTime::now();
    let write = |name: &str, from: SystemTime, until: SystemTime| {
        let mut params = CertificateParams::default();
        (params.not_before, params.not_after) = (from.into(), until.into());
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &authority.issuer).unwrap();
        CertificateFiles {
            certificate: authority.write(&format!("{name}.pem"), &certificate.pem()),
            key: authority.write(&format!("{name}.key"), &key.serialize_pem()),
        }
    };
    let pair = write("now", now - HOUR, now + HOUR);
    let workload = Workload::default();
    let live = crate::server_config(&serve(vec![pair.clone()]), &workload).unwrap();
    let first = live.current().unwrap();
    for (name, from, until) in [("past", now - 2 * HOUR, now - HOUR), ("later", now + HOUR, now + 2 * HOUR)] {
        let other = write(name, from, until);
        fs::copy(&other.key, &pair.key).unwrap();
        assert_eq!(replace(&workload, &pair.certificate, &other.certificate), [false], "{name}");
        assert!(workload.has_refused_files());
        assert!(Arc::ptr_eq(&first, &live.current().unwrap()), "{name}: what was read before stays");
    }
    let next = write("next", now - HOUR, now + 2 * HOUR);
    fs::copy(&next.key, &pair.key).unwrap();
    assert_eq!(replace(&workload, &pair.certificate, &next.certificate), [true]);
    assert!(!workload.has_refused_files() && workload.files_out_of_time().is_empty());
    // At the start there is no other to show.
    let past = write("old", now - 2 * HOUR, now - HOUR);
    let _shown = crate::server_config(&serve(vec![past]), &workload).unwrap();
    assert!(matches!(&workload.files_out_of_time()[..], [crate::TlsError::Expired { .. }]));
}

#[test]
fn new_roots_end_sessions_that_were_given_under_the_old_ones() {
    let (old, new) = (Authority::new(), Authority::new());
    let both = old.write("both.pem", &(old.issuer.pem() + &new.issuer.pem()));
    let server = super::server_config(&old.server()).unwrap();
    let workload = Workload::default();
    let client = ClientTls { ca: Trust::File(both.clone()), ..old.client() };
    let live = crate::client_config(&client, &[], &workload).unwrap();
    let kind = |live: &crate::Live<rustls::ClientConfig>| {
        connect(live.current().unwrap(), server.clone()).map(|connected| connected.client.handshake_kind())
    };
    assert_eq!(kind(&live), Ok(Some(HandshakeKind::Full)));
    assert_eq!(kind(&live), Ok(Some(HandshakeKind::Resumed)));
    assert_eq!(replace(&workload, &both, &new.ca()), [true]);
    let refused = kind(&live);
    assert!(matches!(refused, Err(Error::InvalidCertificate(_))), "{refused:?}");
}

/// A session that is resumed shows no certificate, so it must not outlive the one that was shown when it began, on either side.
/// Real seconds, since rustls asks the real clock.
#[test]
fn sessions_end_with_the_certificates_that_they_rest_on() {
    let authority = Authority::new();
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![dns("server.test")];
    let (begin, end) = (SystemTime::now() - HOUR, SystemTime::now() + Duration::from_secs(4));
    (params.not_before, params.not_after) = (begin.into(), end.into());
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &authority.issuer).unwrap();
    let files = CertificateFiles {
        certificate: authority.write("brief.pem", &certificate.pem()),
        key: authority.write("brief.key", &key.serialize_pem()),
    };
    let server = crate::server_config(&serve(vec![files.clone()]), &Workload::default()).unwrap();
    let client = crate::client_config(&authority.client(), &[], &Workload::default()).unwrap();
    // Others, that go on with what they have: a server that resumes for ever, a client that believes everybody.
    let any_server = super::server_config(&serve(vec![files])).unwrap();
    let anybody = ClientTls { insecure_skip_verify: true, ..authority.client() };
    let any_client = super::client_config(&anybody, &[]).unwrap();
    let kinds = || {
        [(client.current().unwrap(), any_server.clone()), (any_client.clone(), server.current().unwrap())]
            .map(|(client, server)| {
                connect(client, server).map(|connected| connected.client.handshake_kind())
            })
    };
    let both = |kind| [Ok(Some(kind)), Ok(Some(kind))];
    assert_eq!(kinds(), both(HandshakeKind::Full));
    assert_eq!(kinds(), both(HandshakeKind::Resumed));
    while SystemTime::now() < end + Duration::from_secs(1) {
        std::thread::sleep(Duration::from_millis(50));
    }
    let [seen_by_client, seen_of_server] = kinds();
    assert!(matches!(seen_by_client, Err(Error::InvalidCertificate(_))), "{seen_by_client:?}");
    assert_eq!(seen_of_server, Ok(Some(HandshakeKind::Full)), "it shows what it has");
    // It is over once, not at each handshake from then on.
    assert!(Arc::ptr_eq(&server.current().unwrap(), &server.current().unwrap()));
}

/// Add the new root, issue anew, drop the old root: at each step every workload meets every other, whether it has taken the
/// step already or not.
#[test]
fn roots_are_replaced_step_by_step() {
    let (old, new) = (Authority::new(), Authority::new());
    let both = |authority: &Authority, other: &Authority| {
        authority.write("both.pem", &(authority.issuer.pem() + &other.issuer.pem()))
    };
    let svid = |authority: &Authority, roots: &Path| {
        let files = authority.issue("a", vec![uri("spiffe://td/a")], &rcgen::PKCS_ECDSA_P256_SHA256);
        Arc::new(Svid::read(&files, roots).unwrap())
    };
    let (a, b) = (Workload::default(), Workload::default());
    let server = crate::server_config(&mesh_server(), &a).unwrap();
    let client = crate::client_config(&mesh_client(), &[], &b).unwrap();
    for step in [
        svid(&old, &old.ca()),
        svid(&old, &both(&old, &new)),
        svid(&new, &both(&new, &old)),
        svid(&new, &new.ca()),
    ] {
        for workload in [&a, &b] {
            let before = (a.current().is_some() && b.current().is_some()).then(|| server.current().unwrap());
            assert!(workload.publish(step.clone()));
            assert!(!workload.publish(step.clone()), "the same again is no change");
            if let (Some(before), Ok(client)) = (before, client.current()) {
                assert!(connect(client.clone(), server.current().unwrap()).is_ok());
                assert!(connect(client, before).is_ok(), "as it was a moment ago");
            }
        }
    }
}

pub(super) fn revoke(authority: &Authority, name: &str, serials: &[&[u8]], until: i32) -> std::path::PathBuf {
    let now = SystemTime::now();
    let params = CertificateRevocationListParams {
        this_update: rcgen::date_time_ymd(1999, 1, 1),
        next_update: rcgen::date_time_ymd(until, 1, 1),
        crl_number: SerialNumber::from(1u64),
        issuing_distribution_point: None,
        revoked_certs: serials
            .iter()
            .map(|serial| RevokedCertParams {
                serial_number: SerialNumber::from_slice(serial),
                revocation_time: (now - HOUR).into(),
                reason_code: Some(RevocationReason::KeyCompromise),
                invalidity_date: None,
            })
            .collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    authority.write(name, &params.signed_by(&authority.issuer).unwrap().pem().unwrap())
}

fn serial(files: &CertificateFiles) -> Vec<u8> {
    use rustls::pki_types::{CertificateDer, pem::PemObject};
    use x509_parser::prelude::{FromDer, X509Certificate};
    let der = CertificateDer::from_pem_file(&files.certificate).unwrap();
    X509Certificate::from_der(&der).unwrap().1.raw_serial().to_vec()
}

#[test]
fn revoked_certificates_are_refused_on_both_sides_and_lists_are_read_again() {
    let authority = Authority::new();
    let (server, client) = (authority.leaf("server.test"), authority.leaf("client.test"));
    let crl = revoke(&authority, "crl.pem", &[], 4000);
    let serving = ServerTls {
        client_ca: Some(Trust::File(authority.ca())),
        crl: Some(crl.clone()),
        ..serve(vec![server.clone()])
    };
    let connecting = ClientTls {
        certificate: Some(Certificates::Files(vec![client.clone()])),
        crl: Some(crl.clone()),
        ..authority.client()
    };
    let workload = Workload::default();
    let live = (
        crate::client_config(&connecting, &[], &workload).unwrap(),
        crate::server_config(&serving, &workload).unwrap(),
    );
    let meet = || connect(live.0.current().unwrap(), live.1.current().unwrap()).map(drop);
    let revoked = Err(Error::InvalidCertificate(CertificateError::Revoked));
    assert_eq!(meet(), Ok(()));
    let of = |name: &str, files: &CertificateFiles| revoke(&authority, name, &[&serial(files)], 4000);
    assert_eq!(replace(&workload, &crl, &of("server.crl", &server)), [true]);
    assert_eq!(meet(), revoked, "the server");
    assert_eq!(replace(&workload, &crl, &of("client.crl", &client)), [true]);
    assert_eq!(meet(), revoked, "the client");
    assert_eq!(replace(&workload, &crl, &authority.ca()), [false], "no list: the last one stays");
    assert_eq!(meet(), revoked);
    assert_eq!(replace(&workload, &crl, &revoke(&authority, "fresh.crl", &[], 4000)), [true]);
    assert_eq!(meet(), Ok(()));
    assert_eq!(replace(&workload, &crl, &revoke(&authority, "stale.crl", &[], 2000)), [true]);
    assert!(matches!(
        meet(),
        Err(Error::InvalidCertificate(CertificateError::ExpiredRevocationListContext { .. }))
    ));
    let other = Authority::new();
    assert_eq!(replace(&workload, &crl, &revoke(&other, "other.crl", &[], 4000)), [true]);
    assert!(meet().is_err(), "a list of another authority covers nobody");
    assert!(handshake(&authority.client(), &serve(vec![server])).is_ok(), "without a list");
}
