//! TLS to a cluster.
//!
//! In:  [`ClientTls`] and ALPN.   Out: a [`ClientConfig`] that follows its files, or the workload's identity.
//! Invariants: each configuration has its own store of sessions, filled by its own checks, so that new roots or names start
//! afresh, and a session ends with the certificates that were checked for it. Where servers are workloads of the mesh there is no resumption, which would not look at their certificates again. No early
//! data.
//! Not here: the server name of a connection (`sni`, or the host of the authority), which the connector gives to rustls. Without
//! `subject_alt_names` it is also the name that is checked, except of workloads: their names are SPIFFE ids.

use crate::{
    Live, TlsError, Workload,
    live::{Parts, Sources, Trusted},
    names::AcceptedNames,
    provider::{provider, restrict},
    verifier::{AnyServer, Names, PeerVerifier},
};
use rustls::{
    ClientConfig,
    client::{Resumption, danger::ServerCertVerifier},
    sign::SingleCertAndKey,
};
use sidle_model::ir::{ClientTls, TlsVersion, Trust};
use std::sync::Arc;

/// Prepares TLS for connections to a cluster.
///
/// `alpn` is offered best first; empty: no ALPN.
///
/// # Errors
/// When a file cannot be used, or when the system's roots are asked for and there are none.
pub fn client_config(
    tls: &ClientTls,
    alpn: &[&[u8]],
    workload: &Workload,
) -> Result<Arc<Live<ClientConfig>>, TlsError> {
    let trust: Option<&Trust> = (!tls.insecure_skip_verify).then_some(&tls.ca);
    let sources = Sources::new(tls.certificate.as_ref(), trust, tls.crl.as_ref(), workload)?;
    let tls = tls.clone();
    let alpn: Vec<Vec<u8>> = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    Live::new(sources, move |parts| build(&tls, &alpn, parts))
}

fn build(tls: &ClientTls, alpn: &[Vec<u8>], parts: &Parts) -> Result<ClientConfig, TlsError> {
    let builder = ClientConfig::builder_with_provider(provider());
    let builder = restrict(builder, tls.min_version, TlsVersion::V1_3)?
        .dangerous()
        .with_custom_certificate_verifier(verifier(tls, parts));
    let mut config = match parts.shown.first() {
        None => builder.with_no_client_auth(),
        Some(shown) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from((**shown).clone()))),
    };
    if matches!(parts.trust, Some(Trusted::Mesh(_))) {
        config.resumption = Resumption::disabled();
    }
    config.alpn_protocols = alpn.to_vec();
    Ok(config)
}

/// Who the server must be.
fn verifier(tls: &ClientTls, parts: &Parts) -> Arc<dyn ServerCertVerifier> {
    let Some(trust) = &parts.trust else { return Arc::new(AnyServer::new()) };
    let names = match (&tls.subject_alt_names[..], trust) {
        ([], Trusted::Roots(_)) => Names::ServerName,
        ([], Trusted::Mesh(_)) => Names::Any,
        (names, _) => Names::Listed(AcceptedNames::new(names)),
    };
    let verifier = PeerVerifier::new(trust.clone(), names, parts.lists.clone());
    Arc::new(match trust {
        Trusted::Roots(_) => verifier.for_sessions(parts.sessions.clone()),
        Trusted::Mesh(_) => verifier,
    })
}
