//! Handshakes in memory, between configurations made from files.

use crate::{TlsError, Workload};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType, SignatureAlgorithm,
};
use rustls::{
    ClientConfig, ClientConnection, Error, HandshakeKind, ProtocolVersion, RootCertStore, ServerConfig,
    ServerConnection, SignatureScheme,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use sidle_model::ir::{
    ApplicationProtocol, CertificateFiles, Certificates, ClientTls, ServerTls, TlsVersion, Trust,
};
use std::{fs, path::PathBuf, sync::Arc};
use tempfile::TempDir;

mod mesh;
mod pins;
mod rotation;

/// A folder with an authority of its own.
struct Authority {
    folder: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a certificate");
        let authority = Authority { folder: tempfile::tempdir().expect("a folder"), issuer };
        authority.write("ca.pem", &authority.issuer.pem());
        authority
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, text).expect("written");
        path
    }

    fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    fn issue(
        &self,
        name: &str,
        names: Vec<SanType>,
        algorithm: &'static SignatureAlgorithm,
    ) -> CertificateFiles {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names;
        let key = KeyPair::generate_for(algorithm).expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        CertificateFiles {
            certificate: self.write(&format!("{name}.pem"), &certificate.pem()),
            key: self.write(&format!("{name}.key"), &key.serialize_pem()),
        }
    }

    /// For one DNS name.
    fn leaf(&self, name: &str) -> CertificateFiles {
        self.issue(name, vec![dns(name)], &rcgen::PKCS_ECDSA_P256_SHA256)
    }

    fn server(&self) -> ServerTls {
        serve(vec![self.leaf("server.test")])
    }

    fn client(&self) -> ClientTls {
        ClientTls {
            sni: None,
            ca: Trust::File(self.ca()),
            crl: None,
            subject_alt_names: vec![],
            certificate: None,
            insecure_skip_verify: false,
            min_version: TlsVersion::V1_2,
        }
    }
}

fn server_config(tls: &ServerTls) -> Result<Arc<ServerConfig>, TlsError> {
    crate::server_config(tls, &Workload::default())?.current()
}

fn client_config(tls: &ClientTls, alpn: &[&[u8]]) -> Result<Arc<ClientConfig>, TlsError> {
    crate::client_config(tls, alpn, &Workload::default())?.current()
}

fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().expect("ASCII"))
}

fn serve(certificates: Vec<CertificateFiles>) -> ServerTls {
    ServerTls {
        certificates: Certificates::Files(certificates),
        client_ca: None,
        crl: None,
        client_certificate_optional: false,
        subject_alt_names: vec![],
        pins: vec![],
        cipher_suites: vec![],
        min_version: TlsVersion::V1_2,
        max_version: TlsVersion::V1_3,
        alpn: vec![],
    }
}

/// Both ends of a connection that stands.
struct Connected {
    client: ClientConnection,
    server: ServerConnection,
}

/// A handshake to `server.test`, tickets included; the first error of either end.
fn connect(client: Arc<ClientConfig>, server: Arc<ServerConfig>) -> Result<Connected, Error> {
    let name = ServerName::try_from("server.test").expect("a name");
    let mut client = ClientConnection::new(client, name).expect("a client");
    let mut server = ServerConnection::new(server).expect("a server");
    loop {
        let (mut there, mut back) = (Vec::new(), Vec::new());
        while client.wants_write() {
            client.write_tls(&mut there).expect("memory");
        }
        let mut unread = &there[..];
        while !unread.is_empty() {
            server.read_tls(&mut unread).expect("memory");
            server.process_new_packets()?;
        }
        while server.wants_write() {
            server.write_tls(&mut back).expect("memory");
        }
        let mut unread = &back[..];
        while !unread.is_empty() {
            client.read_tls(&mut unread).expect("memory");
            client.process_new_packets()?;
        }
        if there.is_empty() && back.is_empty() {
            assert!(!client.is_handshaking() && !server.is_handshaking(), "stuck");
            return Ok(Connected { client, server });
        }
    }
}

fn handshake(client: &ClientTls, server: &ServerTls) -> Result<Connected, Error> {
    connect(client_config(client, &[]).expect("a client"), server_config(server).expect("a server"))
}

#[test]
fn the_server_must_be_who_was_asked_for() {
    let (authority, other) = (Authority::new(), Authority::new());
    assert!(handshake(&authority.client(), &authority.server()).is_ok());
    let elsewhere = serve(vec![authority.leaf("elsewhere.test")]);
    assert!(handshake(&authority.client(), &elsewhere).is_err(), "another name");
    assert!(handshake(&other.client(), &authority.server()).is_err(), "another authority");
    let anyone = ClientTls { insecure_skip_verify: true, ca: Trust::System, ..other.client() };
    assert!(handshake(&anyone, &elsewhere).is_ok());
}

#[test]
fn alternative_names_stand_in_for_the_server_name() {
    let (authority, other) = (Authority::new(), Authority::new());
    let names = vec![SanType::URI("spiffe://td/ns/a/sa/b".try_into().expect("ASCII"))];
    let server = serve(vec![authority.issue("spiffe", names.clone(), &rcgen::PKCS_ED25519)]);
    let wants = |names: &[&str]| ClientTls {
        subject_alt_names: names.iter().map(|name| name.to_string()).collect(),
        ..authority.client()
    };
    assert!(handshake(&wants(&["spiffe://td/ns/a/sa/b"]), &server).is_ok());
    assert!(handshake(&wants(&["x.test", "spiffe://td/ns/a/sa/b"]), &server).is_ok());
    assert!(handshake(&wants(&["spiffe://td/ns/a/sa/c"]), &server).is_err());
    assert!(
        handshake(&wants(&["elsewhere.test"]), &authority.server()).is_err(),
        "the server name does not count"
    );
    let forged = serve(vec![other.issue("spiffe", names, &rcgen::PKCS_ED25519)]);
    assert!(handshake(&wants(&["spiffe://td/ns/a/sa/b"]), &forged).is_err(), "another authority");
    for version in [TlsVersion::V1_2, TlsVersion::V1_3] {
        let server = ServerTls { min_version: version, max_version: version, ..server.clone() };
        assert!(handshake(&wants(&["spiffe://td/ns/a/sa/b"]), &server).is_ok(), "{version:?}");
    }
}

#[test]
fn client_certificates_are_demanded_or_optional_but_never_wrong() {
    let (authority, other) = (Authority::new(), Authority::new());
    let with =
        |files| ClientTls { certificate: Some(Certificates::Files(vec![files])), ..authority.client() };
    let (none, good, bad) =
        (authority.client(), with(authority.leaf("me.test")), with(other.leaf("me.test")));
    let demanding = ServerTls { client_ca: Some(Trust::File(authority.ca())), ..authority.server() };
    let optional = ServerTls { client_certificate_optional: true, ..demanding.clone() };
    let named = ServerTls { subject_alt_names: vec!["me.test".into()], ..demanding.clone() };
    let other_named = ServerTls { subject_alt_names: vec!["you.test".into()], ..optional.clone() };
    let expected = [
        // server, then: no certificate, a good one, one of another authority
        (authority.server(), [true, true, true]),
        (demanding, [false, true, false]),
        (optional, [true, true, false]),
        (named, [false, true, false]),
        (other_named, [true, false, false]),
    ];
    for (server, expected) in expected {
        for (client, expected) in [&none, &good, &bad].into_iter().zip(expected) {
            assert_eq!(handshake(client, &server).is_ok(), expected, "{client:?} to {server:?}");
        }
    }
    let shown =
        handshake(&good, &ServerTls { client_ca: Some(Trust::File(authority.ca())), ..authority.server() });
    assert_eq!(shown.expect("a connection").server.peer_certificates().map(<[_]>::len), Some(1));
}

#[test]
fn alpn_takes_the_servers_best() {
    let authority = Authority::new();
    let server = ServerTls {
        alpn: vec![ApplicationProtocol::Http2, ApplicationProtocol::Http1],
        ..authority.server()
    };
    let server = server_config(&server).expect("a server");
    let agree = |alpn: &[&[u8]]| {
        let client = client_config(&authority.client(), alpn).expect("a client");
        connect(client, server.clone()).map(|connected| connected.client.alpn_protocol().map(<[u8]>::to_vec))
    };
    assert_eq!(agree(&[b"http/1.1", b"h2"]), Ok(Some(b"h2".to_vec())));
    assert_eq!(agree(&[b"http/1.1"]), Ok(Some(b"http/1.1".to_vec())));
    assert_eq!(agree(&[]), Ok(None));
}

#[test]
fn versions_are_kept_within_bounds() {
    use TlsVersion::{V1_2, V1_3};
    let authority = Authority::new();
    let version = |client, (min_version, max_version)| {
        let client = ClientTls { min_version: client, ..authority.client() };
        let server = ServerTls { min_version, max_version, ..authority.server() };
        handshake(&client, &server).ok().and_then(|connected| connected.client.protocol_version())
    };
    assert_eq!(version(V1_2, (V1_2, V1_3)), Some(ProtocolVersion::TLSv1_3));
    assert_eq!(version(V1_2, (V1_2, V1_2)), Some(ProtocolVersion::TLSv1_2));
    assert_eq!(version(V1_3, (V1_2, V1_2)), None);
    let inverted = ServerTls { min_version: V1_3, max_version: V1_2, ..authority.server() };
    assert!(matches!(server_config(&inverted), Err(TlsError::Settings(_))));
}

#[test]
fn the_certificate_suits_the_clients_signatures() {
    let authority = Authority::new();
    let names = || vec![dns("server.test")];
    let ecdsa = authority.issue("ecdsa", names(), &rcgen::PKCS_ECDSA_P256_SHA256);
    let ed25519 = authority.issue("ed25519", names(), &rcgen::PKCS_ED25519);
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    // A client that signs and checks handshakes with Ed25519 only; chains may be of any kind.
    let algorithms = &mut provider.signature_verification_algorithms;
    let is_ed25519 = |scheme: &SignatureScheme| *scheme == SignatureScheme::ED25519;
    algorithms.mapping = algorithms
        .mapping
        .iter()
        .filter(|(scheme, _)| is_ed25519(scheme))
        .copied()
        .collect::<Vec<_>>()
        .leak();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority.ca()).expect("a certificate")).expect("a root");
    let client =
        ClientConfig::builder_with_provider(Arc::new(provider)).with_safe_default_protocol_versions();
    let client = Arc::new(client.expect("versions").with_root_certificates(roots).with_no_client_auth());

    let present =
        |certificates| connect(client.clone(), server_config(&serve(certificates)).expect("a server"));
    assert!(present(vec![ecdsa.clone(), ed25519]).is_ok(), "the second is understood");
    assert!(present(vec![ecdsa]).is_err());
}

#[test]
fn nothing_is_read_before_the_handshake_is_over() {
    let authority = Authority::new();
    assert_eq!(server_config(&authority.server()).expect("a server").max_early_data_size, 0);
    assert!(!client_config(&authority.client(), &[]).expect("a client").enable_early_data);
}

#[test]
fn sessions_resume_only_where_they_were_made() {
    let authority = Authority::new();
    let client = client_config(&authority.client(), &[]).expect("a client");
    let kind = |server: &Arc<ServerConfig>| {
        connect(client.clone(), server.clone()).expect("a connection").server.handshake_kind()
    };
    let files = authority.server();
    let (first, second) =
        (server_config(&files).expect("a server"), server_config(&files).expect("a server"));
    assert!(first.ticketer.enabled(), "tickets, which cost no memory here");
    assert_eq!(kind(&first), Some(HandshakeKind::Full));
    assert_eq!(kind(&first), Some(HandshakeKind::Resumed));
    assert_eq!(kind(&second), Some(HandshakeKind::Full), "a ticket of the first");
}

#[test]
fn clients_with_certificates_show_them_each_time() {
    let authority = Authority::new();
    let client = ClientTls {
        certificate: Some(Certificates::Files(vec![authority.leaf("me.test")])),
        ..authority.client()
    };
    let client = client_config(&client, &[]).expect("a client");
    for version in [TlsVersion::V1_2, TlsVersion::V1_3] {
        let server = ServerTls {
            client_ca: Some(Trust::File(authority.ca())),
            max_version: version,
            ..authority.server()
        };
        let server = server_config(&server).expect("a server");
        for _ in 0..3 {
            let connected = connect(client.clone(), server.clone()).expect("a connection");
            assert_eq!(connected.server.handshake_kind(), Some(HandshakeKind::Full), "{version:?}");
        }
    }
}

#[test]
fn errors_name_the_file_and_quote_nothing() {
    let authority = Authority::new();
    let good = authority.leaf("server.test");
    let other = authority.leaf("other.test");
    let key = fs::read_to_string(&good.key).expect("a key");
    let secret = key.lines().nth(1).expect("base64").to_owned();
    let files = |certificate: &PathBuf, key: &PathBuf| CertificateFiles {
        certificate: certificate.clone(),
        key: key.clone(),
    };
    let broken = |name: &str, text: &str| files(&good.certificate, &authority.write(name, text));

    let cases = [
        (files(&authority.folder.path().join("missing.pem"), &good.key), "missing.pem: No such file"),
        (files(&authority.folder.path().into(), &good.key), ": Is a directory"),
        (files(&authority.write("empty.pem", ""), &good.key), "empty.pem: no PEM certificate in it"),
        (files(&good.key, &good.key), "server.test.key: no PEM certificate in it"),
        (files(&good.certificate, &good.certificate), "server.test.pem: no PEM private key in it"),
        (files(&good.certificate, &other.key), "other.test.key: the key is not that of the certificate in "),
        (
            broken("cut.key", key.split("-----END").next().unwrap_or("")),
            "cut.key: not valid PEM: a section has no END line",
        ),
        (broken("begin.key", &key.replacen("KEY-----\n", "KEY", 1)), "begin.key: not valid PEM"),
        (
            broken("base64.key", &key.replacen(&secret[..8], "********", 1)),
            "base64.key: not valid PEM: a section is not base64",
        ),
        (
            broken("swapped.key", &key.replacen(&secret[..8], &secret[8..16], 1)),
            "swapped.key: unusable private key",
        ),
    ];
    for (files, expected) in cases {
        let error = server_config(&serve(vec![files.clone()])).expect_err(expected);
        assert!(error.to_string().contains(expected), "{error}");
        for text in [error.to_string(), format!("{error:?}")] {
            assert!(!text.contains(&secret[8..24]), "{text}");
        }
        let client = ClientTls { certificate: Some(Certificates::Files(vec![files])), ..authority.client() };
        assert_eq!(client_config(&client, &[]).expect_err(expected).to_string(), error.to_string());
    }
    assert!(matches!(server_config(&serve(vec![])), Err(TlsError::NothingToServe)));
    let rubbish =
        authority.write("rubbish.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let error = client_config(&ClientTls { ca: Trust::File(rubbish), ..authority.client() }, &[])
        .expect_err("rubbish");
    assert!(error.to_string().contains("rubbish.pem: unusable certificate"), "{error}");
}

#[test]
fn a_bundle_may_hold_everything_and_a_file_may_not_be_endless() {
    let authority = Authority::new();
    let leaf = authority.leaf("server.test");
    let read = |path| fs::read_to_string(path).expect("a file");
    let both =
        authority.write("both.pem", &format!("# a note\n{}{}", read(&leaf.key), read(&leaf.certificate)));
    let files = CertificateFiles { certificate: both.clone(), key: both };
    assert!(handshake(&authority.client(), &serve(vec![files])).is_ok());

    let endless = ClientTls { ca: Trust::File("/dev/zero".into()), ..authority.client() };
    assert!(matches!(client_config(&endless, &[]), Err(TlsError::TooLarge { .. })));
}

#[test]
fn without_a_bundle_the_system_decides() {
    let authority = Authority::new();
    match client_config(&ClientTls { ca: Trust::System, ..authority.client() }, &[]) {
        Ok(config) => {
            let refused = connect(config, server_config(&authority.server()).expect("a server")).err();
            assert!(matches!(refused, Some(Error::InvalidCertificate(_))), "{refused:?}");
        }
        Err(error) => assert!(matches!(error, TlsError::SystemRoots { .. }), "{error}"),
    }
}
