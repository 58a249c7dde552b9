//! Where the workload's identity comes from.

use super::CertificateFiles;
use std::path::PathBuf;

/// Where the workload's identity comes from, and whom it believes beyond its own trust domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Certificate, key and roots.
    pub source: IdentitySource,
    /// Other names of its own trust domain.
    pub aliases: Vec<String>,
    /// Other trust domains, with PEM bundles of the roots that speak for them.
    pub trust_bundles: Vec<(String, PathBuf)>,
}

/// Who delivers certificate, key and roots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdentitySource {
    /// A folder as Kubernetes mounts a TLS secret (`tls.crt`, `tls.key`, `ca.crt`), or as Istio lays it out (`cert-chain.pem`,
    /// `key.pem`, `root-cert.pem`).
    Folder(PathBuf),
    /// Files.
    Files {
        /// Chain and key.
        pair: CertificateFiles,
        /// PEM bundle of the roots of its own trust domain.
        roots: PathBuf,
    },
}
