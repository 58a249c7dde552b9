//! What can be wrong with a TLS configuration. Every error names the file that has to be mended, and none quotes it.

use std::{
    io,
    path::{Path, PathBuf},
};

/// Why a TLS configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The workload's identity is asked for, and no source has delivered one.
    #[error("there is no workload certificate")]
    NoIdentity,
    /// The workload's certificate has run out.
    #[error("the workload certificate expired at {0}")]
    IdentityExpired(crate::Moment),
    /// The workload's certificate is for later.
    #[error("the workload certificate is not valid before {0}")]
    IdentityNotYet(crate::Moment),
    /// The certificate in a file has run out.
    #[error("{}: the certificate expired at {until}", path.display())]
    Expired {
        /// The file.
        path: PathBuf,
        /// When.
        until: crate::Moment,
    },
    /// The certificate in a file is for later.
    #[error("{}: the certificate is not valid before {from}", path.display())]
    NotYet {
        /// The file.
        path: PathBuf,
        /// When it will be.
        from: crate::Moment,
    },
    /// A workload's certificate that no peer would believe.
    #[error("not a workload certificate: {0}")]
    NoSvid(&'static str),
    /// A workload's certificate that does not lead to the roots that came with it.
    #[error("the workload certificate does not lead to its roots: {0}")]
    Untrusted(rustls::Error),
    /// A key or a certificate cannot be made.
    #[error("cannot be made: {0}")]
    Issue(String),
    /// A file holds no revocation list, or one that cannot be used.
    #[error("{}: no usable PEM revocation list in it", path.display())]
    RevocationList {
        /// The file.
        path: PathBuf,
    },
    /// A file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is larger than any that makes sense here.
    #[error("{}: larger than {limit} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The most that is read.
        limit: u64,
    },
    /// A file is broken PEM.
    #[error("{}: not valid PEM: {what}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong; never a piece of the file.
        what: &'static str,
    },
    /// A file holds no certificate.
    #[error("{}: no PEM certificate in it", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// A file holds no private key.
    #[error("{}: no PEM private key in it", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// A certificate cannot be used.
    #[error("{}: unusable certificate: {source}", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// A private key cannot be used.
    #[error("{}: unusable private key; RSA from 2,048 bits, ECDSA P-256, P-384, P-521 and Ed25519 are", path.display())]
    Key {
        /// The file.
        path: PathBuf,
    },
    /// A certificate was not made for its key.
    #[error("{}: the key is not that of the certificate in {}", key.display(), certificate.display())]
    Mismatch {
        /// The chain.
        certificate: PathBuf,
        /// The key.
        key: PathBuf,
    },
    /// TLS is to be served without a certificate.
    #[error("no certificate to serve")]
    NothingToServe,
    /// The system trusts nobody.
    #[error("the system has no trusted roots{reason}; install its CA certificates, or name a file")]
    SystemRoots {
        /// `: …`, or empty.
        reason: String,
    },
    /// The parts are good and do not fit together.
    #[error("TLS settings that do not fit together: {0}")]
    Settings(rustls::Error),
}

impl TlsError {
    /// The file that has to be mended; of a pair the key. Or the Secret, by its title.
    pub fn file(&self) -> Option<&Path> {
        match self {
            TlsError::RevocationList { path }
            | TlsError::Expired { path, .. }
            | TlsError::NotYet { path, .. }
            | TlsError::Read { path, .. }
            | TlsError::TooLarge { path, .. }
            | TlsError::Pem { path, .. }
            | TlsError::NoCertificate { path }
            | TlsError::NoKey { path }
            | TlsError::Certificate { path, .. }
            | TlsError::Key { path }
            | TlsError::Mismatch { key: path, .. } => Some(path),
            TlsError::NoIdentity
            | TlsError::IdentityExpired(_)
            | TlsError::IdentityNotYet(_)
            | TlsError::NoSvid(_)
            | TlsError::Untrusted(_)
            | TlsError::Issue(_)
            | TlsError::NothingToServe
            | TlsError::SystemRoots { .. }
            | TlsError::Settings(_) => None,
        }
    }
}
