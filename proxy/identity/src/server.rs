//! TLS of a listener.
//!
//! In:  [`ServerTls`].   Out: a [`ServerConfig`].
//! Invariants: no ticket of one configuration is good for another: each has its own ticketer and session store, or a client that
//! never showed a certificate could resume where one is demanded. Where clients are asked for certificates there is no
//! resumption at all, because a resumed session would not look at the certificate again: it may have expired, or its
//! authority may be gone.

use crate::{
    TlsError, files,
    names::AcceptedNames,
    provider::{provider, restrict},
    roots,
    verifier::NamedClient,
};
use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs::Ticketer},
    server::{
        ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier,
        danger::ClientCertVerifier,
    },
    sign::CertifiedKey,
};
use sidle_model::ir::{ApplicationProtocol, Certificates, ServerTls, Trust};
use std::sync::Arc;

/// Builds the configuration of a listener, or of one of its filter chains.
///
/// # Errors
/// When a file cannot be used.
pub fn server_config(tls: &ServerTls) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = provider();
    let builder = ServerConfig::builder_with_provider(provider.clone());
    let builder = restrict(builder, tls.min_version, tls.max_version)?;
    let builder = match &tls.client_ca {
        None => builder.with_no_client_auth(),
        Some(ca) => builder.with_client_cert_verifier(client_verifier(tls, ca, &provider)?),
    };
    let mut config = builder.with_cert_resolver(Arc::new(ByKeyType::new(tls)?));
    config.alpn_protocols = tls.alpn.iter().map(|&protocol| alpn_id(protocol).to_vec()).collect();
    if tls.client_ca.is_some() {
        config.session_storage = Arc::new(NoServerSessionStorage {});
    } else {
        config.ticketer = Ticketer::new().map_err(TlsError::Settings)?;
    }
    Ok(Arc::new(config))
}

/// Who the client must be.
fn client_verifier(
    tls: &ServerTls,
    ca: &Trust,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let builder = WebPkiClientVerifier::builder_with_provider(roots::of(ca)?, provider.clone());
    let builder = if tls.client_certificate_optional { builder.allow_unauthenticated() } else { builder };
    let chains =
        builder.build().map_err(|error| TlsError::Settings(rustls::Error::General(error.to_string())))?;
    if tls.subject_alt_names.is_empty() {
        return Ok(chains);
    }
    Ok(Arc::new(NamedClient { chains, names: AcceptedNames::new(&tls.subject_alt_names) }))
}

/// The id that IANA registered.
fn alpn_id(protocol: ApplicationProtocol) -> &'static [u8] {
    match protocol {
        ApplicationProtocol::Http1 => b"http/1.1",
        ApplicationProtocol::Http2 => b"h2",
    }
}

/// Certificates of different key types: the first whose signatures the client understands.
#[derive(Debug)]
struct ByKeyType(Vec<Arc<CertifiedKey>>);

impl ByKeyType {
    fn new(tls: &ServerTls) -> Result<Self, TlsError> {
        let Certificates::Files(certificates) = &tls.certificates else { return Err(TlsError::NoIdentity) };
        let certified = certificates.iter().map(files::certified_key).collect::<Result<Vec<_>, _>>()?;
        if certified.is_empty() { Err(TlsError::NothingToServe) } else { Ok(ByKeyType(certified)) }
    }
}

impl ResolvesServerCert for ByKeyType {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let understood =
            |certified: &&Arc<CertifiedKey>| certified.key.choose_scheme(hello.signature_schemes()).is_some();
        self.0.iter().find(understood).cloned()
    }
}
