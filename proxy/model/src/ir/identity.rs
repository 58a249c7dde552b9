//! Where the workload's identity comes from.

use super::CertificateFiles;
use std::{path::PathBuf, time::Duration};

/// Where the workload's identity comes from, and whom it believes beyond its own trust domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Certificate, key and roots.
    pub source: IdentitySource,
    /// The mesh's trust domain.
    pub domain: String,
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
    /// Envoy's secret discovery service on a Unix socket: SPIRE's agent, Istio's agent.
    Sds {
        /// The socket.
        socket: PathBuf,
        /// Name of the secret with chain and key.
        certificate: String,
        /// Name of the secret with roots, of one trust domain or of several.
        roots: String,
    },
    /// The SPIFFE Workload API on a Unix socket.
    WorkloadApi {
        /// The socket; `None`: the environment's `SPIFFE_ENDPOINT_SOCKET`.
        socket: Option<PathBuf>,
        /// Which of several identities, by its hint; `None`: the first.
        hint: Option<String>,
    },
    /// Istio's certificate service: istiod, or what speaks its protocol.
    Authority(CertificateAuthority),
}

/// A certificate authority that signs what this process asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateAuthority {
    /// `host:port`.
    pub address: String,
    /// Name that its certificate must have; `None`: the host of the address.
    pub server_name: Option<String>,
    /// PEM roots that its certificate must chain to.
    pub roots: PathBuf,
    /// File with the bearer token that says who we are; read for each request.
    pub token: PathBuf,
    /// The id that is asked for.
    pub id: String,
    /// The life that is asked for.
    pub ttl: Duration,
    /// Name of our cluster, for authorities that serve several.
    pub cluster: String,
}
