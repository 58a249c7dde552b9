//! TLS contexts, both ways. Certificates stay in their files: Envoy reads them itself.
//!
//! Not here: where certificates and roots come from (`workload`).

use crate::{
    context::Context,
    value::{Object, extension},
    workload,
};
use serde_json::{Value, json};
use sidle_model::ir::{
    ApplicationProtocol, CertificatePin, Certificates, ClientTls, ServerTls, TlsVersion, UpstreamProtocol,
};
use std::{net::IpAddr, path::Path};

/// The transport socket that terminates TLS.
pub(crate) fn downstream(context: &Context<'_>, tls: &ServerTls) -> Value {
    let names = tls.subject_alt_names.iter().map(san).collect();
    let checks = Object::new().with_list("match_typed_subject_alt_names", names);
    let checks = checks.with_some("crl", tls.crl.as_deref().map(file)).merge(pins(&tls.pins));
    let validation = tls.client_ca.as_ref().map(|ca| workload::validation(context, ca, checks));
    let common = Object::new()
        .with(
            "tls_params",
            Object::new()
                .with("tls_minimum_protocol_version", version(tls.min_version))
                .with("tls_maximum_protocol_version", version(tls.max_version))
                .with_list(
                    "cipher_suites",
                    tls.cipher_suites.iter().map(|suite| suite.name().into()).collect(),
                ),
        )
        .merge(workload::certificates(context, Some(&tls.certificates)))
        .merge(validation.unwrap_or_default())
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
    use ApplicationProtocol::{Http1, Http2, Istio, IstioHttp2, IstioHttp11};
    let of_mesh = tls.certificate == Some(Certificates::Workload);
    let alpn: &[ApplicationProtocol] = match (protocol, of_mesh) {
        (UpstreamProtocol::Http2, true) => &[IstioHttp2, Istio, Http2],
        (UpstreamProtocol::Http1, true) => &[IstioHttp11, Istio, Http1],
        (UpstreamProtocol::AsDownstream, true) => &[Istio],
        (UpstreamProtocol::Http2, false) => &[Http2],
        (UpstreamProtocol::Http1 | UpstreamProtocol::AsDownstream, false) => &[],
    };
    let validation =
        (!tls.insecure_skip_verify).then(|| workload::validation(context, &tls.ca, checks(tls, of_mesh)));
    let common = Object::new()
        .with("tls_params", json!({"tls_minimum_protocol_version": version(tls.min_version)}))
        .merge(workload::certificates(context, tls.certificate.as_ref()))
        .merge(validation.unwrap_or_default())
        .with_list("alpn_protocols", alpn.iter().map(|protocol| protocol.alpn().into()).collect());
    extension(
        "envoy.transport_sockets.tls",
        Object::typed("extensions.transport_sockets.tls.v3.UpstreamTlsContext")
            .with_some("sni", tls.sni.as_deref())
            .with("common_tls_context", common),
    )
}

/// mTLS to those endpoints that take it, plain text to the others.
pub(crate) fn by_endpoint(context: &Context<'_>, tls: &ClientTls, protocol: UpstreamProtocol) -> Value {
    let plain = extension(
        "envoy.transport_sockets.raw_buffer",
        Object::typed("extensions.transport_sockets.raw_buffer.v3.RawBuffer"),
    );
    json!([
        {"name": "tlsMode-istio", "match": {"tlsMode": "istio"}, "transport_socket": upstream(context, tls, protocol)},
        {"name": "tlsMode-disabled", "match": {}, "transport_socket": plain},
    ])
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

/// What a server's certificate must say. Of a workload the chain is enough.
fn checks(tls: &ClientTls, of_mesh: bool) -> Object {
    let names: Vec<Value> = match (&tls.subject_alt_names[..], &tls.sni) {
        ([], Some(sni)) if !of_mesh => vec![san(sni)],
        ([], _) => Vec::new(),
        (names, _) => names.iter().map(san).collect(),
    };
    Object::new()
        .with_list("match_typed_subject_alt_names", names)
        .with_some("crl", tls.crl.as_deref().map(file))
}

fn pins(pins: &[CertificatePin]) -> Object {
    let (mut certificates, mut keys) = (Vec::new(), Vec::new());
    for pin in pins {
        match pin {
            CertificatePin::Certificate(hash) => {
                certificates.push(hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into());
            }
            CertificatePin::Key(hash) => keys.push(base64(hash).into()),
        }
    }
    Object::new()
        .with_list("verify_certificate_hash", certificates)
        .with_list("verify_certificate_spki", keys)
}

/// RFC 4648 section 4.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let mut bits = [0; 4];
        bits[1..=group.len()].copy_from_slice(group);
        let bits = u32::from_be_bytes(bits);
        for place in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * place)) as usize & 63];
            text.push(if place > group.len() { '=' } else { letter.into() });
        }
    }
    text
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
    use sidle_model::ir::Trust;

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
    fn keys_are_pinned_in_base64() {
        assert_eq!(base64(b"foobar"), "Zm9vYmFy");
        assert_eq!((base64(b"foob"), base64(b"fooba")), ("Zm9vYg==".into(), "Zm9vYmE=".into()));
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
            Value::from(checks(&tls, false)),
            json!({"match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": "a.example"}}]})
        );
        assert!(checks(&tls, true).is_empty(), "the server name of a mesh is no name of the server");
        assert!(automatic_names(&tls).is_none());
        let unnamed = ClientTls { sni: None, ..tls };
        assert_eq!(automatic_names(&unnamed), Some(json!({"auto_sni": true, "auto_san_validation": true})));
    }
}
