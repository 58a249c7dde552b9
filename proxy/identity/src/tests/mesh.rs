//! Workloads of a mesh: who they believe, and whom not.

use super::{Authority, Connected, connect, dns, rotation::revoke, serve};
use crate::{Bundle, Bundles, Moment, Svid, TlsError, Workload, certified_from_pem};
use rcgen::{CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType};
use rustls::{
    Error, HandshakeKind, NamedGroup, ProtocolVersion,
    crypto::aws_lc_rs::sign::any_supported_type,
    pki_types::{CertificateDer, PrivateKeyDer},
    sign::{CertifiedKey, SingleCertAndKey},
};
use sidle_model::ir::{CertificateFiles, Certificates, ClientTls, ServerTls, TlsVersion, Trust};
use std::{
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};
use x509_parser::prelude::{FromDer, X509Certificate};

pub(super) fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

impl Authority {
    pub(super) fn bundle(&self) -> Arc<Bundle> {
        Arc::new(Bundle::read(&self.ca()).unwrap())
    }

    /// An identity with these names, valid for a second before and `life` after now.
    pub(super) fn svid(&self, names: Vec<SanType>, life: Duration) -> Result<Svid, TlsError> {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names;
        params.not_before = (SystemTime::now() - Duration::from_secs(1)).into();
        params.not_after = (SystemTime::now() + life).into();
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let (chain, key) = (certificate.pem(), key.serialize_pem());
        let certified = certified_from_pem(chain.as_bytes(), key.as_bytes(), Path::new("test"))?;
        Svid::new(Arc::new(certified), self.bundle())
    }

    pub(super) fn workload(&self, id: &str) -> Workload {
        let workload = Workload::default();
        workload.publish(Arc::new(self.svid(vec![uri(id)], HOUR).unwrap()));
        workload
    }
}

pub(super) const HOUR: Duration = Duration::from_secs(3600);

pub(super) fn mesh_server() -> ServerTls {
    ServerTls {
        certificates: Certificates::Workload,
        client_ca: Some(Trust::Workload),
        ..serve(vec![CertificateFiles { certificate: "".into(), key: "".into() }])
    }
}

pub(super) fn mesh_client() -> ClientTls {
    ClientTls {
        sni: None,
        ca: Trust::Workload,
        crl: None,
        subject_alt_names: vec![],
        certificate: Some(Certificates::Workload),
        insecure_skip_verify: false,
        min_version: TlsVersion::V1_2,
    }
}

/// From one workload to another.
fn meet(client: &Workload, server: &Workload) -> Result<Connected, Error> {
    let client = crate::client_config(&mesh_client(), &[], client).unwrap().current().unwrap();
    let server = crate::server_config(&mesh_server(), server).unwrap().current().unwrap();
    connect(client, server)
}

#[test]
fn workloads_of_a_domain_meet_with_the_newest_key_exchange() {
    let authority = Authority::new();
    let (a, b) = (authority.workload("spiffe://td/ns/x/sa/a"), authority.workload("spiffe://td/ns/x/sa/b"));
    for _ in 0..2 {
        let met = meet(&a, &b).unwrap();
        assert_eq!(met.server.protocol_version(), Some(ProtocolVersion::TLSv1_3));
        let group = met.server.negotiated_key_exchange_group().unwrap().name();
        assert_eq!(group, NamedGroup::X25519MLKEM768);
        assert_eq!(met.client.handshake_kind(), Some(HandshakeKind::Full), "no resumption");
        let peer = crate::Peer::of(&met.server.peer_certificates().unwrap()[0]).unwrap();
        assert_eq!(peer.spiffe_id.unwrap().as_str(), "spiffe://td/ns/x/sa/a");
    }
}

/// A server that would resume, as others do: its certificate would not be looked at again.
#[test]
fn a_workload_resumes_no_session() {
    let authority = Authority::new();
    let names = vec![uri("spiffe://td/b")];
    let files = authority.issue("b", names, &rcgen::PKCS_ECDSA_P256_SHA256);
    let server = super::server_config(&serve(vec![files])).unwrap();
    let workload = authority.workload("spiffe://td/a");
    let client = crate::client_config(&mesh_client(), &[], &workload).unwrap();
    for _ in 0..3 {
        let met = connect(client.current().unwrap(), server.clone()).unwrap();
        assert_eq!(met.client.handshake_kind(), Some(HandshakeKind::Full));
    }
}

#[test]
fn before_there_is_an_identity_handshakes_fail_and_configurations_stand() {
    let (authority, workload) = (Authority::new(), Workload::default());
    let server = crate::server_config(&mesh_server(), &workload).unwrap();
    let client = crate::client_config(&mesh_client(), &[], &workload).unwrap();
    assert!(matches!(server.current(), Err(TlsError::NoIdentity)));
    assert!(matches!(client.current(), Err(TlsError::NoIdentity)));
    workload.publish(Arc::new(authority.svid(vec![uri("spiffe://td/a")], HOUR).unwrap()));
    assert!(connect(client.current().unwrap(), server.current().unwrap()).is_ok());
    workload.withdraw();
    assert!(matches!(server.current(), Err(TlsError::NoIdentity)));
}

#[test]
fn a_domain_is_vouched_for_by_its_own_roots_only() {
    let (here, there) = (Authority::new(), Authority::new());
    let foreign = |authority: &Authority, id: &str| authority.svid(vec![uri(id)], HOUR).unwrap();
    let federated = |domain: &str| Bundles::from([(domain.into(), there.bundle())]);
    let workload = |svid: Svid| {
        let workload = Workload::default();
        workload.publish(Arc::new(svid));
        workload
    };
    let server = workload(foreign(&here, "spiffe://here/a").with_federated(federated("there")));
    let client = |svid: Svid| workload(svid.with_federated(Bundles::from([("here".into(), here.bundle())])));
    assert!(meet(&client(foreign(&there, "spiffe://there/b")), &server).is_ok(), "federated");
    for (authority, id) in [
        (&there, "spiffe://here/b"),      // the other authority speaks for our domain
        (&here, "spiffe://there/b"),      // ours for the other
        (&there, "spiffe://elsewhere/b"), // a domain that we do not know
    ] {
        let refused = meet(&client(foreign(authority, id)), &server);
        assert!(matches!(refused, Err(Error::InvalidCertificate(_))), "{id}");
    }
    let alias = workload(foreign(&here, "spiffe://here/a").with_aliases(&["old"]));
    assert!(
        meet(&client(foreign(&here, "spiffe://old/b")), &alias).is_ok(),
        "another name of our own domain"
    );
}

/// `hardening` of SPIFFE ids: what is no single, plain SPIFFE id is nobody.
#[test]
fn what_is_no_spiffe_id_is_refused_as_ours_and_as_a_peers() {
    let authority = Authority::new();
    let server = authority.workload("spiffe://td/a");
    let server = crate::server_config(&mesh_server(), &server).unwrap().current().unwrap();
    for names in [
        vec![],
        vec![dns("td")],
        vec![SanType::DnsName("spiffe://td/b".try_into().unwrap())],
        vec![uri("spiffe://td/b"), uri("spiffe://td/c")],
        vec![uri("spiffe://td/b"), uri("https://td/b")],
        vec![uri("spiffe://td/b\0evil")],
        vec![uri("spiffe://TD/b")],
        vec![uri("https://td/b")],
    ] {
        assert!(matches!(authority.svid(names.clone(), HOUR), Err(TlsError::NoSvid(_))), "{names:?}");
        let files = authority.issue("peer", names.clone(), &rcgen::PKCS_ECDSA_P256_SHA256);
        let client = ClientTls {
            ca: Trust::File(authority.ca()),
            certificate: Some(Certificates::Files(vec![files])),
            insecure_skip_verify: true,
            ..mesh_client()
        };
        let client = super::client_config(&client, &[]).unwrap();
        let refused = connect(client, server.clone()).err();
        assert!(matches!(refused, Some(Error::InvalidCertificate(_))), "{names:?}: {refused:?}");
    }
}

#[test]
fn an_identity_that_peers_would_not_believe_is_not_taken() {
    let (authority, other) = (Authority::new(), Authority::new());
    let files = authority.issue("a", vec![uri("spiffe://td/a")], &rcgen::PKCS_ECDSA_P256_SHA256);
    assert!(Svid::read(&files, &authority.ca()).is_ok());
    assert!(matches!(Svid::read(&files, &other.ca()), Err(TlsError::Untrusted(_))));
    let mut past = CertificateParams::default();
    past.not_before = (SystemTime::now() - 2 * HOUR).into();
    past.not_after = (SystemTime::now() - HOUR).into();
    past.subject_alt_names = vec![uri("spiffe://td/a")];
    let key = KeyPair::generate().unwrap();
    let past = past.signed_by(&key, &authority.issuer).unwrap().pem();
    let (key, place) = (key.serialize_pem(), Path::new("test"));
    let past = certified_from_pem(past.as_bytes(), key.as_bytes(), place).unwrap();
    let over = Svid::new(Arc::new(past), authority.bundle());
    assert!(matches!(over, Err(TlsError::IdentityExpired(_))), "{over:?}");
}

#[test]
fn a_certificate_for_later_is_not_shown_yet() {
    let authority = Authority::new();
    let workload = Workload::default();
    let live = crate::client_config(&mesh_client(), &[], &workload).unwrap();
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![uri("spiffe://td/a")];
    let key = KeyPair::generate().unwrap();
    for (ahead, taken) in [(HOUR, false), (Duration::from_secs(30), true)] {
        params.not_before = (SystemTime::now() + ahead).into();
        params.not_after = (SystemTime::now() + 2 * HOUR).into();
        let certificate = params.signed_by(&key, &authority.issuer).unwrap();
        let files = sidle_model::ir::CertificateFiles {
            certificate: authority.write("later.pem", &certificate.pem()),
            key: authority.write("later.key", &key.serialize_pem()),
        };
        workload.publish(Arc::new(Svid::read(&files, &authority.ca()).unwrap()));
        assert_eq!(live.current().is_ok(), taken, "{ahead:?}");
        assert_eq!(matches!(workload.valid(), Err(TlsError::IdentityNotYet(_))), !taken);
    }
}

/// Real seconds, since rustls asks the real clock.
#[test]
fn past_its_end_a_certificate_is_neither_shown_nor_believed_until_a_new_one_comes() {
    let authority = Authority::new();
    let brief = Arc::new(authority.svid(vec![uri("spiffe://td/a")], Duration::from_secs(3)).unwrap());
    let (workload, peer) = (Workload::default(), authority.workload("spiffe://td/b"));
    workload.publish(brief.clone());
    let live = crate::client_config(&mesh_client(), &[], &workload).unwrap();
    let before = live.current().unwrap();
    let server = crate::server_config(&mesh_server(), &peer).unwrap().current().unwrap();
    assert!(connect(before.clone(), server.clone()).is_ok());
    while Moment::now() <= brief.not_after {
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(matches!(live.current(), Err(TlsError::IdentityExpired(_))));
    let refused = connect(before, server.clone()).err();
    assert!(
        matches!(refused, Some(Error::InvalidCertificate(_))),
        "a peer that shows it all the same: {refused:?}"
    );
    workload.publish(Arc::new(authority.svid(vec![uri("spiffe://td/a")], HOUR).unwrap()));
    assert!(connect(live.current().unwrap(), server).is_ok());
}

/// A chain of `depth` authorities below the root, leaf first.
fn long_chain(authority: &Authority, depth: usize) -> (Vec<CertificateDer<'static>>, KeyPair) {
    let mut chain = Vec::new();
    let mut issuer: Option<CertifiedIssuer<'static, KeyPair>> = None;
    for number in 0..depth {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, format!("{number}"));
        let key = KeyPair::generate().unwrap();
        let next = match &issuer {
            None => CertifiedIssuer::signed_by(params, key, &authority.issuer).unwrap(),
            Some(issuer) => CertifiedIssuer::signed_by(params, key, issuer).unwrap(),
        };
        chain.insert(0, next.der().clone());
        issuer = Some(next);
    }
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![uri("spiffe://td/deep")];
    let key = KeyPair::generate().unwrap();
    let leaf = params.signed_by(&key, &issuer.unwrap()).unwrap();
    chain.insert(0, leaf.der().clone());
    (chain, key)
}

/// Shows `chain`, whatever it is, to a workload that believes `authority`.
fn show(
    authority: &Authority,
    chain: Vec<CertificateDer<'static>>,
    key: &KeyPair,
) -> Result<Connected, Error> {
    let client = ClientTls { certificate: None, insecure_skip_verify: true, ..mesh_client() };
    let mut client = (*super::client_config(&client, &[]).unwrap()).clone();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let certified = CertifiedKey::new(chain, any_supported_type(&key).unwrap());
    client.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(certified));
    let workload = authority.workload("spiffe://td/a");
    let server = crate::server_config(&mesh_server(), &workload).unwrap().current().unwrap();
    connect(Arc::new(client), server)
}

#[test]
fn chains_and_certificates_have_bounds() {
    let authority = Authority::new();
    let (chain, key) = long_chain(&authority, 3);
    assert!(show(&authority, chain, &key).is_ok());
    let (chain, key) = long_chain(&authority, 20);
    assert!(show(&authority, chain, &key).is_err(), "20 deep");
    for (names, taken) in [(1_000, true), (10_000, false)] {
        let mut params = CertificateParams::default();
        params.subject_alt_names = (0..names).map(|n| dns(&format!("host-{n}.example.com"))).collect();
        params.subject_alt_names.push(uri("spiffe://td/wide"));
        let key = KeyPair::generate().unwrap();
        let wide = params.signed_by(&key, &authority.issuer).unwrap().der().clone();
        assert_eq!(show(&authority, vec![wide], &key).is_ok(), taken, "{names} names");
    }
}

#[test]
fn a_certificate_for_one_use_is_no_identity() {
    let authority = Authority::new();
    for usage in [ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth] {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![uri("spiffe://td/a")];
        params.extended_key_usages = vec![usage.clone()];
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &authority.issuer).unwrap();
        let (chain, pem) = (leaf.pem(), key.serialize_pem());
        let certified = certified_from_pem(chain.as_bytes(), pem.as_bytes(), Path::new("test")).unwrap();
        assert!(matches!(Svid::new(Arc::new(certified), authority.bundle()), Err(TlsError::Untrusted(_))));
        let taken = show(&authority, vec![leaf.der().clone()], &key).is_ok();
        assert_eq!(taken, usage == ExtendedKeyUsagePurpose::ClientAuth, "{usage:?} of a client");
    }
}

/// A ClientHello of TLS 1.0 and of 1.1, and one that offers only weak ciphers.
#[test]
fn old_versions_are_refused() {
    let authority = Authority::new();
    let workload = authority.workload("spiffe://td/a");
    let config = crate::server_config(&mesh_server(), &workload).unwrap().current().unwrap();
    assert_eq!(config.max_early_data_size, 0, "no early data");
    let hello = |version: u8, suites: &[u8]| {
        let mut body = vec![3, version];
        body.extend([7; 32]); // random
        body.push(0); // no session
        body.extend([0, suites.len() as u8]);
        body.extend(suites);
        body.extend([1, 0]); // no compression
        let mut record = vec![22, 3, 1, 0, body.len() as u8 + 4, 1, 0, 0, body.len() as u8];
        record.extend(body);
        record
    };
    let strong = [0xc0, 0x2b, 0xc0, 0x2f];
    let weak = [0x00, 0x0a, 0x00, 0x05, 0xc0, 0x13]; // 3DES, RC4, CBC
    for bytes in [hello(1, &strong), hello(2, &strong), hello(3, &weak)] {
        let mut server = rustls::ServerConnection::new(config.clone()).unwrap();
        server.read_tls(&mut &bytes[..]).unwrap();
        assert!(server.process_new_packets().is_err());
        assert!(server.is_handshaking());
    }
}

#[test]
fn lists_that_come_with_the_roots_hold_for_workloads_of_the_domain() {
    let authority = Authority::new();
    let [a, b] = ["spiffe://td/a", "spiffe://td/b"].map(|id| authority.svid(vec![uri(id)], HOUR).unwrap());
    let (client, server) = (Workload::default(), Workload::default());
    client.publish(Arc::new(a.clone()));
    let serial =
        |svid: &Svid| X509Certificate::from_der(&svid.certified.cert[0]).unwrap().1.raw_serial().to_vec();
    let list = |revoked: &[&Svid]| {
        let serials: Vec<_> = revoked.iter().map(|svid| serial(svid)).collect();
        let serials: Vec<&[u8]> = serials.iter().map(|serial| &serial[..]).collect();
        std::fs::read(revoke(&authority, "list.crl", &serials, 4000)).unwrap()
    };
    let [none, own, of_a] = [list(&[]), list(&[&b]), list(&[&a])];
    let publish = |text: &[u8], leaves: bool| {
        let bundle = Bundle::read(&authority.ca()).unwrap();
        let bundle = bundle.with_revocation_lists(text, leaves, Path::new("test")).unwrap();
        server.publish(Arc::new(Svid::new(b.certified.clone(), Arc::new(bundle)).unwrap()))
    };
    server.publish(Arc::new(b.clone()));
    assert!(meet(&client, &server).is_ok());
    assert!(publish(&none, false), "another list is another identity");
    assert!(meet(&client, &server).is_ok());
    assert!(publish(&own, false) && !publish(&own, false));
    assert!(meet(&client, &server).is_ok());
    assert!(publish(&of_a, false));
    let revoked = Error::InvalidCertificate(rustls::CertificateError::Revoked);
    assert_eq!(meet(&client, &server).map(drop), Err(revoked.clone()));
    assert!(publish(&of_a, true), "of leaves alone");
    assert_eq!(meet(&client, &server).map(drop), Err(revoked));
    assert!(
        Bundle::read(&authority.ca()).unwrap().with_revocation_lists(b"", false, Path::new("test")).is_err()
    );
}

#[test]
fn lists_of_leaves_need_not_cover_authorities() {
    let root = Authority::new();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, "between");
    let key = KeyPair::generate().unwrap();
    let between = CertifiedIssuer::signed_by(params, key, &root.issuer).unwrap();
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![uri("spiffe://td/a")];
    let key = KeyPair::generate().unwrap();
    let leaf = params.signed_by(&key, &between).unwrap();
    let chain = leaf.pem() + &between.pem();
    let certified = certified_from_pem(chain.as_bytes(), key.serialize_pem().as_bytes(), Path::new("test"));
    let certified = Arc::new(certified.unwrap());
    let lists = rcgen::CertificateRevocationListParams {
        this_update: rcgen::date_time_ymd(1999, 1, 1),
        next_update: rcgen::date_time_ymd(4000, 1, 1),
        crl_number: rcgen::SerialNumber::from(1u64),
        issuing_distribution_point: None,
        revoked_certs: Vec::new(),
        key_identifier_method: rcgen::KeyIdMethod::Sha256,
    };
    let lists = lists.signed_by(&between).unwrap().pem().unwrap();
    for (leaves, passes) in [(true, true), (false, false)] {
        let bundle = Bundle::read(&root.ca()).unwrap();
        let bundle = bundle.with_revocation_lists(lists.as_bytes(), leaves, Path::new("test")).unwrap();
        let workload = Workload::default();
        workload.publish(Arc::new(Svid::new(certified.clone(), Arc::new(bundle)).unwrap()));
        assert_eq!(meet(&workload, &workload).is_ok(), passes, "leaves alone: {leaves}");
    }
}
