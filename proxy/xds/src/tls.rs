//! TLS contexts, both ways. Certificates stay in their files: Envoy reads them itself.

use crate::{
    context::Context,
    value::{Object, extension},
};
use serde_json::{Value, json};
use sidle_model::ir::{
    ApplicationProtocol, CertificateFiles, Certificates, ClientTls, ServerTls, TlsVersion, Trust,
    UpstreamProtocol,
};
use std::{
    net::IpAddr,
    path::{Path, PathBuf},
};

/// The transport socket that terminates TLS.
pub(crate) fn downstream(tls: &ServerTls) -> Value {
    let validation = tls.client_ca.as_ref().and_then(Trust::file).map(|ca| {
        Object::new()
            .with("trusted_ca", file(ca))
            .with_list("match_typed_subject_alt_names", tls.subject_alt_names.iter().map(san).collect())
    });
    let common = Object::new()
        .with(
            "tls_params",
            json!({
                "tls_minimum_protocol_version": version(tls.min_version),
                "tls_maximum_protocol_version": version(tls.max_version),
            }),
        )
        .with_list("tls_certificates", tls.certificates.files().iter().map(certificate).collect())
        .with_some("validation_context", validation)
        .with_list("alpn_protocols", tls.alpn.iter().map(|protocol| protocol.alpn().into()).collect());
    extension(
        "envoy.transport_sockets.tls",
        Object::typed("extensions.transport_sockets.tls.v3.DownstreamTlsContext")
            .with("common_tls_context", common)
            .with("require_client_certificate", tls.client_ca.is_some() && !tls.client_certificate_optional),
    )
}

/// The transport socket that starts TLS to a cluster.
pub(crate) fn upstream(context: &Context<'_>, tls: &ClientTls, protocol: UpstreamProtocol) -> Value {
    let alpn = match protocol {
        UpstreamProtocol::Http2 => vec![ApplicationProtocol::Http2.alpn().into()],
        UpstreamProtocol::Http1 | UpstreamProtocol::AsDownstream => Vec::new(),
    };
    let common = Object::new()
        .with("tls_params", json!({"tls_minimum_protocol_version": version(tls.min_version)}))
        .with_list(
            "tls_certificates",
            tls.certificate.iter().flat_map(Certificates::files).map(certificate).collect(),
        )
        .with_some(
            "validation_context",
            (!tls.insecure_skip_verify).then(|| validation(tls, context.system_ca)),
        )
        .with_list("alpn_protocols", alpn);
    extension(
        "envoy.transport_sockets.tls",
        Object::typed("extensions.transport_sockets.tls.v3.UpstreamTlsContext")
            .with_some("sni", tls.sni.as_deref())
            .with("common_tls_context", common),
    )
}

/// Whether server name and expected certificate name both come from the request; without TLS they need not.
pub(crate) fn names_follow_authority(tls: Option<&ClientTls>) -> bool {
    tls.is_some_and(|tls| tls.sni.is_none() && checks_name(tls))
}

/// Settings that take server name and expected certificate name from the request when the cluster has none.
pub(crate) fn automatic_names(tls: &ClientTls) -> Option<Value> {
    tls.sni.is_none().then(|| {
        Object::new().with("auto_sni", true).with_true("auto_san_validation", checks_name(tls)).into()
    })
}

fn checks_name(tls: &ClientTls) -> bool {
    !tls.insecure_skip_verify && tls.subject_alt_names.is_empty()
}

fn validation(tls: &ClientTls, system_ca: &Path) -> Object {
    let names: Vec<Value> = match (&tls.subject_alt_names[..], &tls.sni) {
        ([], Some(sni)) => vec![san(sni)],
        ([], None) => Vec::new(),
        (names, _) => names.iter().map(san).collect(),
    };
    Object::new()
        .with("trusted_ca", file(tls.ca.file().map_or(system_ca, PathBuf::as_path)))
        .with_list("match_typed_subject_alt_names", names)
}

fn san(name: impl AsRef<str>) -> Value {
    let name = name.as_ref();
    let kind = match name {
        uri if uri.contains("://") => "URI",
        ip if ip.parse::<IpAddr>().is_ok() => "IP_ADDRESS",
        _ => "DNS",
    };
    json!({"san_type": kind, "matcher": {"exact": name}})
}

fn certificate(files: &CertificateFiles) -> Value {
    json!({"certificate_chain": file(&files.certificate), "private_key": file(&files.key)})
}

fn file(path: &Path) -> Value {
    json!({"filename": path.to_string_lossy()})
}

fn version(version: TlsVersion) -> &'static str {
    match version {
        TlsVersion::V1_2 => "TLSv1_2",
        TlsVersion::V1_3 => "TLSv1_3",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subject_alternative_names_have_their_kind() {
        for (name, kind) in [
            ("a.example", "DNS"),
            ("spiffe://td/ns/a/sa/b", "URI"),
            ("10.0.0.1", "IP_ADDRESS"),
            ("::1", "IP_ADDRESS"),
        ] {
            assert_eq!(san(name)["san_type"], kind);
        }
    }

    #[test]
    fn the_server_name_is_what_the_certificate_must_say() {
        let tls = ClientTls {
            sni: Some("a.example".into()),
            ca: Trust::System,
            crl: None,
            subject_alt_names: Vec::new(),
            certificate: None,
            insecure_skip_verify: false,
            min_version: TlsVersion::V1_2,
        };
        assert_eq!(
            Value::from(validation(&tls, Path::new("/roots.pem"))),
            json!({
                "trusted_ca": {"filename": "/roots.pem"},
                "match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": "a.example"}}],
            })
        );
        assert!(automatic_names(&tls).is_none());
        let unnamed = ClientTls { sni: None, ..tls };
        assert_eq!(automatic_names(&unnamed), Some(json!({"auto_sni": true, "auto_san_validation": true})));
    }
}
