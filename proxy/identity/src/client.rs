//! TLS to a cluster.
//!
//! In:  [`ClientTls`] and ALPN.   Out: a [`ClientConfig`].
//! Invariants: each configuration has its own store of sessions, filled by its own checks, so that new roots or names start
//! afresh.
//! Not here: the server name of a connection (`sni`, or the host of the authority), which the connector gives to rustls. Without
//! `subject_alt_names` it is also the name that is checked.

use crate::{
    TlsError, files,
    names::AcceptedNames,
    provider::{provider, restrict},
    roots,
    verifier::{AnyServer, NamedServer},
};
use rustls::{
    ClientConfig,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
    crypto::CryptoProvider,
    sign::SingleCertAndKey,
};
use sidle_model::ir::{Certificates, ClientTls, TlsVersion};
use std::sync::Arc;

/// Builds the configuration for connections to a cluster.
///
/// `alpn` is offered best first; empty: no ALPN.
///
/// # Errors
/// When a file cannot be used, or when the system's roots are asked for and there are none.
pub fn client_config(tls: &ClientTls, alpn: &[&[u8]]) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = provider();
    let builder = ClientConfig::builder_with_provider(provider.clone());
    let builder = restrict(builder, tls.min_version, TlsVersion::V1_3)?
        .dangerous()
        .with_custom_certificate_verifier(verifier(tls, &provider)?);
    let mut config = match &tls.certificate {
        None => builder.with_no_client_auth(),
        Some(Certificates::Workload) => return Err(TlsError::NoIdentity),
        Some(Certificates::Files(files)) => {
            let files = files.first().ok_or(TlsError::NothingToServe)?;
            let certified = (*files::certified_key(files)?).clone();
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified)))
        }
    };
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(Arc::new(config))
}

/// Who the server must be.
fn verifier(
    tls: &ClientTls,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
    let algorithms = provider.signature_verification_algorithms;
    if tls.insecure_skip_verify {
        return Ok(Arc::new(AnyServer { algorithms }));
    }
    let roots = roots::of(&tls.ca)?;
    if !tls.subject_alt_names.is_empty() {
        let names = AcceptedNames::new(&tls.subject_alt_names);
        return Ok(Arc::new(NamedServer { roots, names, algorithms }));
    }
    match WebPkiServerVerifier::builder_with_provider(roots, provider.clone()).build() {
        Ok(verifier) => Ok(verifier),
        Err(error) => Err(TlsError::Settings(rustls::Error::General(error.to_string()))),
    }
}
