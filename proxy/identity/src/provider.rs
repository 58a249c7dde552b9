//! The cryptography: aws-lc-rs, the only one in the house.

use crate::TlsError;
use rustls::{
    ConfigBuilder, ConfigSide, SupportedProtocolVersion, WantsVerifier, WantsVersions,
    crypto::{CryptoProvider, aws_lc_rs},
    version::{TLS12, TLS13},
};
use sidle_model::ir::{CipherSuite, TlsVersion};
use std::sync::{Arc, LazyLock};

/// Shared by all configurations, so that none depends on a process default.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));
    PROVIDER.clone()
}

/// The provider with these cipher suites of TLS 1.2, and all of TLS 1.3; empty: with all.
pub(crate) fn speaking(suites: &[CipherSuite]) -> Arc<CryptoProvider> {
    if suites.is_empty() {
        return provider();
    }
    let mut provider = CryptoProvider::clone(&provider());
    provider
        .cipher_suites
        .retain(|known| known.tls13().is_some() || suites.iter().any(|suite| id(*suite) == known.suite()));
    Arc::new(provider)
}

fn id(suite: CipherSuite) -> rustls::CipherSuite {
    use rustls::CipherSuite as Id;
    match suite {
        CipherSuite::EcdsaAes128 => Id::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        CipherSuite::EcdsaAes256 => Id::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        CipherSuite::EcdsaChaCha20 => Id::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        CipherSuite::RsaAes128 => Id::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        CipherSuite::RsaAes256 => Id::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        CipherSuite::RsaChaCha20 => Id::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    }
}

/// Restricts a configuration to the versions from `lowest` to `highest`.
pub(crate) fn restrict<S: ConfigSide>(
    builder: ConfigBuilder<S, WantsVersions>,
    lowest: TlsVersion,
    highest: TlsVersion,
) -> Result<ConfigBuilder<S, WantsVerifier>, TlsError> {
    let known = [(TlsVersion::V1_3, &TLS13), (TlsVersion::V1_2, &TLS12)];
    let allowed = known.into_iter().filter(|(version, _)| (lowest..=highest).contains(version));
    let allowed: Vec<&'static SupportedProtocolVersion> = allowed.map(|(_, version)| version).collect();
    builder.with_protocol_versions(&allowed).map_err(TlsError::Settings)
}
