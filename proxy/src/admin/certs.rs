//! `/certs`: the workload's identity, and the certificates that the configuration names, as Envoy shows them.
//!
//! Invariants: no key is ever opened; a file that cannot be read is shown with the reason.

use super::{
    answer::{Answer, json},
    table::Ask,
};
use http::StatusCode;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use serde_json::{Value, json as value};
use sidle_identity::Svid;
use sidle_model::ir::{CertificateFiles, Ir, Trust};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

pub(super) fn certs(ask: &Ask) -> Answer {
    json(StatusCode::OK, &list(ask.source.ir().as_deref(), ask.source.svid().as_deref()))
}

/// An `envoy.admin.v3.Certificates`: the workload's own first.
pub(super) fn list(ir: Option<&Ir>, svid: Option<&Svid>) -> Value {
    let now = SystemTime::now();
    let shown = |file: &Option<PathBuf>| file.as_deref().map(|file| read(file, now)).unwrap_or_default();
    let own = svid.map(|svid| {
        let shown = |place: &str, certificates: &[CertificateDer<'_>]| -> Vec<_> {
            certificates.iter().map(|certificate| describe(place, certificate, now)).collect()
        };
        let roots = svid.bundles.iter().flat_map(|(domain, bundle)| {
            shown(&format!("workload, roots of {domain}"), &bundle.certificates)
        });
        value!({ "ca_cert": roots.collect::<Vec<_>>(), "cert_chain": shown("workload", &svid.certified.cert) })
    });
    let files = ir.map(files).unwrap_or_default();
    let files = files.iter().map(|(ca, chain)| value!({ "ca_cert": shown(ca), "cert_chain": shown(chain) }));
    value!({ "certificates": own.into_iter().chain(files).collect::<Vec<_>>() })
}

/// Bundle to trust, and chain to show.
type Files = (Option<PathBuf>, Option<PathBuf>);

/// Of every listener and cluster, each pair once.
fn files(ir: &Ir) -> BTreeSet<Files> {
    let chain = |files: &CertificateFiles| files.certificate.clone();
    let bundle = |trust: &Trust| trust.file().cloned();
    let chains = ir
        .listeners
        .iter()
        .flat_map(|listener| listener.filter_chains.iter().chain(&listener.default_filter_chain));
    let servers = chains.filter_map(|chain| chain.tls.as_ref()).flat_map(|tls| {
        let ca = tls.client_ca.as_ref().and_then(bundle);
        tls.certificates.files().iter().map(move |files| (ca.clone(), Some(chain(files))))
    });
    let clients = ir.clusters.iter().filter_map(|cluster| cluster.tls.as_ref());
    let clients = clients.map(|tls| {
        let shown = tls.certificate.as_ref().and_then(|shown| shown.files().first());
        (bundle(&tls.ca), shown.map(chain))
    });
    servers.chain(clients).filter(|(ca, chain)| ca.is_some() || chain.is_some()).collect()
}

/// Every certificate of a file.
fn read(path: &Path, now: SystemTime) -> Vec<Value> {
    let failed = |why: String| vec![value!({ "path": path.display().to_string(), "error": why })];
    let certificates = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match certificates {
        Ok(certificates) => {
            let path = path.display().to_string();
            certificates.iter().map(|certificate| describe(&path, certificate, now)).collect()
        }
        Err(error) => failed(error.to_string()),
    }
}

/// An `envoy.admin.v3.CertificateDetails`.
fn describe(path: &str, certificate: &CertificateDer<'_>, now: SystemTime) -> Value {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else {
        return value!({ "path": path, "error": "not an X.509 certificate" });
    };
    let time = |seconds: i64| UNIX_EPOCH + Duration::from_secs(seconds.max(0).unsigned_abs());
    let validity = certificate.validity();
    let (from, to) = (time(validity.not_before.timestamp()), time(validity.not_after.timestamp()));
    let left = to.duration_since(now).unwrap_or_default();
    let names = certificate.subject_alternative_name().ok().flatten();
    let names: Vec<_> = names.iter().flat_map(|names| &names.value.general_names).filter_map(name).collect();
    value!({
        "path": path,
        "serial_number": certificate.raw_serial_as_string().replace(':', ""),
        "subject": certificate.subject().to_string(),
        "subject_alt_names": names,
        "days_until_expiration": (left.as_secs() / 86_400).to_string(),
        "valid_from": humantime::format_rfc3339_seconds(from).to_string(),
        "expiration_time": humantime::format_rfc3339_seconds(to).to_string(),
    })
}

fn name(name: &GeneralName<'_>) -> Option<Value> {
    match name {
        GeneralName::URI(uri) => Some(value!({ "uri": uri })),
        GeneralName::DNSName(dns) => Some(value!({ "dns": dns })),
        GeneralName::IPAddress(bytes) => {
            let ip = <[u8; 4]>::try_from(*bytes).map(std::net::IpAddr::from);
            let ip = ip.or_else(|_| <[u8; 16]>::try_from(*bytes).map(std::net::IpAddr::from));
            ip.ok().map(|ip| value!({ "ip_address": ip.to_string() }))
        }
        _ => None,
    }
}
