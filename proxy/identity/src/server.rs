//! TLS of a listener.
//!
//! In:  [`ServerTls`].   Out: a [`ServerConfig`] that follows its files, or the workload's identity.
//! Invariants: no ticket of one configuration is good for another: each has its own ticketer and session store, or a client that
//! never showed a certificate could resume where one is demanded. Where clients are asked for certificates there is no
//! resumption at all, because a resumed session would not look at the certificate again: it may have expired, or its
//! authority may be gone. For the same reason no ticket outlives the server's own certificate. No early data.

use crate::{
    Live, TlsError, Workload,
    live::{Parts, Sources},
    names::AcceptedNames,
    provider::{restrict, speaking},
    verifier::{Names, PeerVerifier},
};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs::Ticketer,
    server::{ClientHello, NoServerSessionStorage, ResolvesServerCert},
    sign::CertifiedKey,
};
use sidle_model::ir::ServerTls;
use std::sync::Arc;

/// Prepares TLS of a listener, or of one of its filter chains.
///
/// # Errors
/// When a file cannot be used.
pub fn server_config(tls: &ServerTls, workload: &Workload) -> Result<Arc<Live<ServerConfig>>, TlsError> {
    let sources = Sources::new(Some(&tls.certificates), tls.client_ca.as_ref(), tls.crl.as_ref(), workload)?;
    let tls = tls.clone();
    Live::new(sources, move |parts| build(&tls, parts))
}

fn build(tls: &ServerTls, parts: &Parts) -> Result<ServerConfig, TlsError> {
    let builder = ServerConfig::builder_with_provider(speaking(&tls.cipher_suites));
    let builder = restrict(builder, tls.min_version, tls.max_version)?;
    let builder = match &parts.trust {
        None => builder.with_no_client_auth(),
        Some(trust) => {
            let names = match &tls.subject_alt_names[..] {
                [] => Names::Any,
                names => Names::Listed(AcceptedNames::new(names)),
            };
            let verifier = PeerVerifier::new(trust.clone(), names, parts.lists.clone());
            let verifier = verifier.pinned(&tls.pins);
            let verifier = if tls.client_certificate_optional { verifier.optional() } else { verifier };
            builder.with_client_cert_verifier(Arc::new(verifier))
        }
    };
    let mut config = builder.with_cert_resolver(Arc::new(ByKeyType(parts.shown.clone())));
    config.alpn_protocols = tls.alpn.iter().map(|protocol| protocol.alpn().into()).collect();
    if parts.trust.is_some() {
        config.session_storage = Arc::new(NoServerSessionStorage {});
    } else {
        config.ticketer = Ticketer::new().map_err(TlsError::Settings)?;
        parts.shown.iter().flat_map(|shown| &shown.cert).for_each(|shown| parts.sessions.rest_on(shown));
    }
    Ok(config)
}

/// Certificates of different key types: the first whose signatures the client understands.
#[derive(Debug)]
struct ByKeyType(Vec<Arc<CertifiedKey>>);

impl ResolvesServerCert for ByKeyType {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let understood =
            |certified: &&Arc<CertifiedKey>| certified.key.choose_scheme(hello.signature_schemes()).is_some();
        self.0.iter().find(understood).cloned()
    }
}
