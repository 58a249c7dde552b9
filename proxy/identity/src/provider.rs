//! The cryptography: aws-lc-rs, the only one in the house.

use crate::TlsError;
use rustls::{
    ConfigBuilder, ConfigSide, SupportedProtocolVersion, WantsVerifier, WantsVersions,
    crypto::{CryptoProvider, aws_lc_rs},
    version::{TLS12, TLS13},
};
use sidle_model::ir::TlsVersion;
use std::sync::{Arc, LazyLock};

/// Shared by all configurations, so that none depends on a process default.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));
    PROVIDER.clone()
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
