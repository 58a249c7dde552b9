//! TLS 1.3 at both ends.
//!
//! Invariants: one cipher suite, so that all subjects do the same work; both ends verify.

use super::super::scenarios::{HOST, Protocol};
use crate::void::Void;
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    server::WebPkiClientVerifier,
    version::TLS13,
};
use std::{path::Path, sync::Arc};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, client::TlsStream};

/// A client that knows whom to believe.
#[derive(Clone)]
pub struct Client(TlsConnector);

impl Client {
    /// Believes `ca.pem` of a folder.
    ///
    /// # Errors
    /// When it is not there.
    pub fn new(folder: &Path, protocol: Protocol) -> Result<Self, Void> {
        let builder = ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13]);
        let builder = builder.map_err(because)?.with_root_certificates(roots(folder)?);
        let mut config = builder.with_no_client_auth();
        config.alpn_protocols = vec![alpn(protocol)];
        Ok(Client(TlsConnector::from(Arc::new(config))))
    }

    /// Speaks TLS on a connection.
    ///
    /// # Errors
    /// When the server cannot be believed, or speaks another protocol.
    pub async fn connect(&self, stream: TcpStream) -> Result<TlsStream<TcpStream>, Void> {
        let name = ServerName::try_from(HOST).map_err(because)?;
        let wanted = self.0.config().alpn_protocols.first().cloned();
        let stream = self.0.connect(name, stream).await?;
        match stream.get_ref().1.alpn_protocol() {
            agreed if agreed == wanted.as_deref() => Ok(stream),
            agreed => Err(Void::because(format!("another protocol was agreed on: {agreed:?}"))),
        }
    }
}

/// A server with `server.pem` of a folder, for clients whose certificates `ca.pem` signed.
///
/// # Errors
/// When they are not there.
pub fn server(folder: &Path, protocol: Protocol) -> Result<TlsAcceptor, Void> {
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(folder)?), provider());
    let verifier = verifier.build().map_err(because)?;
    let chain = vec![CertificateDer::from_pem_file(folder.join("server.pem")).map_err(because)?];
    let key = PrivateKeyDer::from_pem_file(folder.join("server.key")).map_err(because)?;
    let builder = ServerConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13]);
    let builder = builder.map_err(because)?.with_client_cert_verifier(verifier);
    let mut config = builder.with_single_cert(chain, key).map_err(because)?;
    config.alpn_protocols = vec![alpn(protocol)];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn roots(folder: &Path) -> Result<RootCertStore, Void> {
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_file(folder.join("ca.pem")).map_err(because)?;
    roots.add(root).map_err(because)?;
    Ok(roots)
}

fn provider() -> Arc<CryptoProvider> {
    let suites = vec![aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256];
    Arc::new(CryptoProvider { cipher_suites: suites, ..aws_lc_rs::default_provider() })
}

fn alpn(protocol: Protocol) -> Vec<u8> {
    match protocol {
        Protocol::Http1 => b"http/1.1".to_vec(),
        Protocol::Http2 => b"h2".to_vec(),
    }
}

fn because(error: impl ToString) -> Void {
    Void::because(error.to_string())
}
