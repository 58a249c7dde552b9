//! Certificates made for a test.

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DistinguishedName,
    DnType, IsCa, KeyIdMethod, KeyPair, RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme,
    SupportedProtocolVersion,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::aws_lc_rs::{self, sign::any_supported_type},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime},
    sign::{CertifiedKey, SingleCertAndKey},
};
use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

pub use tokio_rustls::client::TlsStream;

/// A certificate authority.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key.
pub struct Identity {
    /// The leaf, then the authorities between it and the root.
    chain: Vec<CertificateDer<'static>>,
    /// The leaf, PEM.
    pub certificate_pem: String,
    key: KeyPair,
    serial: u64,
}

/// A name in a certificate.
#[derive(Debug, Clone, Copy)]
pub enum Name<'a> {
    /// An alternative name.
    Uri(&'a str),
    /// An alternative name.
    Dns(&'a str),
    /// Of the subject.
    Common(&'a str),
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Authority {
    /// A new one.
    ///
    /// # Panics
    /// Never in practice.
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // A leaf of the same name would pass for a certificate that signed itself.
        params.distinguished_name.push(DnType::CommonName, "test authority");
        Authority(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Its certificate, PEM.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// Its key, PEM.
    pub fn key_pem(&self) -> String {
        self.0.key().serialize_pem()
    }

    /// A certificate for `names`.
    ///
    /// # Panics
    /// When one of them is not a name.
    pub fn issue(&self, names: &[&str]) -> Identity {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        self.sign(CertificateParams::new(names).unwrap())
    }

    /// The same, valid for so long from now on.
    ///
    /// # Panics
    /// When one of them is not a name.
    pub fn issue_for(&self, names: &[&str], life: Duration) -> Identity {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).unwrap();
        lives(&mut params, life);
        self.sign(params)
    }

    /// A certificate of the workload `id`, a SPIFFE id.
    ///
    /// # Panics
    /// When it is not ASCII.
    pub fn issue_workload(&self, id: &str) -> Identity {
        self.issue_named(&[Name::Uri(id)])
    }

    /// The same, valid for so long from now on.
    ///
    /// # Panics
    /// When it is not ASCII.
    pub fn issue_workload_for(&self, id: &str, life: Duration) -> Identity {
        let mut params = named(&[Name::Uri(id)]);
        lives(&mut params, life);
        self.sign(params)
    }

    /// A certificate that has run out, of the workload `id`.
    ///
    /// # Panics
    /// When it is not ASCII.
    pub fn issue_expired(&self, id: &str) -> Identity {
        let mut params = named(&[Name::Uri(id)]);
        params.not_after = date_time_ymd(2020, 1, 1);
        self.sign(params)
    }

    /// A certificate with just these names, valid from one time to another.
    ///
    /// # Panics
    /// When one is not ASCII.
    pub fn issue_between(&self, names: &[Name<'_>], from: SystemTime, until: SystemTime) -> Identity {
        let mut params = named(names);
        (params.not_before, params.not_after) = (from.into(), until.into());
        self.sign(params)
    }

    /// A certificate with just these names.
    ///
    /// # Panics
    /// When one is not ASCII.
    pub fn issue_named(&self, names: &[Name<'_>]) -> Identity {
        self.sign(named(names))
    }

    /// A certificate of the workload `id` with so many authorities between it and this one.
    ///
    /// # Panics
    /// When it is not ASCII.
    pub fn issue_below(&self, id: &str, depth: usize) -> Identity {
        let mut chain = Vec::new();
        let mut issuer: Option<CertifiedIssuer<'static, KeyPair>> = None;
        for number in 0..depth {
            let mut params = CertificateParams::default();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.distinguished_name.push(DnType::CommonName, format!("authority {number}"));
            let key = KeyPair::generate().unwrap();
            let next = match &issuer {
                None => CertifiedIssuer::signed_by(params, key, &self.0),
                Some(issuer) => CertifiedIssuer::signed_by(params, key, issuer),
            };
            chain.insert(0, next.as_ref().unwrap().der().clone());
            issuer = next.ok();
        }
        let mut identity = sign(named(&[Name::Uri(id)]), issuer.as_ref().unwrap_or(&self.0));
        identity.chain.extend(chain);
        identity
    }

    fn sign(&self, params: CertificateParams) -> Identity {
        sign(params, &self.0)
    }

    /// A list of what was revoked, PEM.
    ///
    /// # Panics
    /// Never in practice.
    pub fn revoke(&self, revoked: &[&Identity]) -> String {
        self.revoke_for(revoked, Duration::from_secs(3600))
    }

    /// As [`Self::revoke`]; the list holds for so long.
    ///
    /// # Panics
    /// Never in practice.
    pub fn revoke_for(&self, revoked: &[&Identity], life: Duration) -> String {
        let now = SystemTime::now();
        let revoked = revoked.iter().map(|identity| RevokedCertParams {
            serial_number: SerialNumber::from(identity.serial),
            revocation_time: now.into(),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: (now - Duration::from_secs(60)).into(),
            next_update: (now + life).into(),
            crl_number: SerialNumber::from(1u64),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.0).unwrap().pem().unwrap()
    }

    /// Speaks TLS with `address`, to whoever it is, as `who`.
    ///
    /// # Errors
    /// What TCP or TLS says.
    ///
    /// # Panics
    /// When the certificate is not one.
    pub async fn connect_as(
        &self,
        who: Option<&Identity>,
        address: SocketAddr,
        alpn: &[&[u8]],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        self.handshake_as(who, TcpStream::connect(address).await?, alpn).await
    }

    /// The same, on a connection that stands.
    ///
    /// # Errors
    /// What TLS says.
    ///
    /// # Panics
    /// When the certificate is not one.
    pub async fn handshake_as(
        &self,
        who: Option<&Identity>,
        stream: TcpStream,
        alpn: &[&[u8]],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let config = client_as(who, alpn, rustls::ALL_VERSIONS);
        let name = ServerName::try_from("outbound_.80_._.shop.test").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }

    /// Connects to `address` with TLS as a client that trusts this authority.
    ///
    /// # Errors
    /// What TCP or TLS says.
    ///
    /// # Panics
    /// When `name` is not a host name.
    pub async fn connect(
        &self,
        address: SocketAddr,
        name: &str,
        alpn: &[&[u8]],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        self.handshake(TcpStream::connect(address).await?, name, alpn).await
    }

    /// Speaks TLS on a connection that stands.
    ///
    /// # Errors
    /// What TLS says.
    ///
    /// # Panics
    /// When `name` is not a host name.
    pub async fn handshake(
        &self,
        stream: TcpStream,
        name: &str,
        alpn: &[&[u8]],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let config = self.client(alpn);
        let name = ServerName::try_from(name.to_owned()).unwrap();
        TlsConnector::from(config).connect(name, stream).await
    }

    /// A client that trusts this authority, with tickets of its own.
    ///
    /// # Panics
    /// Never in practice.
    pub fn client(&self, alpn: &[&[u8]]) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        Arc::new(config)
    }
}

/// A certificate of its names and nothing else, as those of meshes are.
fn named(names: &[Name<'_>]) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    for name in names {
        match name {
            Name::Uri(uri) => params.subject_alt_names.push(SanType::URI((*uri).try_into().unwrap())),
            Name::Dns(dns) => params.subject_alt_names.push(SanType::DnsName((*dns).try_into().unwrap())),
            Name::Common(name) => params.distinguished_name.push(DnType::CommonName, *name),
        }
    }
    params
}

fn lives(params: &mut CertificateParams, life: Duration) {
    params.not_before = SystemTime::now().into();
    params.not_after = (SystemTime::now() + life).into();
}

fn sign(mut params: CertificateParams, issuer: &CertifiedIssuer<'static, KeyPair>) -> Identity {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let serial = NEXT.fetch_add(1, Relaxed);
    params.serial_number = Some(SerialNumber::from(serial));
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, issuer).unwrap();
    Identity { chain: vec![certificate.der().clone()], certificate_pem: certificate.pem(), key, serial }
}

/// A client that believes every server, and shows who it is if it is somebody. It resumes sessions.
///
/// # Panics
/// Never in practice.
pub fn client_as(
    who: Option<&Identity>,
    alpn: &[&[u8]],
    versions: &[&'static SupportedProtocolVersion],
) -> ClientConfig {
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody));
    let mut config = match who {
        None => builder.with_no_client_auth(),
        Some(who) => {
            let key = PrivateKeyDer::try_from(who.key.serialize_der()).unwrap();
            // Whatever it is: rustls would not let us show what cannot be read.
            let shown = CertifiedKey::new(who.chain.clone(), any_supported_type(&key).unwrap());
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(shown)))
        }
    };
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    config
}

/// Believes every server.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

impl Identity {
    /// Its key, PEM.
    pub fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    /// Writes `NAME.pem` and `NAME.key` into `folder`.
    ///
    /// # Panics
    /// When the folder cannot be written to.
    pub fn write(&self, folder: &Path, name: &str) {
        std::fs::write(folder.join(format!("{name}.pem")), &self.certificate_pem).unwrap();
        std::fs::write(folder.join(format!("{name}.key")), self.key_pem()).unwrap();
    }

    /// A server with this certificate, ALPN `h2` and `http/1.1`.
    ///
    /// # Panics
    /// Never in practice.
    pub fn acceptor(self) -> TlsAcceptor {
        let key = PrivateKeyDer::try_from(self.key.serialize_der()).unwrap();
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(self.chain, key)
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        TlsAcceptor::from(Arc::new(config))
    }
}
