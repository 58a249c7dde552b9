//! TLS: what is shown to the other end, and whom of them is believed.

use super::{ApplicationProtocol, Origin};
use std::{path::PathBuf, sync::Arc};

/// TLS termination.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServerTls {
    /// What is shown to clients.
    pub certificates: Certificates,
    /// What client certificates must chain to; `None`: none is asked for.
    pub client_ca: Option<Trust>,
    /// PEM revocation lists of client certificates.
    pub crl: Option<PathBuf>,
    /// Whether a client may come without a certificate although there is a [`Self::client_ca`].
    pub client_certificate_optional: bool,
    /// Subject alternative names of which the client must have one; empty: any.
    pub subject_alt_names: Vec<String>,
    /// Of which the client's certificate must fit one; empty: any.
    pub pins: Vec<CertificatePin>,
    /// For TLS 1.2; empty: all of them.
    pub cipher_suites: Vec<CipherSuite>,
    /// Lowest version; TLS 1.2 unless said.
    pub min_version: TlsVersion,
    /// Highest version; TLS 1.3 unless said.
    pub max_version: TlsVersion,
    /// Offered ALPN protocols, best first.
    pub alpn: Vec<ApplicationProtocol>,
}

/// TLS to a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClientTls {
    /// Server name; `None`: the host of the request's authority.
    pub sni: Option<Arc<str>>,
    /// What the server's certificate must chain to.
    pub ca: Trust,
    /// PEM revocation lists of server certificates.
    pub crl: Option<PathBuf>,
    /// Names of which the server must have one; empty: the SNI.
    pub subject_alt_names: Vec<String>,
    /// What is shown to the server, if it asks.
    pub certificate: Option<Certificates>,
    /// No checks at all.
    pub insecure_skip_verify: bool,
    /// Lowest version; TLS 1.2 unless said.
    pub min_version: TlsVersion,
}

/// What is shown to the other end.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Certificates {
    /// Chains and keys in PEM files; the first whose key type the other end understands.
    Files(Vec<CertificateFiles>),
    /// Chains and keys that came with the configuration; the first whose key type the other end understands.
    Inline(Vec<InlineCertificate>),
    /// The workload's own identity, whatever its source.
    Workload,
}

impl Certificates {
    /// The files, where they are files.
    pub fn files(&self) -> &[CertificateFiles] {
        match self {
            Certificates::Files(files) => files,
            Certificates::Inline(_) | Certificates::Workload => &[],
        }
    }
}

/// A chain and its key that came with the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct InlineCertificate {
    /// Where they came from: `Secret default/shop-tls`.
    pub place: Arc<str>,
    /// PEM chain, leaf first.
    pub chain: InlineText,
    /// PEM key.
    pub key: InlineText,
}

/// PEM that came with the configuration. It is shown nowhere.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct InlineText(Arc<[u8]>);

impl InlineText {
    /// Takes it as it is.
    pub fn new(text: &[u8]) -> Self {
        InlineText(text.into())
    }

    /// For whoever parses it.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for InlineText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

/// One certificate chain with its key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CertificateFiles {
    /// PEM chain, leaf first.
    pub certificate: PathBuf,
    /// PEM key.
    pub key: PathBuf,
}

/// Whose certificates are believed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Trust {
    /// The system's roots.
    System,
    /// A PEM bundle.
    File(PathBuf),
    /// A bundle that came with the configuration.
    Inline {
        /// Where it came from: `Secret default/shop-tls-cacert`.
        place: Arc<str>,
        /// PEM.
        text: InlineText,
    },
    /// The roots of the workload's trust domain, and of those that it is federated with.
    Workload,
}

impl Trust {
    /// The bundle, where it is a file.
    pub fn file(&self) -> Option<&PathBuf> {
        match self {
            Trust::File(path) => Some(path),
            Trust::System | Trust::Inline { .. } | Trust::Workload => None,
        }
    }
}

/// SHA-256 of what a certificate must be, or must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CertificatePin {
    /// Of the whole certificate, DER.
    Certificate([u8; 32]),
    /// Of its public key, DER.
    Key([u8; 32]),
}

/// The cipher suites of TLS 1.2 that this proxy speaks. Those of TLS 1.3 are always spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "their names, see `name`, say it all")]
pub enum CipherSuite {
    EcdsaAes128,
    EcdsaAes256,
    EcdsaChaCha20,
    RsaAes128,
    RsaAes256,
    RsaChaCha20,
}

impl CipherSuite {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::EcdsaAes128,
        Self::EcdsaAes256,
        Self::EcdsaChaCha20,
        Self::RsaAes128,
        Self::RsaAes256,
        Self::RsaChaCha20,
    ];

    /// OpenSSL's name, which Envoy and Istio use.
    pub fn name(self) -> &'static str {
        match self {
            Self::EcdsaAes128 => "ECDHE-ECDSA-AES128-GCM-SHA256",
            Self::EcdsaAes256 => "ECDHE-ECDSA-AES256-GCM-SHA384",
            Self::EcdsaChaCha20 => "ECDHE-ECDSA-CHACHA20-POLY1305",
            Self::RsaAes128 => "ECDHE-RSA-AES128-GCM-SHA256",
            Self::RsaAes256 => "ECDHE-RSA-AES256-GCM-SHA384",
            Self::RsaChaCha20 => "ECDHE-RSA-CHACHA20-POLY1305",
        }
    }
}

/// A TLS version that this proxy speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TlsVersion {
    /// RFC 5246.
    V1_2,
    /// RFC 8446.
    V1_3,
}

/// What a port of the workload takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MtlsMode {
    /// Plain text.
    Disable,
    /// Both.
    Permissive,
    /// mTLS.
    Strict,
}

impl std::fmt::Display for MtlsMode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            MtlsMode::Disable => "DISABLE",
            MtlsMode::Permissive => "PERMISSIVE",
            MtlsMode::Strict => "STRICT",
        })
    }
}

/// What a port of the workload takes, and who says so. For people: filter chains do what it says.
#[derive(Debug, Clone, PartialEq)]
pub struct InboundMtls {
    /// Where the workload listens.
    pub port: u16,
    /// What it takes.
    pub mode: MtlsMode,
    /// The rule, or built in: the default.
    pub origin: Origin,
}
