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
use sidle_identity::{Summary, Svid};
use sidle_model::ir::{CertificateFiles, Ir, Trust};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

pub(super) fn certs(ask: &Ask) -> Answer {
    json(StatusCode::OK, &list(ask.source.ir().as_deref(), ask.source.svid().as_deref()))
}

/// An `envoy.admin.v3.Certificates`: the workload's own first.
pub(super) fn list(ir: Option<&Ir>, svid: Option<&Svid>) -> Value {
    let shown = |file: &Option<PathBuf>| file.as_deref().map(read).unwrap_or_default();
    let own = svid.map(|svid| {
        let shown = |place: &str, certificates: &[CertificateDer<'_>]| -> Vec<_> {
            certificates.iter().map(|certificate| describe(place, certificate)).collect()
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
fn read(path: &Path) -> Vec<Value> {
    let failed = |why: String| vec![value!({ "path": path.display().to_string(), "error": why })];
    let certificates = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match certificates {
        Ok(certificates) => {
            let path = path.display().to_string();
            certificates.iter().map(|certificate| describe(&path, certificate)).collect()
        }
        Err(error) => failed(error.to_string()),
    }
}

/// An `envoy.admin.v3.CertificateDetails`.
fn describe(path: &str, certificate: &CertificateDer<'_>) -> Value {
    let Some(summary) = Summary::of(certificate) else {
        return value!({ "path": path, "error": "not an X.509 certificate" });
    };
    let uris = summary.uris.iter().map(|uri| value!({ "uri": uri }));
    let dns_names = summary.dns_names.iter().map(|name| value!({ "dns": name }));
    let addresses = summary.addresses.iter().map(|address| value!({ "ip_address": address.to_string() }));
    value!({
        "path": path,
        "serial_number": summary.serial_number,
        "subject": summary.subject,
        "subject_alt_names": uris.chain(dns_names).chain(addresses).collect::<Vec<_>>(),
        "days_until_expiration": (summary.not_after.left().as_secs() / 86_400).to_string(),
        "valid_from": summary.not_before.to_string(),
        "expiration_time": summary.not_after.to_string(),
    })
}
