//! The workload's own identity, and certificates that came with the configuration, in Envoy's words.
//!
//! In:  [`Certificates`] and [`Trust`].   Out: fields of a `CommonTlsContext`.
//! Invariants: an identity in files is named by its files; any other comes by SDS from the agent's socket, as Istio has it. No
//! key is ever written: those that came with the configuration are `[redacted]`, as Envoy's own dump shows them.

use crate::{
    context::Context,
    value::{Object, pipe},
};
use serde_json::{Value, json};
use sidle_model::ir::{CertificateFiles, Certificates, IdentitySource, InlineCertificate, Ir, Trust};
use std::path::{Path, PathBuf};

/// Where Istio's agent listens.
const AGENT: &str = "/var/run/secrets/workload-spiffe-uds/socket";
/// What Istio calls the cluster of its agent.
const SDS_CLUSTER: &str = "sds-grpc";

/// Certificates as fields of a `CommonTlsContext`.
pub(crate) fn certificates(context: &Context<'_>, certificates: Option<&Certificates>) -> Object {
    let list = |list| Object::new().with_list("tls_certificates", list);
    match certificates {
        None => Object::new(),
        Some(Certificates::Files(files)) => list(files.iter().map(certificate).collect()),
        Some(Certificates::Inline(inline)) => list(inline.iter().map(redacted).collect()),
        Some(Certificates::Workload) => match own_files(context.ir) {
            Some((files, _)) => list(vec![certificate(&files)]),
            None => {
                let secret = secret(names(context.ir).0);
                Object::new().with("tls_certificate_sds_secret_configs", vec![secret])
            }
        },
    }
}

/// Whom to believe, and what else is checked, as fields of a `CommonTlsContext`.
pub(crate) fn validation(context: &Context<'_>, trust: &Trust, mut checks: Object) -> Object {
    let file = match trust {
        Trust::System => context.system_ca.into(),
        Trust::File(path) => path.clone(),
        Trust::Inline { .. } => {
            let redacted = checks.with("trusted_ca", json!({"inline_string": "[redacted]"}));
            return Object::new().with("validation_context", redacted);
        }
        Trust::Workload => {
            if checks.is_empty() {
                let any = json!({"san_type": "URI", "matcher": {"prefix": "spiffe://"}});
                checks = checks.with("match_typed_subject_alt_names", vec![any]);
            }
            let Some((_, roots)) = own_files(context.ir) else {
                let combined = Object::new()
                    .with("default_validation_context", checks)
                    .with("validation_context_sds_secret_config", secret(names(context.ir).1));
                return Object::new().with("combined_validation_context", combined);
            };
            roots
        }
    };
    Object::new().with("validation_context", checks.with("trusted_ca", named(&file)))
}

/// The cluster of the agent, if anything asks it.
pub(crate) fn agent(ir: &Ir) -> Option<Value> {
    let source = &ir.settings.identity.as_ref()?.source;
    let socket = match source {
        IdentitySource::Folder(_) | IdentitySource::Files { .. } => return None,
        IdentitySource::Sds { socket, .. } => socket.as_path(),
        IdentitySource::WorkloadApi { socket, .. } => socket.as_deref().unwrap_or(Path::new(AGENT)),
        IdentitySource::Authority(_) => Path::new(AGENT),
    };
    let http2 = json!({
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    });
    Some(json!({
        "name": SDS_CLUSTER,
        "type": "STATIC",
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2},
        "load_assignment": {
            "cluster_name": SDS_CLUSTER,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": pipe(socket)}}]}],
        },
    }))
}

/// The files of an identity that is in files. Of a folder Envoy is told Kubernetes' names.
fn own_files(ir: &Ir) -> Option<(CertificateFiles, PathBuf)> {
    match &ir.settings.identity.as_ref()?.source {
        IdentitySource::Files { pair, roots } => Some((pair.clone(), roots.clone())),
        IdentitySource::Folder(folder) => {
            let pair = CertificateFiles { certificate: folder.join("tls.crt"), key: folder.join("tls.key") };
            Some((pair, folder.join("ca.crt")))
        }
        _ => None,
    }
}

/// What the agent calls certificate and roots.
fn names(ir: &Ir) -> (&str, &str) {
    match ir.settings.identity.as_ref().map(|identity| &identity.source) {
        Some(IdentitySource::Sds { certificate, roots, .. }) => (certificate, roots),
        _ => ("default", "ROOTCA"),
    }
}

fn secret(name: &str) -> Value {
    let service = json!([{"envoy_grpc": {"cluster_name": SDS_CLUSTER}}]);
    json!({"name": name, "sds_config": {
        "resource_api_version": "V3",
        "api_config_source": {"api_type": "GRPC", "transport_api_version": "V3", "grpc_services": service},
    }})
}

fn certificate(files: &CertificateFiles) -> Value {
    json!({"certificate_chain": named(&files.certificate), "private_key": named(&files.key)})
}

/// The certificates of a PEM text, which may hold a key where it should not.
fn certificates_of(text: &str) -> String {
    let (mut shown, mut within) = (String::new(), false);
    for line in text.lines() {
        within |= line.starts_with("-----BEGIN CERTIFICATE-----");
        if within {
            shown.push_str(line);
            shown.push('\n');
        }
        within &= !line.starts_with("-----END");
    }
    shown
}

fn redacted(certificate: &InlineCertificate) -> Value {
    let chain = certificates_of(&String::from_utf8_lossy(certificate.chain.as_bytes()));
    json!({"certificate_chain": {"inline_string": chain}, "private_key": {"inline_string": "[redacted]"}})
}

fn named(path: &Path) -> Value {
    json!({"filename": path.to_string_lossy()})
}
