//! How servers open TLS: those of Gateways, and ports of Sidecars.
//!
//! In:  `tls` blocks.   Out: [`ServerTls`], or why it cannot be opened.
//! Invariant: without a certificate that is named there is none: nobody opens TLS with another.
//! Not here: who is served (`gateways`, `inbound`), reading certificates.

use super::{Mesh, inbound::mtls, policies};
use crate::{
    ir::{
        ApplicationProtocol, CertificateFiles, CertificatePin, Certificates, CipherSuite, ServerTls,
        TlsVersion, Trust,
    },
    istio::{ServerTlsMode, ServerTlsSettings, TlsProtocol},
};

/// How TLS is opened, with HTTP inside or bytes. `Err`: why it cannot be.
pub(super) fn lower(settings: &ServerTlsSettings, http: bool, mesh: &Mesh<'_>) -> Result<ServerTls, String> {
    if settings.mode == ServerTlsMode::IstioMutual {
        let tls = mtls::of_mesh(http);
        let tls = ServerTls { subject_alt_names: settings.subject_alt_names.clone(), ..tls };
        return mesh.has_identity().then_some(tls).ok_or("this proxy has no identity to show".into());
    }
    let alpn = match http {
        true => vec![ApplicationProtocol::Http2, ApplicationProtocol::Http1],
        false => Vec::new(),
    };
    Ok(ServerTls {
        certificates: certificates(settings, mesh)?,
        client_ca: client_ca(settings, mesh)?,
        crl: settings.ca_crl.as_ref().map(Into::into),
        client_certificate_optional: settings.mode == ServerTlsMode::OptionalMutual,
        subject_alt_names: settings.subject_alt_names.clone(),
        pins: pins(settings),
        cipher_suites: cipher_suites(settings),
        min_version: version(settings.min_protocol_version, TlsVersion::V1_2),
        max_version: version(settings.max_protocol_version, TlsVersion::V1_3),
        alpn,
    })
}

/// What does not parse is refused by `check`.
fn pins(settings: &ServerTlsSettings) -> Vec<CertificatePin> {
    let certificates =
        settings.verify_certificate_hash.iter().filter_map(|text| policies::sha256_of_hex(text));
    let keys = settings.verify_certificate_spki.iter().filter_map(|text| policies::sha256_of_base64(text));
    certificates.map(CertificatePin::Certificate).chain(keys.map(CertificatePin::Key)).collect()
}

/// Those that are spoken; `check` tells the others.
fn cipher_suites(settings: &ServerTlsSettings) -> Vec<CipherSuite> {
    let named = |name: &String| CipherSuite::ALL.into_iter().find(|suite| suite.name() == name);
    settings.cipher_suites.iter().filter_map(named).collect()
}

/// What is shown: Secrets, else files.
fn certificates(settings: &ServerTlsSettings, mesh: &Mesh<'_>) -> Result<Certificates, String> {
    let secrets: Vec<_> =
        settings.credential_name.iter().chain(&settings.credential_names).map(String::as_str).collect();
    if !secrets.is_empty() {
        return mesh.secrets().certificates(&secrets);
    }
    let own = settings.server_certificate.as_ref().zip(settings.private_key.as_ref());
    let more = settings.tls_certificates.iter();
    let more = more.filter_map(|pair| pair.server_certificate.as_ref().zip(pair.private_key.as_ref()));
    let files = own.into_iter().chain(more);
    let files: Vec<_> = files
        .map(|(certificate, key)| CertificateFiles { certificate: certificate.into(), key: key.into() })
        .collect();
    if files.is_empty() { Err("it has no certificate".into()) } else { Ok(Certificates::Files(files)) }
}

/// What client certificates must chain to, where they are asked for.
fn client_ca(settings: &ServerTlsSettings, mesh: &Mesh<'_>) -> Result<Option<Trust>, String> {
    if !matches!(settings.mode, ServerTlsMode::Mutual | ServerTlsMode::OptionalMutual) {
        return Ok(None);
    }
    let of_pairs = settings.tls_certificates.iter().find_map(|pair| pair.ca_certificates.as_ref());
    if let Some(path) = settings.ca_certificates.as_ref().or(of_pairs) {
        return Ok(Some(Trust::File(path.into())));
    }
    let credential = settings.credential_name.as_ref().or(settings.credential_names.first());
    let secret = settings.ca_cert_credential_name.as_ref().or(credential);
    let secret = secret.ok_or("client certificates cannot be verified without `caCertificates`")?;
    mesh.secrets().roots(secret).map(Some)
}

/// Older versions than 1.2 are not spoken.
fn version(version: TlsProtocol, default: TlsVersion) -> TlsVersion {
    match version {
        TlsProtocol::Auto => default,
        TlsProtocol::V1_3 => TlsVersion::V1_3,
        TlsProtocol::V1_0 | TlsProtocol::V1_1 | TlsProtocol::V1_2 => TlsVersion::V1_2,
    }
}
